"""What is made of the base exercises: right French, right logic, no copy, nothing of the test in training."""

import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from rapidfuzz import fuzz

from corpus.check import plain
from corpus.dialogues import NOTIONS, PROPOSITIONAL, parse_exercise, read_objects
from corpus.logic import follows
from corpus.schemes.augment import NEAR_ITEM, Turning, augment, longest_sentence, plan
from corpus.schemes.bank import SLOTS, load_bank, load_negations
from corpus.schemes.check import AUGMENTED, BASE, check_schemes, schema_faults
from corpus.schemes.drafts import clause_of, dialogue, exercise, refusal, restated, slots_of
from corpus.schemes.drill import cross, drill
from corpus.schemes.frames import load_lexicon
from corpus.schemes.french import Slots, capital, plain_start, que, si
from corpus.schemes.split import split_of
from corpus.schemes.surfaces import PROBABLE, Restating, load_surfaces
from errors import CorpusError
from evaluation.schemes import judge

ROOT = Path(__file__).parents[2]
DATA = ROOT / "data"
BANK, SAID, NEGATIONS = load_bank(), load_surfaces(), load_negations()
ENTRIES = [entry for entries in BANK.values() for entry in entries]


def rows_of(name: str) -> list[dict[str, Any]]:
    return [row for _, row in read_objects(DATA / name)]


BASE_ROWS, AUGMENTED_ROWS = rows_of(BASE), rows_of(AUGMENTED)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (si("ils dorment"), "s'ils dorment"), (si("Ilan dort"), "si Ilan dort"), (si("illico"), "si illico"),
        (que("aucun ne dort"), "qu'aucun ne dort"), (que("Yanis dort"), "que Yanis dort"),
        (que("s'il dort, il rêve"), "que, s'il dort, il rêve"), (que("état de fait"), "qu'état de fait"),
        (que("sous ce rapport, il dort"), "que, sous ce rapport, il dort"), (que("« il » dort"), "que « il » dort"),
        (capital("« état » vaut"), "« État » vaut"), (capital("l'air"), "L'air"), (capital(""), ""),
        (plain_start("L'esprit sent."), "l'esprit sent"), (plain_start("Elsa dort."), "Elsa dort"),
        (plain_start("À midi, on dort."), "à midi, on dort"), (plain_start("Dieu change."), "Dieu change"),
    ],
)  # fmt: skip
def test_words_joined(made: str, expected: str) -> None:
    assert made == expected


def test_an_unknown_slot_is_no_empty_text() -> None:
    with pytest.raises(KeyError):
        "{si_x}".format_map(Slots(p="on dort"))


def test_one_entry_literally() -> None:
    entry, own = BANK["MP"][0], SAID.schemes["MP"]
    made = exercise(entry, own.exercise[0], "Donc {c}.", asks=True)
    assert made.user == (
        "Si Hugo comprend d'où vient sa colère, alors il maîtrise mieux sa colère. "
        "Or Hugo comprend d'où vient sa colère. Que donne le modus ponens ?"
    )
    assert made.answer == "Donc Hugo maîtrise mieux sa colère. Quelle colère voudrais-tu comprendre d'abord ?"
    assert made.logic == {
        "P": "Hugo comprend d'où vient sa colère.", "Q": "Hugo maîtrise mieux sa colère.",
        "premises": ["P -> Q", "P"], "conclusion": "Q", "valid": True,
    }  # fmt: skip
    denied = refusal(entry, own.refusal[0], own, SAID.answers["refusal"][0], "{other}", own.fallacies[0], "")
    assert denied.answer == (
        "Non, on ne peut pas conclure qu'Hugo comprend d'où vient sa colère. "
        "Hugo peut la maîtriser aussi par simple fatigue."
    )
    assert denied.conclusion == "On ne peut pas conclure qu'Hugo comprend d'où vient sa colère."
    answered = dialogue(BANK["RA"][0], SAID.schemes["RA"].dialogue[0], "Un exemple t'aidera.")
    assert answered.answer == (
        "Supposons que tout savoir soit douteux : alors savoir que je doute est douteux. Or savoir que je doute "
        "n'est pas douteux. Il est donc faux que tout savoir soit douteux. De quoi ne peux-tu pas douter quand tu "
        "doutes ?"
    )


