"""Condensation: bounds, an earlier prompt left byte for byte, and no personal fact in a bullet."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogue.condense import HEADER, Condensed, Limits, bullet, bullets_for, condense, correction, first_kept, intent
from dialogue.conversation import Conversation, Turn
from dialogue.prompt import build_messages
from personas import PERSONAS

KANT = PERSONAS["kant"]
SENTENCES = st.sampled_from(
    [
        "La liberté, c'est faire ce qu'on veut.",
        "oui",
        "??",
        "Je m'appelle Zoé Kervadec.",
        "Mon père dit que c'est faux.",
        "Mais la loi que je me donne ne me contraint pas.",
        "Tous les hommes cherchent le bonheur, donc ils mentent.",
        "J'habite à Rennes et j'ai 17 ans.",
        "Donc le devoir ne dépend pas du plaisir.",
        "Qu'en penses-tu ?",
        "é" * 60,
        "😀",
        "Je ne veux plus vivre.",
        "zoe@example.org",
    ]
)
TEXTS = st.lists(SENTENCES, min_size=1, max_size=8).map(" ".join)


def count(text: str) -> int:
    """A counter like a tokenizer's: about four characters to a token."""
    return len(text) // 4 + 1


def talk(texts: list[str]) -> tuple[Turn, ...]:
    return tuple(Turn("user" if place % 2 == 0 else "assistant", text) for place, text in enumerate(texts))


def condensed(turns: tuple[Turn, ...], limits: Limits) -> Condensed:
    return condense(build_messages(Conversation(KANT, turns)), turns, count, limits)


def test_a_short_talk_stays_as_it_is() -> None:
    turns = talk(["Bonjour ?", "Oui ?", "Suis-je libre ?"])
    messages = build_messages(Conversation(KANT, turns))
    assert condensed(turns, Limits()) == Condensed(messages, (), 0)


def test_a_long_talk_keeps_its_end_and_says_its_beginning() -> None:
    turns = talk(
        ["La liberté, c'est tout faire.", "Mais tes désirs ont une cause. Non ?", "bof", "Pourquoi ?", "Et la loi ?"]
    )
    found = condensed(turns, Limits(history_tokens=10, kept_exchanges=1))
    assert found.dropped == 2
    assert found.messages[0]["content"] == KANT.full_prompt.strip()
    assert found.messages[1]["content"] == (
        f"{HEADER}\n- Élève : La liberté, c'est tout faire. → Toi : Mais tes désirs ont une cause.\n\nbof"
    )
    assert [one["content"] for one in found.messages[2:]] == ["Pourquoi ?", "Et la loi ?"]


@settings(max_examples=150)
@given(
    st.lists(TEXTS, min_size=1, max_size=31).filter(lambda texts: len(texts) % 2 == 1),
    st.builds(
        Limits,
        history_tokens=st.integers(1, 400),
        kept_exchanges=st.integers(1, 3),
        bullets=st.integers(1, 6),
        bullet_tokens=st.integers(10, 500),
    ),
)
def test_bounds(texts: list[str], limits: Limits) -> None:
    turns = talk(texts)
    found = condensed(turns, limits)
    assert len(found.bullets) <= limits.bullets
    if found.bullets:
        assert count("\n".join([HEADER, *found.bullets])) < limits.bullet_tokens
    assert found.messages[0]["role"] == "system"
    assert [one["role"] for one in found.messages[1:]] == [turn.role for turn in turns[found.dropped :]]
    assert found.messages[-1]["content"].endswith(turns[-1].text)
    kept = [one["content"] for one in found.messages[2:]]
    assert kept == [turn.text for turn in turns[found.dropped + 1 :]]  # word for word
    assert found.dropped % 2 == 0
    said = " ".join(found.bullets)
    assert not any(word in said for word in ("Zoé", "Kervadec", "Rennes", "père", "17 ans", "zoe@", "plus vivre"))


@settings(max_examples=100)
@given(st.lists(TEXTS, min_size=3, max_size=31).filter(lambda texts: len(texts) % 2 == 1))
def test_between_two_cuts_a_prompt_begins_with_the_one_before(texts: list[str]) -> None:
    turns, limits = talk(texts), Limits(history_tokens=120, kept_exchanges=1)
    before: Condensed | None = None
    for end in range(1, len(turns) + 1, 2):
        found = condensed(turns[:end], limits)
        if before is not None and before.dropped == found.dropped:
            assert found.messages[: len(before.messages)] == before.messages
        before = found


def test_the_cut_holds_until_the_history_is_too_long_again() -> None:
    lengths = [20, 80] * 9 + [20]
    limits = Limits(history_tokens=300, kept_exchanges=1)
    cuts = [first_kept(lengths[:end], limits) for end in range(1, len(lengths) + 1, 2)]
    assert cuts == [0, 0, 0, 0, 6, 6, 6, 12, 12, 12]


