"""The command line as a person types it: data on stdout, talk on stderr, one line for an error."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "retrieval", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("commands")
    (folder / "texts").mkdir()
    (folder / "texts" / "a.md").write_text("# Durée\n\nLe sucre fond lentement.\n", encoding="utf-8")
    (folder / "texts" / "b.pdf").write_bytes(b"no pdf")
    place, spec = str(folder / "index"), f"gguf:{tiny_bert}"
    done = run("index", str(folder / "texts"), "--into", place, "--author", "Bergson", "--embedder", spec)
    assert done.stdout.strip() == place
    assert "skipped: b.pdf is damaged" in done.stderr
    assert "1 read" in done.stderr
    return place, spec


def test_search_prints_passages_with_their_place(made: tuple[str, str]) -> None:
    place, spec = made
    done = run("search", "le sucre", "--in", place, "-k", "3", "--embedder", spec, "--json")
    (hit,) = map(json.loads, done.stdout.splitlines())
    assert (hit["text"], hit["author"], hit["work"], hit["section"]) == (
        "Le sucre fond lentement.", "Bergson", "a", ["Durée"]
    )  # fmt: skip
    assert {"id", "score", "relevant", "cosine"} <= hit.keys()
    table = run("search", "le sucre", "--in", place, "--embedder", spec).stdout
    assert "Bergson, a, Durée" in table.replace("\n", " ")


def test_a_name_in_brackets_is_shown_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "[/x]", "text": "Le sucre fond."}', encoding="utf-8")
    place = str(tmp_path / "index")
    run("index", str(tmp_path / "a.jsonl"), "--into", place, "--embedder", "none")
    assert "[/x]" in run("search", "le sucre", "--in", place, "--embedder", "none").stdout


def test_the_notes_can_be_searched_as_they_lie() -> None:
    done = run("search", "pourquoi attendre que le sucre fonde", "--in", "data/notes", "--embedder", "none", "--author",
               "bergson", "-k", "2", "--json")  # fmt: skip
    first, _ = map(json.loads, done.stdout.splitlines())
    assert "sucre" in first["id"]
    assert first["original"] is False


def test_words_alone_are_said_to_be_alone(made: tuple[str, str]) -> None:
    done = run("search", "le sucre", "--in", made[0], "--embedder", "none", "--json")
    assert "notice: lexical_only" in done.stderr
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("search", "x", "--in", "no/such/index", "--embedder", "none"), "RetrievalError: No index in no/such/index"),
        (("index", "no/such/file", "--into", "{place}", "--embedder", "none"), "RetrievalError: "),
        (
            ("index", "docs", "--into", "./cli.py", "--embedder", "none"),
            "RetrievalError: The index in cli.py cannot be",
        ),
        (("search", "x", "--in", "{place}", "--embedder", "word2vec:x"), "RetrievalError: No embedder 'word2vec:x'"),
        (("nearest", "hegel", "x", "--embedder", "none"), "RetrievalError: No notes of 'hegel'"),
        (("eval", "--set", "no/such.jsonl", "--embedder", "none"), "RetrievalError: The evaluation set"),
    ],
)
def test_an_error_is_one_line(made: tuple[str, str], arguments: tuple[str, ...], said: str) -> None:
    done = run(*(one.replace("{place}", made[0]) for one in arguments), code=1)
    assert done.stdout == ""
    assert done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) == 1


def test_an_evaluation_is_written_once(tmp_path: Path) -> None:
    out = tmp_path / "new" / "result.json"
    arguments = ("eval", "--set", "notes", "--limit", "5", "--embedder", "none", "--out", str(out))
    run(*arguments)
    result = json.loads(out.read_text(encoding="utf-8"))
    assert result["rows"][0]["name"] == "words"
    assert result["limit"] == 5
    assert result["peak_memory_mb"] > 0
    assert "never overwritten silently" in run(*arguments, code=1).stderr
