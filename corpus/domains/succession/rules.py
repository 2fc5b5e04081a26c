"""What a succession target must keep to beyond its schema, about people: R01 to R14, R20 to R22, R26 and R30.

Rules of consistency, by articles of the Code civil; they compute no share and no duty. No jurist has read them: a case
that passes is consistent, not right. Where a rule says what the schema says too, the schema names it in a $comment.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date
from fractions import Fraction

from corpus.domains.succession.case import (
    COLLATERALS,
    DESCENDANTS,
    GIVES_PLACE,
    MARRIED,
    ORDERS,
    PARENTS,
    TAKES,
    UNMARRIED,
    Case,
    age_on,
    day_of,
    months_after,
)

Broken = tuple[str, str]  # where, and what is expected
Rule = Callable[[Case], Iterator[Broken]]

REPRESENTS = {
    "enfant": {"petit_enfant"}, "petit_enfant": {"arriere_petit_enfant"},
    "frere": {"neveu", "niece"}, "soeur": {"neveu", "niece"},
}  # fmt: skip  # 752, 752-2
NO_REPRESENTATION = frozenset({"pere", "mere", "grand_parent", "oncle", "tante", "cousin"})
SPOUSE_ONLY = ("option", "donation_entre_epoux", "cantonnement", "invitation_a_opter")
REGIME = ("regime_matrimonial", "clause_attribution_integrale", "clause_preciput", "contrat_de_mariage")
LEAST_SUMMONS = 4  # months from the opening (771)
SILENCE = 2  # months from the summons (772)
WILL_AGE = 16  # years (903)


def r01_ids_once(case: Case) -> Iterator[Broken]:
    """Every id stands once; what they refer to is R06, R12 and R13."""
    lists = {name: case.many(name) for name in ("heritiers", "biens", "donations", "assurances_vie", "tiers")}
    for name, parts in {**lists, "testament.legs": case.legacies}.items():
        for one, count in Counter(part["id"] for part in parts).items():
            if count > 1:
                yield f"$.{name}", f"{one} stands {count} times; give each its own id."


def r02_link_and_state(case: Case) -> Iterator[Broken]:
    """The spouse's link agrees with the marital state, and only a spouse has an option (732, 301, 515-6)."""
    link, state = case.spouse.get("lien"), case.deceased.get("situation_matrimoniale")
    if link is not None and state is not None:
        if (link == "conjoint_survivant") is not (state in MARRIED):
            yield "$.conjoint.lien", f"{link} with {state}; a surviving spouse goes with marie or separe_de_corps."
        elif (link == "partenaire_pacs") is not (state == "pacse"):
            yield "$.conjoint.lien", f"{link} with {state}; a PACS partner goes with pacse."
    if link is not None and link != "conjoint_survivant":
        for key in SPOUSE_ONLY:
            if key in case.spouse:
                yield f"$.conjoint.{key}", f"{key} is the surviving spouse's, not for {link}."


def r03_option_needs_descendants(case: Case) -> Iterator[Broken]:
    """Usufruct or a quarter is chosen beside descendants alone (757)."""
    option = case.spouse.get("option")
    if option in ("usufruit_totalite", "quart_pleine_propriete") and not case.taking(DESCENDANTS):
        yield "$.conjoint.option", f"{option} needs a descendant who inherits."


def r04_usufruct_needs_common_children(case: Case) -> Iterator[Broken]:
    """With a child who is not common, the law gives no usufruct of everything (757; 1094-1 may)."""
    others = [one["id"] for one in case.heirs if one.get("filiation") == "autre_lit"]
    if case.spouse.get("option") == "usufruit_totalite" and others:
        yield "$.conjoint.option", f"{', '.join(others)} is not common: a quarter alone, or a gift between spouses."


def r05_regime_needs_marriage(case: Case) -> Iterator[Broken]:
    """A matrimonial regime is for who was married (1387)."""
    state = case.deceased.get("situation_matrimoniale")
    if state in UNMARRIED:
        for key in REGIME:
            if key in case.deceased:
                yield f"$.defunt.{key}", f"{key} with {state}; leave it out."


def _represented(case: Case) -> Iterator[tuple[str, str, str]]:
    """Yield (path, id of the represented, id of the representative) of every statement, from either side."""
    for at, one in enumerate(case.heirs):
        if "represente" in one:
            yield f"$.heritiers[{at}].represente", one["represente"], one["id"]
        for other in one.get("represente_par", []):
            yield f"$.heritiers[{at}].represente_par", one["id"], other


