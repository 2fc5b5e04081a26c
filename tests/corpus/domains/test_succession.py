"""The law that succession targets keep to, case by case; and that the generator draws it right."""

import random
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from benchmarks.domains import cells
from corpus.domains.succession.amounts import amount_on, amounts, bounds_on, read_amounts
from corpus.domains.succession.case import Case, age_on, months_after
from corpus.domains.succession.estate import INTERNATIONAL_LAW
from corpus.domains.succession.family import Family, shares_of
from corpus.domains.succession.luck import Luck
from corpus.domains.succession.said import WAYS, says_share, ways
from corpus.domains.succession.topics import BLOCKS, DEMANDS, HOLDS, NONE
from corpus.server.domain import load_domain
from corpus.server.sampler import Sampler
from corpus.server.texts import Said
from errors import CorpusError

DOMAIN = load_domain("succession")
CELL = {
    "persona": "enfant", "voice": "je", "form": "courriel", "typos": "sans", "abbreviations": "sans",
    "ambiguity": "claire", "numbers": "beaucoup", "complexity": "complexe", "topic": "testament", "second_topic": NONE,
}  # fmt: skip
OPEN = "acceptant_pur_et_simple"


def chance(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311  a choice, not a secret


def heir(number: int, link: str, status: str = OPEN, **more: Any) -> dict[str, Any]:
    return {"id": f"H{number}", "lien": link, "statut": status, **more}


def codes(**parts: Any) -> list[str]:
    """The findings of a small case."""
    return [one.code for one in DOMAIN.findings({"defunt": {"prenom": "Odile"}, "demandes": ["parts"], **parts})]


SPOUSE = {"lien": "conjoint_survivant"}
CHILD = heir(1, "enfant")
GIVEN = {"id": "B1", "type": "terrain", "origine": "donation"}


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        # orders (734, 757-1 to 757-3)
        ({"heritiers": [CHILD, heir(2, "mere")]}, ["R11"]),
        ({"heritiers": [heir(1, "enfant", "predecede"), heir(2, "mere")]}, []),
        ({"heritiers": [heir(1, "mere"), heir(2, "frere")]}, []),
        ({"heritiers": [heir(1, "soeur"), heir(2, "grand_parent")]}, ["R11"]),
        ({"conjoint": SPOUSE, "heritiers": [heir(1, "pere"), heir(2, "mere")]}, []),
        ({"conjoint": SPOUSE, "heritiers": [heir(1, "frere")]}, ["R11"]),
        ({"conjoint": SPOUSE, "heritiers": [heir(1, "frere")], "biens": [GIVEN]}, []),
        ({"conjoint": SPOUSE, "heritiers": [heir(1, "frere"), heir(2, "mere")], "biens": [GIVEN]}, ["R11"]),
        ({"conjoint": SPOUSE, "heritiers": [heir(1, "cousin")], "biens": [GIVEN]}, ["R11"]),
        ({"conjoint": {"lien": "concubin"}, "heritiers": [heir(1, "frere")]}, []),
        # the spouse's option (757, 1094-1)
        ({"conjoint": {**SPOUSE, "option": "usufruit_totalite"}, "heritiers": [CHILD]}, []),
        ({"conjoint": {**SPOUSE, "option": "usufruit_totalite"}, "heritiers": [{**CHILD, "filiation": "autre_lit"}]},
         ["R04"]),
        ({"conjoint": {**SPOUSE, "option": "donation_epoux_usufruit_total", "donation_entre_epoux": True},
          "heritiers": [{**CHILD, "filiation": "autre_lit"}]}, []),
        ({"conjoint": {**SPOUSE, "option": "quart_pleine_propriete"}, "heritiers": [heir(1, "mere")]}, ["R03"]),
        ({"conjoint": {"lien": "partenaire_pacs", "option": "non_exercee"}}, ["R02"]),
        ({"defunt": {"situation_matrimoniale": "separe_de_corps"}, "conjoint": SPOUSE}, []),
        ({"defunt": {"situation_matrimoniale": "divorce"}, "conjoint": SPOUSE}, ["R02"]),
        # representation (751 to 755)
        ({"heritiers": [heir(1, "enfant", "renoncant", represente_par=["H2"]),
                        heir(2, "petit_enfant", represente="H1")]},
         []),
        ({"heritiers": [heir(1, "frere", "indigne", represente_par=["H2"]), heir(2, "niece", represente="H1")]}, []),
        ({"heritiers": [heir(1, "frere", "predecede", represente_par=["H2"]),
                        heir(2, "petit_enfant", represente="H1")]},
         ["R08", "R08"]),
        # the disposable share (913, 914-1)
        ({"heritiers": [CHILD, heir(2, "enfant")], "reserve": {"quotite_disponible": "1/3"}}, []),
        ({"heritiers": [CHILD, heir(2, "enfant", "renoncant")], "reserve": {"quotite_disponible": "1/2"}}, []),
        ({"heritiers": [CHILD, heir(2, "enfant", "predecede", represente_par=["H3"]),
                        heir(3, "petit_enfant", represente="H2")], "reserve": {"quotite_disponible": "1/3"}}, []),
        ({"heritiers": [heir(n, "enfant") for n in range(1, 6)], "reserve": {"quotite_disponible": "1/4"}}, []),
        ({"conjoint": SPOUSE, "reserve": {"quotite_disponible": "3/4"}}, []),
        ({"heritiers": [heir(1, "mere")], "reserve": {"quotite_disponible": "3/4"}}, ["R30"]),
        # the times of 771 and 772; who is a minor
        ({"defunt": {"date_deces": "2023-10-31"}, "heritiers": [{**CHILD, "sommation": "2024-02-29"}]}, []),
        ({"defunt": {"date_deces": "2023-10-31"}, "heritiers": [{**CHILD, "sommation": "2024-02-28"}]}, ["R20"]),
        ({"heritiers": [{**CHILD, "age": 17, "mineur": True, "protection": "curatelle"}]}, ["R26"]),
        ({"heritiers": [{**CHILD, "age": 18, "mineur": True}]}, ["R26"]),
        # undivided ownership (815-3, 815-5-1)
        ({"heritiers": [{**heir(n, "enfant"), "quote_part": "1/2"} for n in (1, 2)],
          "indivision": {"indivisaires": ["H1", "H2"], "majorite_deux_tiers": True}}, ["R29"]),
        ({"heritiers": [{**heir(n, "enfant"), "quote_part": "1/3"} for n in (1, 2, 3)],
          "indivision": {"indivisaires": ["H1", "H2", "H3"], "majorite_deux_tiers": True}}, []),
        # what the schema says without a number
        ({"conjoint": {"lien": "concubin", "occupe_logement": True, "droit_logement": "temporaire_un_an"}}, ["schema"]),
        ({"biens": [{"id": "B1", "type": "terrain", "qualification": "indivis"}]}, ["schema"]),
        ({"defunt": {"date_deces": "2026-02-30"}}, ["schema"]),
    ],
)  # fmt: skip
def test_the_law_in_small_cases(parts: dict[str, Any], found: list[str]) -> None:
    assert codes(**parts) == found


