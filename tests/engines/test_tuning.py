"""The choice of kernels: measured once on the real model, remembered, made again when it cannot be read."""

import json
import logging
import time
from pathlib import Path

import pytest

from engines.llama_model import LlamaModel
from engines.steps import StepCosts
from engines.tuning import ROWS, choose, measure, open_tuned, processor
from errors import EngineError


def costs(scale: float) -> StepCosts:
    return StepCosts(ROWS, tuple(scale * n for n in ROWS), 4)


def test_the_faster_kernels_win_if_they_are_worth_their_memory() -> None:
    assert choose(costs(1.0), None).kernels == "tiled"
    assert choose(costs(1.0), costs(0.8)).kernels == "repacked"
    assert choose(costs(1.0), costs(1.2)).kernels == "tiled"
    close = choose(costs(1.0), costs(0.98))
    assert close.kernels == "tiled"
    assert "1.02" in close.reason


def test_measuring_leaves_an_empty_context(tiny_gguf: Path) -> None:
    model = LlamaModel(tiny_gguf, threads=1, n_cells=256, n_seq=2)
    found, _ = measure(model)
    assert found.rows == ROWS
    assert all(seconds > 0 for seconds in found.seconds)
    assert model.length(0) == 0
    model.close()


def test_a_slow_moment_makes_no_step_look_dear(tiny_gguf: Path) -> None:
    """Another program takes the processors for a while: whatever is measured meanwhile is measured again."""

    class Disturbed(LlamaModel):
        steps = 0

        def decode(self) -> bool:
            self.steps += 1
            if self.steps <= 12:
                time.sleep(0.2)
            return super().decode()

    model = Disturbed(tiny_gguf, threads=1, n_cells=256, n_seq=2)
    found, _ = measure(model)
    assert max(found.seconds) < 0.2
    model.close()


def test_it_gives_up_between_two_steps(tiny_gguf: Path, tmp_path: Path) -> None:
    asked = iter([False, False, True])
    freed: list[bool] = []

    class Counted(LlamaModel):
        def close(self) -> None:
            freed.append(True)
            super().close()

    with pytest.raises(EngineError, match="next start"):
        open_tuned(
            lambda repack: Counted(tiny_gguf, threads=1, n_cells=256, n_seq=2, repack=repack),
            fits_repacked=True, cache=tmp_path / "kernels.json", key="tiny", stopped=lambda: next(asked),
        )  # fmt: skip
    assert freed
    assert not (tmp_path / "kernels.json").exists()


def test_a_decision_is_remembered(tiny_gguf: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    opened: list[bool] = []

    def open_model(repack: bool) -> LlamaModel:
        opened.append(repack)
        return LlamaModel(tiny_gguf, threads=1, n_cells=256, n_seq=2, repack=repack)

    cache = tmp_path / "new" / "kernels.json"

    def tune(**changes: object) -> str:
        given = {"fits_repacked": True, "cache": cache, "key": "tiny", "kernels": "auto", "ratio": 1e9, **changes}
        model, tuning = open_tuned(open_model, **given)  # type: ignore[arg-type]
        model.close()
        return tuning.kernels

    first = tune()
    assert opened[:2] == [False, True]
    opened.clear()
    assert tune() == first
    assert opened == [first == "repacked"]
    assert "as decided before" in caplog.text
    assert processor().split()[0] in next(iter(json.loads(cache.read_text())))
    for harm in ("{", "[]", json.dumps({key: {} for key in json.loads(cache.read_text())})):
        cache.write_text(harm)
        opened.clear()
        tune()
        assert len(opened) >= 2  # measured again
    cache.unlink()
    tune(ratio=0.0)  # no two steps take the very same time: as if something else were running
    assert not cache.exists()
    assert "the machine was busy" in caplog.text
    assert tune(kernels="tiled") == "tiled"
    assert tune(kernels="repacked") == "repacked"
    assert tune(fits_repacked=False) == "tiled"
    with pytest.raises(EngineError, match="expected auto, repacked or tiled"):
        tune(kernels="fast")


def test_a_cache_that_cannot_be_written_costs_a_warning(
    tiny_gguf: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    model, _ = open_tuned(
        lambda _: LlamaModel(tiny_gguf, threads=1, n_cells=256, n_seq=2),
        fits_repacked=False, cache=tmp_path / "file" / "kernels.json", key="tiny", kernels="auto", ratio=1e9,
    )  # fmt: skip
    model.close()
    assert "cannot be written" in caplog.text
