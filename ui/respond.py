"""The one stream of a tab: the answer to the question under way. Knows tiers and the tab; decides no layout.

In a debate two philosophers answer in turn; in a Maïeuthon what the pupil said is read when the answer is over.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from dialogue.conversation import Conversation, Turn
from dialogue.debate import conversation_for, to_speak
from dialogue.evaluation import QUOTE_CHARS, Digest, EvaluationAsk, digest_of
from dialogue.maieuthon import SKILLS, Remark, from_evaluation, remark
from errors import ChatError
from personas import Persona, get_persona
from tiers.base import ANSWER_AS_USUAL, AnswerOptions, Tier, User
from ui import fragments
from ui.actions import Asked, Desk
from ui.answer import Shown, answering, failed
from ui.export import speech_of, spoken
from ui.session import Margin, is_over, remarks_of, until, with_margin, write_trail
from ui.tab import Tab, Updates, Widgets, above, beside, box_for, given_back, to_tab
from ui.texts import Language, text
from ui.turns import asked, to_messages, with_opening_in


def speakers(tab: Tab, turns: Sequence[Turn]) -> tuple[Persona, ...]:
    """Who answers, in order: one, or in a debate both."""
    if tab.session.kind != "debate":
        return (tab.persona,)
    return to_speak(tab.persona, get_persona(tab.session.other), [speech_of(turn) for turn in turns])


def heard_by(speaker: Persona, tab: Tab, turns: Sequence[Turn]) -> Conversation:
    """The conversation as this speaker hears it.

    Raises:
        MessageError: It cannot go on like this.
    """
    if tab.session.kind != "debate":
        return asked(speaker, turns)
    other = get_persona(tab.session.other) if speaker == tab.persona else tab.persona
    return conversation_for(speaker, other, tab.session.question, [speech_of(turn) for turn in turns])


def options_for(tab: Tab, turns: Sequence[Turn]) -> AnswerOptions:
    """What is asked of a tier beside the answer: in a Maïeuthon its words on the pupil's reasoning.

    A tier whose model is too small, or whose model says what cannot be accepted, gives none: then what was read stands.
    """
    if tab.session.kind != "maieuthon":
        return ANSWER_AS_USUAL
    return AnswerOptions(evaluation=EvaluationAsk("after", _said_before(remarks_of(until(tab.trail, len(turns))))))


def _said_before(remarks: Sequence[Remark]) -> Digest | None:
    """What the last remark said, for the next one to compare with; None where it tells who the pupil is."""
    if not remarks:
        return None
    last = remarks[-1]
    levels: dict[str, object] = {skill: last.level(skill) for skill in SKILLS}
    return digest_of({"these": last.these[:QUOTE_CHARS], **levels, "erreur": "aucune"})


class Responder:
    """Streams the answer to the question under way, until it is over or another one takes its place."""

    def __init__(self, widgets: Widgets, tier: Tier) -> None:
        self.w = widgets
        self.tier = tier

    async def respond(
        self, desk: Desk, key: str, language: str, session: str, trail: str, user: User
    ) -> AsyncGenerator[Updates, None]:
        """Yield updates of the page, from what its browser carries and who asks."""
        question = desk.under_way
        if question is None:
            return
        tab = to_tab(desk, to_messages(question.before), key, language, session, trail)
        with desk.speaking():
            turns = question.turns
            order = speakers(tab, turns)
            for number, speaker in enumerate(order):
                last = number == len(order) - 1
                async with aclosing(self._one(tab, question, turns, speaker, user, last=last)) as moments:
                    async for moment, updates in moments:
                        if desk.under_way is not question:
                            return
                        ends = moment.over and (last or not moment.answer or moment.kind == "error")
                        if ends:
                            desk.under_way = None
                        yield updates
                        if ends:
                            return
                tab = replace(tab, trail=with_margin(tab.trail, len(turns), **_margin_of(moment)))
                turns = (*turns, Turn("assistant", self._said(tab, speaker, moment)))
                question = desk.under_way = replace(question, turns=turns, before=turns, text="", trail=tab.trail)

    def _said(self, tab: Tab, speaker: Persona, moment: Shown) -> str:
        return spoken(speaker, moment.answer) if tab.session.kind == "debate" else moment.answer

    async def _one(
        self, tab: Tab, question: Asked, turns: Sequence[Turn], speaker: Persona, user: User, *, last: bool
    ) -> AsyncGenerator[tuple[Shown, Updates], None]:
        """One speaker's answer, moment by moment."""
        try:
            conversation = heard_by(speaker, tab, turns)
        except ChatError as error:
            moment = failed(Shown(), error, tab.language)
            yield moment, self._rendered(moment, Shown(), question, turns, tab, speaker, last=last)
            return
        before = Shown()
        options = replace(options_for(tab, turns), excluded=question.excluded)

        def tongue() -> Language:  # the pupil may choose another one while the answer comes
            return tab.desk.language or tab.language

        async with aclosing(answering(self.tier, conversation, user, tongue, options)) as moments:
            async for moment in moments:
                if moment.card or moment.worry:
                    tab.desk.helps = "card" if moment.card else "line"  # it outlives this answer: see `above`
                here = replace(tab, language=tongue())
                yield moment, self._rendered(moment, before, question, turns, here, speaker, last=last)
                before = moment

    def _rendered(
        self, shown: Shown, before: Shown, question: Asked, turns: Sequence[Turn], tab: Tab, speaker: Persona,
        *, last: bool,
    ) -> Updates:  # fmt: skip
        """One moment of an answer as updates of the page."""
        w = self.w
        told = fragments.notice(shown.notice, shown.kind, shown.progress)
        updates: Updates = {w.notice: above(tab.desk, tab.language, told)}
        if shown.card:
            # Neither the message that called for the card nor an answer that had to be stopped stays in the chat.
            updates |= given_back(w, replace(question, text=""), tab)
            trail = write_trail(until(tab.trail, len(question.before)), gone=True)
            return updates | {w.card: fragments.card(tab.language, shown.card), w.trail: trail}
        now = (*turns, Turn("assistant", self._said(tab, speaker, shown))) if shown.answer else tuple(turns)
        done = shown.over and (last or shown.kind == "error" or not shown.answer)
        if shown.answer and (done or shown.answer != before.answer):
            updates[w.chat] = to_messages(with_opening_in(now, tab.persona, tab.language))
        if done and not shown.answer:
            return updates | given_back(w, question, tab)
        begins = bool(shown.answer) and not before.answer  # what stood beside an answer that it replaces goes
        if done or begins or _margin_of(shown) != _margin_of(before):
            updates |= self._beside(shown, question, turns, now, tab, done=done)
        if done:
            updates[w.box] = box_for(tab, busy=False)
        return updates

    def _beside(
        self, shown: Shown, question: Asked, turns: Sequence[Turn], now: Sequence[Turn], tab: Tab, *, done: bool
    ) -> Updates:
        here = _margin_of(shown) | {"remark": None, "feedback": "", "excluded": question.excluded}
        trail = with_margin(tab.trail, len(turns), **here)
        if not done:
            return beside(self.w, tab, turns, trail, busy=True)
        if tab.session.kind == "maieuthon" and shown.kind != "error":
            trail = _remarked(trail, now, shown.evaluation)
        updates = beside(self.w, tab, now, trail)
        if is_over(tab.session, trail):
            over = fragments.notice(text(tab.language, "maieuthon_over"))
            updates[self.w.notice] = above(tab.desk, tab.language, over)
        return updates


def _margin_of(shown: Shown) -> dict[str, Any]:
    return {"scheme": shown.scheme, "filled": shown.filled, "sources": shown.sources}


def _remarked(
    trail: Mapping[int, Margin], turns: Sequence[Turn], evaluation: Mapping[str, object] | None
) -> dict[int, Margin]:
    """The trail with what was read in the pupil's last message."""
    place = len(turns) - 1
    said = next((turn.text for turn in reversed(turns) if turn.role == "user"), "")
    before = remarks_of({at: one for at, one in trail.items() if at < place})
    found = remark(said, before)
    if evaluation is not None:
        found = from_evaluation(evaluation, found, before)
    return with_margin(trail, place, remark=found)
