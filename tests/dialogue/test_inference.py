"""What follows from a pupil's premises: the forms, the traps that look like them, and silence in doubt."""

import json
import lzma
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogue.inference import Inference, Outcome, infer
from dialogue.premises import punctuated
from evaluation.premises import agrees

OUTCOMES = get_args(Outcome)
DATA = Path(__file__).parents[2] / "data"


@pytest.mark.parametrize(
    ("message", "scheme", "outcome", "clause"),
    [
        ("Si tu lis, alors tu sais. Or tu lis. Que conclure ?", "MP", "follows", "tu sais"),
        ("Cet acte a mûri en elle. Or, quand c'est le cas, cet acte lui ressemble.", "MP", "follows",
         "cet acte lui ressemble"),
        ("Si Léo ment, alors il perd ses amis. Or Léo perd ses amis. Donc Léo ment.", "MP", "open", "Léo ment"),
        ("si ma voisine est bonne, elle va au temple, ok. et justement ma voisine va au temple", "MP", "open",
         "ma voisine est bonne"),
        ("Si la joie grandit, alors la force grandit. Or la force ne grandit pas.", "MT", "false", "la joie grandit"),
        ("Si cette loi est juste, alors elle sert la paix. Or cette loi n'est pas juste.", "MT", "open_contrary",
         "elle sert la paix"),
        ("Si on perd sa place, alors on ne peut rien dire. Or « on ne peut rien dire » est faux.", "MT", "false",
         "on perd sa place"),
        ("Si le vent se lève, alors la mer monte. Si la mer monte, alors le port ferme.", "SH", "follows",
         "si le vent se lève, alors le port ferme"),
        ("Si la mer monte, le port ferme. Si le vent se lève, la mer monte.", "SH", "follows",
         "si le vent se lève, alors le port ferme"),
        ("Si on hait un rival, alors on imagine sa perte. Si on hait un rival, alors on dort mal.", "SH", "open",
         "si on imagine sa perte, alors on dort mal"),
        ("Ou la gare est fermée, ou le train roule. Or la gare n'est pas fermée.", "SD", "follows", "le train roule"),
        ("Ou la gare est fermée, ou le train roule, ou encore le bus passe. Or la gare n'est pas fermée.", "SD", "open",
         "le train roule"),
        ("Ou ce règlement est utile, ou il est équitable, sans que l'un empêche l'autre. Or ce règlement est utile.",
         "SD", "open_contrary", "il est équitable"),
        ("Ou le soleil brille, ou l'étoile luit. Le second cas est exclu.", "SD", "follows", "le soleil brille"),
        ("Ou tu parles, ou tu dors. Si tu parles, tu prends parti. Si tu dors, tu prends parti. Que dit le dilemme ?",
         "DI", "follows", "tu prends parti"),
        ("Ou Léon lit, ou il joue. S'il lit, il reste sous tutelle. S'il joue, il rit.", "DI", "open",
         "il reste sous tutelle"),
        ("Ou le blé est bon, ou il est mauvais. S'il est bon, on prie. S'il est mauvais, c'est pareil.",
         "DI", "follows", "on prie"),
        ("Si les cigales chantent, il ne dort pas. Si elles ne chantent pas, il ne dort pas non plus. Ce dilemme ?",
         "DI", "follows", "il ne dort pas"),
        ("Le roi peut partir, mentir ou se taire. S'il part, il perd. S'il ment, il perd aussi. Que dit le dilemme ?",
         "DI", "open", "il perd"),
        ("Quand on comprend sa peur, on n'en est plus l'esclave. Et quand on n'en est plus l'esclave, on rit. Alors ?",
         "SH", "follows", "si on comprend sa peur, alors on rit"),
        ("Supposons que la tristesse rende fort. Alors, abattu, on agit mieux. Or, abattu, on n'agit pas mieux.",
         "RA", "false", "la tristesse rende fort"),
        ("Par l'absurde : supposons que la paix soit impossible. Alors l'avenir est sombre. Est-ce une preuve ?",
         "RA", "open_contrary", "la paix soit impossible"),
        ("« Tout vin rend fou » et « Quelque vin ne rend pas fou » s'opposent. Or le vin de messe ne rend pas fou.",
         "OP", "false", "Tout vin rend fou"),
        ("« Tout homme dort » est fausse. Que vaut « Quelque homme ne dort pas » ?", "OP", "follows",
         "Quelque homme ne dort pas"),
        ("Il est faux que toute rumeur soit vraie. Donc aucune rumeur n'est vraie.", "OP", "open",
         "aucune rumeur n'est vraie"),
    ],
)  # fmt: skip
def test_the_forms_are_read(message: str, scheme: str, outcome: str, clause: str) -> None:
    found = infer(message)
    assert found is not None
    assert (found.scheme, found.outcome, found.clause) == (scheme, outcome, clause)


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("si jsuis malade je reste chez moi, sauf que jsuis malade. du coup",
         "Schéma : modus ponens. Il suit : « je reste chez moi »."),
        ("mes parents sont pas riches. or si ils etaient riches ils seraient heureux. du coup ils sont pas heureux",
         "Schéma : modus tollens. Ne suit pas le contraire de : « ils seraient heureux »."),
        ("si on perd samedi, on descend, et si on descend, je quitte le club. ça donne quoi ?",
         "Schéma : syllogisme hypothétique. Il suit : « si on perd samedi, alors je quitte le club »."),
        ("Tous les hommes cherchent la gloire. Sauf que cet homme ne cherche pas la gloire. Que devient la règle ?",
         "Schéma : opposition. Est faux : « Tous les hommes cherchent la gloire »."),
        ("si tu dors tu rêves. quelqu'un dit que tu dors, alors ?", ""),  # said, not granted
        ("Quand on parle de temps ça désigne l'horloge ou bien la durée. L'horloge, elle ne dure pas.", ""),
    ],
)  # fmt: skip
def test_a_pupils_own_punctuation(message: str, line: str) -> None:
    assert premises_line(message) == line


