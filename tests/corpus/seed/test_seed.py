"""Cases found in case files and specifications, and the four files made of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from corpus.seed.case_files import read_case_files
from corpus.seed.cases import CASES, MANIFEST, MISTRAL, TRAIN, Found, known_texts, load_seed, write_seed
from corpus.seed.specs import read_specs
from corpus.server.domain import load_domain
from errors import CorpusError

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "data" / "examples"


def test_the_example_tree_becomes_a_seed_corpus(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "corpus", "seed", "--cases", str(EXAMPLES / "cases"), "--specs",
               str(EXAMPLES / "specs"), "--out", str(tmp_path), "--json"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    manifest = json.loads(done.stdout)
    assert manifest["by_source"] == {"enonce": 3, "spec": 3, "search": 3}
    assert (manifest["cases"], manifest["trained"]) == (9, 3)
    assert manifest["dimensions"]["topic"]["conjoint_option"] == 1
    assert manifest == json.loads((tmp_path / MANIFEST).read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in (tmp_path / MISTRAL).read_text(encoding="utf-8").splitlines()]
    assert all(row.keys() == {"messages"} for row in rows)
    assert all([one["role"] for one in row["messages"]] == ["system", "user", "assistant"] for row in rows)
    seeds = load_seed(tmp_path)
    assert (len(seeds.cells), len(seeds.messages), len(seeds.texts)) == (3, 3, 9)
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "never overwritten" in again.stderr


def test_what_stands_in_an_example_is_found_as_it_is_meant() -> None:
    read = read_specs(EXAMPLES / "specs")
    texts = {one.where: one for one in read.found}
    assert (read.files, read.unread, read.damaged) == (2, [], [])
    insurance = texts["succession.e2e.spec.ts:9"]
    assert insurance.text.startswith("Mon père, Georges Faure")
    assert "85\u00a0000 euros. Je suis son seul enfant" in insurance.text
    assert insurance.text.endswith("succession\u202f?")
    assert insurance.dimensions == {"persona": "enfant", "voice": "je", "topic": "assurance_vie"}
    assert insurance.target is not None
    assert insurance.target["assurances_vie"][0]["capital_deces"] == 85000
    assert texts["succession.e2e.spec.ts:19"].text.startswith("Mon père, Georges Faure, est mort le 14 juin 2024. Il")
    assert [one.text for one in read.found if one.source == "search"] == [
        "héritage sans testament frères et sœurs", "pacs et maison du défunt",
        "délai pour renoncer à une succession{enter}",
    ]  # fmt: skip


SPEC = """
import { test } from 'x';
const debut = "Ma grand-mère est morte";
// const prompt = "une phrase dans un commentaire n'est pas une phrase du code, même longue";
"""
LONG = "Ma tante est morte et je ne sais pas qui hérite de la maison"


@pytest.mark.parametrize(
    ("code", "texts", "unread"),
    [
        (f"const prompt = '{LONG}';", [LONG], 0),
        (f'const p = {{ message: `{LONG}` }};', [LONG], 0),
        (f"await page.locator('#a').fill('{LONG}');", [LONG], 0),
        (f"const titre = '{LONG}';", [], 0),
        ("const prompt = 'trop court';", [], 0),
        ("const prompt = 'the cat sits on a mat while ten dogs run very fast';", [], 0),
        ("const prompt = `${debut} et je ne sais pas qui hérite de la maison.`;",
         ["Ma grand-mère est morte et je ne sais pas qui hérite de la maison."], 0),
        ("const prompt = `${autre()} et je ne sais pas qui hérite de la maison.`;", [], 1),
        ("const prompt = debut + \" l'an dernier,\\u0020et je ne sais\\\npas \\x41 qui aller\";",
         ["Ma grand-mère est morte l'an dernier, et je ne saispas A qui aller"], 0),
        ("const prompt = 'Il a écrit \\u{1F600}, puis \\ud83d\\ude00, et je ne sais pas pourquoi';",
         ["Il a écrit 😀, puis 😀, et je ne sais pas pourquoi"], 0),
        ("const requetes = ['héritage', 'délai de renonciation'];", ["délai de renonciation"], 0),
        ("cy.get('#recherche').type('parts des enfants');", ["parts des enfants"], 0),
        (f"const prompts = ['{LONG}', '{LONG}'] as const;", [LONG, LONG], 0),
    ],
)  # fmt: skip
def test_strings_of_a_specification(tmp_path: Path, code: str, texts: list[str], unread: int) -> None:
    path = tmp_path / "a.spec.ts"
    path.write_text(SPEC + code, encoding="utf-8")
    read = read_specs(path)
    assert [one.text for one in read.found] == texts
    assert len(read.unread) == unread


def test_a_damaged_specification_is_named_and_read_as_far_as_it_goes(tmp_path: Path) -> None:
    (tmp_path / "a.test.jsx").write_text(f"const prompt = '{LONG}';\nfunction (((", encoding="utf-8")
    (tmp_path / "helper.ts").write_text(f"const prompt = '{LONG}';", encoding="utf-8")  # no specification
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "b.spec.js").write_text(f"const prompt = '{LONG}';", encoding="utf-8")
    read = read_specs(tmp_path)
    assert (read.files, read.damaged) == (1, ["a.test.jsx"])
    assert [one.where for one in read.found] == ["a.test.jsx:1"]
    (tmp_path / "c.spec.ts").write_bytes(b"const a = '\xe9'")
    with pytest.raises(CorpusError, match=r"c\.spec\.ts: byte 11 is not UTF-8"):
        read_specs(tmp_path)
    for wrong in (tmp_path / "no", EXAMPLES / "README.md"):
        with pytest.raises(CorpusError):
            read_specs(wrong)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"ENONCE.md": "# Titre\n"}, "no text under its headings"),
        ({"ENONCE.md": "---\ndimensions: [a]\n---\nTexte."}, "expected dimensions with a level each"),
        ({"ENONCE.md": "---\ndimensions: {voice: no}\n---\nTexte."}, "expected dimensions with a level each"),
        ({"ENONCE.md": "---\n{\n---\nTexte."}, "front matter"),
        ({"ENONCE.md": "Texte.", "ATTENDU.toon": "a[2]: 1"}, "ATTENDU.toon: no TOON"),
        ({"ENONCE.md": "Texte.", "ATTENDU.json": "{"}, "ATTENDU.json: "),
        ({"ENONCE.md": "Texte.", "ATTENDU.json": "[]"}, "expected an object"),
    ],
)
def test_a_wrong_case_file_is_named(tmp_path: Path, files: dict[str, str], said: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(CorpusError, match=said):
        read_case_files(tmp_path)


def test_a_case_is_placed_where_its_text_begins(tmp_path: Path) -> None:
    content = "---\ndimensions: {}\n---\n# Mme Durand\n<!-- a\nb -->\n\nMme <!-- nom changé --> Durand est morte.\n"
    (tmp_path / "ENONCE.md").write_text(content, encoding="utf-8")
    assert [one.where for one in read_case_files(tmp_path)] == ["ENONCE.md:8"]


def test_wrong_seeds_are_refused(tmp_path: Path) -> None:
    domain = load_domain("succession")
    with pytest.raises(CorpusError, match="no case found"):
        write_seed([], domain, tmp_path)
    with pytest.raises(CorpusError, match=r"a:1: topic='dettes' is no level of succession\. Known: assurance_vie"):
        write_seed([Found("spec", "a:1", "x", {"topic": "dettes"})], domain, tmp_path)
    with pytest.raises(CorpusError, match="a:1: target: "):
        write_seed([Found("spec", "a:1", "x", {}, {"defunt": {"prenom": ""}})], domain, tmp_path)
    with pytest.raises(CorpusError, match=f"has no {CASES}"):
        load_seed(tmp_path)
    same = [Found("spec", f"a:{line}", text) for line, text in enumerate(("Un cas.", "un  cas", "Deux cas."), 1)]
    assert write_seed(same, domain, tmp_path)["copies_left_out"] == 1
    assert (tmp_path / TRAIN).read_text(encoding="utf-8") == ""


def test_texts_that_no_case_may_copy(tmp_path: Path) -> None:
    path = tmp_path / "known.jsonl"
    rows = [{"case_text": "a"}, {"messages": [{"role": "user", "content": "b"}, {"role": "assistant", "content": "c"}]},
            {"prompt": "d"}, {"exchanges": [{"pupil": "e", "answer": "f"}]}]  # fmt: skip
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert known_texts(path) == ["a", "b", "d", "Élève : e\nPhilosophe : f"]
