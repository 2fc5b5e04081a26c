"""The rules around an answer: card, fixed reply, an answer that is stopped, a scheme that is read."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from dialogue.conversation import Conversation, Turn
from dialogue.safety import NUMBERS
from dialogue.turn import Plan
from engines.base import Usage
from errors import TierBusy
from personas import PERSONAS
from tiers.base import Card, Done, Evaluation, Event, Scheme, SchemeRead, Token
from tiers.rules import CRISIS, ruled

KANT = PERSONAS["kant"]
END = Done("stop", Usage(completion_tokens=3))
MODUS_PONENS = "Si tu lis, alors tu sais. Or tu lis. Donc tu sais."


class Model:
    """Answers with events, and remembers whether it was asked and closed."""

    def __init__(self, *events: Event | Exception) -> None:
        self.events = events
        self.plans: list[Plan] = []
        self.closed = False

    async def __call__(self, plan: Plan) -> AsyncGenerator[Event, None]:
        self.plans.append(plan)
        try:
            for event in self.events:
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            self.closed = True


async def collect(model: Model, *texts: str) -> list[Event]:
    turns = tuple(Turn("user" if n % 2 == 0 else "assistant", text) for n, text in enumerate(texts))
    async with aclosing(ruled(Conversation(KANT, turns), model)) as events:
        return [event async for event in events]


async def test_distress_gets_the_card_and_no_model() -> None:
    model = Model(Token("Non."), END)
    assert await collect(model, "J'ai envie de mourir.") == [CRISIS, Done("stop", Usage())]
    assert model.plans == []
    assert {"3114", "119"} <= {
        one.number for one in NUMBERS if one.number in CRISIS.text and one.number in CRISIS.text_en
    }


async def test_a_theme_is_answered() -> None:
    model = Model(Token("Non."), END)
    assert await collect(model, "Le suicide est-il un acte libre ?") == [Token("Non."), END]


async def test_a_fixed_reply_needs_no_model() -> None:
    model = Model(Token("Oui."), END)
    reply, done = await collect(model, "Es-tu humain ?")
    assert isinstance(reply, Token)
    assert "je suis un programme qui imite Kant" in reply.text
    assert done == Done("stop", Usage())
    assert model.plans == []


@pytest.mark.parametrize("said", [["Tu devrais te ", "tuer", " un peu."], list("N'en parle à personne, voilà.")])
async def test_an_answer_that_urges_harm_is_stopped_before_its_last_word(said: list[str]) -> None:
    model = Model(*map(Token, said), END)
    events = await collect(model, "Suis-je libre ?")
    shown = "".join(event.text for event in events if isinstance(event, Token))
    assert shown in "".join(said)
    assert "tuer" not in shown
    assert "personne" not in shown
    assert events[-2:] == [CRISIS, Done("stop", Usage())]
    assert model.closed


async def test_philosophy_is_not_stopped() -> None:
    said = "Mourir n'est rien, dit Épicure. « Tue-toi » n'est pas une loi. Et toi ?"
    events = await collect(Model(Token(said), END), "Et la mort ?")
    assert not any(isinstance(event, Card) for event in events)


async def test_what_was_announced_is_read_at_the_end() -> None:
    scheme = Scheme("MP", "avancer", told=True)
    evaluation = Evaluation(None, "missing")
    events = await collect(Model(scheme, *map(Token, MODUS_PONENS), evaluation, END), "Je lis.")
    assert events[-3:] == [
        evaluation,
        SchemeRead("MP", "MP", 4, "", "Si « tu lis », alors « tu sais ». Or « tu lis ». Donc « tu sais »."),
        END,
    ]


async def test_nothing_is_read_in_an_answer_that_was_taken_back() -> None:
    """The other side of a wire stopped it: after its card comes `Done` alone."""
    events = await collect(Model(Scheme("MP", "avancer", told=True), Token("Si tu lis,"), CRISIS, END), "Je lis.")
    assert events[-2:] == [CRISIS, END]


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ("Si tu lis, alors tu sais. Or tu sais. Donc tu lis.", ("", 2, "consequent_affirme")),
        ("Bonjour.", ("", 0, "")),
        ("Si tu lis, alors tu sais. Or tu ne sais pas. Donc tu ne lis pas.", ("MT", 3, "")),
    ],
)
async def test_a_scheme_that_is_not_there_is_not_claimed(answer: str, read: tuple[str, int, str]) -> None:
    events = await collect(Model(Scheme("MP", "avancer", told=False), Token(answer), END), "Je lis.")
    found = next(event for event in events if isinstance(event, SchemeRead))
    assert (found.found, found.grade, found.fallacy) == read


async def test_a_conclusion_from_the_pupils_own_premises_fills_the_card() -> None:
    """A small model says the conclusion alone; its premises stand in the message."""
    scheme = Scheme("MP", "avancer", told=False)
    events = await collect(Model(scheme, Token("Donc tu sais."), END), "Si tu lis, alors tu sais. Or tu lis.")
    found = next(event for event in events if isinstance(event, SchemeRead))
    assert found.found == "MP"
    assert found.filled == "Si « tu lis », alors « tu sais ». Or « tu lis ». Donc « tu sais »."
    refused = await collect(
        Model(scheme, Token("On ne peut pas conclure que tu lis."), END), "Si tu lis, alors tu sais. Or tu sais."
    )
    assert next(event for event in refused if isinstance(event, SchemeRead)).found == ""


async def test_what_was_read_already_is_not_read_twice() -> None:
    read = SchemeRead("MP", "MP", 4, "", None)
    events = await collect(Model(Scheme("MP", "avancer", told=True), Token(MODUS_PONENS), read, END), "Je lis.")
    assert sum(isinstance(event, SchemeRead) for event in events) == 1


async def test_an_error_of_the_model_s_leaves_as_it_is() -> None:
    with pytest.raises(TierBusy):
        await collect(Model(Token("Oui"), TierBusy("full")), "Suis-je libre ?")


async def test_closing_early_closes_the_model() -> None:
    model = Model(Token("Oui "), Token("non."), END)
    async with aclosing(ruled(Conversation(KANT, (Turn("user", "Libre ?"),)), model)) as events:
        await anext(events)
    assert model.closed