@given(st.text("sioutelaqu n'?,.:; ", max_size=120))
def test_punctuation_changes_no_letter(text: str) -> None:
    letters = str.maketrans("", "", " .,:;\n'")
    assert punctuated(text).translate(letters) == text.translate(letters)


def test_a_distinction_limits_a_thesis_to_one_sense() -> None:
    found = infer("« Image » a deux sens : trace du corps, ou idée. « L'image affirme une chose » vaut pour le second.")
    assert found == Inference("DS", "limited", "L'image affirme une chose", "idée")
    assert found.line == "Schéma : distinction. Ne vaut que pour « idée » : « L'image affirme une chose »."


@pytest.mark.parametrize(
    "message",
    [
        "Qu'est-ce que la liberté ?",
        "Je suis d'accord, mais si tout est déterminé, alors je ne choisis rien.",
        "Si je suis libre, je suis responsable. Mais suis-je libre ?",
        "quand tu rates on dit que t'es en échec, comme si t'étais plus rien",
        "Soit on est libre, soit on est des robots. Je ne suis pas un robot, donc je suis libre.",  # a third case?
        "Ou je me venge, ou je me tais. Si je me venge, je souffre. Si je me tais, je souffre. Donc je souffre.",
        "Si le ciel est clair, alors la nuit est froide. Or mon chien dort.",
        "Imagine que tu as une poupée. Tu peux la tourner. Tu ne peux pas la casser.",
        "Je me demande si la loi est juste. La loi est juste.",
        "Si ce contrat n'était pas juste, Lucie aurait refusé de le signer. Or elle l'a signé. Et alors ?",
        "Si on n'a pas peur du vide, on passe ce pont sans trembler. Or Ruben tremblait en le passant.",
        "Si on calcule juste, on trouve 12. Si on trouve 21, on a inversé les chiffres. Que donne la chaîne ?",
        "Ou le pilote parle, ou il se tait. S'il parle, les passagers s'inquiètent. S'il se tait, ça les inquiète.",
        "Le dilemme : si on triche, on aura honte. Si on perd, on aura honte aussi. Alors ?",  # or neither
        "Supposons que l'esclave n'ait aucun droit. Alors c'est une chose. Or on le juge s'il vole, et il ment.",
        "Supposons que chacun change les règles. Alors il n'y a plus de jeu. Or il y en a un. Que prouve-t-on ?",
        "",
    ],
)
def test_nothing_is_said_where_it_is_not_sure(message: str) -> None:
    assert premises_line(message) == ""


