"""What is handed out is balanced, what comes back is checked, and nothing that was acknowledged is ever lost."""

import json
import random
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from corpus.server.domain import load_domain
from corpus.server.targets import from_toon, to_toon
from corpus.server.workshop import DERIVED, MOST_REJECTS, Instruction, Workshop
from dialogue.prompt import Message
from errors import CorpusError

ROOT = Path(__file__).parents[3]
DOMAIN = load_domain("schemes")


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


def open_workshop(folder: Path, clock: Clock | None = None, total: int = 40) -> Workshop:
    return Workshop(folder, DOMAIN, total=total, seed=1, clock=clock or Clock())


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
        ("", "too_short"),
        ("Élève : bof\nPhilosophe : non ?", "too_short"),
        ("x" * 30_000, "too_long"),
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
    for _ in range(MOST_REJECTS):
        verdict = workshop.submit(two.id, "bob", "non")
    assert not verdict.again
    assert workshop.next("eve") is not None
    clock.now += 10_000
    assert workshop.submit(one.id, "ada", write(one)).status == "surplus"
    again = workshop.next("ada")
    assert again is not None
    assert again.id != one.id
    assert "surplus.jsonl" in {path.name for path in tmp_path.iterdir()}
    workshop.close()


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
            workshop.submit(one.id, agent, "non")
        else:
            workshop.submit(one.id, agent, write(one, str(step)))


def test_a_restart_goes_on_exactly_and_rebuilds_its_files(tmp_path: Path) -> None:
    clock = Clock()
    workshop = open_workshop(tmp_path, clock)
    fill(workshop, clock, until=20)
    files = {name: (tmp_path / name).read_bytes() for name in DERIVED}
    before, summary = dict(workshop.instructions), workshop.summary()
    workshop.close()
    for name in DERIVED:
        (tmp_path / name).unlink()
    with (tmp_path / "log.jsonl").open("ab") as file:
        file.write(b'{"event": "accep')  # killed while writing
    again = open_workshop(tmp_path, clock)
    assert again.instructions == before
    assert again.summary() == summary
    assert {name: (tmp_path / name).read_bytes() for name in DERIVED} == files
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
    kept = {name: (tmp_path / name).read_bytes() for name in DERIVED}
    workshop.close()
    (tmp_path / DERIVED[1]).write_text("spoilt", encoding="utf-8")
    command = [sys.executable, "-m", "corpus", "rebuild", "--state", str(tmp_path), "--target", "40", "--seed", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {name: (tmp_path / name).read_bytes() for name in DERIVED} == kept
    missing = subprocess.run(
        [*command[:5], str(tmp_path / "no")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "has no log.jsonl" in missing.stderr
