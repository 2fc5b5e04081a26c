"""TOON and the JSON it came from say the same, whatever a target holds; what is no TOON is refused, never misread."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.server.targets import Target, from_toon, to_toon
from errors import CorpusError

# What a target may hold: texts (those that look like something else too), whole numbers, decimals, true, false.
TRICKY = st.sampled_from([
    "true", "null", "05", "+5", ".5", "1_000", "1e3", "-", "- a", "# note", "a: b", "a,b", "[2]", "[2]: 1", "{a}", "{}",
    "a[2]{b,c}:", ' "', "\\", "\\n", "é€𝄞", "\u2028", "1/2", "12 500,00",
    "2024-01-02", "  bord  ", "\t", "\n", ":", "|",
])  # fmt: skip
TEXTS = st.one_of(TRICKY, st.text(st.characters(codec="utf-8"), min_size=1, max_size=12))
KEYS = st.one_of(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), TEXTS)
NUMBERS = st.one_of(st.integers(-(2**53), 2**53), st.sampled_from([99.5, 0.25, -1.5, 12.75]))
LEAVES = st.one_of(TEXTS, NUMBERS, st.booleans())
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=4), st.dictionaries(KEYS, inner, min_size=1, max_size=4)
    ),
    max_leaves=12,
)
TARGETS = st.dictionaries(KEYS, VALUES, min_size=1, max_size=4)


@settings(max_examples=100, derandomize=True)
@given(TARGETS)
def test_a_target_comes_back_from_toon(target: Target) -> None:
    text = to_toon(target)
    assert from_toon(text) == target == json.loads(json.dumps(target))
    assert to_toon(from_toon(text)) == text  # stable: the same object is the same text
    if "```" not in text:
        assert from_toon(f"```toon\n{text}\n```") == target


@settings(max_examples=100, derandomize=True)
@given(TARGETS, st.integers(0, 10_000), st.sampled_from(["", "[", '"', ":", "  ", "\n", "x[3]: 1", "- ", "\t"]))
def test_damaged_toon_is_read_or_refused(target: Target, at: int, put: str) -> None:
    text = to_toon(target)
    place = at % (len(text) + 1)
    spoilt = text[:place] + put + text[place + 1 :]
    try:
        assert isinstance(from_toon(spoilt), dict)
    except CorpusError as error:
        assert str(error)  # noqa: PT017  either is right: an object, or an error of ours


@settings(max_examples=30, derandomize=True)
@given(st.lists(st.tuples(st.integers(1, 9), TEXTS), min_size=2, max_size=5))
def test_like_objects_make_a_table_with_its_count(rows: list[tuple[int, str]]) -> None:
    text = to_toon({"tiers": [{"id": number, "nom": name} for number, name in rows]})
    assert f"tiers[{len(rows)}]{{id,nom}}:" in text
    with pytest.raises(CorpusError):  # a line that a writer took away is missed
        from_toon(text.replace(f"[{len(rows)}]", f"[{len(rows) + 1}]", 1))


@pytest.mark.parametrize("value", [math.nan, math.inf, (1, 2), {1: "a"}])
def test_what_toon_would_change_is_refused(value: object) -> None:
    with pytest.raises(CorpusError, match="does not survive TOON"):
        to_toon({"a": value})
