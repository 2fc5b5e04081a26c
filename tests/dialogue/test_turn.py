"""A turn's plan: what stops it, what the model is told, and prompts that go on from one another byte for byte."""

from dataclasses import replace

import pytest

from dialogue.condense import Limits
from dialogue.conversation import Conversation, Turn
from dialogue.safety import Distress
from dialogue.turn import Plan, plan_turn, redacted, without_stopped
from personas import PERSONAS

KANT = PERSONAS["kant"]
DISTRESS = "J'ai plus envie de vivre."


def talk(*texts: str, opening: str | None = None) -> Conversation:
    turns = [Turn("user" if n % 2 == 0 else "assistant", text) for n, text in enumerate(texts)]
    return Conversation(KANT, (*([Turn("assistant", opening)] if opening else []), *turns))


def count(text: str) -> int:
    return len(text) // 4 + 1


def contents(plan: Plan, **how: object) -> list[str]:
    return [one["content"] for one in plan.prompt(count, **how).messages]  # type: ignore[arg-type]


def test_distress_stops_the_turn() -> None:
    plan = plan_turn(talk("Bonjour ?", "Oui ?", DISTRESS))
    assert plan.distress.stops
    assert plan.reply is None


def test_what_a_card_answered_is_read_by_no_model_later() -> None:
    conversation = talk("Suis-je libre ?", "Oui.", DISTRESS, "Une carte.", "Et la loi ?", opening=KANT.opening)
    assert without_stopped(conversation) == talk("Suis-je libre ?", "Oui.", "Et la loi ?", opening=KANT.opening)
    plan = plan_turn(conversation)
    assert not plan.distress.stops
    assert not any(DISTRESS in text or "Une carte." in text for text in contents(plan)[1:])


def test_a_sincere_question_has_a_fixed_answer_and_no_move() -> None:
    plan = plan_turn(talk("Es-tu humain ?"))
    assert plan.reply
    assert "programme" in plan.reply
    assert plan.move is None


def test_a_move_or_a_limit_is_one_line_before_the_message() -> None:
    plan = plan_turn(talk("tout à fait d'accord", "Alors ?", "écris ma dissert en entier"))
    assert plan.limit
    assert plan.limit.kind == "essay"
    assert plan.move is None
    first, second = plan.lines
    assert first.startswith("(Pour toi seul")
    assert "Schéma :" in first
    assert "Ne rédige rien à sa place" in second
    assert contents(plan)[1:] == [
        f"{first}\n\ntout à fait d'accord",
        "Alors ?",
        f"{second}\n\nécris ma dissert en entier",
    ]
    assert contents(plan, told=False)[1:] == ["tout à fait d'accord", "Alors ?", "écris ma dissert en entier"]


PREMISES = "Si tout a une cause, alors rien n'est libre. Or tout a une cause. Que conclure ?"
FOLLOWS = "Schéma : modus ponens. Il suit : « rien n'est libre »."


def test_what_follows_from_a_pupils_premises_is_said_for_a_small_model() -> None:
    plan = plan_turn(talk("Suis-je libre ?", "Et toi ?", PREMISES))
    assert plan.spoken
    assert plan.spoken.startswith("Donc, d'après tes prémisses : « rien n'est libre ». ")
    assert contents(plan, told=False)[1:] == ["Suis-je libre ?", "Et toi ?", PREMISES]  # no line, whoever is asked
    assert plan_turn(talk(PREMISES, "Bien.", "Suis-je libre ?")).spoken is None
    assert replace(plan, distress=Distress("doubt")).spoken is None
    assert plan_turn(talk("Es-tu humain ?")).spoken is None


def test_a_large_model_is_told_what_follows_beside_its_move() -> None:
    plan = plan_turn(talk(PREMISES))
    assert plan.move
    assert (plan.move.scheme, plan.move.name) == ("MP", "avancer")
    assert plan.lines[0].startswith("(Pour toi seul")
    assert FOLLOWS in plan.lines[0]
    assert contents(plan, told=True)[1] == f"{plan.lines[0]}\n\n{PREMISES}"


def test_a_fixed_answer_leaves_no_line_behind() -> None:
    assert plan_turn(talk("Es-tu humain ?", "Non.", "Et toi, libre ?")).lines[0] == ""


def test_later_prompts_go_on_from_earlier_ones() -> None:
    said = [
        "Suis-je libre ?",
        "Oui.",
        "non c'est faux",
        "Ah ?",
        "t'es nul",
        "Bien.",
        "j'ai rien compris",
        "Vois.",
        "ok",
    ]
    before: list[str] = []
    for end in range(1, len(said) + 1, 2):
        now = contents(plan_turn(talk(*said[:end])), limits=Limits(history_tokens=10_000))
        assert now[: len(before)] == before
        before = now


def test_a_long_talk_is_condensed_by_default_and_whole_on_demand() -> None:
    long = "Le devoir ne dépend pas du plaisir, car la raison le commande à tous. " * 3
    plan = plan_turn(talk(*[long] * 9))
    condensed = plan.prompt(count)
    assert condensed.dropped > 0
    assert condensed.bullets
    assert plan.prompt(count, limits=None).dropped == 0
    assert len(contents(plan)) < len(contents(plan, limits=None))


@pytest.mark.parametrize("text", ["Je m'appelle Zoé Kervadec.", "écris à zoe@example.org"])
def test_redaction_is_the_pupils_turns_and_done_once(text: str) -> None:
    conversation = talk(text, "Bonjour, je suis Kant.", "ok")
    once = redacted(conversation)
    assert once.turns[0].text != text
    assert once.turns[1:] == conversation.turns[1:]
    assert redacted(once) == once


def test_what_the_other_philosopher_says_calls_for_no_card() -> None:
    heard = "Je pense qu'on peut mentir.\nKant répond : « Suppose qu'on me menace de mort. »"
    assert not plan_turn(talk(heard)).distress.stops
    assert plan_turn(talk(f"J'ai envie de mourir.\n{heard}")).distress.stops


def test_a_name_said_twice_in_one_message_does_not_leave() -> None:
    told = redacted(talk("Moi c'est Léa et mon frère dit toujours « Léa, tu rêves ».")).turns[0].text
    assert told == "Moi c'est [nom] et mon frère dit toujours « [nom], tu rêves »."


def test_what_a_pupil_told_is_hidden_wherever_it_is_said_again() -> None:
    conversation = talk(
        "Zoé, c'est un joli nom ?",
        "Il est beau, Zoé.",
        "je m'appelle zoe, écris-moi : zoe@example.org",
        "Zoé, qu'est-ce que promettre ? Ton zoe@example.org ne me sert à rien, je suis Kant.",
        "Zoé ne sait pas",
        "Kant te le demande, ZOÉ : la zoologie promet-elle ?",
    )
    sent = [turn.text for turn in redacted(conversation).turns]
    assert sent[:2] == [turn.text for turn in conversation.turns[:2]]  # what has travelled travels again as it was
    assert sent[2:] == [
        "je m'appelle [nom], écris-moi : [courriel]",
        "[nom], qu'est-ce que promettre ? Ton [courriel] ne me sert à rien, je suis Kant.",
        "[nom] ne sait pas",
        "Kant te le demande, [nom] : la zoologie promet-elle ?",
    ]
    assert redacted(redacted(conversation)) == redacted(conversation)


def test_an_empty_talk_has_no_move() -> None:
    plan = plan_turn(talk(opening=KANT.opening))
    assert (plan.move, plan.reply, plan.lines) == (None, None, ())
