"""Counts that need no understanding."""

import lzma
from pathlib import Path

import pytest

from errors import EngineError
from evaluation.text_counts import ends_on_question, has_loop, held_out_prose, unknown_words, words


@pytest.mark.parametrize(
    ("text", "yes"), [("Et toi ?", True), ("« Et toi ? » ", True), ("Et toi.", False), ("", False)]
)
def test_ends(text: str, yes: bool) -> None:
    assert ends_on_question(text) is yes


@pytest.mark.parametrize(
    ("text", "yes"),
    [
        ("un deux trois quatre cinq six", False),
        ("un deux trois quatre cinq six un deux trois quatre cinq six", True),
        ("un deux trois quatre cinq, un deux trois quatre cinq", False),
        ("la la la la la la la", True),
        ("", False),
    ],
)
def test_loops(text: str, yes: bool) -> None:
    assert has_loop(text) is yes


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    folder = tmp_path / "french"
    folder.mkdir()
    for name, last in (("a", "œuvre"), ("b", "Chaîne")):
        with lzma.open(folder / f"{name}.txt.xz", "wt", encoding="utf-8") as file:
            file.write("Le désir de comprendre.\n" * 20_000 + f"Voici une {last}.\n")
    return tmp_path


def test_unknown_words(corpora: Path) -> None:
    said = words("Le désir d'entraÃ®ne comprendre l'œuvre, la chaîne, le conatus et le zglorp")
    assert unknown_words(said, corpora, {"conatus", "la", "l", "d", "et"}) == {"entraã", "ne", "zglorp"}
    assert unknown_words([], corpora) == set()


def test_prose_is_the_end_of_each_text(corpora: Path) -> None:
    slices = held_out_prose(corpora)
    assert len(slices) == 2
    assert all(2_900 < len(text) <= 3_000 for text in slices)
    assert slices[0].endswith("Voici une œuvre.")
    assert "\n" not in slices[0]


def test_missing_and_damaged_texts(corpora: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="No french"):
        unknown_words(["a"], tmp_path / "elsewhere")
    path = corpora / "french" / "a.txt.xz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(EngineError, match="is damaged"):
        held_out_prose(corpora)


def test_training_never_reads_the_prose_that_is_measured(corpora: Path) -> None:
    from corpus.prose import draw_slices, read_french

    folder = corpora / "french"
    for path in folder.iterdir():
        path.unlink()
    with lzma.open(folder / "a.txt.xz", "wt", encoding="utf-8") as file:
        file.write(" ".join(f"Voici donc ici la longue phrase qui porte le numéro {n} du livre." for n in range(9_000)))
    (measured,) = held_out_prose(corpora)
    seen = " ".join(draw_slices(read_french(corpora), 800, 0))
    assert {w for w in measured.split() if w.isdigit()}.isdisjoint(w for w in seen.split() if w.isdigit())