def r06_represented_exists(case: Case) -> Iterator[Broken]:
    """Who is represented, and who represents, is among the heirs (751)."""
    for path, *both in _represented(case):
        for one in both:
            if one not in case.heir:
                yield path, f"{one} is no heir; name one of {', '.join(case.heir)}."


def r07_represented_gave_place(case: Case) -> Iterator[Broken]:
    """Who is represented died before, renounces or is unworthy (754, 755)."""
    for path, one, _ in _represented(case):
        if one in case.heir and case.heir[one]["statut"] not in GIVES_PLACE:
            yield path, f"{one} is {case.heir[one]['statut']} and keeps the place; nobody represents."


def r08_representation_links(case: Case) -> Iterator[Broken]:
    """A child is represented by grandchildren, those by theirs, a sibling by nephews and nieces (752, 752-2)."""
    for path, one, by in _represented(case):
        if one in case.heir and by in case.heir:
            first, second = case.heir[one]["lien"], case.heir[by]["lien"]
            if first not in NO_REPRESENTATION and second not in REPRESENTS.get(first, set()):
                yield path, f"{second} does not represent {first}."


def r09_representation_is_mutual(case: Case) -> Iterator[Broken]:
    """Of who gave up the place, `represente` and `represente_par` say the same from both sides."""
    for path, one, by in _represented(case):
        if one in case.heir and by in case.heir and case.heir[one]["statut"] in GIVES_PLACE:
            first, second = case.heir[one], case.heir[by]
            if second.get("represente") != one or by not in first.get("represente_par", []):
                yield path, f"say it twice: {by} represente {one}, {one} represente_par {by}."


def r10_who_is_never_represented(case: Case) -> Iterator[Broken]:
    """Nobody represents an ascendant; uncles, aunts and cousins are not represented, nor represent (752-1)."""
    for at, one in enumerate(case.heirs):
        if one["lien"] in NO_REPRESENTATION and ("represente" in one or "represente_par" in one):
            yield f"$.heritiers[{at}]", f"{one['lien']}: no representation."


def r11_orders_exclude(case: Case) -> Iterator[Broken]:
    """An order excludes the next; a spouse excludes all but parents, and siblings but for 757-3 (734, 757-2)."""
    orders = {at: ORDERS[one["lien"]] for at, one in enumerate(case.heirs) if one["statut"] in TAKES}
    nearest = min(orders.values(), default=0)
    for at, order in orders.items():
        if order > nearest:
            yield f"$.heritiers[{at}].lien", f"an heir of order {nearest} excludes order {order}."
    if not case.survivor or nearest == 1:
        return
    returned = any(one.get("origine") in ("succession", "donation") for one in case.many("biens"))
    for at, order in orders.items():
        link = case.heirs[at]["lien"]
        if order > 2:
            yield f"$.heritiers[{at}].lien", f"the spouse excludes {link}."
        elif link in COLLATERALS and (case.taking(PARENTS) or not returned):
            yield f"$.heritiers[{at}].lien", f"the spouse excludes {link}, but for what ascendants gave (757-3)."


def _named_persons(case: Case) -> Iterator[tuple[str, str]]:
    for at, one in enumerate(case.many("biens")):
        if "occupant" in one:
            yield f"$.biens[{at}].occupant", one["occupant"]
    for at, one in enumerate(case.many("donations")):
        yield f"$.donations[{at}].donataire", one["donataire"]
    for at, one in enumerate(case.legacies):
        yield f"$.testament.legs[{at}].beneficiaire", one["beneficiaire"]
    for at, one in enumerate(case.many("assurances_vie")):
        for name in one.get("beneficiaires", []):
            yield f"$.assurances_vie[{at}].beneficiaires", name
    for name in case.joint.get("indivisaires", []):
        yield "$.indivision.indivisaires", name
    if "occupation_privative" in case.joint:
        yield "$.indivision.occupation_privative", case.joint["occupation_privative"]


def r12_persons_exist(case: Case) -> Iterator[Broken]:
    """Beneficiary, donee, legatee, occupant and undivided owner are persons of the case."""
    for path, name in _named_persons(case):
        if name not in case.persons:
            yield path, f"{name} is nobody of the case; known: {', '.join(sorted(case.persons))}."


