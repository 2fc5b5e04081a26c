"""The page: which widgets there are, and what each event does. Knows tiers and personas; loads no model.

Nothing of a pupil is kept here: the chat lives in the browser, the question under way in this tab's session state.
A question is answered in two steps: a short event checks it and shows it, then `respond` streams the answer. So
every way of asking (box, chip, another answer, edit) shares one stream, and one Stop. What interrupts an answer first
cancels it, then waits until it is silent: a late piece of it must not appear in the next conversation.
"""

import logging
import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import gradio as gr

from dialogue.conversation import MAX_MESSAGE_CHARS, Turn
from errors import ChatError
from personas import PERSONAS, Persona, get_persona
from tiers.base import Tier, User
from ui import fragments
from ui.actions import Asked, Desk, ask_again, edit, say
from ui.answer import Shown, answering, failed
from ui.texts import Language, language_of, text, text_of_code
from ui.turns import asked, opening_of, starters_of, text_of, to_messages, to_turns, with_opening_in

log = logging.getLogger(__name__)

HOUR = 3600  # seconds
FIRST: Language = "fr"
TICK_S = 1.0  # how often a page that waits for the model asks how far it is
SLOW_TICK_S = 10.0  # the same when it has failed: the tier tries again, minutes later

Updates = dict[Any, Any]
Messages = list[dict[str, Any]]

# A click on one of our own buttons, as an event of its block.
PRESSED = "bafPressed(element, {attribute!r}, trigger)"


@dataclass(frozen=True)
class Widgets:
    """What the page is made of; `persona` and `language` are kept by the browser, one pair for each tab."""

    persona: gr.Textbox
    language: gr.Textbox
    desk: gr.State
    wanted: gr.State
    header: gr.HTML
    cards: gr.HTML
    information: gr.HTML
    heading: gr.HTML
    new: gr.Button
    status: gr.HTML
    notice: gr.HTML
    chat: gr.Chatbot
    starters: gr.HTML
    box: gr.Textbox
    timer: gr.Timer


def build_page(tier: Tier) -> gr.Blocks:
    """Return the page that talks through `tier`; it loads no model and opens at once."""
    with gr.Blocks(title=text(FIRST, "title"), analytics_enabled=False, delete_cache=(HOUR, HOUR)) as page:
        widgets = _lay_out()
        _wire(page, widgets, tier)
    page.queue(default_concurrency_limit=None)  # the tier admits and queues; 1 would serve one pupil at a time
    return page


def _lay_out() -> Widgets:
    persona = next(iter(PERSONAS.values()))
    parts: dict[str, Any] = {
        "persona": gr.Textbox(persona.key, visible=False),
        "language": gr.Textbox(FIRST, visible=False),
        "desk": gr.State(Desk(), time_to_live=HOUR),
        "wanted": gr.State("", time_to_live=HOUR),
        "timer": gr.Timer(TICK_S),
        "header": _block("header", fragments.header(FIRST), "language"),
    }
    with gr.Row(elem_id="layout"):
        with gr.Column(elem_id="rail"):
            parts["cards"] = _block("cards", fragments.cards(FIRST, persona.key), "persona")
            parts["information"] = _block("information", fragments.information(FIRST, persona))
        with gr.Column(elem_id="talk"):
            parts["status"] = _block("status", "")
            parts["notice"] = _block("notice", "")
            with gr.Row(elem_id="heading-row"):
                parts["heading"] = _block("heading", fragments.heading(FIRST, persona))
                parts["new"] = gr.Button(text(FIRST, "new_conversation"), elem_id="new", size="sm")
            parts["chat"] = gr.Chatbot(
                to_messages(_opening(persona, FIRST)),
                elem_id="chat",
                label=text(FIRST, "chat_label"),
                show_label=False,
                container=False,
                height="100%",
                layout="bubble",
                editable="user",
                buttons=["copy", "copy_all"],
                feedback_options=None,
                latex_delimiters=[],  # "$" is a price, not a formula
                allow_tags=False,
                group_consecutive_messages=False,
            )
            parts["starters"] = _block("starters", fragments.starters(FIRST, persona, shown=True), "starter")
            parts["box"] = gr.Textbox(
                elem_id="box",
                label=text(FIRST, "box_label"),
                show_label=False,
                container=False,
                placeholder=text(FIRST, "box_placeholder", name=persona.short_name),
                lines=1,
                max_lines=6,
                submit_btn=text(FIRST, "send"),
                stop_btn=False,
                html_attributes=gr.InputHTMLAttributes(autocomplete="off", enterkeyhint="send"),
            )
    return Widgets(**parts)


def _block(name: str, html: str, attribute: str | None = None) -> gr.HTML:
    script = PRESSED.format(attribute=attribute) if attribute else None
    return gr.HTML(html, elem_id=name, js_on_load=script, apply_default_css=False)


