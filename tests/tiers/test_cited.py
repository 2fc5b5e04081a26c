"""Answers with passages, on an engine that follows a script and a real search over the reading notes."""

import asyncio
from collections.abc import Sequence

import pytest

from dialogue.conversation import Conversation, Turn
from dialogue.evaluation import EvaluationAsk
from engines.base import EngineEvent, Finished, Usage
from engines.testing import ScriptedEngine
from errors import EngineBusy, EngineError, EngineTimeout, RetrievalError, TierBusy, TierUnavailable
from personas import PERSONAS
from retrieval.memory_store import MemoryStore
from retrieval.notes import NoteIndex
from retrieval.passages import Passage
from retrieval.store import Searcher
from tests.service.premium import heard
from tiers.base import (
    AnswerOptions,
    Card,
    Citation,
    Done,
    Evaluation,
    Event,
    Notice,
    Scheme,
    Token,
    User,
    Warming,
)
from tiers.cited import CitedTier, Reading, question_of
from tiers.local import NOTES
from tiers.waking import WAKING, ColdStarts, Waker

KANT = PERSONAS["kant"]
PUPIL = User("tab", person="a" * 64)
TEXT = Passage(
    "f-1",
    "Agis seulement d'après la maxime grâce à laquelle tu peux vouloir en même temps qu'elle devienne une loi.",
    "Immanuel Kant",
    "Fondements",
    locus="II",
    facsimile="https://x.test/p12",
)
READING = Reading(n_ctx=4096)
ANSWER = (Token("La loi morale [1] "), Token("ne ment pas [9]."), Finished("stop", Usage(completion_tokens=9)))


@pytest.fixture(scope="module")
def notes() -> Searcher:
    return Searcher(NoteIndex.load(NOTES).to_store())


def asked(*texts: str) -> Conversation:
    roles = ("user", "assistant")
    turns = tuple(Turn(roles[n % 2], text) for n, text in enumerate(texts))  # type: ignore[arg-type]
    return Conversation(KANT, (Turn("assistant", KANT.opening), *turns))


LYING = asked("Est-ce que mentir par humanité est contraire au devoir et à la loi morale ?")


def tier_over(
    searcher: Searcher | None, *script: EngineEvent | Exception, waker: Waker | None = None
) -> tuple[CitedTier, ScriptedEngine]:
    engine = ScriptedEngine(*(script or ANSWER))
    return CitedTier(engine, searcher, READING, model="scripted", waker=waker), engine


def citations(events: Sequence[Event]) -> list[Citation]:
    return [event for event in events if isinstance(event, Citation)]


def words(events: Sequence[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Token))


async def test_passages_come_first_and_the_prompt_carries_them_with_the_question(notes: Searcher) -> None:
    tier, engine = tier_over(notes)
    events = await heard(tier.stream(LYING, PUPIL))
    found = citations(events)
    assert 1 <= len(found) <= READING.passages
    assert {one.author for one in found} == {"Kant"}
    assert all(one.id and not one.original for one in found)
    first_token = next(n for n, event in enumerate(events) if isinstance(event, Token))
    assert all(isinstance(event, (Citation, Scheme)) for event in events[:first_token])
    *before, last = engine.received[0]
    assert last["content"].startswith("Passages :")
    assert found[0].text[:40] in last["content"]
    assert LYING.turns[-1].text in last["content"].splitlines()[-1]
    assert not any("Passages :" in message["content"] for message in before)


async def test_persona_and_history_are_byte_identical_from_turn_to_turn(notes: Searcher) -> None:
    """What was sent before the passages of one turn stands at the head of the next one's prompt."""
    tier, engine = tier_over(notes)
    talk = [
        "Mentir, est-ce mal ?",
        "Pourquoi serait-ce mal ?",
        "Parce que la confiance disparaît.",
        "Et alors ?",
        "Oui.",
    ]
    for end in (1, 3, 5):
        await heard(tier.stream(asked(*talk[:end]), PUPIL))
    first, second, third = engine.received
    assert first[0] == second[0] == third[0]
    assert second[: len(second) - 1] == third[: len(second) - 1]
    assert first[0]["content"].strip() == KANT.full_prompt.strip()


