"""What French says in its own ways is found, copies are found, and nothing else is."""

import random
from datetime import date

import pytest
from rapidfuzz import fuzz

from corpus.check import plain
from corpus.server.french_facts import amounts, dates
from corpus.server.targets import Finding
from corpus.server.texts import NEAR_CASE, Copies, Fact, is_arguable, refuse_unfit, says
from errors import CorpusError


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("12 500 € et 3 enfants", {12500, 3}),
        ("12.500,50 euros", {12500.5}),
        ("12'500 francs", {12500}),
        ("1250.75", {1250.75}),
        ("120k€, 80 k, 3M€, 1,5 million", {120000, 80000, 3_000_000, 1_500_000}),
        ("12 kg", {12}),
        ("en 2012 250 000 euros", {2012, 250000}),
        ("deux cent quatre-vingt mille euros", {280000}),
        ("quatre-vingt-dix-neuf ans", {99}),
        ("soixante et onze ans, vingt et un ans", {71, 21}),
        ("vingt mille et trente mille", {20000, 30000}),
        ("vingt mille, trente mille", {20000, 30000}),
        ("un million deux cent mille trois cents", {1_200_300}),
        ("mille cent francs", {1100}),
        ("un frère et une sœur", set()),
        ("", set()),
    ],
)
def test_amounts(text: str, said: set[float]) -> None:
    assert amounts(text) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("le 1er août 2024", {date(2024, 8, 1)}),
        ("le 9 févr. 2021", {date(2021, 2, 9)}),
        ("09/03/24, 9-3-1950", {date(2024, 3, 9), date(1950, 3, 9)}),
        ("2024-02-29", {date(2024, 2, 29)}),
        ("le 31/02/2024", set()),
        ("en mars 2024", set()),
    ],
)
def test_dates(text: str, said: set[date]) -> None:
    assert dates(text) == said


@pytest.mark.parametrize(
    ("text", "fact", "said"),
    [
        ("Jean, mon cousin Dupont", Fact("$", "name", "Jean Dupont"), True),
        ("mon cousin Dupnot", Fact("$", "name", "Dupont"), True),  # two letters exchanged
        ("mon cousin Dupond", Fact("$", "name", "Dupont"), True),
        ("ma tante Léo", Fact("$", "name", "Léa"), False),  # too short for a slip
        ("je suis sa veuve", Fact("$", "role", "conjoint survivant|veuve|veuf"), True),
        ("je suis sa voisine", Fact("$", "role", "conjoint survivant|veuve|veuf"), False),
        ("quatre-vingts ans", Fact("$", "amount", "80"), True),
    ],
)
def test_facts(text: str, fact: Fact, said: bool) -> None:
    assert says(text, fact) is said


def test_copies_are_those_that_the_whole_comparison_finds() -> None:
    """Counting letters first leaves none out."""
    chance = random.Random(4)  # noqa: S311
    words = "mère père maison dette 12 500 testament notaire frère sœur Léa vente 2024 œuvre compte".split()
    kept = [" ".join(chance.choices(words, k=chance.randrange(20, 40))) for _ in range(600)]
    copies = Copies(kept)
    assert len(copies) == 600
    plains = [plain(one) for one in kept]
    near = 0
    for text in kept[:60]:
        letters = list(text)
        for _ in range(chance.randrange(1, 30)):
            letters[chance.randrange(len(letters))] = chance.choice("abcdé ")
        changed = "".join(letters)
        best = max(fuzz.ratio(plain(changed), one) for one in plains)
        found = copies.near(changed)
        assert (found is not None) is (best >= NEAR_CASE)
        near += found is not None
    assert 5 < near < 60
    assert copies.near(kept[0].upper()) == Finding("duplicate", "$", "this text was already sent; write another.")
    assert copies.near(f"{kept[0]} vente", since=600) is None


@pytest.mark.parametrize(
    ("text", "code"),
    [("\n ", "empty_text"), ("a" * 20_001, "too_long"), ("Voici :\n```\nLe cas.\n```", "fenced_text")],
)
def test_no_text_of_a_case(text: str, code: str) -> None:
    with pytest.raises(CorpusError) as caught:
        refuse_unfit(text)
    assert caught.value.code == code


def test_only_a_few_missing_facts_can_be_argued_about() -> None:
    facts = [Fact(f"$.{number}", "name", "Léa") for number in range(6)]
    missing = [Finding("missing_fact", one.path, "") for one in facts]
    assert is_arguable(missing[:2], facts)
    assert not is_arguable(missing[:3], facts)
    assert is_arguable(missing[:1], facts[:1])
    assert not is_arguable([*missing[:1], Finding("not_french", "$", "")], facts)