def _wire(page: gr.Blocks, w: Widgets, tier: Tier) -> None:
    """Join events and handlers. No event has a public API: programs have routes of their own."""
    # Queued, all of them: only a queued event tells the page that a state has changed.
    quick: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    shown = [w.chat, w.box, w.notice, w.starters]
    fresh = [*shown, w.persona, w.cards, w.information, w.heading]
    here = [w.desk, w.chat, w.persona, w.language]
    asking = [*shown, w.wanted]
    answer = w.wanted.change(
        _responder(w, tier), [w.desk, w.persona, w.language], shown, **quick, concurrency_limit=None
    )
    interrupts = [w.starters.select, w.chat.retry, w.chat.edit, w.box.stop, w.new.click, w.chat.clear, w.cards.select]
    gr.on(interrupts, None, cancels=[answer])  # before the handlers: a page runs its events in this order
    handlers = Handlers(w)
    w.box.submit(handlers.send, [w.box, *here], asking, **quick)
    w.starters.select(handlers.start, here, asking, **quick)
    w.chat.retry(handlers.retry, here, asking, **quick)
    w.chat.edit(handlers.edited, here, asking, **quick)
    w.box.stop(handlers.stop, here, shown, **quick)
    gr.on([w.new.click, w.chat.clear], handlers.restart, here, fresh, **quick)
    w.cards.select(handlers.choose, here, fresh, **quick, trigger_mode="multiple")  # a second press counts too
    labels = [w.language, w.header, w.cards, w.information, w.heading, w.new, *shown]
    w.header.select(handlers.translate, here, labels, **quick, trigger_mode="multiple")
    w.language.change(None, w.language, js="(language) => { bafLanguage(language); }", api_visibility="private")
    gr.on([page.load, w.timer.tick], _watcher(tier), [w.status, w.language], [w.status, w.timer], **quick)


def _opening(persona: Persona, language: Language) -> tuple[Turn, ...]:
    return (Turn("assistant", opening_of(persona, language)),)


def _box(language: Language, persona: Persona, *, busy: bool, **more: Any) -> Any:
    """The box in one of its two forms: ready to send, or able to stop what is under way."""
    return gr.Textbox(
        label=text(language, "box_label"),
        placeholder=text(language, "box_placeholder", name=persona.short_name),
        submit_btn=False if busy else text(language, "send"),
        stop_btn=text(language, "stop") if busy else False,
        **more,
    )


class Handlers:
    """What each short event does: what a browser sends comes in, updates go out. Refusals become sentences."""

    def __init__(self, widgets: Widgets) -> None:
        self.w = widgets

    def send(self, said: str, desk: Desk, messages: Messages, key: str, language: str) -> Updates:
        """The pupil pressed Send or Enter; while an answer is under way the text simply stays in the box."""
        if desk.under_way is not None:
            return {self.w.notice: gr.skip()}
        try:
            return self._ask(desk, say(to_turns(messages), said or ""), key, language)
        except ChatError as error:
            return self._refuse(error, language)

    async def start(self, event: gr.EventData, desk: Desk, messages: Messages, key: str, language: str) -> Updates:
        """The pupil pressed a starter: it is said as if it had been typed."""
        await desk.leave()
        try:
            question = starters_of(get_persona(key), language_of(language))[int(event.value)]
            return self._ask(desk, say(to_turns(messages), question), key, language)
        except ChatError as error:
            return self._refuse(error, language)

    async def retry(self, event: gr.RetryData, desk: Desk, messages: Messages, key: str, language: str) -> Updates:
        """The pupil wants another answer."""
        await desk.leave()
        try:
            again = ask_again(to_turns(messages), _index(event))
        except ChatError as error:
            return self._refuse(error, language)
        return {self.w.notice: ""} if again is None else self._ask(desk, again, key, language)

    async def edited(self, event: gr.EditData, desk: Desk, messages: Messages, key: str, language: str) -> Updates:
        """The pupil rewrote a message; one that cannot be used gives the old one back, and the new text to the box."""
        await desk.leave()
        turns = to_turns(messages)
        index, previous, new = _index(event), text_of(event.previous_value), text_of(event.value)
        try:
            return self._ask(desk, edit(turns, index, previous, new), key, language)
        except ChatError as error:
            before = (*turns[:index], Turn("user", previous), *turns[index + 1 :])
            box = _box(language_of(language), get_persona(key), busy=False, value=new)
            return self._refuse(error, language) | {self.w.chat: to_messages(before), self.w.box: box}

    async def stop(self, desk: Desk, messages: Messages, key: str, language: str) -> Updates:
        """The pupil pressed Stop: what was said stays; when nothing was, the message goes back into the box."""
        question = await desk.leave()
        persona, tongue, turns = get_persona(key), language_of(language), to_turns(messages)
        stopped = {self.w.notice: fragments.notice(text(tongue, "stopped"))}
        if question is None or (turns and turns[-1].role == "assistant"):
            return stopped | {self.w.box: _box(tongue, persona, busy=False)}
        return stopped | _given_back(self.w, question, persona, tongue)

    async def restart(self, desk: Desk, _messages: Messages, key: str, language: str) -> Updates:
        """A new conversation with the same philosopher."""
        await desk.leave()
        return self._fresh(get_persona(key), language_of(language))

    async def choose(self, event: gr.EventData, desk: Desk, _messages: Messages, _key: str, language: str) -> Updates:
        """A new conversation with the philosopher whose card was pressed."""
        await desk.leave()
        try:
            return self._fresh(get_persona(str(event.value)), language_of(language))
        except ChatError as error:
            return self._refuse(error, language)

    def translate(self, event: gr.EventData, desk: Desk, messages: Messages, key: str, _language: str) -> Updates:
        """The page in the other language; what was said stays as it was said."""
        language, persona, turns = language_of(event.value), get_persona(key), to_turns(messages)
        w, busy = self.w, desk.under_way is not None
        return {
            w.language: language,
            w.header: fragments.header(language),
            w.cards: fragments.cards(language, key),
            w.information: fragments.information(language, persona),
            w.heading: fragments.heading(language, persona),
            w.new: text(language, "new_conversation"),
            w.chat: gr.skip() if busy else to_messages(with_opening_in(turns, persona, language)),
            w.starters: fragments.starters(language, persona, shown=len(turns) < 2),
            w.box: _box(language, persona, busy=busy),
            w.notice: "",
        }

    def _ask(self, desk: Desk, question: Asked, key: str, language: str) -> Updates:
        desk.under_way = question
        return {
            self.w.chat: to_messages(question.turns),
            self.w.box: _box(language_of(language), get_persona(key), busy=True, value=""),
            self.w.notice: "",
            self.w.starters: "",
            self.w.wanted: secrets.token_hex(8),  # a new value each time: its change starts the answer
        }

    def _refuse(self, error: ChatError, language: str) -> Updates:
        log.info("Message refused: code=%s", error.code)
        sentence = text_of_code(language_of(language), error.code, limit=MAX_MESSAGE_CHARS)
        return {self.w.notice: fragments.notice(sentence, "error")}

    def _fresh(self, persona: Persona, language: Language) -> Updates:
        w = self.w
        return {
            w.chat: to_messages(_opening(persona, language)),
            w.box: _box(language, persona, busy=False),  # what is being typed stays
            w.notice: "",
            w.starters: fragments.starters(language, persona, shown=True),
            w.persona: persona.key,
            w.cards: fragments.cards(language, persona.key),
            w.information: fragments.information(language, persona),
            w.heading: fragments.heading(language, persona),
        }