def test_ten_turns_send_less() -> None:
    """Ten exchanges of an ordinary length: the tokens after the persona, cut against uncut."""
    pupil = "Je crois que la liberté, c'est pouvoir faire tout ce que l'on veut sans loi."
    answer = "Mais une volonté sans loi suit le premier désir venu. " * 4 + "Que veux-tu alors ?"
    turns = talk([pupil, answer] * 9 + [pupil])
    full = cut = 0
    for end in range(1, len(turns) + 1, 2):
        messages = build_messages(Conversation(KANT, turns[:end]))
        full += sum(count(one["content"]) for one in messages[1:])
        cut += sum(count(one["content"]) for one in condense(messages, turns[:end], count).messages[1:])
    assert cut < 0.75 * full


def test_a_bullet_is_made_of_what_was_said() -> None:
    assert bullet(Turn("user", "ok"), Turn("assistant", "Et toi ?")) is None
    assert intent("Mon père me ment. Mentir est un droit.") == "Mentir est un droit."
    assert intent("J'habite à Rennes.") is None
    line = bullet(Turn("user", "J'ai 17 ans."), Turn("assistant", "Donc la loi vaut pour toi."))
    assert line == "- Élève : (une chose personnelle) → Toi : Donc la loi vaut pour toi."
    assert bullet(Turn("user", "Oui. Merci !"), Turn("assistant", "Donc la loi vaut pour toi.")) == (
        "- Élève : Oui. Merci ! → Toi : Donc la loi vaut pour toi."
    )
    assert bullet(Turn("user", "??"), Turn("assistant", "Donc la loi vaut.")) == "- Toi : Donc la loi vaut."


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (
            (
                "On dit que nous sommes libres parce que nous choisissons chaque jour entre plusieurs actions, "
                "mais c'est une illusion."
            ),
            "On dit que nous sommes libres parce que nous choisissons chaque… mais c'est une illusion.",
        ),
        (  # its « mais » stands before the cut, what it says after
            (
                "Je crois que la liberté consiste à pouvoir choisir ce que je veux faire demain, "
                "mais c'est peut-être une illusion de plus."
            ),
            "Je crois que la liberté consiste à pouvoir… mais c'est peut-être une illusion de plus.",
        ),
        (
            (
                "Croire que l'homme choisit librement tout ce qu'il fait chaque jour de l'année sans aucune cause "
                "est faux."
            ),
            "Croire que l'homme choisit librement tout ce qu'il fait chaque jour de l'année… est faux.",
        ),
        (  # nothing is taken back
            "On dit que nous sommes libres parce que nous choisissons chaque jour entre plusieurs actions et désirs.",
            "On dit que nous sommes libres parce que nous choisissons chaque jour entre plusieurs…",
        ),
        (  # what is taken back stands whole before the cut
            "Nous sommes libres, mais notre liberté demande de comprendre toutes les causes qui agissent en nous.",
            "Nous sommes libres, mais notre liberté demande de comprendre toutes les causes qui…",
        ),
    ],
)
def test_a_cut_does_not_turn_a_sentence_into_its_contrary(said: str, kept: str) -> None:
    assert intent(said) == kept


def test_a_cut_leaves_what_a_philosopher_sets_right() -> None:
    said = (
        "Tu dis que la pierre qui tombe et l'enfant qui court sont libres l'un comme l'autre, "
        "pourtant ni l'un ni l'autre ne sait ce qui le pousse ainsi."
    )
    kept = "Tu dis que la pierre qui… pourtant ni l'un ni l'autre ne sait ce qui le pousse ainsi."
    assert correction(said, "La pierre est libre.") == kept


@settings(max_examples=100)
@given(st.lists(st.sampled_from(["Mais", "pourtant,", "est faux", "or", "la loi", "x" * 95, "…"]), max_size=30))
def test_a_side_of_a_bullet_is_short(words: list[str]) -> None:
    assert len(intent(" ".join(words)) or "") <= 90


def test_the_first_bullet_stays_and_the_second_goes_first() -> None:
    turns = talk(
        [text for n in range(9) for text in (f"La thèse numéro {n} est vraie.", "Mais le contraire se pense.")]
    )
    bullets = bullets_for(turns, count, Limits(bullets=3))
    assert len(bullets) == 3
    assert "numéro 0" in bullets[0]
    assert "numéro 8" in bullets[2]
    assert bullets_for(turns, count, Limits(bullet_tokens=1)) == ()


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="every limit is at least 1"):
        Limits(bullets=0)
    with pytest.raises(ValueError, match="expected one more"):
        condense(build_messages(Conversation(KANT, talk(["Un"]))), (), count)
