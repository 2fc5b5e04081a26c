"""A language model as judge: both orders, what it is worth beside labels, and judges that cannot be believed."""

import json
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from engines.base import ChatMessage, Engine, EngineEvent, Finished, SamplingParams, Token, Usage
from engines.testing import ScriptedEngine
from errors import EngineError
from evaluation.__main__ import app
from evaluation.agreement import Labelled
from evaluation.judge import NAME, Pair, choice, judge_task, judged, load_pairs, messages_of, pairs_of, said
from evaluation.runs import Run, Sample, run_task

PAIRS = [
    Pair("a", "Suis-je libre ?", "BON : tout a une cause.", "Je ne sais pas.", "first", "MP"),
    Pair("b", "Suis-je libre ?", "Rien à dire.", "BON : la cause est connue.", "second", "MT"),
    Pair("c", "Suis-je libre ?", "BON : oui.", "BON : non.", "equal", "ID"),
]


class Fair(ScriptedEngine):
    """Prefers the answer that holds BON."""

    async def stream(
        self,
        messages: Sequence[ChatMessage],
        params: SamplingParams,  # noqa: ARG002
        *,
        deadline_s: float | None = None,  # noqa: ARG002
        client: str = "",  # noqa: ARG002
    ) -> AsyncGenerator[EngineEvent, None]:
        first, second = messages[-1]["content"].split("--- Seconde réponse ---")
        yield Token("0" if ("BON" in first) == ("BON" in second) else "1" if "BON" in first else "2")
        yield Finished("stop", Usage())


async def verdicts(engine: Engine, pairs: Sequence[Pair]) -> dict[str, Any]:
    task = judge_task(pairs, Path(__file__))
    samples = await run_task(engine, task.documents, lambda one: task.prompt(one, None, 0), task.measure)
    return judged(pairs, Run(NAME, 1, "x", {}, tuple(samples), {}))


async def test_a_fair_judge_agrees_and_is_steady() -> None:
    found = await verdicts(Fair(), PAIRS)
    assert found["verdicts"] == {"first": 1, "second": 1, "equal": 1}
    assert (found["steady"], found["agreement"]["mean"], found["first_place"]) == (1.0, 1.0, 0.5)
    assert found["gate"] is False


@pytest.mark.parametrize(
    ("reply", "verdict", "first_place"),
    [("1", "contradiction", 1.0), ("2", "contradiction", 0.0), ("Les deux.", "unclear", None), ("0", "equal", None)],
)
async def test_a_judge_that_looks_at_the_place_is_found_out(
    reply: str, verdict: str, first_place: float | None
) -> None:
    found = await verdicts(ScriptedEngine(Token(reply)), PAIRS)
    assert found["verdicts"] == {verdict: 3}
    assert found["first_place"] == first_place
    assert found["agreement"]["mean"] == pytest.approx(1 / 3 if verdict == "equal" else 0.0)


async def test_a_judge_that_fails_says_nothing() -> None:
    found = await verdicts(ScriptedEngine(EngineError("down")), PAIRS[:2])
    assert found["verdicts"] == {"unclear": 2}
    assert found["agreement_where_steady"] is None


def a_sample(value: float) -> Sample:
    return Sample("x", "x", "", "h", "1", {"said": value}, 0.1, 0.2, 10, 1)


@pytest.mark.parametrize(
    ("given", "turned", "expected"),
    [
        (1.0, 2.0, "first"),
        (2.0, 1.0, "second"),
        (0.0, 0.0, "equal"),
        (1.0, 1.0, "contradiction"),
        (1.0, 0.0, "contradiction"),
        (-1.0, 2.0, "unclear"),
    ],
)
def test_two_replies_make_one_verdict(given: float, turned: float, expected: str) -> None:
    assert choice(a_sample(given), a_sample(turned)) == expected
    assert choice(a_sample(given), None) == "unclear"


def test_the_turned_order_shows_the_second_answer_first() -> None:
    given, turned = (messages_of(PAIRS[0], order)[-1]["content"] for order in ("given", "turned"))
    assert given.index("BON") < given.index("Je ne sais pas")
    assert turned.index("Je ne sais pas") < turned.index("BON")


@pytest.mark.parametrize(("text", "value"), [("1.", 1.0), (" 2\n", 2.0), ("12", -1.0), ("1,5", -1.0), ("", -1.0)])
def test_a_reply_is_one_digit(text: str, value: float) -> None:
    assert said(text) == value


def test_pairs_come_from_labels_that_are_far_apart() -> None:
    graded = [Labelled(f"l{n}", "MP", f"question {n}", f"réponse {n}", label=n) for n in (0, 1, 4)]
    graded.append(Labelled("other", "MT", "q", "r", label=4))
    pairs = pairs_of(graded)
    assert [(one.id, one.label) for one in pairs] == [("l4~l0", "first"), ("l1~l4", "second")]
    assert len(pairs_of(graded, 1)) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "no JSON"),
        ('{"id": "a", "question": "q", "first": "x"}', "is no pair"),
        ('{"id": "a", "question": "q", "first": "x", "second": " "}', "none empty"),
        ('{"id": "a", "question": "q", "first": "x", "second": "y", "label": "both"}', "expected first"),
    ],
)
def test_a_wrong_pair_is_named(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(line, encoding="utf-8")
    with pytest.raises(EngineError, match=message):
        load_pairs(path)


def test_the_command_judges_with_a_real_engine(tiny_gguf: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    rows = [{"id": one.id, "question": one.question, "first": one.first, "second": one.second} for one in PAIRS]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    words = ["judge", "--engine", f"gguf:{tiny_gguf}", "--pairs", pairs, "--limit", "1", "--threads", "1", "--json"]
    done = CliRunner().invoke(app, [*map(str, words), "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["judge"]
    assert (found["pairs"], found["labelled"], found["agreement"]) == (1, 0, None)
    none = CliRunner().invoke(app, ["judge", "--engine", f"gguf:{tiny_gguf}"])
    assert isinstance(none.exception, EngineError)
