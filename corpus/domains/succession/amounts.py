"""Amounts of French law by date, read from amounts.yaml. Knows no case; computes no duty."""

from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from errors import CorpusError

FILE = Path(__file__).parent / "amounts.yaml"
NEEDED = ("key", "value", "unit", "article", "valid_from", "source", "checked_on")


@dataclass(frozen=True)
class Amount:
    """A number of the law, and when it holds.

    Attributes:
        key: Its name.
        value: How much, in `unit`: whole EUR or years.
        article: Where it stands.
        valid_from: First day.
        valid_to: Last day; None while it holds.
    """

    key: str
    value: int
    unit: str
    article: str
    valid_from: date
    valid_to: date | None

    def holds(self, day: date) -> bool:
        """Whether it holds on a day."""
        return self.valid_from <= day and (self.valid_to is None or day <= self.valid_to)


def read_amounts(path: Path) -> tuple[Amount, ...]:
    """Read the amounts.

    Raises:
        CorpusError: A line lacks a field or its dates are none: no amount holds for ever.
    """
    found = []
    rows: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    for number, row in enumerate(rows, 1):
        where = f"{path.name}: amount {number}"
        if missing := [name for name in NEEDED if name not in row]:
            raise CorpusError(f"{where}: {', '.join(missing)} is missing; fill it from the official text.")
        last = row.get("valid_to")
        if not isinstance(row["valid_from"], date) or not (last is None or isinstance(last, date)):
            raise CorpusError(f"{where}: valid_from and valid_to are dates, e.g. 2012-08-17.")
        found.append(Amount(row["key"], row["value"], row["unit"], row["article"], row["valid_from"], last))
    return tuple(found)


@cache
def amounts() -> tuple[Amount, ...]:
    """Return ours, read once."""
    return read_amounts(FILE)


def amount_on(key: str, day: date) -> int:
    """Return an amount as it was on a day, that of the death.

    Raises:
        CorpusError: No such amount held then.

    >>> amount_on("allowance_direct_line", date(2024, 3, 1))
    100000
    """
    for one in amounts():
        if one.key == key and one.holds(day):
            return one.value
    raise CorpusError(f"no amount {key!r} on {day}; add it to amounts.yaml with its dates and source.")


def bounds_on(day: date) -> list[int]:
    """Return every bound in euros that held on a day, where duties change."""
    return sorted({one.value for one in amounts() if one.unit == "EUR" and one.holds(day)})
