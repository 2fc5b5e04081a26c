"""The French cut keeps what French words need, cuts them as the full vocabulary does, and reads its own list."""

import json
import lzma
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversion.container import read_container
from conversion.vocabulary import (
    MOJIBAKE,
    Merges,
    choose_pieces,
    count_words,
    general_files,
    letter_runs,
    own_files,
    read_kept,
    read_texts,
    write_kept,
)
from errors import ConversionError
from tests.conversion.tiny import FRENCH, Source, tiny_vocabulary


def test_merges_take_the_best_pair_first_and_yield_the_way() -> None:
    merges = Merges({"on": -1.0, "io": -2.0, "tion": -3.0, "ti": -4.0})
    assert list(merges.path("tion")) == ["t", "i", "o", "n", "on", "ti", "tion"]
    assert list(Merges({"aa": -1.0}).path("aaa")) == ["a", "a", "a", "aa"]  # the leftmost of equals
    assert list(merges.path("")) == []


def test_words_carry_their_space_except_at_a_line_start() -> None:
    assert count_words(["la joie\nla  joie"]) == Counter({"la": 2, "▁joie": 2})
    assert letter_runs({"▁l'homme,": 3, "(homme)": 1}) == Counter({"▁l": 3, "homme": 4})


def test_own_words_are_cut_as_the_full_vocabulary_cuts_them(tiny: Source, tiny_kept: list[int]) -> None:
    tokens, scores, kinds = tiny_vocabulary()
    full = {t: s for t, s, k in zip(tokens, scores, kinds, strict=True) if k == 1}
    kept = {tokens[i]: scores[i] for i in tiny_kept if kinds[i] == 1}
    for word in FRENCH.split():
        for form in (word, "▁" + word):
            assert list(Merges(kept).path(form)) == list(Merges(full).path(form))


def test_what_is_kept_whatever_the_texts(tiny: Source, tiny_kept: list[int]) -> None:
    tokens, _, kinds = tiny_vocabulary()
    pieces = [tokens[i] for i in tiny_kept]
    assert pieces[:6] == ["<pad>", "<eos>", "<bos>", "<unk>", "<unused0>", "<unused1>"]
    assert {"\n", "\n\n", "\n\n\n", "<0x00>", "<0xFF>"} <= set(pieces)
    assert "<mask>" not in pieces
    assert not [piece for piece in pieces if MOJIBAKE in piece]
    assert tiny_kept == sorted(set(tiny_kept))
    bare = choose_pieces(tiny.path, [])
    assert set(bare) < set(tiny_kept)
    assert sum(kinds[i] == 6 for i in bare) == 256


def test_rare_words_bring_no_pieces(tiny: Source) -> None:
    once = choose_pieces(tiny.path, FRENCH.splitlines())
    often = choose_pieces(tiny.path, FRENCH.splitlines() * 20)
    assert len(once) < len(often)
    assert often == choose_pieces(tiny.path, FRENCH.splitlines() * 20)


def test_a_base_with_another_vocabulary_is_refused(tiny_gguf: Path) -> None:
    with pytest.raises(ConversionError, match="begins with the pieces"):
        choose_pieces(tiny_gguf, [])


def test_texts_are_read_from_every_format(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"idea": "un", "n": 3, "tags": ["deux"]}) + "\n\n", encoding="utf-8")
    (tmp_path / "b.txt").write_text("trois\nquatre\n", encoding="utf-8")
    with lzma.open(tmp_path / "c.txt.xz", "wt", encoding="utf-8") as file:
        file.write("cinq\n")
    read = [text.strip() for name in ("a.jsonl", "b.txt", "c.txt.xz") for text in read_texts(tmp_path / name)]
    assert read == ["un", "deux", "trois", "quatre", "cinq"]
    (tmp_path / "bad.jsonl").write_text('{"a": 1}\n{"a"\n', encoding="utf-8")
    with pytest.raises(ConversionError, match=r"bad\.jsonl, line 2"):
        list(read_texts(tmp_path / "bad.jsonl"))
    (tmp_path / "cut.txt.xz").write_bytes((tmp_path / "c.txt.xz").read_bytes()[:-20])
    (tmp_path / "latin.txt").write_bytes("été".encode("latin-1"))
    for name in ("cut.txt.xz", "latin.txt", "none.txt"):
        with pytest.raises(ConversionError, match=rf"{name} cannot be read"):
            list(read_texts(tmp_path / name))


def test_the_examination_is_no_part_of_our_texts() -> None:
    files = own_files(Path(__file__).parents[2])
    assert files
    assert not [path for path in files if "eval" in path.parts]


def test_a_folder_without_french_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="chosen from such texts"):
        general_files(tmp_path)


@pytest.mark.parametrize("name", ["kept_pieces.txt", "kept_pieces.txt.xz"])
@given(st.sets(st.integers(0, 300_000), min_size=5, max_size=50))
def test_the_list_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, name: str, ids: set[int]) -> None:
    path = tmp_path_factory.mktemp("kept") / name
    write_kept(path, sorted(ids), ["a note"])
    assert read_kept(path) == sorted(ids)


def test_a_packed_list_that_is_torn_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kept_pieces.txt.xz"
    write_kept(path, range(1000), ["a note"])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ConversionError, match="cannot be read"):
        read_kept(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# nothing\n", "0 ids"),
        ("0\n1\n2\n3\nquatre\n", "line 5"),
        ("0\n1\n2\n3\n5\n4\n", "do not rise"),
        ("-1\n", "line 1"),
    ],
)
def test_a_wrong_list_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "kept_pieces.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConversionError, match=said):
        read_kept(path)
    with pytest.raises(ConversionError, match="is missing"):
        read_kept(tmp_path / "none.txt")


def test_the_committed_list_fits_the_base_it_names() -> None:
    kept = read_kept(Path(__file__).parents[2] / "models" / "demo" / "kept_pieces.txt.xz")
    assert kept[:6] == [0, 1, 2, 3, 6, 7]
    assert kept[-1] < 262_144
    assert 20_000 < len(kept) < 40_000


def test_the_container_is_what_the_vocabulary_reads(tiny: Source) -> None:
    assert read_container(tiny.path).value("tokenizer.ggml.tokens") == tiny_vocabulary()[0]
