"""What is left to chance in a succession case: names, days, amounts, and whether a thing is said. Knows no law."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import yaml

T = TypeVar("T")

NEAR_BOUND = 0.15  # of the amounts lie beside a bound where duties change
BESIDE = (-1000, -1, 0, 1, 500)  # euros


@cache
def words() -> dict[str, Any]:
    """Return the names and things of words.yaml, read once."""
    found: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "words.yaml").read_text(encoding="utf-8"))
    return found


@dataclass
class Luck:
    """One case's chance.

    Attributes:
        chance: Decides; the same one makes the same case.
        density: Share of what may be left out that is said, 0 to 1.
        numbers: The same for amounts, ages and dates.
        bounds: Amounts in euros beside which cases are hard.
        used: Amounts and names already said; each is said of one thing.
    """

    chance: random.Random
    density: float
    numbers: float
    bounds: Sequence[int] = ()
    used: set[int | str] = field(default_factory=set)

    def hit(self, share: float) -> bool:
        """Whether something happens that does in `share` of the cases."""
        return self.chance.random() < share

    def said(self) -> bool:
        """Whether a thing that may be left out is said."""
        return self.hit(self.density)

    def told(self) -> bool:
        """Whether an amount, an age or a date that may be left out is said."""
        return self.hit(self.numbers)

    def pick(self, many: Sequence[T]) -> T:
        """Return one of them, each as likely."""
        return self.chance.choice(many)

    def between(self, low: int, high: int) -> int:
        """Return a whole number, both ends included; `low` where there is no room."""
        return self.chance.randint(low, max(low, high))

    def name(self, kind: str, group: str = "") -> str:
        """Return a name that nobody has in this case."""
        known: list[str] = words()[kind][group] if group else words()[kind]
        fresh = [one for one in known if one not in self.used] or known
        one = self.pick(fresh)
        self.used.add(one)
        return one

    def first_name(self, group: str = "") -> str:
        """Return a first name: "f", "m" or either."""
        return self.name("prenoms", group or self.pick(("f", "m")))

    def money(self, low: int, high: int) -> int:
        """Return whole euros that nothing else in this case amounts to, the smaller ones more often."""
        near = [one for one in self.bounds if low <= one <= high]
        if near and self.hit(NEAR_BOUND):
            value = self.pick(near) + self.pick(BESIDE)
        else:
            exact = low + (high - low) * self.chance.random() ** 2
            step = self.pick((10 ** (len(str(int(exact))) - 2), 100 if exact > 2000 else 10))
            value = round(exact / max(1, step)) * max(1, step)
        value = min(max(value, low), high)
        while value in self.used:
            value += 10
        self.used.add(value)
        return value

    def day(self, first: date, last: date) -> date:
        """Return a day, both ends included; `first` where there is no room."""
        return first + timedelta(days=self.between(0, (last - first).days))