def test_a_case_the_pupil_has_not_named_is_introduced() -> None:
    introduced = dialogue(BANK["MP"][3], SAID.schemes["MP"].dialogue[0], "Imagine un exemple.")
    assert introduced.answer.startswith("Imagine un exemple. Si ce roi interdit les livres, alors")
    named = dialogue(BANK["MP"][0], SAID.schemes["MP"].dialogue[0], "Imagine un exemple.")  # « mon pote Hugo »
    assert named.answer.startswith("Si Hugo comprend")
    words_alone = next(entry for entry in BANK["RA"] if entry.id == "ra-b05")  # « deux amours » are no case
    supposed = dialogue(words_alone, SAID.schemes["RA"].dialogue[0], "Voici un exemple.")
    assert supposed.answer.startswith("Supposons qu'un nom épuise le sentiment")
    after_a_rule = dialogue(BANK["CA"][0], SAID.schemes["CA"].dialogue[0], "Voici un exemple.")
    assert after_a_rule.answer.startswith("L'idée d'une perte précède la tristesse")
    assert "Or, par exemple, Ali pense sans cesse à son chien perdu." in after_a_rule.answer


def test_a_complement_before_its_subject_is_set_off() -> None:
    entry = next(entry for entry in BANK["ID"] if entry.id == "id-s13")
    said = dialogue(entry, SAID.schemes["ID"].dialogue[0], "").answer
    assert "Donc, sous ce rapport, cette maison n'est pas inachevée." in said


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.id)
def test_every_surface_of_every_entry(entry: Any) -> None:
    """Each can be said, is judged right by what judges models, and its truth table agrees."""
    own = SAID.schemes[entry.scheme]
    kind = "probable" if entry.scheme in PROBABLE else "conditional" if entry.scheme == "SH" else "strict"
    leads, refusals = SAID.answers[kind], SAID.answers["refusal"]
    drafts = [exercise(entry, own.exercise[n % len(own.exercise)], leads[n % len(leads)], asks=True) for n in range(13)]
    drafts += [dialogue(entry, one, "Voici.") for one in own.dialogue]
    for n in range(6):
        surface, reason = own.refusal[n % len(own.refusal)], own.reasons[n % len(own.reasons)]
        drafts.append(refusal(entry, surface, own, refusals[n], reason, own.fallacies[n % 2], ""))
    for draft in drafts:
        for text in (draft.user, draft.answer, draft.conclusion):
            assert "{" not in text
            assert "  " not in text
            assert ".." not in text
            assert " qu' " not in text
        if draft.form != "dialogue":  # a dialogue has no one conclusion to be right about; models are not judged on it
            assert judge(draft.answer, draft.conclusion).right, draft.answer
        if draft.logic:
            assert follows(draft.logic["premises"], draft.logic["conclusion"]) is draft.logic["valid"]
            assert draft.logic["valid"] is (draft.form != "refusal")


def test_the_bank_has_one_entry_for_each_base_item() -> None:
    wanted = Counter((row["scheme"], row["philosopher"]) for row in BASE_ROWS)
    assert Counter((entry.scheme, entry.philosopher) for entry in ENTRIES) == wanted
    assert len({plain(entry.pupil) for entry in ENTRIES}) == len(ENTRIES)
    assert {entry.notion for entry in ENTRIES} == set(NOTIONS)
    assert set(SLOTS) == set(SAID.schemes)
    assert all(slots_of(entry)["c"] for entry in ENTRIES)


def test_opposites_have_one_subject() -> None:
    for entry in BANK["OP"]:
        said = re.match(r"quelque (.+?) n(?:e |')(\w+)", entry.texts["some"])
        assert said, entry.id
        assert re.match(rf"toute? {said[1]} {said[2]}\b", entry.texts["all"]), entry.id


def test_a_verbal_distinction_is_concluded_of_its_two_words() -> None:
    for entry in BANK["DS"]:
        first, second = re.fullmatch(r"« (.+) » et « (.+) »", entry.texts["two_words"]).groups()  # type: ignore[union-attr]
        for phrase in (first, second):
            assert any(word in entry.texts["verbal"] for word in phrase.split() if len(word) > 3), entry.id


