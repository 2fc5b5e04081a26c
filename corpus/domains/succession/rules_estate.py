"""What a succession target must keep to beyond its schema, about goods, gifts, wills and insurance: the other rules."""

from collections.abc import Iterator
from datetime import date
from fractions import Fraction

from corpus.domains.succession.case import SEPARATE, UNMARRIED, Case, age_on, day_of
from corpus.domains.succession.rules import (
    Broken,
    Rule,
    r01_ids_once,
    r02_link_and_state,
    r03_option_needs_descendants,
    r04_usufruct_needs_common_children,
    r05_regime_needs_marriage,
    r06_represented_exists,
    r07_represented_gave_place,
    r08_representation_links,
    r09_representation_is_mutual,
    r10_who_is_never_represented,
    r11_orders_exclude,
    r12_persons_exist,
    r13_goods_exist,
    r14_birth_death_partition,
    r20_option_in_time,
    r21_no_share_without_place,
    r22_shares_make_a_whole,
    r26_minors,
    r30_disposable_share,
)
from corpus.server.targets import Finding

LATE_PREMIUMS = 70  # years of age (CGI 757 B)
TWO_THIRDS = Fraction(2, 3)  # 815-3, 815-5-1


def _in_life(case: Case, path: str, day: date | None, what: str) -> Iterator[Broken]:
    if day and case.birth and day <= case.birth:
        yield path, f"the {what} comes after the birth."
    if day and case.death and day > case.death:
        yield path, f"the {what} comes before the death."


def r15_gifts_in_life(case: Case) -> Iterator[Broken]:
    """A gift is made between birth and death."""
    for at, one in enumerate(case.many("donations")):
        yield from _in_life(case, f"$.donations[{at}].date", day_of(one, "date"), "gift")


def r16_will_in_life(case: Case) -> Iterator[Broken]:
    """A will is made between birth and death."""
    yield from _in_life(case, "$.testament.date", day_of(case.will, "date"), "will")


def r17_policies_in_life(case: Case) -> Iterator[Broken]:
    """A policy is taken out between birth and death."""
    for at, one in enumerate(case.many("assurances_vie")):
        path = f"$.assurances_vie[{at}].date_souscription"
        yield from _in_life(case, path, day_of(one, "date_souscription"), "policy")


def r18_late_premiums(case: Case) -> Iterator[Broken]:
    """Premiums after 70 need somebody who was 70 (CGI 757 B)."""
    if case.birth and case.death and age_on(case.birth, case.death) < LATE_PREMIUMS:
        for at, one in enumerate(case.many("assurances_vie")):
            if one.get("primes_apres_70_ans", 0) > 0:
                yield f"$.assurances_vie[{at}].primes_apres_70_ans", f"the deceased was not {LATE_PREMIUMS}."


def r19_common_goods(case: Case) -> Iterator[Broken]:
    """There are common goods under a community alone (1401, 1536, 1569)."""
    regime, state = case.deceased.get("regime_matrimonial"), case.deceased.get("situation_matrimoniale")
    if regime in SEPARATE or state in UNMARRIED:
        for at, one in enumerate(case.many("biens")):
            if one.get("qualification") == "commun":
                yield f"$.biens[{at}].qualification", f"commun with {regime or state}; there was no community."


def r23_what_is_brought_back(case: Case) -> Iterator[Broken]:
    """A gift beyond the share is not brought back; a usual present counts for nothing at all (843, 852)."""
    for at, one in enumerate(case.many("donations")):
        usual = one["forme"] == "presents_d_usage"
        if one.get("rapportable") and (usual or one.get("imputation") == "hors_part"):
            yield f"$.donations[{at}].rapportable", "this gift is not brought back."
        if usual and any(key in one for key in ("imputation", "reserve_usufruit", "droit_de_retour")):
            yield f"$.donations[{at}]", "a usual present has neither imputation, usufruct nor right of return."


def r24_handwritten(case: Case) -> Iterator[Broken]:
    """Whether it is handwritten and dated is asked of an olographic will alone (970, 971)."""
    if case.will.get("forme", "olographe") != "olographe":
        for key in ("ecrit_a_la_main", "date_presente"):
            if key in case.will:
                yield f"$.testament.{key}", f"{key} with {case.will['forme']}; leave it out."


