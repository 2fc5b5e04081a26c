"""The contract with the gateway: what is written is read again, however it is cut, and nothing else is."""

import itertools
import json
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogue.conversation import Conversation, Turn
from dialogue.evaluation import Digest, EvaluationAsk
from errors import MessageError, PersonaError, TierUnavailable
from personas import PERSONAS
from tiers.base import (
    AnswerOptions,
    Card,
    Citation,
    Done,
    Evaluation,
    Event,
    Notice,
    Queued,
    Scheme,
    SchemeRead,
    Token,
    Usage,
    Warming,
)
from tiers.wire import (
    DOWN,
    MAX_LINE_BYTES,
    EventReader,
    Fault,
    read_fault,
    read_request,
    travels,
    write_comment,
    write_event,
    write_fault,
    write_request,
)

KANT = PERSONAS["kant"]
ASKED = Conversation(KANT, (Turn("assistant", KANT.opening), Turn("user", "Je crois que oui.")))
DONE = Done("stop", Usage(11, 7, 5, 0.1, 0.2, 0.3, 4.5))

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
numbers = st.floats(0, 1000)
events = st.one_of(
    st.builds(Queued, st.integers(1, 99), st.none() | numbers),
    st.builds(Warming, texts, st.none() | st.floats(0, 1), st.none() | numbers),
    st.builds(Token, texts),
    st.builds(Citation, st.integers(1, 9), texts, texts, texts, texts, texts, texts, st.booleans()),
    st.builds(Evaluation, st.none() | st.dictionaries(texts, texts, max_size=3), st.just("ok"), st.integers(0, 99)),
    st.builds(Notice, texts),
    st.builds(Card, st.just("crisis"), texts, texts),
    st.builds(Scheme, texts, texts, st.booleans()),
    st.builds(SchemeRead, texts, texts, st.integers(0, 4), texts, st.none() | texts),
)


def read(pieces: Iterable[bytes]) -> list[Event | Fault]:
    reader = EventReader()
    found = [event for piece in pieces for event in reader.feed(piece)]
    reader.finish()
    return found


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(ends)]


places_of = st.lists(st.integers(0, 10_000), max_size=8)


@given(st.lists(events, max_size=6), places_of, st.sampled_from(["\n", "\r\n", "\r"]))
def test_a_stream_is_read_as_it_was_written_however_it_is_cut(script: list[Event], places: list[int], end: str) -> None:
    data = b"".join([write_comment("waiting"), *map(write_event, script), write_event(DONE)])
    assert read(cut(data.replace(b"\n", end.encode()), places)) == [*script, DONE]


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=4))
def test_garbage_is_refused_or_left_out_and_raises_nothing_else(data: bytes, places: list[int]) -> None:
    with pytest.raises(TierUnavailable) as caught:
        read(cut(data, places))
    assert caught.value.code == DOWN


@given(st.integers(0, 600))
def test_a_stream_that_is_cut_anywhere_is_known_to_be_cut(n_bytes: int) -> None:
    data = write_event(Token("Éternité")) + write_event(DONE)
    whole = data[: min(n_bytes, len(data) - 2)]  # without its last blank line at least
    with pytest.raises(TierUnavailable, match="cut before its end"):
        read([whole])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"data: " + b"x" * (MAX_LINE_BYTES + 1), "line of more"),
        (b"event: token\n" + b"data: xxxxxxxxxxxxxxxxxxxxxxxx\n" * 4000, "event of more"),
        (b"event: token\ndata: {\"text\": \"\xc3\"}\n\n", "no UTF-8"),
        (b"event: token\ndata: {\"text\": \n\n", "cannot be read"),
        (b"event: token\ndata: [1]\n\n", "cannot be read"),
        (b"event: citation\ndata: {\"number\": \"un\"}\n\n", "cannot be read"),
        (write_event(Token("x" * 3000)) * 7, "longer than any answer"),
        (write_event(Notice("x")) * 20_001, "longer than any answer"),
    ],
)  # fmt: skip
def test_what_is_too_much_or_no_event_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(TierUnavailable, match=said) as caught:
        read([data])
    assert "xxxx" not in str(caught.value)


def test_what_is_unknown_is_left_out() -> None:
    data = (
        b"\xef\xbb\xbf: hello\n\nretry: 3\nid: 4\nevent: weather\ndata: {}\n\ndata: no name\n\nevent: token\n\n"
        b'event: token\ndata: {"text": "Oui", "colour": "red"}\n\nevent: token\ndata: {"text":\ndata: "Non"}\n\n'
    )
    assert read([data, write_event(DONE)]) == [Token("Oui"), Token("Non"), DONE]