def test_loci_of_bank_and_base_use_one_spelling() -> None:
    def work(locus: str) -> str:
        return re.sub(r"\d+", "", locus.split(",")[0])

    assert {work(entry.locus) for entry in ENTRIES} <= {work(row["locus"]) for row in BASE_ROWS if row["locus"]}


def test_bergson_is_cited_by_the_pages_of_his_notes() -> None:
    """Another edition would put every essay of a book elsewhere."""
    noted: dict[str, list[int]] = defaultdict(list)
    for note in rows_of("notes/bergson.jsonl"):
        if note["work"] == "La Pensée et le mouvant":
            essay, _, pages = note["locus"].partition(", p. ")
            noted[essay] += map(int, re.findall(r"\d+", pages))
    loci = {row["locus"] for row in (*BASE_ROWS, *AUGMENTED_ROWS)} | {entry.locus for entry in ENTRIES}
    cited = [found for locus in loci if (found := re.fullmatch(r"PM, (.+), p\. (\d+)(?:-(\d+))?", locus or ""))]
    assert len(cited) > 4
    for essay, first, last in (found.groups() for found in cited):
        assert min(noted[essay]) <= int(first) <= int(last or first) <= max(noted[essay])


def test_a_base_exercise_said_again_keeps_its_logic() -> None:
    row = next(row for row in BASE_ROWS if row["id"] == "ex-mt-001")
    way = Restating("courant", ("Voici : ", "De plus, "), "Conclus {by}.")
    made = restated(row, NEGATIONS, way, "par modus tollens", "Donc {c}.")
    assert made.user == (
        "Voici : quelqu'un est jaloux. De plus, si nous choisissons nos passions, alors personne n'est jaloux. "
        "Conclus par modus tollens."
    )
    assert made.answer == "Donc nous ne choisissons pas nos passions. D'où crois-tu qu'elles nous viennent ?"
    assert made.logic == row["logic"]


def test_a_refusal_said_again_denies_the_same() -> None:
    row = next(row for row in BASE_ROWS if row["id"] == "ex-sh-007")
    made = restated(row, NEGATIONS, SAID.restated["refusal"][0], "par syllogisme hypothétique", "")
    assert made.user.endswith("Puis-je conclure par syllogisme hypothétique que, si on imagine sa perte, on dort mal ?")
    assert made.answer == (
        "On ne peut pas conclure que, si on imagine sa perte, on dort mal. "
        "Les deux phrases ont le même départ, sans chaîne."
    )


def test_formulas_said() -> None:
    said = {"P": "On dort.", "Q": "Il pleut.", "R": "Elsa rit."}
    denied = {"On dort.": "On ne dort pas."}
    assert clause_of("~P -> (Q & R)", said, denied) == "si on ne dort pas, alors il pleut et Elsa rit"
    assert clause_of("P | Q | R", said, denied) == "ou on dort, ou il pleut, ou Elsa rit"
    with pytest.raises(CorpusError, match=r"negations\.toml: « Il pleut\. » is missing"):
        clause_of("~Q", said, denied)


def test_the_file_is_what_the_command_makes() -> None:
    """Seeded: the same seed makes the same file, another one another."""
    made = augment(BASE_ROWS, BANK, SAID, NEGATIONS, seed=0)
    assert made == AUGMENTED_ROWS
    other = augment(BASE_ROWS[:20], BANK, SAID, NEGATIONS, seed=1)
    assert [row["id"] for row in other] == [row["id"] for row in made[:60]]
    assert other != made[:60]


def test_the_augmented_file_keeps_the_brief() -> None:
    assert Counter(row["philosopher"] for row in AUGMENTED_ROWS) == {"spinoza": 450, "bergson": 225, "kant": 225}
    assert (DATA / AUGMENTED).stat().st_size < 2_000_000
    report = check_schemes(DATA)
    assert report.faults == []
    assert max(report.nearest) < NEAR_ITEM
    assert report.rows == {BASE: 300, AUGMENTED: 900}
    assert all(longest_sentence(row) <= 20 for row in AUGMENTED_ROWS)
    assert Counter(row["form"] for row in AUGMENTED_ROWS).keys() == {"exercise", "dialogue", "refusal"}


