"""What a tab knows besides the chat itself, and how the browser carries it. Knows personas; knows no widget.

The server keeps none of it: both texts travel with each event and come back changed. Whatever a browser sends is read
with suspicion: what does not fit is dropped, never believed.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, TypeVar, get_args

from dialogue.conversation import Turn
from dialogue.maieuthon import LEVELS, N_EXCHANGES, SKILLS, Advice, Delta, Remark
from errors import MessageError
from personas import PERSONAS, SCHEMES, Persona
from ui.turns import to_turn

Kind = Literal["talk", "maieuthon", "debate"]
KINDS: tuple[Kind, ...] = get_args(Kind)
DELTAS: tuple[Delta, ...] = get_args(Delta)
ADVICE: tuple[Advice, ...] = get_args(Advice)
T = TypeVar("T")
MOST_TURNS, MOST_CHARS, MOST_SOURCES = 400, 20_000, 12  # of what a browser may hand back
MOST_EXCLUDED, MOST_ID_CHARS = 24, 128  # of passages that are left out


@dataclass(frozen=True)
class Session:
    """What kind of talk a tab holds.

    Attributes:
        kind: "talk", "maieuthon" or "debate".
        question: Of the bac, in French, where there is one.
        other: Key of the second philosopher of a debate.
    """

    kind: Kind = "talk"
    question: str = ""
    other: str = ""

    def to_json(self) -> str:
        """The text that the browser carries."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @property
    def opponent(self) -> Persona | None:
        """The second philosopher of a debate; None in any other talk."""
        return PERSONAS[self.other] if self.kind == "debate" else None


@dataclass(frozen=True)
class Source:
    """A passage as the page shows it; see `tiers.base.Citation`."""

    number: int
    author: str
    work: str
    locus: str
    text: str
    id: str = ""
    link: str = ""
    original: bool = True

    @property
    def reference(self) -> str:
        """Author, work and place, where they are known."""
        return ", ".join(part for part in (self.author, self.work, self.locus) if part)


@dataclass(frozen=True)
class Margin:
    """What stands beside one answer.

    Attributes:
        scheme: Id of its scheme; empty for none.
        filled: The scheme's form with the answer's own words, or empty.
        sources: The passages it rests on.
        remark: What was read in the pupil's message, in a Maïeuthon.
        feedback: What the pupil said of it: "", "up", "down", or a reason of `REASONS`.
        excluded: Ids of the passages that the pupil unticked before it was written.
    """

    scheme: str = ""
    filled: str = ""
    sources: tuple[Source, ...] = ()
    remark: Remark | None = None
    feedback: str = ""
    excluded: tuple[str, ...] = ()


REASONS = ("too_hard", "off_topic", "too_long", "wrong", "unkind")
Trail = Mapping[int, Margin]  # by the answer's place in the chat


def read_session(text: str | None) -> Session:
    """Read what the browser carried; what does not fit is an ordinary talk."""
    data = _object(text)
    kind: Kind = _one_of(data.get("kind"), KINDS, "talk")
    other = data.get("other")
    session = Session(
        kind, _short(data.get("question"), 300), other if isinstance(other, str) and other in PERSONAS else ""
    )
    if (session.kind == "debate" and not session.other) or (session.kind != "talk" and not session.question):
        return Session()
    return session


def write_trail(trail: Trail, *, gone: bool = False) -> str:
    """The text that the browser carries; `gone` tells it to keep nothing of what was just taken out of the chat."""
    carried: dict[str, Any] = {str(place): _lean(asdict(one)) for place, one in sorted(trail.items())}
    if gone:
        carried["gone"] = secrets.token_hex(4)  # another text each time, so that the browser notices
    return json.dumps(carried, ensure_ascii=False)


def _lean(value: dict[str, Any]) -> dict[str, Any]:
    return {key: entry for key, entry in value.items() if entry not in ("", None, (), [])}


def read_trail(text: str | None) -> dict[int, Margin]:
    """Read what the browser carried, place by place; what does not fit is left out."""
    trail: dict[int, Margin] = {}
    for place, entry in list(_object(text).items())[:MOST_TURNS]:
        if place.isdecimal() and isinstance(entry, dict):
            trail[int(place)] = _margin(entry)
    return trail


def _margin(entry: Mapping[str, Any]) -> Margin:
    scheme, feedback = entry.get("scheme"), entry.get("feedback")
    sources = [_source(one) for one in _list(entry.get("sources"))[:MOST_SOURCES]]
    return Margin(
        scheme=scheme if isinstance(scheme, str) and scheme in SCHEMES else "",
        filled=_short(entry.get("filled"), 1_000),
        sources=tuple(one for one in sources if one),
        remark=_remark(entry.get("remark")),
        feedback=feedback if feedback in ("up", "down", *REASONS) else "",
        excluded=read_ids(entry.get("excluded")),
    )


