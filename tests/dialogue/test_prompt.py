"""The prompt: literal text, a shared prefix, nothing rewritten; and what may become a message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogue.conversation import MAX_MESSAGE_CHARS, Conversation, Turn, clean_message
from dialogue.prompt import PASSAGES_RULE, Excerpt, Hint, Message, build_messages, last_question, with_passages
from errors import MessageError
from personas import PERSONAS

KANT = PERSONAS["kant"]
HINT = Hint("Tout homme est une fin.", "On ne vend pas un ami.", "Qui as-tu utilisé ?")
BLOCK = "Idée : Tout homme est une fin.\nImage : On ne vend pas un ami.\nQuestion : Qui as-tu utilisé ?"


def test_the_rendered_messages_are_these() -> None:
    opening = Turn("assistant", "Bonjour, je suis Kant. La dignité a-t-elle un prix ?")
    talk = Conversation(
        KANT, (opening, Turn("user", "Non."), Turn("assistant", "Pourquoi ?"), Turn("user", "Un ami ?"))
    )
    assert build_messages(talk, [HINT, None], prefix="short") == [
        {"role": "system", "content": KANT.short_prompt.strip()},
        {"role": "user", "content": f"{BLOCK}\n\nNon."},
        {"role": "assistant", "content": "Pourquoi ?"},
        {"role": "user", "content": "Un ami ?"},
    ]


def test_without_a_hint_the_opening_s_question_stands_first() -> None:
    talk = Conversation(KANT, (Turn("assistant", "Bonjour. Es-tu libre ?"), Turn("user", "Oui.")))
    assert build_messages(talk)[1]["content"] == "Question posée : Es-tu libre ?\n\nOui."


def test_a_first_message_that_asks_has_changed_the_subject() -> None:
    talk = Conversation(KANT, (Turn("assistant", "Es-tu libre ?"), Turn("user", "Puis-je vouloir le mal ?")))
    assert build_messages(talk)[1]["content"] == "Puis-je vouloir le mal ?"


def test_the_size_chooses_the_prefix() -> None:
    talk = Conversation(KANT, (Turn("user", "Bonjour"),))
    assert build_messages(talk, prefix="full")[0]["content"] == KANT.full_prompt.strip()


texts = st.text(min_size=1, max_size=40).filter(str.strip)


@given(st.lists(st.tuples(texts, texts), max_size=6), texts, texts, st.booleans())
def test_what_was_sent_is_never_rewritten(pairs: list[tuple[str, str]], answer: str, last: str, opened: bool) -> None:
    """Each later prompt begins with the earlier one and the answer to it."""
    turns = [Turn("assistant", KANT.opening)] if opened else []
    for asked, answered in pairs:
        turns += [Turn("user", asked), Turn("assistant", answered)]
    earlier = Conversation(KANT, (*turns, Turn("user", last)))
    later = Conversation(KANT, (*earlier.turns, Turn("assistant", answer), Turn("user", "Et alors ?")))
    hints = [HINT if i % 2 else None for i in range(len(pairs) + 2)]
    before = build_messages(earlier, hints[:-1])
    assert build_messages(later, hints)[: len(before) + 1] == [*before, {"role": "assistant", "content": answer}]


def test_two_turns_of_one_side_are_refused() -> None:
    with pytest.raises(MessageError, match="Two user turns"):
        Conversation(KANT, (Turn("user", "a"), Turn("user", "b")))


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("  Suis-je libre ?\r\n", "Suis-je libre ?"),
        ("a\x00b\x1b[31mc\u202ed", "ab[31mcd"),
        ("ligne\r\nautre\tcolonne", "ligne\nautre\tcolonne"),
        ("e\u0301tat", "état"),
    ],
)
def test_a_message_is_cleaned(text: str, clean: str) -> None:
    assert clean_message(text) == clean


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "message_empty"),
        (" \n\t ", "message_empty"),
        ("\x00\x07", "message_empty"),
        ("a" * 20_000, "message_too_long"),
    ],
)
def test_an_unusable_message_says_why(text: str, code: str) -> None:
    with pytest.raises(MessageError) as caught:
        clean_message(text)
    assert caught.value.code == code


@given(st.text(max_size=MAX_MESSAGE_CHARS))
def test_cleaning_twice_changes_nothing(text: str) -> None:
    try:
        once = clean_message(text)
    except MessageError:
        return
    assert clean_message(once) == once


@pytest.mark.parametrize(
    ("text", "question"),
    [("Bonjour. Es-tu libre ?", "Es-tu libre ?"), ("Rien.", None), ("Un ? Deux ? Fin.", "Deux ?"), ("", None)],
)
def test_the_last_question_is_found(text: str, question: str | None) -> None:
    assert last_question(text) == question


EXCERPTS = [
    Excerpt(1, "Henri Bergson, Essai, p. 81", "La durée [3] dure.", original=True),
    Excerpt(2, "Bergson, Essai", "Une note sur la durée.", original=False),
]


def by_words(messages: list[Message]) -> int:
    return sum(len(one["content"].split()) for one in messages)


def test_passages_stand_last_with_the_question() -> None:
    talk = Conversation(KANT, (Turn("user", "Oui."), Turn("assistant", "Quoi ?"), Turn("user", "Le temps ?")))
    plain = build_messages(talk)
    messages, kept = with_passages(plain, EXCERPTS, by_words, 10_000)
    assert kept == 2
    assert messages[:-1] == plain[:-1]
    assert messages[-1] == {
        "role": "user",
        "content": "Passages :\n\n[1] Henri Bergson, Essai, p. 81 (texte)\nLa durée dure.\n\n"
        "[2] Bergson, Essai (note de lecture, à ne pas citer)\nUne note sur la durée.\n\n"
        f"{PASSAGES_RULE}\n\nQuestion : Le temps ?",
    }


@pytest.mark.parametrize(("spare", "kept"), [(10_000, 2), (60, 1), (5, 0), (-5, 0)])
def test_passages_keep_to_their_budget(spare: int, kept: int) -> None:
    plain = build_messages(Conversation(KANT, (Turn("user", "Le temps ?"),)))
    budget = by_words(plain) + spare
    messages, count = with_passages(plain, EXCERPTS, by_words, budget)
    assert count == kept
    assert messages == plain if not kept else by_words(messages) <= budget
