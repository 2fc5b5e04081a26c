"""The page: which widgets there are, and which event goes where. Knows tiers and personas; loads no model.

Nothing of a pupil is kept here: the chat and what stands beside it live in the browser (`kept.js` writes them to its
own storage), the question under way in this tab's session state. A question is answered in two steps: a short event
(`ui.handlers`) checks it and shows it, then `ui.respond` streams the answer. So every way of asking (box, chip,
another answer, edit, debate) shares one stream, and one Stop. What interrupts an answer first cancels it, then waits
until it is silent: a late piece of it must not appear in the next conversation.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import gradio as gr
from gradio.state_holder import SessionState

from personas import PERSONAS
from tiers.base import Tier
from tiers.supply import Load
from ui import fragments, panels
from ui.account import LOG_IN_OR_OUT, Addresses, Redeem, Standings, redeeming, responding, showing
from ui.actions import Asked, Desk
from ui.handlers import Handlers, OnFeedback, log_feedback
from ui.mcp import add_tools
from ui.respond import Responder
from ui.session import Session
from ui.tab import Widgets, opening_turns
from ui.texts import Language, language_of, text
from ui.turns import to_messages

HOUR = 3600  # seconds
FIRST: Language = "fr"
TICK_S = 1.0  # how often a page that waits for the model asks how far it is
SLOW_TICK_S = 10.0  # the same when it has failed: the tier tries again, minutes later
QUEUE_TICK_S = 3.0  # the same while others wait: the line beside the box goes when they have gone
QUIET_S = 3.0  # after a tab has gone: a question that nobody answers for so long has been left

Loads = Callable[[], Load | None]
# No event has a public API: programs have routes of their own. Queued, all of them: only a queued event tells the page
# that a state has changed.
QUICK: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

# A click on one of our own buttons, as an event of its block.
PRESSED = "bafPressed(element, {attribute!r}, trigger)"


def build_page(
    tier: Tier,
    *,
    on_feedback: OnFeedback = log_feedback,
    load: Loads = lambda: None,
    address: Addresses = lambda _request: "",
    standing: Standings | None = None,
    login: bool = False,
    redeem: Redeem | None = None,
    mcp: bool = False,
) -> gr.Blocks:
    """Return the page that talks through `tier`; it loads no model and opens at once.

    Args:
        tier: Who answers.
        on_feedback: Told of each pupil's word on an answer: key of the persona, then "up", "down" or a reason.
        load: Says how busy the engine is now; None where it is not known.
        address: Gives the opaque key of the address that a request comes from, for loose limits.
        standing: Says what somebody may have, for the badge; None shows none.
        login: Whether there is a button to log in with, beside a `standing`; Gradio offers it on a Space alone.
        redeem: Gives somebody who is logged in the seat of a class pass; None for a page without passes.
        mcp: Whether the philosophers can be asked by programs that speak MCP; see `ui.mcp`.
    """
    # Made outside of the page: inside, Gradio gives it a click of its own; see `LOG_IN_OR_OUT`.
    button = gr.LoginButton(text(FIRST, "login"), size="md", elem_id="login", render=False) if login else None
    with gr.Blocks(title=text(FIRST, "title"), analytics_enabled=False, delete_cache=(HOUR, HOUR)) as page:
        widgets = _lay_out(button)
        respond = responding(Responder(widgets, tier), address, login=login)
        answer, opened, translated = _wire(page, widgets, Handlers(widgets, on_feedback), respond)
        watch = _watcher(tier, load)
        looks = [widgets.status, widgets.queue, widgets.language, widgets.desk]
        told = [widgets.status, widgets.queue, widgets.timer]
        # Looked at once more where one look is still under way: a pupil may begin to write while the page opens.
        moments = [page.load, widgets.timer.tick, widgets.box.focus]
        gr.on(moments, watch, looks, told, **QUICK, trigger_mode="always_last")
        answer.then(watch, looks, told, **QUICK)
        if standing:
            _show_rights(widgets, (answer, opened, translated), standing, redeem, address)
        if mcp:
            add_tools(tier, address)
        page.unload(_forgetting(page, widgets.desk))
    page.queue(default_concurrency_limit=None)  # the tier admits and queues; 1 would serve one pupil at a time
    return page


def _forgetting(page: gr.Blocks, desk: gr.State) -> Callable[[gr.Request], Awaitable[None]]:
    """Gradio keeps a copy of what each event carried, the chat too, until thousands of other tabs have come.

    So it does with a desk, and with a question that its closed tab has left there. Both are made again where the tab is
    still there and only its line was cut: so what is under way is waited for, and its last frames leave no copy either.
    """

    async def forget(request: gr.Request) -> None:
        session = page.state_holder.session_data.get(request.session_hash or "")
        if session is not None:
            look_again(session, None)

    def look_again(session: SessionState, question: Asked | None) -> None:
        asyncio.get_running_loop().call_later(QUIET_S, settle, session, question)

    def settle(session: SessionState, question: Asked | None) -> None:
        here = session.state_data.get(desk._id)
        if here is not None and (here.speakers or here.under_way is not question):
            look_again(session, here.under_way)
            return
        session.config_values.clear()
        session.state_data.clear()

    return forget


def _lay_out(login: gr.LoginButton | None) -> Widgets:
    persona = next(iter(PERSONAS.values()))
    parts: dict[str, Any] = {
        "persona": gr.Textbox(persona.key, visible=False),
        "language": gr.Textbox(FIRST, visible=False),
        "session": gr.Textbox(Session().to_json(), visible=False),
        "trail": gr.Textbox("{}", visible=False),
        "parcel": gr.Textbox("", visible=False),
        "browser": gr.Textbox("", visible=False),
        "desk": gr.State(Desk(), time_to_live=HOUR),
        "wanted": gr.State("", time_to_live=HOUR),
        "timer": gr.Timer(TICK_S),
        "header": _block("header", fragments.header(FIRST), "language"),
    }
    with gr.Row(elem_id="layout"):
        with gr.Column(elem_id="rail"):
            parts["cards"] = _block("cards", fragments.cards(FIRST, persona.key), "persona")
            parts["modes"] = _block("modes", panels.modes(FIRST, Session()), "mode")
            parts |= {"badge": _block("badge", ""), "class_pass": _block("pass", "", "pass")}
            if login:
                parts["login"] = login.render()
                login.click(None, login, js=LOG_IN_OR_OUT, api_visibility="private")
            parts["information"] = _block("information", fragments.information(FIRST, persona))
        with gr.Column(elem_id="talk"):
            parts |= _talk()
    parts["kept"] = _block("kept", fragments.shelf(), "talk")
    return Widgets(**parts)


def _talk() -> dict[str, Any]:
    persona = next(iter(PERSONAS.values()))
    parts: dict[str, Any] = {"status": _block("status", ""), "notice": _block("notice", "")}
    with gr.Row(elem_id="heading-row"):
        parts["heading"] = _block("heading", fragments.heading(FIRST, persona))
        parts["tools"] = _block("tools", "", "tool")
        parts["new"] = gr.Button(text(FIRST, "new_conversation"), elem_id="new", size="sm")
    with gr.Column(elem_id="scroll"):
        parts |= _conversation()
    parts["starters"] = _block("starters", fragments.starters(FIRST, persona, shown=True), "starter")
    parts["queue"] = _block("queue", "")
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
    return parts


def _conversation() -> dict[str, Any]:
    """What scrolls, as one: a panel, the chat, and what follows the last answer."""
    persona = next(iter(PERSONAS.values()))
    parts: dict[str, Any] = {"panel": _block("panel", "", "panel")}
    parts["chat"] = gr.Chatbot(
        to_messages(opening_turns(persona, Session(), FIRST)),
        elem_id="chat",
        label=text(FIRST, "chat_label"),
        show_label=False,
        container=False,
        layout="bubble",
        editable="user",
        buttons=["copy"],
        feedback_options=None,
        latex_delimiters=[],  # "$" is a price, not a formula
        allow_tags=False,
        group_consecutive_messages=False,
    )
    parts["card"] = _block("card", "")
    parts["margin"] = _block("margin", "", "act")
    return parts


def _block(name: str, html: str, attribute: str | None = None) -> gr.HTML:
    script = PRESSED.format(attribute=attribute) if attribute else None
    return gr.HTML(html, elem_id=name, js_on_load=script, apply_default_css=False)


def _wire(page: gr.Blocks, w: Widgets, handlers: Handlers, respond: Any) -> tuple[Any, Any, Any]:
    """Join events and handlers; return what answers, what ends the opening of the page, and what translates it."""
    around = [w.margin, w.panel, w.starters, w.tools, w.trail]
    shown = [w.chat, w.box, w.notice, w.card, *around]
    # First whose talk it is: the trail's change is told at once, and what it keeps has to bear the new talk's kind.
    fresh = [w.persona, w.session, *shown, w.cards, w.modes, w.information, w.heading]
    here = [w.desk, w.chat, w.persona, w.language, w.session, w.trail]
    asking = [*fresh, w.wanted]
    told = [w.desk, w.persona, w.language, w.session, w.trail, w.browser]
    answer = w.wanted.change(respond, told, shown, **QUICK, concurrency_limit=None)
    interrupts = [w.starters.select, w.chat.retry, w.chat.edit, w.box.stop, w.new.click, w.chat.clear, w.cards.select,
                  w.modes.select, w.panel.select, w.margin.select, w.kept.select]  # fmt: skip
    gr.on(interrupts, None, cancels=[answer])  # before the handlers: a page runs its events in this order
    w.box.submit(handlers.send, [w.box, *here], asking, **QUICK)
    w.starters.select(handlers.start, here, asking, **QUICK)
    w.chat.retry(handlers.retry, here, asking, **QUICK)
    w.chat.edit(handlers.edited, here, asking, **QUICK)
    w.box.stop(handlers.stop, here, shown, **QUICK)
    gr.on([w.new.click, w.chat.clear], handlers.restart, here, fresh, **QUICK)
    w.cards.select(handlers.choose, here, fresh, **QUICK, trigger_mode="multiple")  # a second press counts too
    w.modes.select(handlers.mode, here, fresh, **QUICK, trigger_mode="multiple")
    deliver: dict[str, Any] = {"js": "(parcel) => { bafDeliver(parcel); }", "api_visibility": "private"}
    w.panel.select(handlers.panel, here, [*asking, w.parcel], **QUICK)
    w.tools.select(handlers.tool, here, w.parcel, **QUICK)
    w.parcel.change(None, w.parcel, **deliver)
    w.margin.select(handlers.act, [w.box, *here], [*asking, w.parcel], **QUICK).then(
        None, None, js="() => { bafBack(); }", api_visibility="private"
    )
    labels = [w.language, w.header, w.new, *fresh]
    translated = w.header.select(handlers.translate, here, labels, **QUICK, trigger_mode="multiple")
    w.language.change(None, w.language, js="(language) => { bafLanguage(language); }", api_visibility="private")
    return answer, _keep(page, w, handlers, fresh), translated


def _show_rights(
    w: Widgets, after: tuple[Any, ...], standing: Standings, redeem: Redeem | None, address: Addresses
) -> None:
    """Show a visitor's rights after these events, and take the codes of class passes from whoever is logged in."""
    show = showing(w, standing, login=w.login is not None, passes=redeem is not None)
    asked, told = [w.language, w.browser], [w.badge]
    known = [w.class_pass, w.login] if w.login else []
    for event in after:
        event.then(show, [*asked, *known[:1]], [*told, *known], **QUICK)
    if known and redeem:
        give = redeeming(w, standing, redeem, address)
        w.class_pass.select(give, asked, [*told, w.class_pass], **QUICK)


