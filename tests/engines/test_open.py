"""A line of text names an engine."""

from pathlib import Path

import pytest

from engines.open import open_engine
from errors import EngineError, ModelUnfit


def test_gguf(tiny_gguf: Path) -> None:
    engine = open_engine(f"gguf:{tiny_gguf}", threads=1, n_ctx=512)
    assert (engine.info.model, engine.info.n_ctx) == ("tiny", 512)
    assert engine.info.n_params > 100_000
    engine.close()


@pytest.mark.parametrize(
    ("spec", "said"), [("ggfu:x", "Did you mean 'gguf'"), ("x.gguf", "Known: gguf:"), ("gguf:", "Known")]
)
def test_unknown_engines(spec: str, said: str) -> None:
    with pytest.raises(EngineError, match=said):
        open_engine(spec)


@pytest.mark.parametrize("fixture", ["embedder_gguf", "vocab_gguf", "truncated_gguf", "garbage_gguf"])
def test_unfit_files(fixture: str, request: pytest.FixtureRequest) -> None:
    with pytest.raises(ModelUnfit):
        open_engine(f"gguf:{request.getfixturevalue(fixture)}")