def read_ids(value: Any) -> tuple[str, ...]:
    """Ids of passages as a browser hands them back, as a list or as its JSON, each once; what is none is left out."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return ()
    ids = [one for one in _list(value) if isinstance(one, str) and 0 < len(one) <= MOST_ID_CHARS]
    return tuple(dict.fromkeys(ids))[:MOST_EXCLUDED]


def _source(entry: Any) -> Source | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("number"), int):
        return None
    texts = {key: _short(entry.get(key), 4_000) for key in ("author", "work", "locus", "text", "id", "link")}
    if not texts["link"].startswith(("https://", "http://")):
        texts["link"] = ""
    return Source(number=entry["number"], original=entry.get("original") is not False, **texts)


def _remark(entry: Any) -> Remark | None:
    if not isinstance(entry, dict) or any(entry.get(skill) not in LEVELS for skill in SKILLS):
        return None
    gained = tuple(skill for skill in SKILLS if skill in _list(entry.get("gained")))
    return Remark(
        these=_short(entry.get("these"), 600),
        delta=_one_of(entry.get("delta"), DELTAS, "stable"),
        gained=gained,
        suite=_one_of(entry.get("suite"), ADVICE, "these"),
        conseil=_short(entry.get("conseil"), 300),
        **{skill: entry[skill] for skill in SKILLS},
    )


def _one_of(value: Any, known: Sequence[T], otherwise: T) -> T:
    return next((one for one in known if one == value), otherwise)


def _object(text: str | None) -> dict[str, Any]:
    try:
        data = json.loads(text or "{}")
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _short(value: Any, most: int) -> str:
    return value[:most] if isinstance(value, str) else ""


def until(trail: Trail, n_turns: int) -> dict[int, Margin]:
    """What still belongs to a chat of `n_turns` turns."""
    return {place: one for place, one in trail.items() if place < n_turns}


def with_margin(trail: Trail, place: int, **changes: Any) -> dict[int, Margin]:
    """The trail with changes at one place; what came after it belonged to an answer that is gone."""
    return until(trail, place) | {place: replace(trail.get(place, Margin()), **changes)}


def last_place(turns: Sequence[Turn], session: Session) -> int | None:
    """The place of the last answer; None where nobody has answered yet. A debate begins without the pupil."""
    asked = next((place for place, turn in enumerate(turns) if turn.role == "user"), len(turns))
    first = 0 if session.kind == "debate" else asked
    answers = [place for place, turn in enumerate(turns) if turn.role == "assistant" and place >= first]
    return answers[-1] if answers else None


def remarks_of(trail: Trail) -> tuple[Remark, ...]:
    """The remarks of a Maïeuthon, oldest first."""
    return tuple(one.remark for _, one in sorted(trail.items()) if one.remark)


def schemes_of(trail: Trail) -> tuple[str, ...]:
    """The schemes of the answers, oldest first."""
    return tuple(one.scheme for _, one in sorted(trail.items()) if one.scheme)


def is_over(session: Session, trail: Trail) -> bool:
    """Whether a Maïeuthon has had its exchanges."""
    return session.kind == "maieuthon" and len(remarks_of(trail)) >= N_EXCHANGES


@dataclass(frozen=True)
class Kept:
    """A conversation that the browser kept and hands back.

    Attributes:
        persona: Key of the philosopher.
        turns: The chat.
        session: What kind of talk it was.
        trail: What stood beside its answers.
        draft: What a link puts into the box, e.g. `?philo=kant&q=…`; never sent by itself.
    """

    persona: str
    turns: tuple[Turn, ...] = ()
    session: Session = field(default_factory=Session)
    trail: Trail = field(default_factory=dict)
    draft: str = ""


def read_kept(text: str | None) -> Kept | None:
    """Read what the browser kept; None where there is nothing to open.

    Raises:
        MessageError: It holds turns that are nobody's.
    """
    data = _object(text)
    persona = data.get("persona")
    if not isinstance(persona, str) or persona not in PERSONAS:
        return None
    turns: list[Turn] = []
    for entry in _list(data.get("turns"))[:MOST_TURNS]:
        if not (isinstance(entry, list) and len(entry) == 2 and entry[0] in ("user", "assistant")):
            raise MessageError("A kept conversation holds a turn that is nobody's.", code="message_order")
        turns.append(to_turn({"role": entry[0], "content": _short(entry[1], MOST_CHARS)}))
    return Kept(
        persona=persona,
        turns=tuple(turns),
        session=read_session(data["session"] if isinstance(data.get("session"), str) else None),
        trail=until(read_trail(data["trail"] if isinstance(data.get("trail"), str) else None), len(turns)),
        draft=_short(data.get("draft"), MOST_CHARS),
    )
