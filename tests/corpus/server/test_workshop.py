"""What is handed out is balanced, what comes back is checked, and nothing that was acknowledged is ever lost."""

import json
import random
import resource
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from corpus.server.domain import load_domain
from corpus.server.files import APPENDED, CASES, FULL, SUMMARIES, TRAIN
from corpus.server.state import Instruction, seeded_counts
from corpus.server.targets import from_toon, to_toon
from corpus.server.workshop import AHEAD, MOST_REJECTS, SeedCorpus, Workshop
from dialogue.prompt import Message
from errors import CorpusError
from tests.serving import wait_until

ROOT = Path(__file__).parents[3]
DOMAIN = load_domain("schemes")


class Watching:
    """A domain's code that notes what is generated, and breaks where it is told to."""

    def __init__(self, pack: Any, drawn: list[object], breaks: str = "") -> None:
        self._pack, self._drawn, self._breaks = pack, drawn, breaks

    def __getattr__(self, name: str) -> Any:
        if name == self._breaks:
            raise ValueError("nobody foresaw this")
        if name == "generate":
            self._drawn.append(name)
        return getattr(self._pack, name)


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def write(instruction: Instruction, salt: str = "") -> str:
    """Return a text that is right for its target, unlike the others."""
    conclusion = str(instruction.target["conclusion"])
    number = f"{instruction.id} {salt}".strip()
    said = " et ".join(random.Random(number).sample("le train la mer un ami ma classe une fête ton chien".split(), 7))  # noqa: S311
    return f"Élève : je pense à {said}, et je ne suis pas sûr de ce que je dis\nPhilosophe : {conclusion} Et toi ?"


def open_workshop(
    folder: Path, clock: Clock | None = None, total: int = 40, seeds: SeedCorpus | None = None
) -> Workshop:
    return Workshop(folder, DOMAIN, total=total, seed=1, clock=clock or Clock(), seeds=seeds)


def files_of(folder: Path) -> dict[str, bytes]:
    """Every derived file of a folder: all but the log, its torn end and the lock."""
    kept = {"log.jsonl", "log.torn", "lock"}
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in kept
    }


def test_an_instruction_is_kept_until_it_is_settled(tmp_path: Path) -> None:
    workshop = open_workshop(tmp_path)
    first = workshop.next("ada")
    assert first is not None
    assert workshop.next("ada") == first
    assert first.id == "INS-0001"
    assert from_toon(to_toon(first.target)) == first.target
    assert "{target}" not in DOMAIN.instruct(first.target)
    assert workshop.submit(first.id, "ada", write(first)).status == "accepted"
    second = workshop.next("ada")
    assert second is not None
    assert second.id == "INS-0002"
    workshop.close()


def test_a_case_keeps_the_schema_that_its_target_was_made_by(tmp_path: Path) -> None:
    workshop = open_workshop(tmp_path)
    one = workshop.next("ada")
    assert one is not None
    workshop.submit(one.id, "ada", write(one))
    workshop.close()
    before = (tmp_path / "generated_cases.jsonl").read_bytes()
    mine = replace(DOMAIN, schema={**DOMAIN.schema, "title": "mine"})
    Workshop(tmp_path, mine, total=40, seed=1, clock=Clock()).close()
    assert (tmp_path / "generated_cases.jsonl").read_bytes() == before


