"""Say, ask again, edit; and a desk that is left waits until nobody speaks."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from dialogue.conversation import MAX_MESSAGE_CHARS, Turn
from errors import MessageError
from ui.actions import Asked, Desk, ask_again, edit, say
from ui.handlers import Handlers

OPENING = Turn("assistant", "Es-tu libre ?")
CHAT = (
    OPENING,
    Turn("user", "Oui."),
    Turn("assistant", "Pourquoi ?"),
    Turn("user", "Parce que."),
    Turn("assistant", "Ah ?"),
)


def test_say_keeps_what_was_typed_and_sends_what_is_clean() -> None:
    question = say((OPENING,), "  Oui\x07. ")
    assert question == Asked((OPENING, Turn("user", "Oui.")), (OPENING,), "  Oui\x07. ")


@pytest.mark.parametrize(("text", "code"), [("", "message_empty"), ("x" * (MAX_MESSAGE_CHARS + 1), "message_too_long")])
def test_say_refuses(text: str, code: str) -> None:
    with pytest.raises(MessageError) as refusal:
        say((OPENING,), text)
    assert refusal.value.code == code


def test_ask_again_keeps_the_old_answer_for_the_case_of_failure() -> None:
    assert ask_again(CHAT, 4) == Asked(CHAT[:4], CHAT, "")


def test_an_opening_has_no_other_answer() -> None:
    assert ask_again(CHAT, 0) is None
    assert ask_again((OPENING,), 0) is None


@pytest.mark.parametrize("shown", ["Oui.", "Non."], ids=["old text in the chat", "new text in the chat"])
def test_edit_drops_what_followed(shown: str) -> None:
    chat = (OPENING, Turn("user", shown), *CHAT[2:])
    assert edit(chat, 1, "Oui.", "Non.") == Asked((OPENING, Turn("user", "Non.")), CHAT, "Non.")


def test_edit_refuses_an_empty_text() -> None:
    with pytest.raises(MessageError):
        edit(CHAT, 1, "Oui.", " ")


async def test_a_desk_is_left_once_nobody_speaks() -> None:
    desk = Desk(under_way=say((OPENING,), "Oui."))
    order = []

    async def speak() -> None:
        with desk.speaking():
            await asyncio.sleep(0.1)
            order.append("silent")

    speech = asyncio.create_task(speak())
    await asyncio.sleep(0.03)
    left = await desk.leave()
    order.append("left")
    await speech
    assert order == ["silent", "left"]
    assert left is not None
    assert (left.text, desk.under_way, desk.speakers) == ("Oui.", None, 0)


async def test_a_stream_that_never_ends_is_not_waited_for() -> None:
    desk = Desk()
    with desk.speaking():
        assert await desk.leave(within_s=0.05) is None
    assert desk.speakers == 0


async def test_an_opening_with_nothing_to_show_leaves_the_question_of_who_was_quicker() -> None:
    desk, widgets = Desk(Asked((), (), "Vite !")), SimpleNamespace(notice="notice")
    await Handlers(cast(Any, widgets)).arrive("{}", desk, "fr")
    assert desk.under_way is not None
    await Handlers(cast(Any, widgets)).take("{}", desk, "fr")  # a choice cancels what is under way, and says so
    assert desk.under_way is None
