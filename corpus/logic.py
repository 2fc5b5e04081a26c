"""Formulas over P, Q, R, S, and whether a conclusion follows: a truth table. Pure: knows no file and no scheme."""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import product

LETTERS = "PQRS"
_TOKENS = re.compile(r"\s*(->|[PQRS&|~()])")

Formula = Callable[[Mapping[str, bool]], bool]


def parse_formula(text: str) -> Formula:
    """Read a formula: `~` binds closest, then `&`, `|`, and `->`, which groups to the right.

    Raises:
        ValueError: It is no formula; the message says where.

    >>> parse_formula("P -> (Q & ~R)")({"P": True, "Q": True, "R": False})
    True
    """
    tokens, end = [], 0
    while found := _TOKENS.match(text, end):
        tokens.append(found[1])
        end = found.end()
    if text[end:].strip():
        raise ValueError(f"{text!r}: unknown sign at {text[end:].strip()[:5]!r}")
    formula = _implication(tokens, text)
    if tokens:
        raise ValueError(f"{text!r}: {tokens[0]!r} is one sign too many")
    return formula


def _implication(tokens: list[str], text: str) -> Formula:
    left = _chain(tokens, text, "|")
    if tokens[:1] != ["->"]:
        return left
    tokens.pop(0)
    right = _implication(tokens, text)
    return lambda values: not left(values) or right(values)


def _chain(tokens: list[str], text: str, sign: str) -> Formula:
    """Read `a | b | …`, each part a chain of `&`; or `a & b & …`, each part a letter, a negation or parentheses."""
    parts: list[Formula] = []
    while not parts or tokens[:1] == [sign]:
        if parts:
            tokens.pop(0)
        parts.append(_chain(tokens, text, "&") if sign == "|" else _single(tokens, text))
    holds = any if sign == "|" else all
    return lambda values: holds(part(values) for part in parts)


def _single(tokens: list[str], text: str) -> Formula:
    sign = tokens.pop(0) if tokens else "the end"
    if sign == "~":
        denied = _single(tokens, text)
        return lambda values: not denied(values)
    if sign == "(":
        inner = _implication(tokens, text)
        if tokens[:1] != [")"]:
            raise ValueError(f"{text!r}: a parenthesis is not closed")
        tokens.pop(0)
        return inner
    if sign not in LETTERS:
        raise ValueError(f"{text!r}: expected a letter, ~ or (, found {sign!r}")
    return lambda values: values[sign]


def letters_of(formulas: Sequence[str]) -> str:
    """Return the letters that stand in `formulas`, in order."""
    return "".join(letter for letter in LETTERS if any(letter in formula for formula in formulas))


def follows(premises: Sequence[str], conclusion: str) -> bool:
    """Whether the conclusion is true wherever all premises are.

    Raises:
        ValueError: A text is no formula.

    >>> follows(["P -> Q", "P"], "Q"), follows(["P -> Q", "Q"], "P")
    (True, False)
    """
    letters = letters_of([*premises, conclusion])
    given, due = [parse_formula(text) for text in premises], parse_formula(conclusion)
    worlds = (dict(zip(letters, values, strict=True)) for values in product((True, False), repeat=len(letters)))
    return all(due(world) for world in worlds if all(premise(world) for premise in given))
