"""Draws who survives: marital state, spouse, heirs by order, representation, options. Knows the law's shapes, no goods.

Built in the order in which the law asks: state, link, nearest order, representation, option. So it is right at the
first draw; the rules of rules.py are its proof, not its sieve.
"""

from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

from corpus.domains.succession.case import DESCENDANTS, GIVES_PLACE, PARENTS, TAKES, months_after
from corpus.domains.succession.luck import Luck

FIRST_DEATH, LAST_DEATH = date(2016, 1, 1), date(2025, 6, 30)  # today's law and amounts hold throughout
STATES = {"partenaire_pacs": "pacse", "concubin": "concubinage", "ex_conjoint": "divorce"}
ALONE = ("celibataire", "veuf", "divorce")
COMMUNITY = ("communaute_reduite_aux_acquets", "communaute_meubles_et_acquets", "communaute_universelle")
BY_CONTRACT = ("communaute_universelle", "separation_de_biens", "participation_aux_acquets")
GENERATION = 18  # years, at least, between a parent and a child
WOMEN = frozenset({"mere", "soeur", "niece", "tante"})
MEN = frozenset({"pere", "frere", "neveu", "oncle"})

Part = dict[str, Any]


@dataclass
class Family:
    """Who there is, with what a case need not say.

    Attributes:
        luck: What is left to chance.
        topics: What the case is about.
        size: Most children or siblings.
        birth: Of the deceased.
        death: The same.
        deceased: The block `defunt`.
        spouse: The block `conjoint`, or empty.
        shape: Nearest order: "descendants", "parents", "collaterals", "grand", "far" or "none".
        heirs: The block `heritiers`.
        ages: Of the heirs at the death, by id, whether said or not.
        returned: Whether siblings inherit beside a spouse goods that came from ascendants (757-3).
        willed: Whether legacies change who gets what; then no share is told.
    """

    luck: Luck
    topics: frozenset[str]
    size: int
    birth: date = LAST_DEATH
    death: date = LAST_DEATH
    deceased: Part = field(default_factory=dict)
    spouse: Part = field(default_factory=dict)
    shape: str = "none"
    heirs: list[Part] = field(default_factory=list)
    ages: dict[str, int] = field(default_factory=dict)
    returned: bool = False
    willed: bool = False

    @property
    def age(self) -> int:
        """Years that the deceased lived."""
        return (self.death - self.birth).days * 4 // 1461

    @property
    def survivor(self) -> bool:
        """Whether a spouse survives."""
        return bool(self.spouse.get("lien") == "conjoint_survivant")

    @property
    def takers(self) -> list[str]:
        """Ids of the heirs who kept their place."""
        return [one["id"] for one in self.heirs if one["statut"] in TAKES]

    @property
    def alive(self) -> list[str]:
        """Ids of the persons of the family who live."""
        spouse = ["CJ"] if self.spouse else []
        return spouse + [one["id"] for one in self.heirs if one["statut"] != "predecede"]

    def add(self, link: str, age: int, status: str) -> Part:
        """Add an heir."""
        one: Part = {"id": f"H{len(self.heirs) + 1}", "lien": link, "statut": status}
        self.heirs.append(one)
        self.ages[one["id"]] = age
        return one


def draw_family(luck: Luck, topics: frozenset[str], size: int) -> Family:
    """Return a family whose topics can hold."""
    family = Family(luck, topics, size)
    _marry(family)
    _shape(family)
    _live(family)
    {"descendants": _descend, "parents": _ascend, "collaterals": _collaterals, "grand": _grand, "far": _far,
     "none": _nobody}[family.shape](family)  # fmt: skip
    _give_place(family)
    return family


def finish(family: Family) -> None:
    """Say of everybody what may be left out: names, ages, options, shares; the will must be known to the spouse."""
    _say_deceased(family)
    if family.survivor:
        _say_option(family)  # before the shares, which it changes
    elif family.spouse and family.luck.said():
        family.spouse["prenom"] = family.luck.first_name()
    _say_heirs(family)


def _marry(family: Family) -> None:
    luck, topics = family.luck, family.topics
    if "pacs_concubinage" in topics:
        link = "partenaire_pacs" if "logement_conjoint" in topics else luck.pick(("partenaire_pacs", "concubin"))
    elif topics & {"conjoint_option", "regime_matrimonial"}:
        link = "conjoint_survivant"
    elif "logement_conjoint" in topics:
        link = luck.pick(("conjoint_survivant", "conjoint_survivant", "partenaire_pacs"))
    else:
        link = luck.pick(("conjoint_survivant", "conjoint_survivant", "partenaire_pacs", "concubin", "ex_conjoint", ""))
    state = STATES.get(link, "") or luck.pick(ALONE)
    if link == "conjoint_survivant":
        apart = "logement_conjoint" not in topics and luck.hit(0.15)  # who lives apart has no home to keep
        state = "separe_de_corps" if apart else "marie"
    if link:
        family.spouse = {"lien": link}
    if luck.hit(0.8) or "regime_matrimonial" in topics:
        family.deceased["situation_matrimoniale"] = state
    if link == "conjoint_survivant" and ("regime_matrimonial" in topics or luck.said()):
        _choose_regime(family, state)