def test_a_schema_fault_says_why() -> None:
    target = {"defunt": {"situation_matrimoniale": "veuf", "contrat_de_mariage": True}, "demandes": ["parts"]}
    (found,) = DOMAIN.findings(target)
    assert (found.code, found.path) == ("R05", "$.defunt")
    assert found.message == "a matrimonial regime, its clauses and its contract are for who was married."


def family(shape: str, *heirs: dict[str, Any], **spouse: str) -> Family:
    return Family(Luck(chance(0), 1, 1), frozenset(), 3, shape=shape, heirs=list(heirs), spouse=spouse)


@pytest.mark.parametrize(
    ("who", "shares"),
    [
        (family("descendants", CHILD, heir(2, "enfant")), ["1/2", "1/2"]),
        (family("descendants", CHILD, heir(2, "enfant", "predecede", represente_par=["H3", "H4"]),
                heir(3, "petit_enfant"), heir(4, "petit_enfant")), ["1/2", "1/4", "1/4"]),
        (family("descendants", CHILD, heir(2, "enfant", "renoncant")), ["1"]),
        (family("descendants", CHILD, heir(2, "enfant"), lien="conjoint_survivant", option="quart_pleine_propriete"),
         ["3/8", "3/8"]),
        (family("descendants", CHILD, lien="conjoint_survivant", option="usufruit_totalite"), []),
        (family("parents", heir(1, "pere"), heir(2, "mere"), lien="conjoint_survivant"), ["1/4", "1/4"]),
        (family("parents", heir(1, "pere"), heir(2, "mere")), ["1/2", "1/2"]),
        (family("collaterals", heir(1, "mere"), heir(2, "frere"), heir(3, "soeur")), ["1/4", "3/8", "3/8"]),
        (family("collaterals", heir(1, "pere"), heir(2, "mere"), heir(3, "soeur")), ["1/4", "1/4", "1/2"]),
        (family("collaterals", heir(1, "frere"), heir(2, "soeur", "predecede", represente_par=["H3"]),
                heir(3, "niece")),
         ["1/2", "1/2"]),
        (family("far", heir(1, "cousin")), []),
    ],
)  # fmt: skip
def test_shares_are_the_laws(who: Family, shares: list[str]) -> None:
    found = shares_of(who)
    assert list(found.values()) == [Fraction(one) for one in shares]
    assert sum(found.values()) <= 1


