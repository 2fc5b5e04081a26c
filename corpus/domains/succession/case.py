"""A succession target, read: who is who, what is when. Knows the schema's fields; judges nothing."""

import calendar
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from functools import cached_property
from typing import Any

Part = Mapping[str, Any]

TAKES = frozenset(
    {"acceptant_pur_et_simple", "acceptant_concurrence_actif_net", "option_non_exercee", "presume_absent"}
)
GIVES_PLACE = frozenset({"predecede", "renoncant", "indigne"})  # may be represented (754, 755)
DESCENDANTS = frozenset({"enfant", "petit_enfant", "arriere_petit_enfant"})
PARENTS = frozenset({"pere", "mere"})
COLLATERALS = frozenset({"frere", "soeur", "neveu", "niece"})
ORDERS = {
    **dict.fromkeys(DESCENDANTS, 1),
    **dict.fromkeys(PARENTS | COLLATERALS, 2),
    "grand_parent": 3,
    **dict.fromkeys(("oncle", "tante", "cousin"), 4),
}  # 734
MARRIED = frozenset({"marie", "separe_de_corps"})
UNMARRIED = frozenset({"celibataire", "pacse", "divorce", "veuf", "concubinage"})
SEPARATE = frozenset({"separation_de_biens", "participation_aux_acquets"})


def day_of(part: Part, key: str) -> date | None:
    """Return a date of a part, or None where it is not stated."""
    return date.fromisoformat(part[key]) if key in part else None


def months_after(day: date, months: int) -> date:
    """Return the same day some months later, the month's last one where it has fewer.

    >>> months_after(date(2023, 10, 31), 4)
    datetime.date(2024, 2, 29)
    """
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def age_on(birth: date, day: date) -> int:
    """Return the whole years lived on a day."""
    return day.year - birth.year - ((day.month, day.day) < (birth.month, birth.day))


@dataclass(frozen=True)
class Case:
    """A target that keeps to the schema."""

    target: Part

    @property
    def deceased(self) -> Part:
        """Whose succession it is."""
        return dict(self.target["defunt"])

    @cached_property
    def birth(self) -> date | None:
        """When the deceased was born."""
        return day_of(self.target["defunt"], "date_naissance")

    @cached_property
    def death(self) -> date | None:
        """When the deceased died."""
        return day_of(self.target["defunt"], "date_deces")

    @property
    def spouse(self) -> Part:
        """Spouse, partner or former spouse; empty where there is none."""
        return dict(self.target.get("conjoint", {}))

    @property
    def survivor(self) -> bool:
        """Whether a spouse survives who inherits."""
        return bool(self.spouse.get("lien") == "conjoint_survivant")

    def many(self, name: str) -> list[Part]:
        """Return the items of a list, none where it is absent: heritiers, biens, donations and so on."""
        return list(self.target.get(name, []))

    @cached_property
    def heirs(self) -> list[Part]:
        """Who is of the family, with or without a part in the succession."""
        return self.many("heritiers")

    @cached_property
    def heir(self) -> dict[str, Part]:
        """The same by id."""
        return {one["id"]: one for one in self.heirs}

    @cached_property
    def good(self) -> dict[str, Part]:
        """Goods by id."""
        return {one["id"]: one for one in self.many("biens")}

    @cached_property
    def will(self) -> Part:
        """The will; empty where there is none."""
        return dict(self.target.get("testament", {}))

    @cached_property
    def legacies(self) -> list[Part]:
        """What the will leaves."""
        return list(self.will.get("legs", []))

    @cached_property
    def joint(self) -> Part:
        """The undivided ownership; empty where nothing is said of it."""
        return dict(self.target.get("indivision", {}))

    @cached_property
    def persons(self) -> set[str]:
        """The ids that a reference to a person may name."""
        spouse = {"CJ"} if "conjoint" in self.target else set()
        return spouse | set(self.heir) | {one["id"] for one in self.many("tiers")}

    def taking(self, links: frozenset[str]) -> list[Part]:
        """Return the heirs of these links who have not given up their place."""
        return [one for one in self.heirs if one["lien"] in links and one["statut"] in TAKES]

    def disposable(self) -> Fraction | None:
        """Return the share that can be given away: 913, 914-1; 1 without a reserve, None where the case leaves it open.

        A child who renounces, is unworthy or died before counts when it is represented.
        """
        children = [one for one in self.heirs if one["lien"] == "enfant"]
        if not children and any(one["lien"] in DESCENDANTS for one in self.heirs):
            return None  # by stirps (913-1), and the stirps are not told
        stirps = sum(one["statut"] in TAKES or "represente_par" in one for one in children)
        if stirps:
            return Fraction(1, min(stirps, 3) + 1)
        if children:
            return None  # all gave up their place: who comes next is not told
        return Fraction(3, 4) if self.survivor else Fraction(1)