def premises_line(message: str) -> str:
    found = infer(message)
    return found.line if found else ""


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("scheme", ["MP", "MT", "SH", "SD", "DI", "RA", "OP", "DS"])
def test_every_outcome_is_said_in_whole_sentences_that_end_by_asking(scheme: str, outcome: Outcome) -> None:
    if (scheme == "DS") != (outcome == "limited"):
        return
    for clause in ("tout passe", "je pense", "si tout passe, alors rien ne reste", "s'il pleut, alors il dort"):
        said = Inference(scheme, outcome, clause, "au sens propre").spoken
        assert clause in said
        assert said.endswith(" ?")
        assert said.count("?") == 1
        assert not re.search(r"[{}]| ,|\.\.|  |Donc ,", said)
    # A conclusion is the premises', in the pupil's words, and never the philosopher's own.
    assert Inference("MP", "follows", "je pense").spoken.startswith("Donc, d'après tes prémisses : « je pense ».")
    assert Inference("MT", "false", "tout dort").spoken.startswith(
        "Donc, d'après tes prémisses, ceci est faux : « tout"
    )


@given(st.text(max_size=300))
def test_no_text_breaks_it(text: str) -> None:
    found = infer(text)
    assert found is None or found.clause.strip()


CLAUSES = st.sampled_from(["la mer monte", "le port ferme", "Rose gagne", "le train part", "la loi change"])


@given(p=CLAUSES, q=CLAUSES)
def test_a_condition_and_its_fact_conclude_whatever_they_are_about(p: str, q: str) -> None:
    if p == q:
        return
    assert infer(f"Si {p}, alors {q}. Or {p}.") == Inference("MP", "follows", q)
    assert infer(f"Si {p}, alors {q}. Or {q}.") == Inference("MP", "open", p)
    assert infer(f"Ou {p}, ou {q}. Or il est faux que {p}.") == Inference("SD", "follows", q)


