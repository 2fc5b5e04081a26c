"""Amounts and dates as French says them, in digits or in words. Pure; knows no target and no domain."""

import re
from collections.abc import Iterator
from datetime import date

from corpus.check import plain

_MONTHS = {
    name: number
    for number, names in enumerate(
        "janvier janv|fevrier fev fevr|mars|avril avr|mai|juin|juillet juil|aout|septembre sept|octobre oct|"
        "novembre nov|decembre dec".split("|"),
        1,
    )
    for name in names.split()
}
_UNITS = {
    word: value
    for value, words in enumerate(
        "zero|un une|deux|trois|quatre|cinq|six|sept|huit|neuf|dix|onze|douze|treize|quatorze|quinze|seize".split("|")
    )
    for word in words.split()
}
_TENS = {"vingt": 20, "vingts": 20, "trente": 30, "quarante": 40, "cinquante": 50, "soixante": 60, "septante": 70,
         "huitante": 80, "octante": 80, "nonante": 90}  # fmt: skip
_HUNDRED = frozenset({"cent", "cents"})
_SCALES = {"mille": 1000, "million": 1_000_000, "millions": 1_000_000, "milliard": 10**9, "milliards": 10**9}
_SPACE = r"[ .'’\u00a0\u202f]"
_DIGITS = re.compile(
    rf"(?P<whole>\d{{1,3}}(?:{_SPACE}\d{{3}})+(?!\d)|\d+)(?:,(?P<cents>\d{{1,3}})(?!\d)|\.(?P<points>\d{{1,2}})(?!\d))?"
    r"[ \u00a0\u202f]?(?P<scale>k(?=\s?€|\b|e\b)|mille|millions?|milliards?|M€|M(?=\s?€))?",
)
_DATE_WORDS = re.compile(rf"\b(1er|\d{{1,2}}) ({'|'.join(_MONTHS)}) (\d{{4}}|\d{{2}})\b")
_DATE_SIGNS = re.compile(r"\b(\d{1,2})[/.-](\d{1,2})[/.-](\d{4}|\d{2})\b")
_DATE_ISO = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})\b")


def amounts(text: str) -> set[float]:
    """Return every number that a text says.

    >>> sorted(amounts("12 500 € plus 1,5 million, ou deux cent quatre-vingt mille euros"))
    [12500.0, 280000.0, 1500000.0]
    """
    found = set()
    rest = plain(_DIGITS.sub(" chiffre ", text))  # « 1,5 million » says no million of its own
    for match in _DIGITS.finditer(text):
        whole = re.sub(_SPACE, "", match["whole"])
        value = float(f"{whole}.{match['cents'] or match['points'] or 0}")
        scale = match["scale"]
        factor = 1 if not scale else 1000 if scale == "k" else _SCALES.get(scale, 1_000_000)
        found.add(round(value * factor, 2))
    return found | set(_spelled(rest.split()))


def _spelled(words: list[str]) -> Iterator[float]:
    """Yield the numbers in words; « un » and « une » alone are articles."""
    total = group = length = 0
    scale = 10**12
    for place, word in enumerate([*words, ""]):
        joins = word == "et" and length > 0 and words[place + 1 : place + 2] in (["un"], ["une"], ["onze"])
        if joins:
            continue
        again = word in _SCALES and total > 0 and _SCALES[word] >= scale  # « vingt mille, trente mille »
        if again:
            yield float(total)
            total = 0
        if word in _SCALES:
            total, group, scale = total + max(group, 1) * _SCALES[word], 0, _SCALES[word]
        elif word in _HUNDRED:
            group = max(group, 1) * 100
        elif word in ("vingt", "vingts") and group % 100 == 4:
            group += 76  # quatre-vingts
        elif word in _UNITS or word in _TENS:
            group += _UNITS[word] if word in _UNITS else _TENS[word]
        else:
            if length > 1 or total + group > 1:
                yield float(total + group)
            total = group = length = 0
            scale = 10**12
            continue
        length += 1


def dates(text: str) -> set[date]:
    """Return every day that a text names; a year of two digits is of this century up to 30, of the last one above.

    >>> sorted(dates("né le 1er mars 1950, mort le 9/8/24")) == [date(1950, 3, 1), date(2024, 8, 9)]
    True
    """
    said = [(y, _MONTHS[m], 1 if d == "1er" else int(d)) for d, m, y in _DATE_WORDS.findall(plain(text))]
    said += [(y, int(m), int(d)) for d, m, y in _DATE_SIGNS.findall(text)]
    said += [(y, int(m), int(d)) for y, m, d in _DATE_ISO.findall(text)]
    found = set()
    for year, month, day in said:
        full = int(year) if len(year) == 4 else int(year) + (2000 if int(year) <= 30 else 1900)
        try:
            found.add(date(full, month, day))
        except ValueError:
            continue  # 31/02 is no day, and no fact either
    return found
