"""The linear model: scores by hand, a file that a person can read, a broken file that is named."""

import json
import lzma
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogue.linear import Linear, Seen, dump_linear, load_linear, pack, pieces_in, words_in
from errors import SettingsError

NOTHING: frozenset[str] = frozenset()
MODEL = Linear(("a", "b"), (0.5, 0.0), {"facts": {"x": (1.0, -1.0)}, "words": {"oui": (2.0, 0.0)}, "pieces": {}})


def test_scores_by_hand() -> None:
    assert MODEL.scores(Seen(NOTHING, NOTHING, NOTHING)) == {"a": 0.5, "b": 0.0}
    assert MODEL.scores(Seen(frozenset({"x", "unknown"}), frozenset({"oui"}), NOTHING)) == {"a": 3.5, "b": -1.0}


def test_a_long_message_is_no_louder_than_a_short_one() -> None:
    """Words count as one direction: four that say the same weigh twice one, not four times."""
    words = dict.fromkeys("abcd", (1.0, 0.0))
    model = Linear(("a", "b"), (0.0, 0.0), {"facts": {}, "words": words, "pieces": {}})
    assert math.isclose(model.scores(Seen(NOTHING, frozenset("abcd"), NOTHING))["a"], 2.0)


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "weights.json.xz"
    path.write_bytes(pack(MODEL))
    assert load_linear(path, ("a", "b")) == MODEL
    assert lzma.decompress(path.read_bytes()).decode("utf-8") == dump_linear(MODEL)
    assert '  "oui": [200,0]' in dump_linear(MODEL).splitlines()
    assert pack(MODEL) == pack(MODEL)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no archive", ""),
        ("{", "cannot be read"),
        ("[]", "no table of weights"),
        ('{"labels": ["a", "b"]}', "no table of weights"),
        ('{"labels": ["a", "c"], "bias": [0, 0]}', "expected a, b"),
        (json.dumps({"labels": ["a", "b"], "bias": [0], "facts": {}, "words": {}, "pieces": {}}), "without one number"),
        (
            json.dumps({"labels": ["a", "b"], "bias": [0, 0], "facts": {"x": ["1", 2]}, "words": {}, "pieces": {}}),
            "no table of weights",
        ),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "w.json.xz"
    with pytest.raises(SettingsError, match=r"w\.json\.xz cannot be read"):
        load_linear(path, ("a", "b"))
    path.write_bytes(lzma.compress(text.encode("utf-8")) if said else text.encode("utf-8"))
    with pytest.raises(SettingsError, match=rf"w\.json.*{said or 'cannot be read'}"):
        load_linear(path, ("a", "b"))


@given(st.text(max_size=200))
def test_any_text_has_words_and_pieces(text: str) -> None:
    for found in (words_in(text, "?"), pieces_in(text)):
        assert all(isinstance(one, str) and one for one in found)
    assert len(max(pieces_in(text), key=len, default="")) <= 5
