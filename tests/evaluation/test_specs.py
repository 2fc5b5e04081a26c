"""Engine specs with prompts and roles."""

import pytest

from errors import EngineError
from evaluation.specs import EvaluationSpec, parse_spec


@pytest.mark.parametrize(
    ("text", "engine", "variant"),
    [
        ("gguf:a.gguf", "gguf:a.gguf", None),
        ("hf:base+adapter@prompt=plain", "hf:base+adapter", "plain"),
        ("ollama:mistral:7b-instruct@prompt=optimised", "ollama:mistral:7b-instruct", "optimised"),
        ("openai:http://u@host:1/v1#a/b", "openai:http://u@host:1/v1#a/b", None),
        (" role:ba@prompt=persona ", "ollama:of-ba", "persona"),
    ],
)
def test_specs(text: str, engine: str, variant: str | None) -> None:
    found = parse_spec(text, role=lambda name: f"ollama:of-{name}")
    assert found == EvaluationSpec(engine, variant)
    assert parse_spec(found.text) == found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gguf:a@prompt=optimized", "Did you mean 'optimised'"),
        ("gguf:a@prompt=", "no prompt ''"),
        ("gguf:", "names no engine"),
        ("model.gguf", "names no engine"),
        ("ggfu:a", "Did you mean 'gguf'"),
        ("", "names no engine"),
        ("role:ba", "roles are not known"),
    ],
)
def test_wrong_specs_are_named(text: str, said: str) -> None:
    with pytest.raises(EngineError, match=said):
        parse_spec(text)


def test_a_measure_may_have_prompts_of_its_own() -> None:
    assert parse_spec("gguf:a@prompt=plain", allowed=("plain",)).variant == "plain"
    with pytest.raises(EngineError, match="Known: plain"):
        parse_spec("gguf:a@prompt=persona", allowed=("plain",))
