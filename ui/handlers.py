"""What each short event does: what a browser sends comes in, updates go out. Refusals become sentences.

Knows the tab and its fragments; knows no tier: what it asks for is answered by `ui.respond`.
"""

import json
import logging
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gradio as gr

from dialogue.conversation import MAX_MESSAGE_CHARS, Turn
from dialogue.safety import assess, card
from errors import ChatError
from personas import PERSONAS, Persona, get_persona
from personas.questions import draw
from ui import export, fragments, panels
from ui.actions import Asked, Desk, ask_again, edit, say, take_back
from ui.margin import margin, replies_of
from ui.session import (
    KINDS,
    REASONS,
    Kind,
    Margin,
    Session,
    is_over,
    last_place,
    read_ids,
    read_kept,
    until,
    with_margin,
    write_trail,
)
from ui.tab import Tab, Updates, Widgets, above, beside, box_for, fresh, given_back, opening_turns, shown_as, to_tab
from ui.texts import language_of, text, text_of_code, untied
from ui.turns import starters_of, text_of, to_messages, with_opening_in

log = logging.getLogger(__name__)

OnFeedback = Callable[[str, str], None]  # key of the persona, then "up", "down" or a reason: never a text


def log_feedback(persona: str, said: str) -> None:
    """Count a pupil's word on an answer where nothing else counts it."""
    log.info("Feedback: persona=%s said=%s", persona, said)


