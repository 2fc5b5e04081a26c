"""One turn before any model is asked: what stops it, what the model is told, which words its prompt carries.

Knows the rules of this room and how they follow each other; knows no engine, no tier and no page. Everything here
depends on the conversation alone, so what stood in an earlier prompt stands in the next one byte for byte.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from dialogue.condense import LIMITS, Condensed, Limits, condense
from dialogue.conversation import Conversation, Turn
from dialogue.debate import own_words
from dialogue.limits import Limit, limit_for
from dialogue.moves import Move, moves_for
from dialogue.prompt import Hint, Prefix, build_messages
from dialogue.redact import Told
from dialogue.safety import Distress, assess

FOR_YOU = "(Pour toi seul, ne le dis pas. {})"  # a stage direction: what stands in it is not the pupil's


@dataclass(frozen=True)
class Plan:
    """What a turn does.

    Attributes:
        conversation: Without the exchanges that a card stopped: no model reads them, in this turn or in a later one.
        distress: What was found in the pupil's message; where it `stops`, the card answers and no model is asked.
        limit: What the message asks for beyond the persona's limits, or None.
    """

    conversation: Conversation
    distress: Distress
    limit: Limit | None

    @property
    def reply(self) -> str | None:
        """The whole answer where it is fixed, so that no model is asked."""
        return self.limit.reply if self.limit else None

    @cached_property
    def moves(self) -> tuple[Move, ...]:
        """The move for each of the pupil's turns."""
        return moves_for(self.conversation)

    @property
    def move(self) -> Move | None:
        """The move of the answer that is due; None where a limit says what it does instead."""
        return self.moves[-1] if self.moves and self.limit is None else None

    @cached_property
    def lines(self) -> tuple[str, ...]:
        """One line for each of the pupil's turns, for a model that can follow it; "" where there is nothing to say."""
        said = [own_words(turn.text) for turn in self.conversation.exchanges if turn.role == "user"]
        found: list[str] = []
        for place, (text, move) in enumerate(zip(said, self.moves, strict=True)):
            limit = limit_for(text, self.conversation.persona, said[:place])
            line = f"Geste : {limit.guidance}" if limit and limit.guidance else "" if limit else move.line
            found.append(FOR_YOU.format(line) if line else "")
        return tuple(found)

    @property
    def spoken(self) -> str | None:
        """What stands for the answer of a model too small to conclude, where the pupil sets out premises; else None.

        Where there is a doubt about how the pupil is, no form of reasoning is what he needs.
        """
        if self.move is None or self.distress.doubts:
            return None
        return self.move.inference.spoken if self.move.inference else None

    def prompt(
        self,
        count: Callable[[str], int],
        *,
        hints: Sequence[Hint | None] = (),
        prefix: Prefix = "full",
        told: bool = True,
        limits: Limits | None = LIMITS,
    ) -> Condensed:
        """Return the messages for a model, the oldest exchanges condensed once they are over the budget.

        Args:
            count: Length of a text in tokens of the model in use.
            hints: One for each of the pupil's turns of `conversation`, see `build_messages`.
            prefix: "short" for small models.
            told: Whether the model is given `lines`.
            limits: When to condense; None never does.
        """
        lines = self.lines if told else ()
        messages = build_messages(self.conversation, hints, lines, prefix=prefix)
        if limits is None:
            return Condensed(messages, (), 0)
        return condense(messages, self.conversation.exchanges, count, limits)


def plan_turn(conversation: Conversation) -> Plan:
    """Read the pupil's last message and say what the turn does about it.

    Args:
        conversation: Its last pupil's turn is the one that is read; the philosopher may have answered it already.
    """
    said = [own_words(turn.text) for turn in conversation.exchanges if turn.role == "user"]
    if not said:
        return Plan(conversation, Distress("none"), None)
    distress = assess(said[-1])
    if distress.stops:
        return Plan(conversation, distress, None)
    kept = without_stopped(conversation, last=distress)
    return Plan(kept, distress, limit_for(said[-1], conversation.persona, said[:-1]))


def without_stopped(conversation: Conversation, last: Distress | None = None) -> Conversation:
    """Return the conversation without the exchanges in which a card answered.

    What a pupil in need wrote is read by no model: not then, and not in the turns that follow.

    Args:
        conversation: Any.
        last: What was found in its last pupil's message, where that is known.
    """
    opening = conversation.turns[: len(conversation.turns) - len(conversation.exchanges)]
    kept: list[Turn] = []
    stopped = False
    newest = max((at for at, turn in enumerate(conversation.exchanges) if turn.role == "user"), default=0)
    for at, turn in enumerate(conversation.exchanges):
        if turn.role == "user":
            stopped = (last if last and at == newest else assess(own_words(turn.text))).stops
        if not stopped:
            kept.append(turn)
    return replace(conversation, turns=(*opening, *kept))


def redacted(conversation: Conversation) -> Conversation:
    """Return the conversation with personal data replaced by its kind, for another machine.

    What a pupil's turn told is replaced in the turns after it as well, whoever says it again: a philosopher repeats a
    name. Earlier turns stay, so that what has travelled travels again byte for byte.
    """
    told = Told(but=conversation.persona.name.split())
    turns = []
    for turn in conversation.turns:
        text = told.hide(turn.text)
        if turn.role == "user":
            text = told.hide(told.learn(text))  # a name may be said again in the message that tells it
        turns.append(replace(turn, text=text))
    return replace(conversation, turns=tuple(turns))
