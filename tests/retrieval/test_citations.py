"""No number of a passage that was not given, no quotation that stands nowhere, however the answer is cut."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.citations import CheckedAnswer, Source, to_sources
from retrieval.passages import Passage

SUGAR = "Si je veux me préparer un verre d'eau sucrée, j'ai beau faire, je dois attendre que le sucre fonde."
LAW = "Agis de telle sorte que la maxime de ta volonté ne puisse jamais être prise pour une simple envie."
JOY = (
    "La joie est le passage de l'homme à une plus grande perfection. La tristesse, en 1677, est le passage de l'homme "
    "à une moindre perfection."
)
MELODY = "Mais alors… la durée [3] est une mélodie. La con science garde tout son passé en elle."
SOURCES = to_sources(
    [
        Passage("B1", SUGAR, "Henri Bergson", "L’Évolution créatrice", page="10", facsimile="https://gallica.bnf.fr/x"),
        Passage("K1", LAW, "Emmanuel Kant", "Critique de la raison pratique", locus="I, 1, § 7"),
        Passage("N1", "La durée ne se découpe pas comme un ruban.", "Bergson", "Essai", original=False),
    ]
)
QUOTABLE = to_sources([Passage(str(n), text) for n, text in enumerate((SUGAR, LAW, JOY, MELODY))])


def checked(text: str, sources: tuple[Source, ...] = SOURCES) -> tuple[str, CheckedAnswer]:
    answer = CheckedAnswer(sources)
    return answer.feed(text) + answer.finish(), answer


@pytest.mark.parametrize(
    ("given_text", "shown", "cited"),
    [
        ("Il faut attendre [1].", "Il faut attendre [1].", [1]),
        ("Voir [2][1] et [2].", "Voir [2][1] et [2].", [2, 1]),
        ("Voir [1, 2] et [1-3].", "Voir [1][2] et [1][2][3].", [1, 2, 3]),
        ("Il faut attendre [4].", "Il faut attendre.", []),
        ("Voir [0], [12], [1, 9] !", "Voir,, [1] !", [1]),
        ("Un mot [sic] et [a1] reste.", "Un mot [sic] et [a1] reste.", []),
        ("Une fin [1", "Une fin [1", []),
        ("Une fin [", "Une fin [", []),
        ("[ 1 ]", "[1]", [1]),
        ("[99999999999999999999]", "", []),
    ],
)
def test_markers(given_text: str, shown: str, cited: list[int]) -> None:
    text, answer = checked(given_text)
    assert (text, answer.cited) == (shown, cited)


@pytest.mark.parametrize(
    "quotation",
    [
        "je dois attendre que le sucre fonde",
        "JE DOIS ATTENDRE, que le sucre fonde !",
        "j’ai beau faire",
        "sucre",
        "Si je veux me préparer […] je dois attendre que le sucre fonde",
        "Si je veux me préparer un verre d'eau sucré, j'ai beau faire",
        "un verre d'eau sucre\u0301e",
        "… je dois attendre que le sucre fonde…",
        "Si je veux me préparer un verre d’eau […] je dois attendre",
        "La joie […] une plus grande perfection",
        "une plus grande perfection (…). LA TRISTESSE",
        "les passages de l'homme à une plus grande perfection",
        "La conscience garde tout son passé",
        "Mais alors… la durée",
        "La durée est une mélodie",
    ],
)
def test_a_quotation_that_stands_there_is_kept(quotation: str) -> None:
    text, answer = checked(f"Bergson dit : « {quotation} » [1].", QUOTABLE)
    assert f"« {quotation} »" in text
    assert answer.notices == set()


@pytest.mark.parametrize(
    "quotation",
    [
        "le temps est un grand maître",
        "La durée ne se découpe pas comme un ruban.",
        "fond",
        "je dois attendre que le sel fonde dans la mer immense",
        "la maxime de ta volonté puisse être prise pour une simple envie",
        "le sucre fonde […] la maxime de ta volonté",
        "La peur est le passage de l'homme à une plus grande perfection",
        "La joie est le passage de l'homme à une plus grande imperfection",
        "La tristesse, en 1777, est le passage de l'homme à une moindre perfection",
        "Si je veux me préparer un verre d'eau, j'ai beau faire, je dois attendre",
        "la maxime de ta volonté […] être prise pour une simple envie",
        "être prise pour une simple envie […] la maxime de ta volonté",
        "je veux … que le sucre fonde",
        "La joie est le passage de l'homme […] à une moindre perfection",
        "Si je veux … préparer un verre … sucrée, j'ai beau … je dois attendre … le sucre fonde",
        "…",
        "",
    ],
)
def test_a_quotation_that_stands_nowhere_loses_its_marks(quotation: str) -> None:
    text, answer = checked(f"Il dit : « {quotation} » [1].", QUOTABLE)
    assert "«" not in text
    assert "»" not in text
    assert quotation in text
    assert answer.notices == {"quote_unmarked"}


def test_a_quotation_without_end_loses_its_mark() -> None:
    text, answer = checked("Il dit : « je dois attendre")
    assert (text, answer.notices) == ("Il dit : je dois attendre", {"quote_unmarked"})
    text, answer = checked("« " + "mot " * 500 + "»")
    assert text.strip() == ("mot " * 500).strip()
    assert answer.notices == {"quote_unmarked"}


@pytest.mark.parametrize(("opening", "closing"), [('"', '"'), ("“", "”"), ("„", "“"), ("« ", " »")])
def test_every_kind_of_marks_is_looked_into_wherever_the_answer_is_cut(opening: str, closing: str) -> None:
    true, invented = f"{opening}je dois attendre{closing}", f"{opening}le temps est un grand maître{closing}"
    said = f"Il dit {true} [1], puis {invented}, enfin {true}."
    shown = f"Il dit {true} [1], puis le temps est un grand maître, enfin {true}."
    for place in range(len(said) + 1):
        answer = CheckedAnswer(SOURCES)
        assert answer.feed(said[:place]) + answer.feed(said[place:]) + answer.finish() == shown
        assert answer.notices == {"quote_unmarked"}


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ('Un écran de 5" et il dit "je dois attendre" ici.', "Un écran de 5 et il dit je dois attendre ici."),
        ("« il dit « je dois » attendre »", "il dit « je dois attendre »"),
        ('« je dois "attendre" que le sucre fonde »', "« je dois attendre que le sucre fonde »"),
        ('"' + "mot " * 200 + '" fin "sucre"', "mot " * 200 + ' fin "sucre"'),
    ],
)
def test_marks_that_do_not_pair_lose_no_word(said: str, shown: str) -> None:
    assert checked(said)[0] == shown


def test_a_marker_inside_a_quotation_comes_after_it_or_goes() -> None:
    assert checked("« je dois [7] attendre »")[0] == "« je dois attendre »"
    text, answer = checked("« je dois attendre [1] ».")
    assert (text, answer.cited) == ("« je dois attendre » [1].", [1])


def test_what_cannot_change_is_shown_at_once() -> None:
    answer = CheckedAnswer(SOURCES)
    assert answer.feed("Il faut") == "Il faut"
    assert answer.feed(" attendre [") == " attendre"
    assert answer.feed("1") == ""
    assert answer.feed("] !") == " [1] !"
    assert answer.feed(" « je dois") == ""
    assert answer.feed(" attendre »") == " « je dois attendre »"
    assert answer.finish() == ""


pieces = st.lists(
    st.sampled_from(
        ["[1]", "[", "]", "[2", ", 3]", "[9]", "« je dois attendre »", "«", "»", "“", "”", "„", '"', "je dois", " ",
         "\n", "a", "12", "[sic]", "…", "-"]
    )
    | st.text(max_size=5),
    max_size=20,
)  # fmt: skip


@given(pieces, st.integers(1, 7))
def test_the_cutting_changes_nothing(parts: list[str], size: int) -> None:
    whole = "".join(parts)
    at_once, first = checked(whole)
    answer = CheckedAnswer(SOURCES)
    streamed = "".join(answer.feed(whole[at : at + size]) for at in range(0, len(whole), size)) + answer.finish()
    assert streamed == at_once
    assert (answer.cited, answer.notices) == (first.cited, first.notices)


@given(pieces)
def test_no_number_and_no_quotation_is_left_that_was_not_checked(parts: list[str]) -> None:
    text, answer = checked("".join(parts))
    numbers = {int(found) for found in re.findall(r"\[(\d+)\]", text)}
    assert numbers <= {1, 2, 3}
    for found in re.finditer(r"«([^»]*)»|“([^”]*)”|„([^“]*)“|\"([^\"]*)\"", text):
        assert answer.is_quotation(found.group()[1:-1])


@given(st.text(st.characters(exclude_characters='[«“„"')))
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert checked(text)[0] == text


def test_a_source_says_where_it_stands() -> None:
    assert [source.reference for source in SOURCES] == [
        "Henri Bergson, L’Évolution créatrice, p. 10",
        "Emmanuel Kant, Critique de la raison pratique, I, 1, § 7",
        "Bergson, Essai",
    ]
    assert [source.link for source in SOURCES] == ["https://gallica.bnf.fr/x", "", ""]


def test_an_extract_is_called_one_and_a_script_is_no_link() -> None:
    (source,) = to_sources(
        [Passage("x", "Texte.", "Kant", "CRP", edition="trad. Barni (extraits)", facsimile="javascript:alert(1)")]
    )
    assert source.work == "CRP (trad. Barni (extraits))"
    assert source.link == ""


def test_a_page_is_not_said_twice() -> None:
    (source,) = to_sources([Passage("x", "Texte.", locus="chap. II, p. 168", page="168")])
    assert source.locus == "chap. II, p. 168"