def test_the_same_text_again_is_the_same_answer_and_another_is_refused(tmp_path: Path) -> None:
    workshop = open_workshop(tmp_path)
    one = workshop.next("ada")
    assert one is not None
    text = write(one)
    workshop.submit(one.id, "ada", text)
    before = (tmp_path / "log.jsonl").read_bytes()
    assert workshop.submit(one.id, "ada", text).status == "accepted"
    for name, agent, code in ((one.id, "ada", "settled"), (one.id, "bob", "foreign_agent"),
                              ("INS-9", "ada", "unknown_instruction")):  # fmt: skip
        with pytest.raises(CorpusError) as caught:
            workshop.submit(name, agent, text + " Autre.")
        assert caught.value.code == code
    assert (tmp_path / "log.jsonl").read_bytes() == before
    workshop.close()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Élève : bof\nPhilosophe : non ?", "too_short"),
        ("Élève : " + "the cat sits near this mat while dogs run fast here " * 2 + "\nPhilosophe : why?", "not_french"),
        ('Élève : je pense que oui, {"a": 1}\nPhilosophe : et toi, que dis-tu de tout cela, au fond ?', "leaked_json"),
        ("philosopher: kant\nform: dialogue\nnotion: art\n" + "je suis sur la route et tu es là " * 3, "leaked_toon"),
        ("je suis sur la route et tu es là, dans la ville, avec un ami de la classe", "form"),
        ("Élève : je suis là et tu ne viens pas\nPhilosophe : tu as raison, il est tard dans la nuit.", "no_question"),
        (
            "Élève : je suis là et tu ne viens pas\nPhilosophe : que dis-tu de la nuit, de la mer et du vent ?",
            "missing_fact",
        ),
    ],
)
def test_bad_texts_are_rejected_with_a_reason(tmp_path: Path, text: str, code: str) -> None:
    workshop = open_workshop(tmp_path)
    one = workshop.next("ada")
    assert one is not None
    verdict = workshop.submit(one.id, "ada", text)
    assert verdict.status == "rejected"
    assert code in [finding.code for finding in verdict.findings]
    assert verdict.again
    assert workshop.submit(one.id, "ada", write(one)).status == "accepted"  # corrected within the lease
    workshop.close()


def test_copies_are_rejected(tmp_path: Path) -> None:
    workshop = open_workshop(tmp_path)
    one = workshop.next("ada")
    assert one is not None
    text = write(one)
    workshop.submit(one.id, "ada", text)
    two = workshop.next("ada")
    assert two is not None
    codes = [finding.code for finding in workshop.submit(two.id, "ada", text.upper()).findings]
    assert "duplicate" in codes
    codes = [finding.code for finding in workshop.submit(two.id, "ada", text + " Dis ?").findings]
    assert "near_duplicate" in codes
    workshop.close()


def test_quota_comes_back_on_expiry_and_after_the_last_reject(tmp_path: Path) -> None:
    clock = Clock()
    workshop = open_workshop(tmp_path, clock, total=2)
    one, two = workshop.next("ada"), workshop.next("bob")
    assert one is not None
    assert two is not None
    assert workshop.next("eve") is None
    assert not workshop.summary()["done"]
    for number in range(MOST_REJECTS):
        verdict = workshop.submit(two.id, "bob", f"non {number}")
    assert not verdict.again
    assert workshop.next("eve") is not None
    clock.now += 10_000
    assert workshop.submit(one.id, "ada", write(one)).status == "surplus"
    again = workshop.next("ada")
    assert again is not None
    assert again.id != one.id
    assert "surplus.jsonl" in {path.name for path in tmp_path.iterdir()}
    workshop.close()


def test_a_refused_text_again_is_refused_again_and_uses_up_no_attempt(tmp_path: Path) -> None:
    workshop = open_workshop(tmp_path)
    one = workshop.next("ada")
    assert one is not None
    for number in range(MOST_REJECTS):
        first = workshop.submit(one.id, "ada", f"non {number}")
        assert (first.status, first.again) == ("rejected", number < MOST_REJECTS - 1)
        assert first.findings
        before = (tmp_path / "log.jsonl").read_bytes()
        for _ in range(3):
            assert workshop.submit(one.id, "ada", f"non {number}") == first
        assert (tmp_path / "log.jsonl").read_bytes() == before
    assert workshop.submit(one.id, "ada", write(one)).status == "surplus"  # another text is kept
    kept = dict(workshop.instructions)
    workshop.close()
    again = open_workshop(tmp_path)
    assert again.instructions == kept
    assert again.submit(one.id, "ada", f"non {MOST_REJECTS - 1}") == first
    again.close()


def test_a_renewed_lease_lives_on(tmp_path: Path) -> None:
    clock = Clock()
    workshop = open_workshop(tmp_path, clock)
    one = workshop.next("ada")
    assert one is not None
    clock.now += 1700
    workshop.renew(one.id, "ada")
    clock.now += 1700
    assert workshop.submit(one.id, "ada", write(one)).status == "accepted"
    with pytest.raises(CorpusError, match="is accepted"):
        workshop.renew(one.id, "ada")
    workshop.close()


def fill(workshop: Workshop, clock: Clock, *, until: int, seed: int = 0) -> None:
    """Work with some writers, some of whom let their lease run out or write badly."""
    chance = random.Random(seed)  # noqa: S311
    for step in range(10_000):
        if len(workshop.instructions) >= until:
            return
        agent = f"agent-{chance.randrange(4)}"
        one = workshop.next(agent)
        if one is None:
            return
        fate = chance.random()
        if fate < 0.1:
            clock.now += 4000
        elif fate < 0.25:
            workshop.submit(one.id, agent, f"non {step}")
        else:
            workshop.submit(one.id, agent, write(one, str(step)))