def test_no_base_item_crosses_the_split() -> None:
    rows = [*BASE_ROWS, *AUGMENTED_ROWS]
    parts = split_of(rows)
    families: dict[str, set[str]] = {}
    for row in rows:
        families.setdefault(row.get("base", row["id"]), set()).add(parts[row["id"]])
    assert all(len(one) == 1 for one in families.values())
    tested = {row["id"] for row in BASE_ROWS if row["split"] == "test"}
    assert {name for name, one in families.items() if one == {"test"}} == tested
    for scheme in SLOTS:
        found = Counter(parts[row["id"]] for row in BASE_ROWS if row["scheme"] == scheme)
        assert min(found[name] for name in ("train", "validation", "test")) >= 2
    contents = {part: {row["bank"] for row in AUGMENTED_ROWS if parts[row["id"]] == part} - {None} for part in found}
    assert contents["train"].isdisjoint(contents["test"])
    assert contents["train"].isdisjoint(contents["validation"])
    assert split_of(list(reversed(rows))) == parts


def test_propositional_items_all_have_their_table() -> None:
    for row in AUGMENTED_ROWS:
        assert ("logic" in row) is (row["scheme"] in PROPOSITIONAL)
        parse_exercise(row, row["id"])


@pytest.mark.parametrize("form", ["exercise", "dialogue", "refusal"])
@pytest.mark.parametrize("scheme", ["MP", "CA"])
def test_three_forms_are_planned(form: str, scheme: str) -> None:
    for number in range(2):
        planned = plan({"scheme": scheme, "form": form, "id": "ex-mp-001"}, number)
        assert planned[0] == form
        assert len(planned) == 3


def test_drills_are_right_many_and_far_from_what_is_tested() -> None:
    rows = [*rows_of(BASE), *rows_of(AUGMENTED)]
    many = drill(rows, load_bank(), load_surfaces(), load_negations())
    assert len(many) > 1200
    assert len({(one.user, one.answer) for one in many}) == len(many)
    assert {one.split for one in many} == {"train"}
    assert {one.scheme for one in many} == set(load_surfaces().schemes)
    tested = {row.get("bank") for row in rows if row["split"] == "test"}
    assert not [one.id for one in many if one.id.removeprefix("drill-").rsplit("-", 1)[0] in tested]
    texts = [plain(f"{row['messages'][1]['content']} {row['messages'][2]['content']}")
             for row in rows if row["split"] == "test"]  # fmt: skip
    assert max(fuzz.ratio(plain(f"{one.user} {one.answer}"), text) for one in many[::7] for text in texts) < NEAR_ITEM
    wrong = [one.id for one in many if not judge(one.answer, one.conclusion).right]
    assert len(wrong) <= len(many) // 100, wrong
    assert many == drill(rows, load_bank(), load_surfaces(), load_negations())
    assert len(drill(rows, load_bank(), load_surfaces(), load_negations(), per_content=1)) <= len(many) // 5


def test_crossed_exercises_are_right_and_lend_nothing_from_what_is_tested() -> None:
    rows = [*BASE_ROWS, *AUGMENTED_ROWS]
    many = cross(rows, BANK, SAID, load_lexicon(), count=720, seed=3)
    assert len(many) == 720
    assert Counter(one.scheme for one in many) == dict.fromkeys(BANK, 60)
    assert Counter(one.form for one in many) == {"exercise": 480, "refusal": 240}
    assert len({one.user for one in many}) > 700
    wrong = [one.id for one in many if not judge(one.answer, one.conclusion).right]
    assert len(wrong) <= len(many) // 100, wrong
    tested = {row["bank"] for row in rows if row["split"] == "test" and row.get("bank")}
    lent = {text for entry in ENTRIES if entry.id in tested for text in entry.texts.values() if len(text) > 12}
    shared = {text for entry in ENTRIES if entry.id not in tested for text in entry.texts.values()}
    assert not [one.id for one in many if any(text in f"{one.user} {one.answer}" for text in lent - shared)]
    assert [one.user for one in many[:24]] == [
        one.user for one in cross(rows, BANK, SAID, load_lexicon(), count=24, seed=3)
    ]


