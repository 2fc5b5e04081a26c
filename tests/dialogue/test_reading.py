"""An evaluation without a model: always acceptable, never about somebody in distress, agreeing earns nothing."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dialogue.conversation import Conversation, Turn
from dialogue.evaluation import EvaluationAsk, accept, digest_of
from dialogue.reading import read_evaluation
from personas import PERSONAS

DIALOGUES = Path(__file__).parents[2] / "data" / "dialogues" / "kant.jsonl"


def talk(*texts: str) -> Conversation:
    turns = tuple(Turn("user" if n % 2 == 0 else "assistant", text) for n, text in enumerate(texts))
    return Conversation(PERSONAS["kant"], turns)


def test_every_reading_of_our_dialogues_is_acceptable() -> None:
    rows = [json.loads(line) for line in DIALOGUES.read_text("utf-8").splitlines()][:60]
    for row in rows:
        texts = [text for one in row["exchanges"] for text in (one["pupil"], one["answer"])]
        data = read_evaluation(talk(*texts), EvaluationAsk())
        if data is not None:
            assert accept(json.dumps(data), texts[::2])[1] == "ok", (texts, data)


@settings(max_examples=100)
@given(st.lists(st.text(max_size=200), min_size=1, max_size=5))
@example(["0 0 0\r0"])  # signs that stand like words
def test_any_text_is_read(texts: list[str]) -> None:
    data = read_evaluation(talk(*texts), EvaluationAsk())
    if data is not None:
        assert accept(json.dumps(data), texts[::2])[1] == "ok"


@pytest.mark.parametrize(
    ("text", "scheme", "validity", "error"),
    [
        ("Si je mens, alors je me contredis. Or je mens. Donc je me contredis.", "MP", "valide", "aucune"),
        ("Si tu lis, alors tu sais. Or tu sais. Donc tu lis.", "MP", "invalide", "consequent_affirme"),
        ("La liberté c'est bien.", "aucun", "na", "aucune"),
    ],
)
def test_a_scheme_is_read_in_full_or_not_claimed(text: str, scheme: str, validity: str, error: str) -> None:
    data = read_evaluation(talk(text), EvaluationAsk())
    assert data is not None
    assert (data["schema"], data["validite"], data["erreur"]) == (scheme, validity, error)


def test_progress_is_against_the_one_before() -> None:
    first = read_evaluation(talk("La liberté c'est tout faire."), EvaluationAsk())
    assert first is not None
    assert first["delta"] == "na"
    more = talk("La liberté c'est tout faire.", "Vraiment ?", "Non, parce que si je vole, alors je nuis à un autre.")
    second = read_evaluation(more, EvaluationAsk(previous=digest_of(first)))
    assert second is not None
    assert second["delta"] == "progres"


@pytest.mark.parametrize("text", ["Je veux mourir.", "???", "J'écris à zoe@example.org"])
def test_what_is_not_read(text: str) -> None:
    data = read_evaluation(talk(text), EvaluationAsk())
    assert data is None or "zoe@" not in json.dumps(data)