async def test_references_are_checked_as_they_stream(notes: Searcher) -> None:
    tier, _ = tier_over(notes)
    events = await heard(tier.stream(LYING, PUPIL))
    assert "[9]" not in words(events)
    assert "[1]" in words(events)
    assert Notice("marker_removed") in events
    assert isinstance(events[-1], Done)


@pytest.mark.parametrize("n_pieces", [1, 3, 200])
async def test_quotations_are_checked_however_the_answer_is_cut(n_pieces: int) -> None:
    """An author's words may be quoted, with their link; invented ones lose their marks; nothing is taken back."""
    said = "Kant écrit « tu peux vouloir en même temps » [1] et jamais « mens si cela t'arrange » [2]."
    size = -(-len(said) // n_pieces)
    pieces = [Token(said[at : at + size]) for at in range(0, len(said), size)]
    tier, _ = tier_over(Searcher(MemoryStore("texts", [TEXT])), *pieces)
    events = await heard(tier.stream(asked("Que dit la maxime de la loi universelle ?"), PUPIL))
    assert words(events) == "Kant écrit « tu peux vouloir en même temps » [1] et jamais mens si cela t'arrange."
    assert {event.code for event in events if isinstance(event, Notice)} == {"marker_removed", "quote_unmarked"}
    [one] = citations(events)
    assert (one.link, one.original, one.id) == ("https://x.test/p12", True, "f-1")


async def test_an_unticked_passage_is_left_out_and_the_next_one_comes(notes: Searcher) -> None:
    tier, _ = tier_over(notes)
    before = citations(await heard(tier.stream(LYING, PUPIL)))
    after = citations(await heard(tier.stream(LYING, PUPIL, AnswerOptions(excluded=(before[0].id,)))))
    assert before[0].id not in {one.id for one in after}
    assert [one.number for one in after] == list(range(1, len(after) + 1))


async def test_nothing_relevant_is_no_passage(notes: Searcher) -> None:
    tier, engine = tier_over(notes)
    events = await heard(tier.stream(asked("Quelle est la recette de la tarte aux poireaux ?"), PUPIL))
    assert citations(events) == []
    assert "Passages :" not in engine.received[0][-1]["content"]


class BrokenSearcher(Searcher):
    """Keeps the contract with an index that is gone."""

    def search(self, question: str, *args: object, **options: object) -> object:  # type: ignore[override]
        raise RetrievalError(f"The index is gone ({len(question)}, {len(args)}, {len(options)}).")


async def test_a_search_that_fails_is_said_and_the_answer_comes() -> None:
    tier, _ = tier_over(BrokenSearcher(MemoryStore("texts", [TEXT])))
    events = await heard(tier.stream(LYING, PUPIL))
    assert events[0] == Notice("retrieval")
    assert isinstance(events[-1], Done)


async def test_a_long_talk_and_its_passages_stay_within_the_context(notes: Searcher) -> None:
    turns = [f"Parole numéro {n} : {'le devoir et la loi morale ' * 20}" for n in range(41)]
    tier, engine = tier_over(notes)
    await heard(tier.stream(asked(*turns), PUPIL))
    assert engine.count_tokens(engine.received[0]) <= READING.n_ctx - engine.params[0].max_tokens


def test_a_small_word_is_searched_with_what_it_answers() -> None:
    assert "trahir" in question_of(asked("Je ne sais pas.", "Faut-il trahir un ami ?", "Oui."))
    assert question_of(asked("Oui.", "Faut-il ?", "Qu'est-ce que la loi ?")) == "Qu'est-ce que la loi ?"


async def test_a_card_asks_no_engine(notes: Searcher) -> None:
    tier, engine = tier_over(notes)
    events = await heard(tier.stream(asked("J'ai envie de mourir, je vais me tuer ce soir."), PUPIL))
    assert [type(event) for event in events] == [Card, Done]
    assert engine.received == []


async def test_an_evaluation_comes_behind_the_answer_and_is_no_word_of_it(notes: Searcher) -> None:
    tier, engine = tier_over(notes)
    events = await heard(tier.stream(LYING, PUPIL, AnswerOptions(evaluation=EvaluationAsk())))
    assert engine.params[0].aside is not None
    [evaluation] = [event for event in events if isinstance(event, Evaluation)]
    assert evaluation.data is None
    assert isinstance(events[-1], Done)


@pytest.mark.parametrize(
    ("error", "raised", "code"),
    [
        (EngineBusy("full", retry_after_s=3), TierBusy, "engine_busy"),
        (EngineTimeout("late"), TierBusy, "engine_timeout"),
        (EngineError("gone"), TierUnavailable, "engine_failed"),
    ],
)
async def test_an_engines_errors_become_the_tiers(error: Exception, raised: type[Exception], code: str) -> None:
    tier, _ = tier_over(None, error)
    with pytest.raises(raised) as caught:
        await heard(tier.stream(LYING, PUPIL))
    assert caught.value.code == code  # type: ignore[attr-defined]


# --- waking ----------------------------------------------------------------------------------------------------------


class Sleeper:
    """An engine that is awake after so many knocks, on a clock that each knock moves by a second."""

    def __init__(self, knocks: int) -> None:
        self.knocks, self.now = knocks, 0.0

    async def awake(self) -> bool:
        self.knocks -= 1
        return self.knocks < 0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)

    def waker(self, patience_s: float = 90.0) -> Waker:
        return Waker(self.awake, patience_s=patience_s, clock=lambda: self.now, sleep=self.sleep)