def _index(event: Any) -> int:
    """Gradio gives the place of a message as a number, or as a pair in older shapes."""
    return int(event.index[0] if isinstance(event.index, (list, tuple)) else event.index)


def _given_back(w: Widgets, question: Asked, persona: Persona, language: Language) -> Updates:
    """No answer came: the chat is as before, and the pupil's words are in the box again."""
    more = {"value": question.text} if question.text else {}
    return {
        w.chat: to_messages(question.before),
        w.box: _box(language, persona, busy=False, **more),
        w.starters: fragments.starters(language, persona, shown=len(question.before) < 2),
    }


def _responder(w: Widgets, tier: Tier) -> Any:
    async def respond(desk: Desk, key: str, language: str, request: gr.Request) -> AsyncGenerator[Updates, None]:
        """Stream the answer to the question under way, until it is over or another one takes its place."""
        question, persona, tongue = desk.under_way, get_persona(key), language_of(language)
        if question is None:
            return
        try:
            conversation = asked(persona, question.turns)
        except ChatError as error:
            desk.under_way = None
            yield _rendered(w, failed(Shown(), error, tongue), question, persona, tongue)
            return
        with desk.speaking():
            user = User(request.session_hash or "")
            async with aclosing(answering(tier, conversation, user, tongue)) as moments:
                async for moment in moments:
                    if desk.under_way is not question:
                        return
                    if moment.over:
                        desk.under_way = None
                    yield _rendered(w, moment, question, persona, tongue)

    return respond


def _rendered(w: Widgets, shown: Shown, question: Asked, persona: Persona, language: Language) -> Updates:
    """One moment of an answer as updates of the page."""
    updates: Updates = {w.notice: fragments.notice(shown.notice, shown.kind, shown.progress)}
    if shown.answer:
        updates[w.chat] = to_messages((*question.turns, Turn("assistant", shown.answer)))
    if shown.over:
        updates[w.box] = _box(language, persona, busy=False)
        if not shown.answer:
            updates |= _given_back(w, question, persona, language)
    return updates


def _watcher(tier: Tier) -> Any:
    def watch(current: str | None, language: str) -> tuple[Any, Any]:
        """What the tier is doing; the timer stops once it is ready, and slows down while nothing can be done."""
        now = tier.status
        html = fragments.status(language_of(language), now, was_preparing='class="notice wait"' in (current or ""))
        timer = gr.Timer(SLOW_TICK_S if now.state == "failed" else TICK_S, active=now.state != "ready")
        return gr.skip() if html == (current or "") else html, timer

    return watch