def exercises() -> list[tuple[str, str, str]]:
    """Question, conclusion and split of each exercise of the dataset."""
    found = []
    for name in ("base", "augmented"):
        for line in (DATA / f"schemes_levelA_{name}.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row["form"] != "dialogue":
                asked = next(one["content"] for one in row["messages"] if one["role"] == "user")
                found.append((asked, row["conclusion"], row["split"]))
    return found


def test_on_the_dataset_it_is_right_where_it_speaks() -> None:
    """The rules were written with the training split in view; the test split tells."""
    for split, least in (("train", 0.99), ("test", 0.97)):
        read = [(infer(asked), due) for asked, due, where in exercises() if where == split]
        spoken = [agrees(found, due) for found, due in read if found]
        assert len(spoken) >= 0.5 * len(read), "half of the schemes are deductive: they can be read"
        assert sum(spoken) >= least * len(spoken)


def packed(name: str) -> list[dict[str, Any]]:
    content = lzma.decompress((DATA / f"eval/premises_{name}.jsonl.xz").read_bytes())
    return [json.loads(line) for line in content.decode("utf-8").splitlines()]


@pytest.mark.parametrize(("half", "n", "right", "wrong"), [("tune", 72, 27, 1), ("judge", 80, 47, 2)])
def test_on_messages_of_another_hand_it_is_silent_rather_than_wrong(half: str, n: int, right: int, wrong: int) -> None:
    """Written without a look at the rules; the half « judge » was never read, only counted."""
    rows = packed(half)
    assert [row["id"] for row in rows if row["scheme"] is None and infer(row["message"])] == []
    with_premises = [row for row in rows if row["scheme"]]
    said = [agrees(found, row["due"]) for row in with_premises if (found := infer(row["message"]))]
    assert len(with_premises) == n
    assert sum(said) >= right
    assert len(said) - sum(said) <= wrong


def test_what_once_misled_it_seldom_does_now() -> None:
    """Messages found by whoever looked for those on which an earlier version was wrong."""
    rows = packed("hard")
    assert len(rows) == 320
    assert sum(infer(row["message"]) is not None for row in rows) <= 42


@pytest.mark.parametrize(
    "message",
    [
        "Si Dieu existe, je suis libre. Mais je ne suis pas sûr.",
        "Si elle me quitte, je vais craquer. Je vais pas bien.",
        "S'il te plaît, ne me juge pas. Tout le monde me juge.",
        "Si je comprends bien, vous dites que tout est déterminé. Or tout n'est pas déterminé.",
        "Je ne réussis que si je travaille. Or je travaille.",
        "Si mon copain me trompe, je le quitte. J'ai peur qu'il me trompe.",
        "Si l'homme est libre, il est responsable. Or l'homme est peut-être libre.",
        "Tous les chats sont gris. Mon chien n'est pas gris.",
        "Soit Tom a volé, soit Léa a volé. La mère de Léa n'a pas volé.",
        "Mon prof suppose que je triche. Je ne triche pas. Mon voisin triche.",
        "Si je mens, je suis puni. Non je ne mens pas, je suis sage.",
        "Si je suis libre, je suis heureux. Mon chat est libre.",
        "Si on travaille, on réussit. Moi je travaille, mais je ne réussis pas.",
    ],
)
def test_one_word_in_common_is_no_premise(message: str) -> None:
    found = infer(message)
    assert found is None or found.outcome == "open_contrary"  # « non, je ne mens pas » proves nothing of being punished


CHANCE = "Si le hasard existe, la science se trompe."
NOT_FREE = "si je suis libre je suis responsable."


@pytest.mark.parametrize(
    "message",
    [
        # Doubted, denied or reported by the words around it.
        f"{CHANCE} Or il est impossible que le hasard existe.",
        f"{CHANCE} Or il est possible que le hasard existe.",
        f"{CHANCE} Or il n'est pas évident que le hasard existe.",
        f"{CHANCE} Or je ne suis plus sûr que le hasard existe.",
        f"{CHANCE} Or il nie que le hasard existe.",
        f"{CHANCE} Or on dit souvent que le hasard existe.",
        f"{CHANCE} Or personne n'admet que le hasard existe.",
        "Peut-être que le hasard existe. Si c'est le cas, rien n'est certain.",
        "Je doute que le hasard existe. Si c'est le cas, rien n'est certain.",
        "Imaginons que le monde soit un rêve. Si c'est le cas, rien n'est réel.",
        # Something else is said of the case, or of another thing.
        "Tous les hommes sont libres. Or cet homme n'est pas heureux.",
        "« Tout homme est libre », dit Sartre. Or cet homme n'est pas heureux.",
        "« Tout homme est libre », dit Sartre. Or Dieu n'est pas libre.",
        "Tous les hommes sont mortels. Or cet homme n'est pas mort.",
        "Tous les hommes sont libres. Peut-être que cet homme n'est pas libre.",
        "Si l'État respecte nos droits, il est juste. Or l'État bafoue nos droits.",
        "Si les hommes sont naturellement bons, la société les corrompt. Or les hommes sont naturellement méchants.",
        "Supposons que l'homme soit libre. Alors il choisit ses actes. Mais il ne choisit pas ses désirs.",
        "Si tu me mens, je pars. Or je te mens.",
        "Si tu triches, je te dénonce. Or je triche.",
        # A duty, a possibility, a part.
        "Si on est citoyen, on doit voter. Or Paul ne vote pas.",
        "Si on travaille, on peut réussir. Or je ne réussis pas.",
        "Si on travaille, on réussit. Or on peut travailler.",
        "Si tous les hommes sont égoïstes, la morale est vaine. Or certains hommes sont égoïstes.",
        # Two branches: one is asserted, one is none of the alternative's, one ends otherwise.
        "Soit on obéit, soit on résiste. Si on obéit, on perd sa place. Si on résiste, on risque sa vie. Or on obéit.",
        "Soit on obéit, soit on se révolte. Si on obéit, on perd sa liberté. Si on fuit, on perd sa liberté.",
        "Soit je lis, soit je joue. Si je lis, je progresse. Si je joue, je ris aussi.",
        "Si on aime, on souffre. Si on aime, on espère. Or on aime.",
        # A rule that is denied, or two in one.
        "Il est faux que si on est riche, on est heureux. Or Tom est riche.",
        "Il est faux que soit on obéit, soit on se révolte. Or on n'obéit pas.",
        "S'il pleut, je reste, sinon je sors. Or il ne pleut pas.",
        # Asked, however it is typed.
        "Si je suis libre, je suis responsable. Mais je suis libre ?!",
        f"{NOT_FREE} or est ce que je suis libre",
        f"{NOT_FREE} mais suis je libre",
        f"{NOT_FREE} du coup est-ce que je suis libre",
        "Est-ce que « Toute loi est juste » est vraie ? Et « Quelque loi n'est pas juste » ?",
        "« On peut mentir » a deux sens : être capable ou avoir le droit. Ce n'est pas vrai pour le second.",
        "Il est faux que tout homme soit égoïste. Il n'y a aucun doute.",
    ],
)
def test_what_is_not_granted_is_no_premise(message: str) -> None:
    assert premises_line(message) == ""


ALL_SELFISH = "Si tous les hommes sont égoïstes, la morale est vaine."
ALL_HAPPY = "Si Dieu est juste, tous les hommes sont heureux."
SPEAK = "Soit je parle, soit je me tais. Si je parle, je perds mon ami."


@pytest.mark.parametrize(
    "message",
    [
        # A limit or a reason is denied, not what stands there.
        "Si je suis libre, je n'obéis qu'à ma raison. Or j'obéis à ma raison.",
        "Si l'art n'est qu'un jeu, il est inutile. Or l'art n'est pas qu'un jeu.",
        "Si on est libre, on obéit à sa raison. Or on n'obéit pas qu'à sa raison.",
        "Si j'aide un ami, ce n'est pas parce que c'est mon devoir. Or c'est mon devoir.",
        "Si je suis libre, je réussis. Or je ne réussis pas parce que j'ai de la chance.",
        # An adverb is denied, not the verb.
        "Si on est libre, on est heureux. Or on n'est pas forcément heureux.",
        "Si on est libre, on est heureux. Or il est faux qu'on soit toujours heureux.",
        "Si je connais la loi, je ne respecte pas forcément la loi. Or je respecte la loi.",
        "Si je suis sage, je ne suis pas toujours heureux. Or je suis heureux.",
        "Tous les hommes cherchent le bonheur. Or cet homme ne cherche pas seulement le bonheur.",
        "On n'est pas forcément libre. Or, quand c'est le cas, on est heureux.",
        # One or some for all, not all for none.
        f"{ALL_SELFISH} Or il y a des hommes égoïstes.",
        f"{ALL_SELFISH} Or un homme est égoïste.",
        f"{ALL_SELFISH} Or cet homme est égoïste.",
        "Si rien n'est vrai, on ne peut rien savoir. Or tout n'est pas vrai.",
        "Si aucun homme n'est libre, la justice est vaine. Or tous les hommes ne sont pas libres.",
        "Si Dieu est bon, les hommes sont heureux. Or les hommes ne sont pas tous heureux.",
        # A date, a politeness.
        "Quand j'étais petit, j'aimais l'école. Maintenant je n'aime plus l'école.",
        "Quand j'habitais à Lyon, j'aimais l'école. Maintenant je n'aime plus l'école.",
        "Quand elle est partie, j'ai pleuré. Maintenant je ne pleure plus.",
        "Si j'ai bien compris, on n'est pas libre. Pourtant je suis libre.",
        "Si j'ai compris, on n'est pas libre. Pourtant je suis libre.",
        # Another thing is said of the same subject, or the same thing of another.
        "Si l'État domine, le peuple souffre. Si le peuple domine, tout le monde est libre.",
        f"{SPEAK} Si je me tais, je perds aussi mon honneur.",
        f"{SPEAK} Si je me tais, je blesse aussi mon ami.",
        # More is said of the case than the law says.
        "Tous les hommes ont des droits. Or cet homme n'a pas le droit de voter.",
        "Tous les hommes sont libres. Or cet homme n'est pas libre de partir.",
        "Tous les hommes sont libres. Or il est faux que cet homme soit libre de partir.",
    ],
)
def test_what_says_less_or_something_else_is_no_premise(message: str) -> None:
    assert premises_line(message) == ""


@pytest.mark.parametrize(
    ("message", "scheme", "outcome", "clause"),
    [
        ("Si je suis libre, je n'obéis qu'à ma raison. Or je suis libre.", "MP", "follows",
         "je n'obéis qu'à ma raison"),
        ("Si l'art n'est qu'un jeu, il est inutile. Or l'art n'est qu'un jeu.", "MP", "follows", "il est inutile"),
        ("Si Dieu existe, on est entièrement déterminé. Or on n'est pas entièrement déterminé.", "MT", "false",
         "Dieu existe"),
        ("Si je suis sage, je ne suis pas toujours heureux. Or je suis toujours heureux.", "MT", "false",
         "je suis sage"),
        ("Tous les hommes sont entièrement libres. Or cet homme n'est pas entièrement libre.", "OP", "false",
         "Tous les hommes sont entièrement libres"),
        (f"{ALL_SELFISH} Or chaque homme est égoïste.", "MP", "follows", "la morale est vaine"),
        (f"{ALL_HAPPY} Or tous les hommes ne sont pas heureux.", "MT", "false", "Dieu est juste"),
        (f"{ALL_HAPPY} Or cet homme n'est pas heureux.", "MT", "false", "Dieu est juste"),
        ("Si rien n'est vrai, on ne peut rien savoir. Or rien n'est vrai.", "MP", "follows", "on ne peut rien savoir"),
        ("Quand j'ai faim, je mange. Or j'ai faim.", "MP", "follows", "je mange"),
        ("Quand il fait mauvais, je reste. Or il fait mauvais.", "MP", "follows", "je reste"),
        ("Si j'ai compris la leçon, je réussis. Or j'ai compris la leçon.", "MP", "follows", "je réussis"),
        ("Si le peuple domine, le peuple souffre. Si le peuple souffre, tout le monde est malheureux.", "SH", "follows",
         "si le peuple domine, alors tout le monde est malheureux"),
        (f"{SPEAK} Si je me tais, je le perds aussi.", "DI", "follows", "je perds mon ami"),
        ("Tous les hommes sont libres. Or cet homme n'est pas libre.", "OP", "false", "Tous les hommes sont libres"),
        ("Tous les vins rendent fou. Or ce vin de messe ne rend pas fou.", "OP", "false", "Tous les vins rendent fou"),
    ],
)  # fmt: skip
def test_what_is_denied_or_said_of_all_alike_still_concludes(
    message: str, scheme: str, outcome: str, clause: str
) -> None:
    found = infer(message)
    assert found is not None
    assert (found.scheme, found.outcome, found.clause) == (scheme, outcome, clause)


@pytest.mark.parametrize(
    ("fact", "line"),
    [
        ("nul ne nie que le hasard existe", "Il suit : « la science se trompe »."),
        ("je sais bien que le hasard existe", "Il suit : « la science se trompe »."),
        ("il est faux de dire que le hasard existe", "Ne suit pas le contraire de : « la science se trompe »."),
    ],
)
def test_the_words_around_a_fact_grant_it_or_deny_it(fact: str, line: str) -> None:
    assert premises_line(f"{CHANCE} Or {fact}.").endswith(line)


def test_pupils_who_talk_set_out_no_premises() -> None:
    said = [
        exchange["pupil"]
        for file in sorted((DATA / "dialogues").glob("*.jsonl"))
        for line in file.read_text(encoding="utf-8").splitlines()
        for exchange in json.loads(line)["exchanges"]
    ]
    assert len(said) > 1000
    assert [text for text in said if infer(text)] == []