def test_crossed_clauses_stand_alone() -> None:
    many = cross([*BASE_ROWS, *AUGMENTED_ROWS], BANK, SAID, load_lexicon(), count=360, seed=5)
    for one in many:
        assert longest_sentence({"messages": [{}, {"content": one.user}, {"content": one.answer}]}) <= 20
        assert not one.answer.endswith("?"), one.answer  # no question fits clauses of different contents
        for wrong in ("que il", "que elle", "si il ", " de le ", " à le ", "{", "}"):
            assert wrong not in f" {one.user} {one.answer}", one.user


def test_a_lexicon_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "lexicon.toml").write_text("nouns = [", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"lexicon\.toml cannot be read"):
        load_lexicon(tmp_path / "lexicon.toml")


def test_turning_takes_each_as_often() -> None:
    turning = Turning(3)
    assert Counter(turning.pick("a", "xyz") for _ in range(9)) == {"x": 3, "y": 3, "z": 3}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"philosopher": "platon"}, "philosopher: 'platon'"),
        ({"difficulty": 9}, "difficulty: 9"),
        ({"mood": "gai"}, "line: Additional properties"),
        ({"base": None}, "base: None"),
        ({"messages": []}, "messages: []"),
        ({"split": "dev"}, "split: 'dev'"),
    ],
)
def test_the_schema_names_key_and_reason(change: dict[str, Any], said: str) -> None:
    faults = list(schema_faults("a.jsonl:1", {**AUGMENTED_ROWS[0], **change}))
    assert [fault for fault in faults if fault.startswith(f"a.jsonl:1: {said}")] != []


def test_a_propositional_item_without_logic_and_a_base_without_transforms() -> None:
    bare = {key: value for key, value in AUGMENTED_ROWS[0].items() if key not in ("logic", "transforms")}
    faults = "\n".join(schema_faults("a.jsonl:1", bare))
    assert "'logic' is a required property" in faults
    assert "'transforms' is a dependency of 'base'" in faults


def write(path: Path, rows: list[Any]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


LONG = "Si " + "très " * 21 + "tard, alors rien."


@pytest.mark.parametrize(
    ("number", "change", "said"),
    [
        (0, {"base": "ex-zz-999"}, "base: 'ex-zz-999' is not in"),
        (0, {"philosopher": "kant"}, "philosopher: 'kant'; its base item ex-mp-001 has 'spinoza'"),
        (0, {"split": "test"}, "split: 'test'; its base item"),
        (3, {"bank": AUGMENTED_ROWS[0]["bank"]}, "belongs to ex-mp-001; contents never cross"),
        (0, {"logic": {**AUGMENTED_ROWS[0]["logic"], "valid": False}}, "logic: valid is False; the truth table says"),
        (3, {"messages": AUGMENTED_ROWS[0]["messages"]}, "100 % like aug-ex-mp-001-1"),
        (0, {"messages": [*AUGMENTED_ROWS[0]["messages"][:2], {"role": "assistant", "content": LONG}]}, "of 25 words"),
        (0, {"id": AUGMENTED_ROWS[1]["id"]}, "id: stands 2 times"),
    ],
)
def test_planted_faults_are_named(tmp_path: Path, number: int, change: dict[str, Any], said: str) -> None:
    write(tmp_path / BASE, BASE_ROWS[:2])
    rows = [dict(row) for row in AUGMENTED_ROWS[:6]]
    assert {row["base"] for row in rows} == {"ex-mp-001", "ex-mp-002"}
    rows[number] |= change
    write(tmp_path / AUGMENTED, rows)
    found = [fault for fault in check_schemes(tmp_path).faults if said in fault]
    assert found != []
    assert any(f"{AUGMENTED}:" in fault or fault.startswith("exercise ") for fault in found)


def test_a_pair_too_often_a_missing_item_and_a_leak(tmp_path: Path) -> None:
    tested = next(row for row in BASE_ROWS if row["split"] == "test")
    write(tmp_path / BASE, [BASE_ROWS[0], tested])
    rows = [{**row, "propositions": ["on dort", "on rêve"]} for row in AUGMENTED_ROWS[:2]]
    own = [row for row in AUGMENTED_ROWS if row["base"] == tested["id"]]
    rows += [{**row, "propositions": ["on dort", "on rêve"]} for row in own]
    rows[2] |= {"messages": AUGMENTED_ROWS[0]["messages"]}
    write(tmp_path / AUGMENTED, rows)
    faults = "\n".join(check_schemes(tmp_path).faults)
    assert "this pair stands 5 times, at most 3" in faults
    assert f"{BASE}:1: id: ex-mp-001 has 2 augmented items, expected 3" in faults
    assert "which is trained on" in faults


def test_broken_files_are_named(tmp_path: Path) -> None:
    (tmp_path / BASE).write_text("{\n", encoding="utf-8")
    (tmp_path / AUGMENTED).write_bytes(b"\xff\xfe")
    faults = check_schemes(tmp_path).faults
    assert faults[0].startswith(f"{BASE}:1: no JSON")
    assert "cannot be read" in faults[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[entry", "cannot be read"),
        ('[[entry]]\nid = "x"\n', r"entry 1 \(x\): philosopher is missing"),
    ],
)
def test_a_broken_bank_is_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "mp.toml").write_text(text, encoding="utf-8")
    with pytest.raises(CorpusError, match=said):
        load_bank(tmp_path)