def test_nothing_is_read_behind_the_end() -> None:
    assert read([write_event(Fault("engine_failed")) + write_event(Token("late"))]) == [Fault("engine_failed")]


def test_a_refusal_is_read_or_is_down() -> None:
    assert read_fault(write_fault(Fault("budget_day", 3.0))) == Fault("budget_day", 3.0)
    assert [read_fault(body).code for body in (b"", b"<html>", b"{}", b"[]", b"\xff")] == [DOWN] * 5


# --- the request -----------------------------------------------------------------------------------------------------


def test_a_request_is_read_as_it_was_asked() -> None:
    options = AnswerOptions(
        90, 0.5, 0.8, 7, ("FIN",), excluded=("note-1",), request_id="r-1",
        evaluation=EvaluationAsk(previous=Digest("t", "oui", "non", "na", "aucune")),
    )  # fmt: skip
    asked = read_request(write_request(ASKED, "tab-1", options), PERSONAS)
    assert asked.conversation == ASKED
    assert asked.options == options
    assert asked.request_id == "r-1"
    assert "tab-1" not in asked.talk
    long = write_request(ASKED, "tab", AnswerOptions(max_tokens=1_000_000))
    assert read_request(long, PERSONAS).options.max_tokens == 4096


def test_every_request_has_an_id_of_its_own() -> None:
    bodies = [write_request(ASKED, "tab", AnswerOptions()) for _ in range(2)]
    assert len({read_request(body, PERSONAS).request_id for body in bodies}) == 2


def test_personal_data_does_not_travel() -> None:
    """What the rules find is taken out of every pupil's turn; the philosopher's words stay."""
    turns = (Turn("user", "Je m'appelle Ulysse Montaubert."), Turn("assistant", "Bonjour."),
             Turn("user", "Écris-moi : ulysse@exemple.fr ou 06 12 34 56 78."))  # fmt: skip
    body = write_request(Conversation(KANT, turns), "tab", AnswerOptions()).decode()
    assert not any(word in body for word in ("Ulysse", "Montaubert", "ulysse", "06 12"))


def test_what_cannot_be_asked_over_the_wire_is_known() -> None:
    assert travels(AnswerOptions(evaluation=EvaluationAsk()))
    assert not travels(AnswerOptions(json_schema="{}"))
    assert not travels(AnswerOptions(whole_history=True))
    assert not travels(AnswerOptions(evaluation=EvaluationAsk("alone")))


def changed(**values: object) -> bytes:
    body = json.loads(write_request(ASKED, "tab", AnswerOptions(request_id="r")))
    return json.dumps({**body, **values}).encode()


CANARY = "ZEBRA-7741"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "bad_request"),
        (b"[]", "bad_request"),
        (b"{", "bad_request"),
        (changed(v=2), "bad_request"),
        (changed(request_id="a b"), "bad_request"),
        (changed(request_id="x" * 65), "bad_request"),
        (changed(turns=[]), "bad_request"),
        (changed(turns=[{"role": "system", "text": CANARY}]), "bad_request"),
        (changed(turns=[{"role": "user", "text": "x" * 60_001}]), "bad_request"),
        (changed(turns=[{"role": "user", "text": "\x07"}]), "message_empty"),
        (changed(turns=[{"role": "assistant", "text": CANARY}]), "message_order"),
        (changed(turns=[{"role": "user", "text": CANARY}] * 2), "message_order"),
        (changed(turns=[{"role": r, "text": "mot " * 900} for r in ("user", "assistant") * 10][:-1]),
         "conversation_too_long"),
        (changed(max_tokens=0), "bad_request"),
        (changed(temperature=9), "bad_request"),
        (changed(excluded=["x"] * 51), "bad_request"),
    ],
)  # fmt: skip
def test_a_wrong_body_is_refused_without_being_quoted(body: bytes, code: str) -> None:
    with pytest.raises(MessageError) as caught:
        read_request(body, PERSONAS)
    assert caught.value.code == code
    assert CANARY not in str(caught.value)


def test_a_turn_of_a_debate_may_be_longer_than_a_message() -> None:
    """It holds what the other philosopher said as well."""
    asked = read_request(changed(turns=[{"role": "user", "text": "x" * 4600}]), PERSONAS)
    assert len(asked.conversation.turns[0].text) == 4600


def test_an_unknown_persona_is_refused() -> None:
    with pytest.raises(PersonaError):
        read_request(changed(persona="plato"), PERSONAS)


def test_unknown_fields_are_left_out() -> None:
    asked = read_request(changed(tier="premium", person="root", colour="red"), PERSONAS)
    assert asked.conversation == ASKED