def r25_age_of_the_usufruct(case: Case) -> Iterator[Broken]:
    """Bare ownership and the age of who has the usufruct go together (578)."""
    for at, one in enumerate(case.many("biens")):
        bare = one.get("demembrement") == "nue_propriete"
        if bare and "age_usufruitier" not in one:
            yield f"$.biens[{at}].age_usufruitier", "bare ownership needs it."
        if not bare and "demembrement" in one and "age_usufruitier" in one:
            yield f"$.biens[{at}].age_usufruitier", f"{one['demembrement']}: leave it out."


def r27_legacies(case: Case) -> Iterator[Broken]:
    """A universal legacy names nothing, one by share its fraction, a particular one none (1003, 1010, 1014)."""
    unfit = {"universel": ("bien", "quotite", "valeur", "objet"), "a_titre_universel": ("bien",),
             "particulier": ("quotite",)}  # fmt: skip
    for at, one in enumerate(case.legacies):
        for key in unfit[one["type"]]:
            if key in one:
                yield f"$.testament.legs[{at}].{key}", f"{key} with {one['type']}; leave it out."
        if one["type"] == "a_titre_universel" and "quotite" not in one:
            yield f"$.testament.legs[{at}].quotite", "a legacy by share needs its fraction."


def r28_insurance_outside(case: Case) -> Iterator[Broken]:
    """The capital of an insurance is in no good, legacy or gift (Code des assurances L132-12)."""
    capitals = {one["capital_deces"] for one in case.many("assurances_vie") if "capital_deces" in one}
    for at, one in enumerate(case.many("biens")):
        if one.get("valeur") in capitals:
            yield f"$.biens[{at}].valeur", "this is the capital of an insurance, which is outside the succession."
    for at, one in enumerate(case.legacies):
        if one.get("valeur") in capitals or "assurance" in one.get("objet", ""):
            yield f"$.testament.legs[{at}]", "an insurance's capital goes to its beneficiaries, by no legacy."


def r29_majorities(case: Case) -> Iterator[Broken]:
    """Two thirds, unanimity and the sale of 815-5-1 agree with the shares and with what is owned."""
    owners, action = case.joint.get("indivisaires", []), case.joint.get("action")
    shares = [Fraction(case.heir[one]["quote_part"]) for one in owners if "quote_part" in case.heir.get(one, {})]
    if case.joint.get("majorite_deux_tiers") and len(shares) == len(owners) >= 1:
        whole = sum(shares)
        if (whole - min(shares)) / whole < TWO_THIRDS:
            yield "$.indivision.majorite_deux_tiers", "whoever refuses, the others have less than two thirds."
    if action == "vente_815_5_1":
        if case.joint.get("majorite_deux_tiers") is False:
            yield "$.indivision.action", "this sale is asked by two thirds of the shares."
        for name in case.joint.get("biens", []):
            if case.good.get(name, {}).get("demembrement") in ("usufruit", "nue_propriete"):
                yield "$.indivision.biens", f"{name} is dismembered and cannot be sold by 815-5-1."
    if action == "partage_amiable" and case.joint.get("blocage") == "refus_de_partager":
        yield "$.indivision.action", "a partition by consent needs everybody's; somebody refuses."


RULES: dict[str, Rule] = {
    rule.__name__[:3].upper(): rule
    for rule in (
        r01_ids_once, r02_link_and_state, r03_option_needs_descendants, r04_usufruct_needs_common_children,
        r05_regime_needs_marriage, r06_represented_exists, r07_represented_gave_place, r08_representation_links,
        r09_representation_is_mutual, r10_who_is_never_represented, r11_orders_exclude, r12_persons_exist,
        r13_goods_exist, r14_birth_death_partition, r15_gifts_in_life, r16_will_in_life, r17_policies_in_life,
        r18_late_premiums, r19_common_goods, r20_option_in_time, r21_no_share_without_place, r22_shares_make_a_whole,
        r23_what_is_brought_back, r24_handwritten, r25_age_of_the_usufruct, r26_minors, r27_legacies,
        r28_insurance_outside, r29_majorities, r30_disposable_share,
    )
}  # fmt: skip


def rule_findings(target: dict[str, object]) -> list[Finding]:
    """Return every rule that a target breaks, by its code; the target must keep to the schema's types."""
    case = Case(target)
    return [Finding(code, path, said) for code, rule in RULES.items() for path, said in rule(case)]