def test_a_restart_goes_on_exactly_and_rebuilds_its_files(tmp_path: Path) -> None:
    clock = Clock()
    workshop = open_workshop(tmp_path, clock)
    fill(workshop, clock, until=20)
    files = files_of(tmp_path)
    assert {*APPENDED, *SUMMARIES, "instructions/INS-0001.json", "submissions/INS-0001-1.json"} <= set(files)
    before, summary = dict(workshop.instructions), workshop.summary()
    workshop.close()
    for name in files:
        (tmp_path / name).unlink()
    with (tmp_path / "log.jsonl").open("ab") as file:
        file.write(b'{"event": "accep')  # killed while writing
    again = open_workshop(tmp_path, clock)
    assert again.instructions == before
    assert again.summary() == summary
    assert files_of(tmp_path) == files
    assert (tmp_path / "log.torn").read_bytes().startswith(b'{"event": "accep')
    again.close()


def test_all_is_accepted_in_the_end_and_balanced(tmp_path: Path) -> None:
    clock = Clock()
    workshop = open_workshop(tmp_path, clock, total=60)
    while not workshop.summary()["done"]:
        clock.now += 4000
        fill(workshop, clock, until=len(workshop.instructions) + 30, seed=len(workshop.instructions))
    summary = workshop.summary()
    assert summary["accepted"] == 60
    for levels in summary["levels"].values():
        assert all(one["accepted"] == one["quota"] for one in levels.values())
    lines = (tmp_path / "generated_cases_train_mistral.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 60
    for line in lines:
        messages: list[Message] = json.loads(line)["messages"]
        assert [one["role"] for one in messages] == ["system", "user", "assistant"]
    workshop.close()


def test_many_writers_at_once_never_share_a_cell(tmp_path: Path) -> None:
    workshop = open_workshop(tmp_path, total=60)
    failed: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for step in range(5):
                one = workshop.next(name)
                assert one is not None
                assert one.agent == name
                assert workshop.submit(one.id, name, write(one, f"{name} {step}")).status in {"accepted", "rejected"}
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(f"agent-{number}",)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    accepted = Counter(event["id"] for event in events if event["event"] == "accepted")
    assert set(accepted.values()) == {1}
    workshop.close()


def test_one_server_a_folder_and_one_plan(tmp_path: Path) -> None:
    workshop = open_workshop(tmp_path)
    with pytest.raises(CorpusError, match="is in use"):
        open_workshop(tmp_path)
    workshop.close()
    with pytest.raises(CorpusError, match="another plan"):
        open_workshop(tmp_path, total=41)
    (tmp_path / "log.jsonl").write_text('{"event": "began"}\n[]\n', encoding="utf-8")
    with pytest.raises(CorpusError, match=r"log\.jsonl:2: no event"):
        open_workshop(tmp_path)


def test_the_command_that_makes_files_again(tmp_path: Path) -> None:
    clock = Clock()
    workshop = open_workshop(tmp_path, clock)
    fill(workshop, clock, until=5)
    kept = files_of(tmp_path)
    workshop.close()
    (tmp_path / TRAIN).write_text("spoilt", encoding="utf-8")
    command = [sys.executable, "-m", "corpus", "rebuild", "--domain", "schemes", "--target", "40", "--seed", "1"]
    done = subprocess.run([*command, "--state", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert files_of(tmp_path) == kept


@pytest.mark.parametrize(
    ("text", "code"),
    [("", "empty_text"), (" \n", "empty_text"), ("x" * 30_000, "too_long"), ("```toon\na: 1\n```", "fenced_text")],
)
def test_what_is_no_text_changes_nothing(tmp_path: Path, text: str, code: str) -> None:
    workshop = open_workshop(tmp_path)
    one = workshop.next("ada")
    assert one is not None
    before = (tmp_path / "log.jsonl").read_bytes(), files_of(tmp_path)
    with pytest.raises(CorpusError) as caught:
        workshop.submit(one.id, "ada", text)
    assert caught.value.code == code
    assert ((tmp_path / "log.jsonl").read_bytes(), files_of(tmp_path)) == before
    workshop.close()


def test_a_lease_that_changes_hands_asks_for_its_token(tmp_path: Path) -> None:
    workshop = open_workshop(tmp_path)
    one = workshop.next("ada")
    assert one is not None
    for token in (None, "wrong"):
        with pytest.raises(CorpusError) as caught:
            workshop.renew(one.id, "bob", token)
        assert caught.value.code == "foreign_agent"
    taken = workshop.renew(one.id, "bob", one.token)
    assert (taken.agent, taken.cell) == ("bob", one.cell)
    assert taken.token != one.token
    text = write(one)
    for agent, token, code in (("ada", one.token, "foreign_agent"), ("bob", None, "stale_lease"),
                               ("bob", one.token, "stale_lease")):  # fmt: skip
        with pytest.raises(CorpusError) as caught:
            workshop.submit(one.id, agent, text, token)
        assert caught.value.code == code
    other = workshop.next("eve")
    assert other is not None
    with pytest.raises(CorpusError, match="bob has INS-0001 already"):
        workshop.renew(other.id, "bob", other.token)
    assert workshop.submit(one.id, "bob", text, taken.token).status == "accepted"
    workshop.close()


def test_what_is_released_is_served_again_at_once(tmp_path: Path) -> None:
    workshop = open_workshop(tmp_path, total=1)
    one = workshop.next("ada")
    assert one is not None
    assert workshop.next("bob") is None
    workshop.release(one.id, "ada")
    again = workshop.next("bob")
    assert again is not None
    assert again.cell == one.cell
    with pytest.raises(CorpusError, match="is released"):
        workshop.release(one.id, "ada")
    workshop.close()


def test_a_clock_that_goes_back_revives_no_lease(tmp_path: Path) -> None:
    clock = Clock()
    workshop = open_workshop(tmp_path, clock, total=1)
    one = workshop.next("ada")
    assert one is not None
    clock.now += 5000
    assert workshop.summary()["expired"] == 1
    clock.now -= 6000
    workshop.close()
    again = open_workshop(tmp_path, clock, total=1)
    assert again.submit(one.id, "ada", write(one)).status == "surplus"
    two = again.next("bob")
    assert two is not None
    assert two.expires_at > 6000
    again.close()


MISSING = "Élève : je suis là et tu ne viens pas {}\nPhilosophe : que dis-tu de la nuit, de la mer et du vent ?"


@pytest.mark.parametrize("accept", [True, False])
def test_a_person_decides_what_the_checks_cannot(tmp_path: Path, accept: bool) -> None:
    workshop = open_workshop(tmp_path, total=1)
    one = workshop.next("ada")
    assert one is not None
    texts = [MISSING.format(word) for word in ("ce soir", "le matin avec ta sœur", "à midi, dans la cour du lycée")]
    assert [workshop.submit(one.id, "ada", text).status for text in texts] == ["rejected", "rejected", "review"]
    assert workshop.submit(one.id, "ada", texts[-1]).status == "review"  # the same text, the same answer
    assert workshop.next("bob") is None  # its cell is taken until somebody has read it
    assert not workshop.summary()["done"]
    workshop.decide(one.id, accept=accept)
    with pytest.raises(CorpusError, match="waits for nobody"):
        workshop.decide(one.id, accept=accept)
    assert workshop.summary()["done"] is accept
    assert (workshop.next("bob") is None) is accept
    files = files_of(tmp_path)
    assert (texts[-1].split("\n")[0].removeprefix("Élève : ") in files[TRAIN].decode()) is accept
    workshop.close()
    again = open_workshop(tmp_path, total=1)
    assert files_of(tmp_path) == files
    again.close()


@pytest.mark.parametrize("accept", [True, False])
def test_a_decision_leaves_what_the_writer_holds_by_then(tmp_path: Path, accept: bool) -> None:
    clock = Clock()
    workshop = open_workshop(tmp_path, clock)
    one = workshop.next("ada")
    assert one is not None
    for word in ("ce soir", "le matin avec ta sœur", "à midi, dans la cour du lycée"):
        verdict = workshop.submit(one.id, "ada", MISSING.format(word))
    assert verdict.status == "review"
    second = workshop.next("ada")
    assert second is not None
    workshop.decide(one.id, accept=accept)
    assert workshop.next("ada") == second
    clock.now += 10_000
    assert (workshop.summary()["leased"], workshop.summary()["expired"]) == (0, 1)
    assert workshop.instructions[second.id].status == "expired"
    workshop.close()


def test_a_seed_corpus_counts_and_is_not_copied(tmp_path: Path) -> None:
    known = "Élève : je suis tombé et je ne sais pas si je me relève demain\nPhilosophe : et que veux-tu, toi ?"
    messages = [{"role": "user", "content": "Dis ?"}, {"role": "assistant", "content": "Oui."}]
    seeds = SeedCorpus([{"philosopher": "kant"}] * 10, [messages] * 10, [known])
    workshop = open_workshop(tmp_path, total=40, seeds=seeds)
    said = workshop.summary()
    assert (said["wanted"], said["seed_cases"]) == (30, 10)
    assert said["levels"]["philosopher"]["kant"] == {
        "target": 10, "seed": 10, "quota": 0, "served": 0, "accepted": 0
    }  # fmt: skip
    assert sum(row["seed"] for row in said["levels"]["voice"].values()) == 10
    one = workshop.next("ada")
    assert one is not None
    assert one.cell["philosopher"] != "kant"
    codes = {finding.code for finding in workshop.submit(one.id, "ada", known).findings}
    assert "duplicate" in codes
    assert workshop.submit(one.id, "ada", write(one)).status == "accepted"
    full = (tmp_path / FULL).read_text(encoding="utf-8").splitlines()
    assert len(full) == 11
    assert all(json.loads(line).keys() == {"messages"} for line in full)
    workshop.close()
    with pytest.raises(CorpusError, match="another plan"):
        open_workshop(tmp_path, total=40)
    with pytest.raises(CorpusError, match="philosopher='platon' is no level"):
        seeded_counts([{"philosopher": "platon"}], DOMAIN.weights)


def test_a_full_disk_is_said_and_leaves_the_log_whole(tmp_path: Path) -> None:
    workshop = open_workshop(tmp_path)
    one = workshop.next("ada")
    assert one is not None
    text = write(one)
    log = tmp_path / "log.jsonl"
    before = log.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, hard))  # bytes: the next line does not fit
    try:
        with pytest.raises(CorpusError) as caught:
            workshop.submit(one.id, "ada", text)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.code == "not_kept"
    assert log.read_bytes() == before
    assert workshop.submit(one.id, "ada", text).status == "accepted"
    workshop.close()


def test_drawing_ahead_changes_nothing(tmp_path: Path) -> None:
    """What an instruction says depends on the log alone, not on when it was drawn."""
    made = []
    for ahead in (False, True):
        workshop = open_workshop(tmp_path / str(ahead))
        for number in range(8):
            if ahead:
                workshop.prepare()
            one = workshop.next(f"agent-{number}")
            assert one is not None
            assert from_toon(workshop.told(one)["target_toon"]) == one.target
            if number % 3 == 0:
                if ahead:
                    workshop.prepare()  # worth nothing after the next line
                workshop.release(one.id, one.agent)
        made.append([(one.cell, one.target) for one in workshop.instructions.values()])
        workshop.close()
    assert made[0] == made[1]


def test_what_lies_ready_is_what_would_have_been_drawn_by_whoever_asks_and_at_once(tmp_path: Path) -> None:
    """Agents ask from several threads, leases come back: the log reads as if each draw had been made alone."""
    clock = Clock()
    workshop = Workshop(tmp_path / "busy", DOMAIN, total=60, seed=1, clock=clock, later=True)
    chance = random.Random(3)  # noqa: S311

    def ask(name: str) -> None:
        for turn in range(8):
            one = workshop.next(f"{name}-{turn}")
            if one is not None and chance.random() < 0.4:
                workshop.release(one.id, one.agent)

    threads = [threading.Thread(target=ask, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    workshop.close()
    events = [json.loads(line) for line in (tmp_path / "busy" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    alone = open_workshop(tmp_path / "alone", total=60)
    for event in events:
        if event["event"] == "issued":
            one = alone.next(event["agent"])
            assert one is not None
            assert (one.id, one.cell, one.target) == (event["id"], event["cell"], event["target"])
        elif event["event"] == "released":
            alone.release(event["id"], alone.instructions[event["id"]].agent)
    alone.close()
    assert sum(event["event"] == "issued" for event in events) == 32


def test_instructions_lie_ready_while_nobody_asks(tmp_path: Path) -> None:
    workshop = open_workshop(tmp_path)
    workshop.prepare()
    drawn: list[object] = []
    domain = replace(DOMAIN, pack=Watching(DOMAIN.pack, drawn))
    workshop.domain = domain
    for number in range(AHEAD):
        workshop.next(f"agent-{number}")
    assert not drawn
    workshop.next("one-more")
    assert drawn
    workshop.close()


def test_a_domain_that_breaks_does_not_end_the_clerk(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The file of one event cannot be made, for a fault nobody foresaw: it is told, and the next files come."""
    workshop = Workshop(tmp_path, DOMAIN, total=40, seed=1, later=True)
    broken = workshop._files._domain  # the files' own view of the domain
    try:
        one = workshop.next("ada")
        assert one is not None
        wait_until(lambda: (tmp_path / "instructions" / "INS-0001.json").exists(), 20)
        workshop._files._domain = replace(DOMAIN, pack=Watching(DOMAIN.pack, [], breaks="messages"))
        assert workshop.submit(one.id, "ada", write(one)).status == "accepted"  # the log has it
        wait_until(lambda: "the files lag behind" in caplog.text, 20)
        with pytest.raises(CorpusError, match="mend the domain and start again") as caught:
            workshop.next("bob")
        assert caught.value.code == "files_lag"
        workshop._files._domain = broken
        assert workshop.next("bob") is not None
        wait_until(lambda: (tmp_path / "instructions" / "INS-0002.json").exists(), 20)
    finally:
        workshop.close()
    open_workshop(tmp_path).close()
    assert len((tmp_path / "generated_cases.jsonl").read_text(encoding="utf-8").splitlines()) == 1


def test_a_server_writes_the_files_when_the_answer_is_on_its_way(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, DOMAIN, total=40, seed=1, later=True)
    try:
        for number in range(5):
            one = workshop.next(f"ada-{number}")
            assert one is not None
            assert workshop.submit(one.id, f"ada-{number}", write(one)).status == "accepted"
        assert len(workshop.read("issued_instructions.jsonl").splitlines()) == 5  # whoever reads gets them as they are
        one = workshop.next("bob")
        wait_until(lambda: (tmp_path / "instructions" / "INS-0006.json").exists(), 20)  # and they come by themselves
        wait_until(lambda: json.loads((tmp_path / "summary.json").read_bytes())["issued"] == 6, 20)
    finally:
        workshop.close()
    kept = files_of(tmp_path)
    again = open_workshop(tmp_path)
    again.close()
    assert files_of(tmp_path) == kept


def test_files_that_lag_are_told_to_whoever_asks_next_and_mended_at_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    workshop = Workshop(tmp_path, DOMAIN, total=40, seed=1, later=True)
    try:
        (tmp_path / "summary.json.partial").mkdir()  # cannot be written
        assert workshop.next("ada") is not None  # the log has it: the answer stands
        wait_until(lambda: "the log is whole" in caplog.text, 20)
        with pytest.raises(CorpusError) as caught:
            workshop.next("bob")
        assert caught.value.code == "files_lag"
        (tmp_path / "summary.json.partial").rmdir()
        assert workshop.next("bob") is not None
    finally:
        workshop.close()
    again = open_workshop(tmp_path)
    assert sorted(again.instructions) == ["INS-0001", "INS-0002"]
    again.close()
    assert json.loads((tmp_path / "summary.json").read_bytes())["issued"] == 2


def test_a_file_that_lacks_lines_is_refused_until_it_is_made_again(tmp_path: Path) -> None:
    """One file cannot be written, so that those after it lack the case as well, and later events come on top."""
    workshop = Workshop(tmp_path, DOMAIN, total=40, seed=1, later=True)
    try:
        one, two = workshop.next("ada"), workshop.next("bob")
        assert one is not None
        assert two is not None
        assert workshop.read(TRAIN) == b""
        (tmp_path / CASES).unlink()
        (tmp_path / CASES).mkdir()  # cannot be written
        assert workshop.submit(one.id, "ada", write(one)).status == "accepted"
        for _ in range(2):
            with pytest.raises(CorpusError) as caught:
                workshop.read(TRAIN)
            assert caught.value.code == "files_lag"
        assert workshop.submit(two.id, "bob", write(two)).status == "accepted"
        (tmp_path / CASES).rmdir()
        assert [len(workshop.read(name).splitlines()) for name in (CASES, TRAIN, FULL)] == [2, 2, 2]
    finally:
        workshop.close()
    kept = files_of(tmp_path)
    open_workshop(tmp_path).close()
    assert files_of(tmp_path) == kept