def test_every_possible_pair_of_topics_has_targets() -> None:
    for topic in HOLDS:
        for second in (*HOLDS, NONE):
            if frozenset({("topic", topic), ("second_topic", second)}) in DOMAIN.forbidden:
                continue
            for form in ("courriel", "recherche"):
                cell = {**CELL, "topic": topic, "second_topic": second, "form": form, "complexity": "simple"}
                target = DOMAIN.pack.generate(cell, chance(1))
                assert DOMAIN.pack.rule_findings(target) == []
                assert DOMAIN.pack.alignment(target, cell) == []


@pytest.mark.parametrize("second", ["conjoint_option", "regime_matrimonial"])
def test_impossible_topics_are_named(second: str) -> None:
    with pytest.raises(CorpusError, match=f"pacs_concubinage with {second}: .*forbid the pair"):
        DOMAIN.target({**CELL, "topic": "pacs_concubinage", "second_topic": second}, chance(1))
    assert frozenset({("topic", second), ("second_topic", "pacs_concubinage")}) in DOMAIN.forbidden


def test_the_default_plan_of_five_thousand_can_be_met() -> None:
    sampler = Sampler(DOMAIN.plan(5000), seed=1)
    assert sampler.wanted == 5000
    assert set(HOLDS) == set(DOMAIN.weights["topic"]) == set(DEMANDS)
    assert set(DOMAIN.weights["second_topic"]) == {*HOLDS, NONE}
    assert set(BLOCKS) <= set(HOLDS)


def test_density_follows_the_cell() -> None:
    def size(**levels: str) -> float:
        made = [DOMAIN.pack.generate({**CELL, **levels}, chance(number)) for number in range(40)]
        return sum(len(str(one)) for one in made) / len(made)

    def numbers(level: str) -> float:
        made = [DOMAIN.pack.facts(DOMAIN.pack.generate({**CELL, "numbers": level}, chance(n))) for n in range(40)]
        return sum(one.kind in ("amount", "date") for facts in made for one in facts) / len(made)

    assert size(form="recherche", complexity="simple") < size(complexity="simple") < size(complexity="complexe")
    assert 2 * numbers("peu") < numbers("beaucoup")


def test_days_and_ages_agree_with_the_law_in_force() -> None:
    for number, cell in enumerate(cells(DOMAIN, 60, seed=9)):
        target = DOMAIN.pack.generate({**cell, "numbers": "beaucoup"}, chance(number))
        case = Case(target)
        will = case.will
        if will.get("forme") == "international" and "date" in will:
            assert date.fromisoformat(will["date"]) >= INTERNATIONAL_LAW
        if case.spouse.get("droit_logement", "").startswith("viager_exclu"):
            assert will["forme"] == "authentique"  # 764
        if case.death is not None:
            assert date(2016, 1, 1) <= case.death <= date(2025, 6, 30)
        capitals = [one.get("capital_deces", 10**9) for one in case.many("assurances_vie")]
        paid = [one.get("primes_avant_70_ans", 0) + one.get("primes_apres_70_ans", 0)
                for one in case.many("assurances_vie")]  # fmt: skip
        assert all(premiums <= capital for premiums, capital in zip(paid, capitals, strict=True))