def _choose_regime(family: Family, state: str) -> None:
    luck = family.luck
    if state == "separe_de_corps":  # legal separation separates the goods, contract or not (302)
        family.deceased["regime_matrimonial"] = "separation_de_biens"
        return
    regime = luck.pick((*COMMUNITY, "separation_de_biens", "participation_aux_acquets"))
    family.deceased["regime_matrimonial"] = regime
    contract = regime in BY_CONTRACT
    if regime in COMMUNITY:
        for key in ("clause_attribution_integrale", "clause_preciput"):
            if luck.hit(0.3):
                family.deceased[key] = luck.hit(0.7)
                contract = contract or family.deceased[key]
    if contract or luck.said():
        family.deceased["contrat_de_mariage"] = contract or regime == "communaute_meubles_et_acquets"


def _shape(family: Family) -> None:
    luck, topics = family.luck, family.topics
    needs_heirs = bool(topics & {"renonciation", "representation", "donation_rapport", "indivision"})
    if "conjoint_option" in topics:
        shapes = ["descendants"]
    elif "representation" in topics:
        shapes = ["descendants", "descendants", "collaterals"]
    elif family.survivor:
        shapes = ["descendants"] * 5 + ["parents", "parents", "collaterals"] + ([] if needs_heirs else ["none"])
    elif "reduction_reserve" in topics:
        shapes = ["descendants"]
    else:
        shapes = ["descendants"] * 4 + ["collaterals", "collaterals", "grand", "far"]
    family.shape = luck.pick(shapes)
    family.returned = family.survivor and family.shape == "collaterals"


