"""One tab as an event finds it, and the updates that show it. Knows the widgets by name and the fragments; no tier."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from dialogue.conversation import Turn
from personas import Persona, get_persona
from personas.questions import find
from ui import fragments, panels
from ui.actions import Asked, Desk
from ui.margin import margin
from ui.session import Margin, Session, Trail, read_session, read_trail, until, write_trail
from ui.texts import Language, language_of, text
from ui.turns import bac_opening, opening_of, to_messages, to_turns, with_opening_in

Updates = dict[Any, Any]


@dataclass(frozen=True)
class Widgets:
    """What the page is made of; `persona`, `language`, `session` and `trail` are kept by the browser, for each tab."""

    persona: gr.Textbox
    language: gr.Textbox
    session: gr.Textbox
    trail: gr.Textbox
    parcel: gr.Textbox
    browser: gr.Textbox
    desk: gr.State
    wanted: gr.State
    header: gr.HTML
    cards: gr.HTML
    modes: gr.HTML
    badge: gr.HTML
    information: gr.HTML
    heading: gr.HTML
    tools: gr.HTML
    new: gr.Button
    panel: gr.HTML
    status: gr.HTML
    queue: gr.HTML
    notice: gr.HTML
    card: gr.HTML
    chat: gr.Chatbot
    margin: gr.HTML
    starters: gr.HTML
    box: gr.Textbox
    kept: gr.HTML
    timer: gr.Timer
    class_pass: gr.HTML
    login: gr.LoginButton | None = None


@dataclass(frozen=True)
class Tab:
    """What an event is given of its tab.

    Attributes:
        desk: Where answers are written.
        turns: The chat.
        persona: Who answers.
        language: Of the page.
        session: What kind of talk it is.
        trail: What stands beside the answers.
    """

    desk: Desk
    turns: tuple[Turn, ...]
    persona: Persona
    language: Language
    session: Session = field(default_factory=Session)
    trail: Mapping[int, Margin] = field(default_factory=dict)

    @property
    def n_said(self) -> int:
        """How often the pupil has spoken."""
        return sum(turn.role == "user" for turn in self.turns)


def to_tab(desk: Desk, messages: Any, key: str, language: str, session: str, trail: str) -> Tab:
    """Read the inputs of an event.

    Raises:
        PersonaError: The browser names nobody that we know.
        MessageError: The chat holds a message that is nobody's.
    """
    turns = to_turns(messages)
    margins = until(read_trail(trail), len(turns))
    return Tab(desk, turns, get_persona(key), language_of(language), read_session(session), margins)


def opening_turns(persona: Persona, session: Session, language: Language) -> tuple[Turn, ...]:
    """What stands in a chat before anybody has answered; a debate waits for its beginning."""
    if session.kind == "debate":
        return ()
    question = find(session.question) if session.question else None
    said = bac_opening(question, language) if question else opening_of(persona, language)
    return (Turn("assistant", said),)


def box_for(tab: Tab, *, busy: bool, **more: Any) -> Any:
    """The box in one of its two forms: ready to send, or able to stop what is under way."""
    return gr.Textbox(
        label=text(tab.language, "box_label"),
        placeholder=placeholder(tab.language, tab.persona, tab.session),
        submit_btn=False if busy else text(tab.language, "send"),
        stop_btn=text(tab.language, "stop") if busy else False,
        **more,
    )


def placeholder(language: Language, persona: Persona, session: Session) -> str:
    """What the empty box says."""
    if session.kind == "debate":
        return text(language, "box_debate")
    return text(language, "box_placeholder", name=persona.short_name)


def starters_for(tab: Tab, turns: Sequence[Turn]) -> str:
    """The questions to begin with, where the talk has not begun and is an ordinary one."""
    shown = tab.session == Session() and not any(turn.role == "user" for turn in turns)
    return fragments.starters(tab.language, tab.persona, shown=shown)


def beside(w: Widgets, tab: Tab, turns: Sequence[Turn], trail: Trail, *, busy: bool = False) -> Updates:
    """Everything that depends on the chat without being it."""
    known = until(trail, len(turns) + busy)
    return {
        w.trail: write_trail(known),
        w.margin: margin(tab.language, tab.persona, tab.session, turns, known, busy=busy),
        w.panel: panels.panel(tab.language, tab.persona, tab.session, turns, known),
        w.starters: starters_for(tab, turns),
        w.tools: fragments.tools(tab.language, shown=not busy and _said_something(tab, turns)),
    }


def _said_something(tab: Tab, turns: Sequence[Turn]) -> bool:
    return (tab.session.kind == "debate" and bool(turns)) or any(turn.role == "user" for turn in turns)


def fresh(w: Widgets, tab: Tab, session: Session, persona: Persona | None = None, **box: Any) -> Updates:
    """A new conversation; what is being typed stays, unless `box` says otherwise."""
    tab.desk.helps = ""
    one = Tab(tab.desk, (), persona or tab.persona, tab.language, session)
    turns = opening_turns(one.persona, session, one.language)
    return shown_as(w, one, turns, {}, **box)


def shown_as(w: Widgets, tab: Tab, turns: Sequence[Turn], trail: Trail, **box: Any) -> Updates:
    """The whole page for this tab, nothing under way."""
    return {
        w.chat: to_messages(turns),
        w.box: box_for(tab, busy=False, **box),
        w.notice: above(tab.desk, tab.language),
        w.card: "",
        w.persona: tab.persona.key,
        w.session: tab.session.to_json(),
        w.cards: fragments.cards(tab.language, tab.persona.key),
        w.modes: panels.modes(tab.language, tab.session),
        w.information: fragments.information(tab.language, tab.persona),
        w.heading: fragments.heading(tab.language, tab.persona, tab.session.opponent),
        **beside(w, tab, turns, trail),
    }


def above(desk: Desk, language: Language, said: str = "") -> str:
    """What stands above the chat: the line of help, where there is a doubt, before whatever else is `said`."""
    return fragments.notice(text(language, "worry") if desk.helps == "line" else "") + said


def given_back(w: Widgets, question: Asked, tab: Tab) -> Updates:
    """No answer came: the chat is as before, and the pupil's words are in the box again."""
    more = {"value": question.text} if question.text else {}
    return {
        w.chat: to_messages(with_opening_in(question.before, tab.persona, tab.language)),
        w.box: box_for(tab, busy=False, **more),
        **beside(w, tab, question.before, tab.trail),
    }