def test_amounts_have_their_dates(tmp_path: Path) -> None:
    assert amount_on("allowance_direct_line", date(2016, 1, 1)) == 100_000
    assert amount_on("insurance_late", date(2024, 5, 1)) == 30_500
    assert {15_932, 152_500, 700_000} <= set(bounds_on(date(2020, 1, 1)))
    assert all(one.valid_from < date(2016, 1, 1) for one in amounts())
    with pytest.raises(CorpusError, match="no amount 'allowance_direct_line' on 2010-01-01"):
        amount_on("allowance_direct_line", date(2010, 1, 1))
    path = tmp_path / "amounts.yaml"
    path.write_text("- {key: a, value: 1, unit: EUR, article: CGI 1}", encoding="utf-8")
    with pytest.raises(CorpusError, match="amount 1: valid_from, source, checked_on is missing"):
        read_amounts(path)
    path.write_text("- {key: a, value: 1, unit: EUR, article: b, valid_from: 2012, source: c, checked_on: d}", "utf-8")
    with pytest.raises(CorpusError, match="valid_from and valid_to are dates"):
        read_amounts(path)


def test_what_is_said_with_a_code_can_be_said_in_french() -> None:
    known = {path for path in DOMAIN.paths if "=" in path}
    for key, values in WAYS.items():
        for value in values:
            assert any(path.endswith(f".{key}={value}") for path in known), f"{key}={value}"
            said = ways(key, value)
            assert said is not None
            assert all(Said(f"Voilà : {one}.").stems for one in said.split("|")), said
    assert ways("lien", "enfant") is None
    assert says_share("un sixième", "1/6")
    assert not says_share("la moitié", "1/6")


@pytest.mark.parametrize(
    ("text", "share", "said"),
    [
        ("il a droit à un tiers", "2/3", False), ("il reçoit les deux tiers", "1/3", False),
        ("il reçoit les 2 tiers", "2/3", True), ("elle a les trois quarts", "1/4", False),
        ("elle a les trois quarts", "3/4", True), ("elle a le quart", "1/4", True),
        ("ils habitent le quartier", "1/4", False), ("dans un quart d'heure", "1/4", False),
        ("un huitième", "3/8", False), ("trois huitièmes", "3/8", True), ("cinq sixièmes", "1/6", False),
        ("une demande de mon demi-frère, un an et demi après", "1/2", False), ("la moitié", "1/2", True),
        ("la toute petite maison", "1/1", False), ("toute la maison est à lui", "1/1", True),
        ("né le 01/2/2021", "1/2", False), ("mort le 11/4/2020", "1/4", False), ("il a 1 / 4 du bien", "1/4", True),
        ("12,5 %", "1/8", True), ("66,6 %", "2/3", True), ("33 pour cent", "1/3", True), ("12 %", "1/9", False),
        ("un septième", "1/7", False), ("1/7", "1/7", True),
    ],
)  # fmt: skip
def test_a_share_is_said_by_its_own_name(text: str, share: str, said: bool) -> None:
    assert says_share(text, share) is said


def test_a_flat_is_no_id_unless_the_target_has_it() -> None:
    target = {"tiers": [{"id": "T3"}], "biens": [{"id": "B1", "objet": "un T2 à Lyon"}]}
    found = DOMAIN.text_findings(target, "Il laisse un T2 à Lyon, sur la D12, et T3 le réclame.")
    assert [(one.code, one.message[:4]) for one in found] == [("leaked_code", "« T3")]


def test_days_and_months() -> None:
    assert months_after(date(2024, 12, 31), 2) == date(2025, 2, 28)
    assert age_on(date(1950, 3, 2), date(2020, 3, 1)) == 69
    assert age_on(date(1950, 3, 2), date(2020, 3, 2)) == 70