def _live(family: Family) -> None:
    luck = family.luck
    low, high = {"descendants": (32, 98), "parents": (22, 76), "collaterals": (30, 90), "grand": (20, 52),
                 "far": (35, 95), "none": (28, 97)}[family.shape]  # fmt: skip
    if "representation" in family.topics and family.shape == "descendants":
        low = 58
    years = luck.between(low, high)
    family.death = luck.day(FIRST_DEATH, LAST_DEATH)
    family.birth = family.death - timedelta(days=years * 1461 // 4 + luck.between(1, 360))


def _status(family: Family, age: int) -> str:
    """Return the status of somebody who keeps the place."""
    if age < GENERATION:
        return family.luck.pick(("acceptant_concurrence_actif_net", "option_non_exercee"))
    often = ("acceptant_pur_et_simple",) * 3 + ("acceptant_concurrence_actif_net", "option_non_exercee") * 2
    return family.luck.pick((*often, "presume_absent"))


def _count(family: Family) -> int:
    least = 2 if family.topics & {"indivision", "renonciation"} else 1
    return family.luck.between(least, max(least, family.size))


def _nobody(_: Family) -> None:
    """The spouse alone survives."""


def _descend(family: Family) -> None:
    luck = family.luck
    for _ in range(_count(family)):
        age = luck.between(max(0, family.age - 45), max(0, family.age - GENERATION - 2))
        if "representation" in family.topics and not family.heirs:
            age = max(age, 36)
        family.add("enfant", age, _status(family, age))
    partner = family.spouse.get("lien")
    kinds = ("commun", "commun", "autre_lit", "adopte_simple", "adopte_plenier") if partner else (
        "adopte_simple", "adopte_plenier")  # fmt: skip
    if luck.hit(0.5 if family.survivor else 0.25):
        for one in family.heirs:
            one["filiation"] = luck.pick(kinds)


def _ascend(family: Family) -> None:
    alone = () if family.topics & {"renonciation", "indivision"} else (("mere",), ("pere",))
    for link in family.luck.pick((("pere", "mere"), *alone)):
        family.add(link, min(108, family.age + family.luck.between(GENERATION, 34)), _status(family, 60))


def _collaterals(family: Family) -> None:
    luck = family.luck
    if not family.returned and family.age < 75 and luck.hit(0.3):
        _ascend(family)
    for _ in range(_count(family)):
        age = min(104, max(1, family.age + luck.between(-12, 12)))
        if "representation" in family.topics:
            age = max(age, 40)
        family.add(luck.pick(("frere", "soeur")), age, _status(family, age))


def _grand(family: Family) -> None:
    for _ in range(family.luck.between(1, 2)):
        family.add("grand_parent", min(110, family.age + family.luck.between(42, 58)), _status(family, 80))
    if family.topics & {"indivision", "renonciation"} and len(family.heirs) < 2:
        family.add("grand_parent", min(110, family.age + 50), _status(family, 80))


def _far(family: Family) -> None:
    near = family.luck.hit(0.6)  # uncles and aunts exclude cousins of their line (744)
    for _ in range(_count(family)):
        link = family.luck.pick(("oncle", "tante")) if near else "cousin"
        age = family.age + (family.luck.between(5, 15) if link != "cousin" else family.luck.between(-10, 5))
        family.add(link, min(108, max(3, age)), _status(family, 40))


def _give_place(family: Family) -> None:
    """Let some renounce, be unworthy or have died before, and others represent them."""
    luck = family.luck
    if "renonciation" in family.topics:
        _leave(family, "renoncant")
    if "representation" in family.topics or (family.shape in ("descendants", "collaterals") and luck.hit(0.12)):
        _represent(family)
    if luck.hit(0.2):
        _leave(family, luck.pick(sorted(GIVES_PLACE)))


def _leave(family: Family, status: str) -> None:
    """Let one heir give up the place, as long as another of the same order keeps it."""
    able = [one for one in family.heirs if one["statut"] in TAKES and "represente" not in one]
    if status == "indigne":
        able = [one for one in able if family.ages[one["id"]] >= GENERATION]
    if len(family.takers) > 1 and able:
        family.luck.pick(able)["statut"] = status


def _represent(family: Family) -> None:
    """Let the young take the place of a child or of a sibling, once more below where there is age enough."""
    luck = family.luck
    able = [one for one in family.heirs if one["lien"] in ("enfant", "frere", "soeur")
            and family.ages[one["id"]] >= 2 * GENERATION and "represente_par" not in one]  # fmt: skip
    given = [one for one in able if one["statut"] in GIVES_PLACE]
    if not able or len(family.heirs) > 8:
        return
    one = given[0] if given else luck.pick(able)
    if not given:
        one["statut"] = luck.pick(("predecede", "predecede", "renoncant", "indigne"))
    below = _stand_in(family, one, luck.between(1, 2))
    deep = [child for child in below if family.ages[child["id"]] >= GENERATION + 2 and child["lien"] == "petit_enfant"]
    if deep and luck.hit(0.35):
        deep[0]["statut"] = "predecede"
        _stand_in(family, deep[0], 1)


def _stand_in(family: Family, one: Part, count: int) -> list[Part]:
    luck, top = family.luck, family.ages[one["id"]] - GENERATION
    known = {"enfant": ("petit_enfant",), "petit_enfant": ("arriere_petit_enfant",)}
    links = known.get(one["lien"], ("neveu", "niece"))
    below = []
    for _ in range(count):
        age = luck.between(max(0, top - 22), top)
        child = family.add(luck.pick(links), age, _status(family, age))
        child["represente"] = one["id"]
        below.append(child)
    one["represente_par"] = [child["id"] for child in below]
    return below


def _say_deceased(family: Family) -> None:
    luck, who = family.luck, family.deceased
    if luck.hit(0.7) or not who:
        who["prenom"] = luck.first_name()
    if luck.said():
        who["nom"] = luck.name("noms")
    if luck.told():
        who["date_deces"] = family.death.isoformat()
    if luck.told():
        who["date_naissance"] = family.birth.isoformat()
    if luck.said():
        who["lieu_dernier_domicile"] = luck.name("villes")
    if luck.hit(luck.density / 2):
        who["nationalite"] = luck.name("nationalites")


def _say_heirs(family: Family) -> None:
    luck = family.luck
    for one in family.heirs:
        link, age = one["lien"], family.ages[one["id"]]
        if luck.hit(0.3 + luck.density / 2):
            one["prenom"] = luck.first_name("f" if link in WOMEN else "m" if link in MEN else "")
        if one["statut"] == "predecede":
            continue
        young = age < GENERATION
        if luck.told():
            one["age"] = age
        if young and ("age" in one or luck.hit(0.7)):
            one["mineur"] = True
        elif "age" in one and luck.hit(0.05):
            one["mineur"] = False
        absent = one["statut"] in ("presume_absent", "indigne")
        if not absent and (luck.hit(0.3) if "mineur" in one else luck.hit(luck.density / 6)):
            one["protection"] = "tutelle" if young else luck.pick(
                ("tutelle", "curatelle", "habilitation_familiale", "sauvegarde_de_justice"))  # fmt: skip
        if luck.hit(luck.density / 6):
            one["handicap"] = luck.hit(0.8)
        if not absent and not young:
            _say_times(family, one)
    _say_shares(family)


def _say_times(family: Family, one: Part) -> None:
    luck = family.luck
    summoned = None
    if luck.hit(luck.numbers / 5):
        summoned = luck.day(months_after(family.death, 4) + timedelta(days=1), months_after(family.death, 9))
        one["sommation"] = summoned.isoformat()
    if one["statut"] != "option_non_exercee" and luck.hit(luck.numbers / 3):
        first = summoned or family.death + timedelta(days=8)
        last = months_after(summoned, 2) if summoned else months_after(family.death, 11)
        one["date_option"] = luck.day(first, last).isoformat()


def _say_option(family: Family) -> None:
    luck, spouse = family.luck, family.spouse
    if luck.hit(0.6):
        spouse["prenom"] = luck.first_name()
    if luck.told():
        spouse["age"] = min(110, max(GENERATION, family.age + luck.between(-12, 12)))
    descendants = any(one["lien"] in DESCENDANTS and one["statut"] in TAKES for one in family.heirs)
    common = not any(one.get("filiation", "commun") != "commun" for one in family.heirs)
    if "conjoint_option" in family.topics or luck.hit(luck.density / 2):
        options = ["non_exercee", "donation_epoux_usufruit_total", "donation_epoux_quotite_disponible"]
        if descendants:
            options += ["quart_pleine_propriete", "donation_epoux_quart_pp_trois_quarts_usufruit"]
            options += ["usufruit_totalite"] * 2 if common else []
        if "option" not in spouse:
            spouse["option"] = luck.pick(options)
    if spouse.get("option", "").startswith("donation_epoux"):
        spouse["donation_entre_epoux"] = True
        if luck.hit(0.35):
            spouse["cantonnement"] = luck.hit(0.8)
    elif luck.said():
        spouse["donation_entre_epoux"] = False
    if descendants and not spouse.get("donation_entre_epoux") and luck.hit(luck.numbers / 3):
        invited = luck.day(months_after(family.death, 1), months_after(family.death, 8))
        spouse["invitation_a_opter"] = invited.isoformat()


def _say_shares(family: Family) -> None:
    """Say the shares of the heirs where the law alone decides them and the case tells enough."""
    luck = family.luck
    if family.willed or not luck.hit(luck.numbers / 3):
        return
    shares = shares_of(family)
    for one in family.heirs:
        if one["id"] in shares:
            part = shares[one["id"]]
            one["quote_part"] = f"{part.numerator}/{part.denominator}"


def shares_of(family: Family) -> dict[str, Fraction]:
    """Return the share of each heir by id, where no will and no usufruct decides: 736 to 738, 744, 753, 757, 757-1."""
    whole = Fraction(1)
    if family.survivor:
        if family.shape == "descendants" and family.spouse.get("option") == "quart_pleine_propriete":
            whole = Fraction(3, 4)
        elif family.shape == "parents":
            return {one: Fraction(1, 4) for one in family.takers}
        else:
            return {}
    if family.shape == "descendants":
        return _by_stirps(family, frozenset({"enfant"}), whole)
    if family.shape == "collaterals":
        parents = [one["id"] for one in family.heirs if one["lien"] in PARENTS and one["statut"] in TAKES]
        siblings = _by_stirps(family, frozenset({"frere", "soeur"}), whole - Fraction(len(parents), 4))
        if siblings:
            return {**dict.fromkeys(parents, Fraction(1, 4)), **siblings}
    if family.shape == "parents" and len(family.takers) == 2:
        return dict.fromkeys(family.takers, Fraction(1, 2))
    return {}


def _by_stirps(family: Family, links: frozenset[str], whole: Fraction) -> dict[str, Fraction]:
    known = {one["id"]: one for one in family.heirs}

    def below(ids: list[str], part: Fraction) -> dict[str, Fraction]:
        live = [one for one in ids if known[one]["statut"] in TAKES or _replaced(known, one)]
        found: dict[str, Fraction] = {}
        for one in live:
            own = part / len(live)
            if known[one]["statut"] in TAKES:
                found[one] = own
            else:
                found |= below(known[one]["represente_par"], own)
        return found

    return below([one["id"] for one in family.heirs if one["lien"] in links], whole)


def _replaced(known: dict[str, Part], one: str) -> bool:
    """Whether somebody below keeps the place."""
    return any(
        known[other]["statut"] in TAKES or _replaced(known, other) for other in known[one].get("represente_par", [])
    )
