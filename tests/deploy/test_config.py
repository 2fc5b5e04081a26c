"""The settings of the deployment: what fits, what is refused and how it is said, the arithmetic behind it."""

from decimal import Decimal
from pathlib import Path

import pytest

from errors import SettingsError
from modal_deploy.config import CONFIG_FILE, Config, load_config
from modal_deploy.sizing import GPUS, SHAPES, fit


def test_the_file_as_it_stands(config: Config) -> None:
    assert (config.engine.gpu, config.engine.max_containers, config.model.adapter) == ("A10", 1, "merged")
    assert config.budget.month_usd == Decimal("30.00")
    assert [one.folder for one in config.model.needed] == ["qwen2.5-14b-snb-w4a16"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("max_seqs = 8", "max_seq = 8", "unknown key 'engine.max_seq', did you mean 'max_seqs'?"),
        ('gpu = "A10"', 'gpu = "A11"', "no gpu 'A11'; known: A10, L4, L40S"),
        ('shape = "qwen2.5-14b"', 'shape = "qwen"', "no shape 'qwen'"),
        ("max_seqs = 8 ", "max_seqs = 60 ", "at most 15 fit"),
        ("max_len = 8192", "max_len = 65536", "fewer than max_len = 65536"),
        ("host_gib = 24", "host_gib = 8", "a snapshot needs host_gib = 13 or more, it is 8"),
        ("idle_s = 120", "idle_s = 20", "engine.idle_s"),
        ("idle_s = 120", "idle_s = 600", "engine.idle_s"),
        ("timeout_s = 150", "timeout_s = 300", "gateway.timeout_s"),
        ('adapter = "merged"', 'adapter = "maybe"', "model.adapter"),
        ('day_usd = "2.00"', 'day_usd = "-1"', "budget.day_usd"),
        ("rank = 16", "", "key 'model.lora.rank' is missing"),
        ('revision = "539535859b135b0244c91f3e59816150c8056698"', 'revision = "main"', "model.base.revision"),
        ('revision = "539535859b135b0244c91f3e59816150c8056698"', "", "come together"),
        ('folder = "snb-lora"', 'folder = "../snb"', "model.lora.folder"),
        ("[budget]", "[budget", "is no TOML"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = CONFIG_FILE.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "premium.toml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(SettingsError) as refused:
        load_config(path)
    assert said in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.toml cannot be read"):
        load_config(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("shape", "gpu", "rank", "weights_gib", "kv_ktokens", "ceiling"),
    [
        ("qwen2.5-14b", "A10", 0, 9.29, 47, 71),  # the sizes that others have measured
        ("qwen2.5-14b", "A10", 64, 9.29, 44, 67),
        ("qwen3-14b", "A10", 0, 9.29, 57, 71),
        ("qwen2.5-14b", "L40S", 0, 9.29, 158, 103),
    ],
)
def test_memory(shape: str, gpu: str, rank: int, weights_gib: float, kv_ktokens: int, ceiling: int) -> None:
    found = fit(SHAPES[shape], GPUS[gpu], 0.90, rank)
    assert found.weights_gib == pytest.approx(weights_gib, abs=0.02)
    assert (found.kv_tokens // 1000, round(found.ceiling)) == (kv_ktokens, ceiling)


def test_the_size_of_what_memory_depends_on() -> None:
    """48 layers of Qwen2.5-14B: 13.21 G in matrices, 192 KiB a token, 138 MB for an adapter of rank 16."""
    shape = SHAPES["qwen2.5-14b"]
    layer = 5120 * 5120 * 2 + 5120 * 1024 * 2 + 3 * 5120 * 13_824
    assert shape.linear == pytest.approx(48 * layer, rel=1e-3)
    assert shape.embedding == pytest.approx(152_064 * 5120, rel=1e-3)
    assert shape.kv_bytes == 192 * 1024
    assert 16 * shape.lora_per_rank * 2 == pytest.approx(138e6, rel=0.01)


def test_a_model_that_leaves_no_room_has_no_cache() -> None:
    assert fit(SHAPES["qwen2.5-14b"], GPUS["A10"], 0.40).kv_tokens == 0