class Handlers:
    """One for each page; holds nothing of a pupil.

    Args:
        widgets: Of the page.
        on_feedback: Told of each word on an answer.
    """

    def __init__(self, widgets: Widgets, on_feedback: OnFeedback = log_feedback) -> None:
        self.w = widgets
        self.on_feedback = on_feedback

    def send(self, said: str, desk: Desk, *here: Any) -> Updates:
        """The pupil pressed Send or Enter; while an answer is under way the text simply stays in the box."""
        if desk.under_way is not None:
            return {self.w.notice: gr.skip()}
        try:
            tab = to_tab(desk, *here)
            if is_over(tab.session, tab.trail) and not assess(said or "").stops:  # distress gets its card at any time
                return self._told(tab, "maieuthon_more")
            return self._ask(tab, say(tab.turns, said or ""), value="")
        except ChatError as error:
            return self._refuse(error, desk, here[2])

    async def start(self, event: gr.EventData, desk: Desk, *here: Any) -> Updates:
        """The pupil pressed a starter: it is said as if it had been typed; or wants to be surprised."""
        await desk.leave()
        try:
            tab = to_tab(desk, *here)
            if event.value == "surprise":
                return fresh(self.w, tab, Session(question=draw(tab.persona.key).text))
            question = starters_of(tab.persona, tab.language)[int(event.value)]
            return self._ask(tab, say(tab.turns, question))
        except ChatError as error:
            return self._refuse(error, desk, here[2])

    async def retry(self, event: gr.RetryData, desk: Desk, *here: Any) -> Updates:
        """The pupil wants another answer."""
        await desk.leave()
        try:
            tab = to_tab(desk, *here)
            again = ask_again(tab.turns, _index(event))
        except ChatError as error:
            return self._refuse(error, desk, here[2])
        return self._told(tab) if again is None else self._ask(tab, again)

    async def edited(self, event: gr.EditData, desk: Desk, *here: Any) -> Updates:
        """The pupil rewrote a message; one that cannot be used gives the old one back, and the new text to the box."""
        await desk.leave()
        tab = to_tab(desk, *here)
        index, previous, new = _index(event), text_of(event.previous_value), text_of(event.value)
        try:
            return self._ask(tab, edit(tab.turns, index, previous, new))
        except ChatError as error:
            before = (*tab.turns[:index], Turn("user", previous), *tab.turns[index + 1 :])
            box = box_for(tab, busy=False, value=new)
            return self._refuse(error, desk, here[2]) | {self.w.chat: to_messages(before), self.w.box: box}

    async def stop(self, desk: Desk, *here: Any) -> Updates:
        """The pupil pressed Stop: what was said stays; when nothing was, the message goes back into the box."""
        question = await desk.leave()
        tab = to_tab(desk, *here)
        stopped, last = self._told(tab, "stopped"), tab.turns[-1:]
        if last and last[0].role == "assistant":
            # Where the answer was over before the press came, what stands beside it is newer than what the press saw.
            around = beside(self.w, tab, tab.turns, tab.trail) if question else {}
            return around | stopped | {self.w.box: box_for(tab, busy=False)}
        if question is None:  # forgotten while the line was cut, or answered at once
            question = Asked(tab.turns, tab.turns[:-1], last[0].text if last else "", trail=tab.trail)
        updates = given_back(self.w, question, replace(tab, trail=question.trail)) | stopped
        if not any(turn.role == "user" for turn in question.before):
            # Words that came after the press may have been kept: the browser is told that this talk is none.
            updates[self.w.trail] = write_trail(until(question.trail, len(question.before)), gone=True)
        return updates

    async def restart(self, desk: Desk, *here: Any) -> Updates:
        """A new conversation with the same philosopher; a Maïeuthon or a debate begins with another question."""
        await desk.leave()
        tab = to_tab(desk, *here)
        return fresh(self.w, tab, self._drawn(tab.session, tab.persona))

    async def choose(self, event: gr.EventData, desk: Desk, *here: Any) -> Updates:
        """A new conversation with the philosopher whose card was pressed."""
        await desk.leave()
        try:
            tab, persona = to_tab(desk, *here), get_persona(str(event.value))
            return fresh(self.w, tab, self._drawn(tab.session, persona), persona)
        except ChatError as error:
            return self._refuse(error, desk, here[2])

    async def mode(self, event: gr.EventData, desk: Desk, *here: Any) -> Updates:
        """Another kind of talk with the same philosopher."""
        await desk.leave()
        tab = to_tab(desk, *here)
        kind: Kind = next((kind for kind in KINDS if kind == event.value), "talk")
        return fresh(self.w, tab, self._drawn(Session(kind), tab.persona))

    def _drawn(self, session: Session, persona: Persona) -> Session:
        """The same kind of talk, with a question of this philosopher and, in a debate, somebody else against him."""
        if session.kind == "talk":
            return Session()
        others = [key for key in PERSONAS if key != persona.key]
        other = (session.other if session.other in others else others[-1]) if session.kind == "debate" else ""
        return Session(session.kind, draw(persona.key, but=session.question).text, other)

    async def panel(self, event: gr.EventData, desk: Desk, *here: Any) -> Updates:
        """A button of the panel: another question, another opponent, the beginning of a debate, a file."""
        await desk.leave()
        try:
            tab = to_tab(desk, *here)
            return self._panel(str(event.value), tab)
        except ChatError as error:
            return self._refuse(error, desk, here[2])

    def _panel(self, value: str, tab: Tab) -> Updates:
        if value in ("markdown", "fiche"):
            return {self.w.parcel: self._parcel(value, tab)}
        if value == "begin" and tab.session.kind == "debate" and not tab.turns:
            return self._ask(tab, Asked((), (), ""))
        if value.startswith("other:"):
            other = get_persona(value.removeprefix("other:"))
            return fresh(self.w, tab, replace(tab.session, other=other.key))
        if value in ("redraw", "again"):
            return fresh(self.w, tab, self._drawn(tab.session, tab.persona))
        return self._told(tab)

    async def act(self, event: gr.EventData, draft: str, desk: Desk, *here: Any) -> Updates:
        """A button of the margin: a reply, a word on the answer, a step back, what ends a Maïeuthon."""
        await desk.leave()
        try:
            tab, value = to_tab(desk, *here), str(event.value)
            if value == "undo":
                return self._undone(tab)
            if value.startswith("reply:"):
                return self._reply(tab, int(value.removeprefix("reply:")), draft or "")
            if value.startswith("panel:"):
                return self._panel(value.removeprefix("panel:"), tab)
            if value.startswith("without:"):
                return self._without(tab, value.removeprefix("without:"))
            return self._feedback(tab, value)
        except ChatError as error:
            return self._refuse(error, desk, here[2])

    def _undone(self, tab: Tab) -> Updates:
        turns = take_back(tab.turns)
        return {
            self.w.chat: to_messages(turns),
            **self._told(tab, "undone"),
            **beside(self.w, tab, turns, until(tab.trail, len(turns))),
        }

    def _reply(self, tab: Tab, number: int, draft: str) -> Updates:
        """One that ends with « … » waits in the box to be finished, before what is being typed; another one is said."""
        replies = [untied(one) for one in replies_of(tab.language, tab.persona, tab.session)]
        reply = replies[number]
        if not reply.endswith("…"):
            return self._ask(tab, say(tab.turns, reply))
        for one in replies:  # a second choice takes the place of the first
            draft = draft.removeprefix(_beginning(one))
        return {self.w.box: box_for(tab, busy=False, value=_beginning(reply) + draft)}

    def _without(self, tab: Tab, unticked: str) -> Updates:
        """The same question again, without the passages that were unticked, now or before an earlier try of it.

        « Une autre réponse », among the small buttons of the chat, takes them all back.
        """
        place = last_place(tab.turns, tab.session)
        here = tab.trail.get(place, Margin()) if place is not None else Margin()
        known = {source.id for source in here.sources}
        new = tuple(one for one in read_ids(unticked) if one in known)
        if not new:
            return self._told(tab, "sources_untick")
        again = ask_again(tab.turns, place or 0, read_ids([*new, *here.excluded]))
        return self._told(tab) if again is None else self._ask(tab, again)

    def _feedback(self, tab: Tab, value: str) -> Updates:
        said = value.removeprefix("down:")
        place = last_place(tab.turns, tab.session)
        if place is None or said not in ("up", "down", *REASONS):
            return self._told(tab)
        self.on_feedback(tab.persona.key, said)
        trail = dict(tab.trail) | {place: with_margin(tab.trail, place, feedback=said)[place]}
        return {
            self.w.trail: write_trail(trail),
            self.w.margin: margin(tab.language, tab.persona, tab.session, tab.turns, trail),
        }

    def tool(self, event: gr.EventData, desk: Desk, *here: Any) -> Updates:
        """The whole conversation as a file, a page to print, or a text to paste; the browser does the rest."""
        return {self.w.parcel: self._parcel(str(event.value), to_tab(desk, *here))}

    def _parcel(self, kind: str, tab: Tab) -> str:
        write = export.fiche if kind == "fiche" else export.markdown
        made = write(tab.persona, tab.session, tab.turns, tab.trail, tab.language)
        name = f"{tab.persona.key}-{tab.session.kind}.md"
        # A number of its own: the same file asked for twice is delivered twice.
        return json.dumps({"kind": kind, "name": name, "text": made, "again": secrets.token_hex(4)}, ensure_ascii=False)

    async def take(self, parcel: str, desk: Desk, language: str) -> Updates:
        """A kept conversation is chosen: its press has cancelled what was being answered, even where it is gone."""
        await desk.leave()
        return await self.arrive(parcel, desk, language)

    async def arrive(self, parcel: str, desk: Desk, language: str) -> Updates:
        """The page opens: show what the browser holds."""
        tongue = language_of(language)
        try:
            kept = read_kept(parcel)
            if kept is None:  # nothing to show: who was quick has asked already, and waits
                return {self.w.notice: gr.skip()}
            await desk.leave()
            desk.helps = ""
            tab = Tab(desk, kept.turns, get_persona(kept.persona), tongue, kept.session, kept.trail)
            turns = with_opening_in(kept.turns, tab.persona, tongue) or opening_turns(tab.persona, tab.session, tongue)
            return shown_as(self.w, tab, turns, kept.trail, **({"value": kept.draft} if kept.draft else {}))
        except ChatError as error:
            return self._refuse(error, desk, language)

    def translate(self, event: gr.EventData, desk: Desk, *here: Any) -> Updates:
        """The page in the other language; what was said stays as it was said."""
        language = desk.language = language_of(event.value)
        tab = replace(to_tab(desk, *here), language=language)
        busy = desk.under_way is not None
        turns = with_opening_in(tab.turns, tab.persona, language)
        updates = shown_as(self.w, tab, turns, tab.trail) | {
            self.w.language: language,
            self.w.header: fragments.header(language),
            self.w.new: text(language, "new_conversation"),
            self.w.box: box_for(tab, busy=busy),
        }
        if desk.helps == "card":
            updates[self.w.card] = fragments.card(language, card(language))
        else:  # one that stands there stays, whatever else is pressed
            del updates[self.w.card]
        if busy and not turns:  # a debate that waits for its first word has begun
            begun = (Turn("user", ""),)
            updates[self.w.panel] = panels.panel(language, tab.persona, tab.session, begun, tab.trail)
        if busy:  # what is under way belongs to the stream that writes it
            for written in (self.w.chat, self.w.trail, self.w.margin, self.w.tools):
                del updates[written]
        return updates

    def _ask(self, tab: Tab, question: Asked, **box: Any) -> Updates:
        tab.desk.under_way = question = replace(question, trail=tab.trail)
        tab.desk.helps = ""
        return {
            self.w.chat: to_messages(question.turns),
            self.w.box: box_for(tab, busy=True, **box),  # what is being typed stays, unless it was sent
            self.w.notice: "",
            self.w.card: "",
            self.w.margin: "",
            self.w.starters: "",
            self.w.tools: "",
            self.w.panel: panels.panel(
                tab.language, tab.persona, tab.session, question.turns or (Turn("user", ""),), tab.trail
            ),
            self.w.wanted: secrets.token_hex(8),  # a new value each time: its change starts the answer
        }

    def _told(self, tab: Tab, key: str = "") -> Updates:
        """A sentence above the chat, or none."""
        return {self.w.notice: above(tab.desk, tab.language, fragments.notice(text(tab.language, key) if key else ""))}

    def _refuse(self, error: ChatError, desk: Desk, language: str) -> Updates:
        log.info("Message refused: code=%s", error.code)
        tongue = language_of(language)
        sentence = text_of_code(tongue, error.code, limit=MAX_MESSAGE_CHARS)
        return {self.w.notice: above(desk, tongue, fragments.notice(sentence, "error"))}


def _beginning(reply: str) -> str:
    """What a reply to be finished puts into the box."""
    return reply.removesuffix("…").rstrip() + " "


def _index(event: Any) -> int:
    """Gradio gives the place of a message as a number, or as a pair in older shapes."""
    return int(event.index[0] if isinstance(event.index, (list, tuple)) else event.index)