def test_wrong_entries_are_named(tmp_path: Path) -> None:
    whole = (ROOT / "corpus/schemes/bank/mp.toml").read_text(encoding="utf-8")
    for old, new, said in (
        ('notion = "liberté"', 'notion = "liberte"', "notion is 'liberte'"),
        ('ask = "Quelle colère', 'mood = "x"\nask = "Quelle colère', "unknown key 'mood'"),
        ('id = "mp-s02"', 'id = "mp-s01"', "id stands twice"),
        ('p = "Hugo', 'p = " Hugo', "p: expected a text"),
    ):
        (tmp_path / "mp.toml").write_text(whole.replace(old, new, 1), encoding="utf-8")
        with pytest.raises(CorpusError, match=said):
            load_bank(tmp_path)


def test_too_small_a_bank_and_surfaces_that_miss(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"mp\.toml: 1 entries of spinoza, 13 base items"):
        augment(BASE_ROWS, {**BANK, "MP": BANK["MP"][:1]}, SAID, NEGATIONS)
    (tmp_path / "surfaces.toml").write_text(
        "[answers]\n[openers]\ncase = []\n[others]\nreason = []\n", encoding="utf-8"
    )
    with pytest.raises(CorpusError, match=r"surfaces\.toml: 'MP' is missing"):
        load_surfaces(tmp_path / "surfaces.toml")


def test_the_commands(tmp_path: Path) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "corpus", *words]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    out = tmp_path / "made.jsonl"
    done = run("augment", "--out", str(out), "--json")
    assert json.loads(done.stdout)["items"] == 900
    assert out.read_bytes() == (DATA / AUGMENTED).read_bytes()
    refused = run("augment", "--out", str(out))
    assert refused.returncode == 1
    assert "never overwritten" in refused.stderr
    assert run("split", "--out", str(tmp_path / "parts")).returncode == 0
    counts = {path.stem: len(path.read_text(encoding="utf-8").splitlines()) for path in (tmp_path / "parts").iterdir()}
    assert sum(counts.values()) == 1200
    assert counts["test"] == 4 * 72
    (tmp_path / "small" / "dialogues").mkdir(parents=True)
    write(tmp_path / "small" / BASE, BASE_ROWS[:2])
    write(tmp_path / "small" / AUGMENTED, AUGMENTED_ROWS[:6])
    checked = run("check", str(tmp_path / "small"), "--json", "--picture", str(tmp_path / "page.png"))
    assert checked.returncode == 0, checked.stdout
    assert json.loads(checked.stdout)["schemes"]["near_duplicates"]["threshold"] == NEAR_ITEM
    assert (tmp_path / "page.png").read_bytes()[:4] == b"\x89PNG"