async def test_a_cold_start_is_told_with_an_estimate_and_the_next_one_is_known_better(notes: Searcher) -> None:
    sleeper = Sleeper(20)
    waker = sleeper.waker()
    tier, engine = tier_over(notes, waker=waker)
    events = await heard(tier.stream(LYING, PUPIL))
    warmings = [event for event in events if isinstance(event, Warming)]
    assert len(warmings) == 20
    etas = [one.eta_s or 0 for one in warmings]
    assert etas == sorted(etas, reverse=True)
    assert waker.starts.expected_s == 20
    await heard(tier.stream(LYING, PUPIL))
    assert sleeper.knocks == -1  # it has just answered: nobody knocks
    assert len(engine.received) == 2


async def test_a_sleeper_that_does_not_wake_is_given_up_and_was_asked_nothing(notes: Searcher) -> None:
    tier, engine = tier_over(notes, waker=Sleeper(10_000).waker(patience_s=30))
    with pytest.raises(TierBusy) as caught:
        await heard(tier.stream(LYING, PUPIL))
    assert (caught.value.code, engine.received) == (WAKING, [])


async def test_an_engine_that_failed_is_asked_whether_it_is_awake() -> None:
    sleeper = Sleeper(0)
    tier, _ = tier_over(None, EngineError("gone"), waker=sleeper.waker())
    for _ in range(2):
        with pytest.raises(TierUnavailable):
            await heard(tier.stream(LYING, PUPIL))
    assert sleeper.knocks == -2


def test_an_estimate_never_says_that_it_is_over() -> None:
    starts = ColdStarts(30)
    said = [starts.warming(float(s)) for s in range(0, 100, 7)]
    assert all(w.progress is not None and w.progress <= 0.95 and w.eta_s is not None and w.eta_s >= 1 for w in said)
    for seconds in (10, 12, 90):
        starts.saw(seconds)
    assert starts.expected_s == 12


def test_the_status_says_when_the_engine_is_lost() -> None:
    tier, engine = tier_over(None)
    states = [tier.status.state]
    engine.failure = "gone"
    assert [*states, tier.status.state] == ["ready", "failed"]
