"""What a succession case is about, and whether a target is about it. Knows targets; draws nothing."""

from collections.abc import Callable, Mapping
from typing import Any

from corpus.domains.succession.case import Case

NONE = "aucun"

HOLDS: dict[str, Callable[[Case], bool]] = {
    "assurance_vie": lambda case: "assurances_vie" in case.target,
    "testament": lambda case: "testament" in case.target,
    "legs": lambda case: bool(case.legacies),
    "passif": lambda case: "passif" in case.target,
    "indivision": lambda case: "indivision" in case.target,
    "donation_rapport": lambda case: any(
        one.get("imputation") == "avancement_de_part" for one in case.many("donations")
    ),
    "reduction_reserve": lambda case: (
        bool({"donations", "testament"} & set(case.target)) and "reserve_et_quotite" in case.target.get("demandes", [])
    ),
    "conjoint_option": lambda case: (
        case.survivor and any(one["lien"] in ("enfant", "petit_enfant") for one in case.heirs)
    ),
    "regime_matrimonial": lambda case: "regime_matrimonial" in case.deceased,
    "logement_conjoint": lambda case: "droit_logement" in case.spouse,
    "demembrement": lambda case: any(
        one.get("demembrement") in ("usufruit", "nue_propriete") for one in case.many("biens")
    ),
    "representation": lambda case: any("represente" in one for one in case.heirs),
    "renonciation": lambda case: any(one["statut"] == "renoncant" for one in case.heirs),
    "pacs_concubinage": lambda case: case.spouse.get("lien") in ("partenaire_pacs", "concubin"),
}

BLOCKS: dict[str, tuple[str, ...]] = {  # that a topic brings, of those that are a subject of their own
    "assurance_vie": ("assurances_vie",),
    "testament": ("testament",),
    "legs": ("testament",),
    "passif": ("passif",),
    "indivision": ("indivision",),
    "donation_rapport": ("donations",),
    "reduction_reserve": ("donations", "testament"),
    "logement_conjoint": ("testament",),  # an authentic will may take the dwelling away (764)
}
SUBJECTS = frozenset({"assurances_vie", "testament", "passif", "indivision", "donations"})

DEMANDS: dict[str, tuple[str, ...]] = {
    "assurance_vie": ("assurance_vie", "droits_de_succession"),
    "testament": ("validite_testament", "qui_herite"),
    "legs": ("delivrance_de_legs", "parts"),
    "passif": ("dettes", "option_heritier"),
    "indivision": ("sortie_indivision", "partage"),
    "donation_rapport": ("rapport", "parts"),
    "reduction_reserve": ("reserve_et_quotite", "reduction"),
    "conjoint_option": ("option_conjoint", "parts"),
    "regime_matrimonial": ("partage", "qui_herite"),
    "logement_conjoint": ("logement",),
    "demembrement": ("parts", "droits_de_succession"),
    "representation": ("representation", "qui_herite"),
    "renonciation": ("option_heritier", "delais"),
    "pacs_concubinage": ("qui_herite", "droits_de_succession"),
}
ANYWHERE = ("qui_herite", "parts", "droits_de_succession", "delais", "partage", "recel")


def misaligned(target: Mapping[str, Any], main: str, second: str) -> list[str]:
    """Return how a target is about something else than its topics: what does not hold, and what nobody asked for.

    With two topics, or a main one alone, no block that is a subject of its own comes uninvited.
    """
    case = Case(target)
    asked = [one for one in (main, second) if one != NONE]
    found = [f"{one} does not hold" for one in asked if not HOLDS[one](case)]
    if second == NONE:
        found += [f"{name} comes uninvited" for name in sorted((SUBJECTS & set(target)) - set(BLOCKS.get(main, ())))]
    return found