def r13_goods_exist(case: Case) -> Iterator[Broken]:
    """Goods that a legacy or the undivided ownership names are among the goods."""
    named = [(f"$.testament.legs[{at}].bien", one["bien"]) for at, one in enumerate(case.legacies) if "bien" in one]
    named += [("$.indivision.biens", name) for name in case.joint.get("biens", [])]
    for path, name in named:
        if name not in case.good:
            yield path, f"{name} is no good of the case; known: {', '.join(case.good) or 'none'}."


def r14_birth_death_partition(case: Case) -> Iterator[Broken]:
    """Birth comes before death, and the partition after it (720)."""
    if case.birth and case.death and case.birth >= case.death:
        yield "$.defunt.date_naissance", "the birth comes before the death."
    shared = day_of(case.joint, "date_partage")
    if shared and case.death and shared <= case.death:
        yield "$.indivision.date_partage", "the partition comes after the death."


def r20_option_in_time(case: Case) -> Iterator[Broken]:
    """Option after death, summons four months after it, silence two months after the summons (771, 772)."""
    if case.death:
        invited = day_of(case.spouse, "invitation_a_opter")
        if invited and invited < case.death:
            yield "$.conjoint.invitation_a_opter", "nobody is invited to choose before the death."
    for at, one in enumerate(case.heirs):
        yield from _times(f"$.heritiers[{at}]", day_of(one, "date_option"), day_of(one, "sommation"), case.death)


def _times(path: str, chosen: date | None, summoned: date | None, death: date | None) -> Iterator[Broken]:
    if death and chosen and chosen < death:
        yield f"{path}.date_option", "nobody chooses before the death."
    if death and summoned and summoned < months_after(death, LEAST_SUMMONS):
        yield f"{path}.sommation", f"nobody is summoned in the first {LEAST_SUMMONS} months."
    if chosen and summoned and chosen > months_after(summoned, SILENCE):
        yield f"{path}.date_option", f"{SILENCE} months of silence after the summons are an acceptance already."


def r21_no_share_without_place(case: Case) -> Iterator[Broken]:
    """Who gave up the place has no share, and none in the undivided ownership (805)."""
    for at, one in enumerate(case.heirs):
        if one["statut"] in GIVES_PLACE:
            if "quote_part" in one:
                yield f"$.heritiers[{at}].quote_part", f"{one['statut']}: no share."
            if one["id"] in case.joint.get("indivisaires", []):
                yield "$.indivision.indivisaires", f"{one['id']} is {one['statut']} and owns nothing here."


def r22_shares_make_a_whole(case: Case) -> Iterator[Broken]:
    """Shares are above 0; none exceeds the whole, nor do the heirs' or the legatees' together."""
    for path, shares in (
        ("$.heritiers", [one["quote_part"] for one in case.heirs if "quote_part" in one]),
        ("$.testament.legs", [one["quotite"] for one in case.legacies if "quotite" in one]),
        *((f"$.biens[{at}]", [one["quote_part_defunt"]]) for at, one in enumerate(case.many("biens"))
          if "quote_part_defunt" in one),
    ):  # fmt: skip
        total = sum(map(Fraction, shares), Fraction(0))
        if total > 1 or any(Fraction(one) <= 0 for one in shares):
            yield path, f"shares of {total} in all; at most 1."


def r26_minors(case: Case) -> Iterator[Broken]:
    """Under 18 is a minor, whose guardian is a tutor's; under 16 nobody makes a will (388, 903)."""
    for at, one in enumerate(case.heirs):
        path, age = f"$.heritiers[{at}]", one.get("age")
        if age is not None and (age < 18) is not bool(one.get("mineur", False)):
            yield f"{path}.mineur", f"{age} years: mineur is {'true' if age < 18 else 'not true'}."
        if one.get("mineur") and one.get("protection", "tutelle") != "tutelle":
            yield f"{path}.protection", f"a minor has a tutelle, no {one['protection']}."
    written = day_of(case.will, "date") or (case.death if case.will else None)
    if case.birth and written and 0 <= age_on(case.birth, written) < WILL_AGE:
        yield "$.testament", f"the testator is under {WILL_AGE}."


def r30_disposable_share(case: Case) -> Iterator[Broken]:
    """The disposable share told is the law's: 1/2, 1/3, 1/4 beside children, 3/4 beside a spouse (913, 914-1)."""
    told, right = case.target.get("reserve", {}).get("quotite_disponible"), case.disposable()
    if told is not None and right is not None and Fraction(told) != right:
        yield "$.reserve.quotite_disponible", f"{told}; this family leaves {right}."