def _keep(page: gr.Blocks, w: Widgets, handlers: Handlers, fresh: list[Any]) -> Any:
    """What the browser keeps, and gives back when one is chosen or the page opens; return the end of that opening."""
    gr.on(
        [w.chat.change, w.trail.change],
        None,
        [w.chat, w.persona, w.session, w.trail],
        js="(chat, persona, session, trail) => { bafKeep(chat, persona, session, trail); }",
        api_visibility="private",
    )
    done: Any = None
    ways = ((w.kept.select, handlers.take, "bafTake()"), (page.load, handlers.arrive, "bafArrive()"))
    for event, handler, taken in ways:
        done = event(
            handler,
            [w.parcel, w.desk, w.language],
            fresh,
            js=f"(parcel, desk, language) => [{taken}, desk, language]",
            **QUICK,
        ).then(None, None, w.browser, js="() => bafOpened()", api_visibility="private")
    return done


def _watcher(tier: Tier, load: Loads) -> Any:
    def watch(current: str | None, line: str | None, language: str, desk: Desk) -> tuple[Any, Any, Any]:
        """What the tier is doing, and how many wait; the timer stops once neither will change.

        Asked again when the pupil begins to write, so that the place is told before the message is sent, and when an
        answer is over. While one's own answer is under way the notice above the chat says the place.
        """
        now, before, tongue = tier.status, 'class="notice wait"' in (current or ""), language_of(language)
        busy = load() if desk.under_way is None else None
        html = fragments.status(tongue, now, was_preparing=before)
        queue = fragments.queue(tongue, busy.waiting, busy.eta_s) if busy else ""
        every_s = SLOW_TICK_S if now.state == "failed" else QUEUE_TICK_S if queue else TICK_S
        timer = gr.Timer(every_s, active=now.state != "ready" or bool(queue))
        shown = [gr.skip() if new == (old or "") else new for new, old in ((html, current), (queue, line))]
        return *shown, timer

    return watch
