"""Publishing: only what was verified, private first, resumed after a break, checksums compared, then tagged."""

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import huggingface_hub.constants
import pytest

from conversion.build import Recipe
from conversion.hub import Plan, Published, plan_publish, publish
from conversion.report import Gate, VerifyReport, folder_facts, write_report
from errors import ConversionError
from tests.conversion.local_hub import TOKEN, LocalHub, local_hub

ROOT = Path(__file__).parents[2]
REPO = "owner/philosophers"
FILES = {
    "model-Q4_K_M.gguf": 5000,
    "model-Q8_0.gguf": 9000,
    "merged/model.safetensors": 20_000,
    "merged/config.json": 90,
}
# huggingface_hub hands a file to its HTTP library in a way that the latter is going to drop.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def write_folder(folder: Path, verdict: str = "pass") -> Path:
    """A verified folder in miniature: bytes that no other folder has, a report of them, a card."""
    for number, (name, size) in enumerate(FILES.items()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number + 1]) * size)
    gate = Gate("tokens", 3, 0, verdict, "" if verdict == "pass" else "Copy tokenizer.model.")  # type: ignore[arg-type]
    write_report(VerifyReport((gate,), folder_facts(folder, FILES)), folder / "verify.json")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Card\n", encoding="utf-8")
    (folder / "Modelfile").write_text("FROM ./model-Q4_K_M.gguf\n", encoding="utf-8")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "built")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """A Hub without the Xet store, whose protocol is the library's own affair; and a user who is logged in."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with local_hub() as hub:
        yield hub


def send(hub: LocalHub, folder: Path, tag: str = "v1.0", *, public: bool = False) -> Published:
    return publish(plan_publish(folder, REPO, tag, public=public), endpoint=hub.url)


def test_a_verified_folder_is_there_whole_private_and_tagged(hub: LocalHub, folder: Path) -> None:
    steps: list[str] = []
    done = publish(plan_publish(folder, REPO, "v1.0"), endpoint=hub.url, report=lambda step, _: steps.append(step))
    repo = hub.repos[REPO]
    assert steps == ["creating", "uploading", "checking"]
    assert set(repo.commits[-1]) == {*FILES, "README.md", "Modelfile", "verify.json"}
    assert (
        repo.commits[-1]["model-Q8_0.gguf"][0] == hashlib.sha256((folder / "model-Q8_0.gguf").read_bytes()).hexdigest()
    )
    assert repo.tags == {"v1.0": repo.head}
    assert (repo.private, done.private, done.sent, done.n_files) == (True, True, True, 7)
    assert done.commit == repo.head
    creation = hub.calls.index("POST /api/repos/create")
    assert creation < hub.calls.index(f"POST /api/models/{REPO}/commit/main")


def test_public_only_after_everything_is_right(hub: LocalHub, folder: Path) -> None:
    assert not send(hub, folder, public=True).private
    assert hub.calls.index(f"PUT /api/models/{REPO}/settings") > hub.calls.index(
        f"GET /api/models/{REPO}/tree/{1:040x}"
    )


def test_large_files_go_in_parts(hub: LocalHub, folder: Path) -> None:
    hub.part_bytes = 4096
    send(hub, folder)
    oid = hashlib.sha256((folder / "merged/model.safetensors").read_bytes()).hexdigest()
    assert [name for name in hub.puts() if name.startswith(oid)] == [f"{oid}.{n}" for n in range(1, 6)]
    assert hub.objects[oid] == (folder / "merged/model.safetensors").read_bytes()


def test_a_connection_that_breaks_in_mid_upload_goes_on(hub: LocalHub, folder: Path) -> None:
    hub.cut = 1
    assert send(hub, folder).sent
    assert len(hub.puts()) == 3


def test_the_same_version_again_sends_nothing(hub: LocalHub, folder: Path) -> None:
    first = send(hub, folder)
    before = len(hub.puts())
    again = send(hub, folder)
    assert again == replace(first, sent=False)
    assert len(hub.puts()) == before
    assert len(hub.repos[REPO].commits) == 2


def test_another_version_sends_what_changed(hub: LocalHub, folder: Path) -> None:
    send(hub, folder)
    (folder / "model-Q8_0.gguf").write_bytes(b"new" * 2000)
    write_report(VerifyReport((Gate("tokens", 0, 0, "pass"),), folder_facts(folder, FILES)), folder / "verify.json")
    before = len(hub.puts())
    with pytest.raises(ConversionError, match=r"v1\.0 of owner/philosophers exists with other files"):
        send(hub, folder)
    assert send(hub, folder, "v1.1").sent
    assert len(hub.puts()) == before + 1
    assert set(hub.repos[REPO].tags) == {"v1.0", "v1.1"}


@pytest.mark.parametrize("where", ["POST .*/preupload/", "PUT /objects/", "POST .*/objects/batch"])
def test_a_server_that_fails_and_recovers(hub: LocalHub, folder: Path, where: str) -> None:
    hub.status = {where: [500]}
    assert send(hub, folder).sent


@pytest.mark.parametrize(
    ("where", "status"),  # what the library asks for, it asks again after a 500: half a minute
    [(f"POST /api/models/{REPO}/commit", 500), (f"GET /api/models/{REPO}/tree", 400), ("POST /api/repos", 500)],
)
def test_a_failure_is_said_and_the_next_run_goes_on(hub: LocalHub, folder: Path, where: str, status: int) -> None:
    hub.status = {where: [status]}
    with pytest.raises(ConversionError, match="Run the same command again") as caught:
        send(hub, folder)
    assert caught.value.code == "hub_unreachable"
    assert not (hub.repos.get(REPO) and hub.repos[REPO].tags)
    sent = len(hub.puts())
    hub.status = {}
    assert send(hub, folder).sent
    assert len(hub.puts()) - sent in (0, 3)  # what was there is not sent again
    assert len(hub.puts()) == 3


@pytest.mark.parametrize(
    ("status", "said"), [(401, "hf auth login"), (403, "write access"), (404, "owner's name"), (413, "larger than")]
)
def test_a_refusal_names_its_remedy_and_never_the_token(
    hub: LocalHub, folder: Path, caplog: pytest.LogCaptureFixture, status: int, said: str
) -> None:
    caplog.set_level(logging.DEBUG)
    hub.status, hub.echoes_token = {"/objects/batch": [status]}, True
    with pytest.raises(ConversionError, match=said) as caught:
        send(hub, folder)
    assert caught.value.code == "hub_refused"
    assert TOKEN not in str(caught.value)
    assert TOKEN not in "".join(one.getMessage() for one in caplog.records if one.name.startswith("conversion"))
    assert not hub.repos[REPO].tags


def test_a_token_that_the_hub_does_not_know(
    hub: LocalHub, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    with pytest.raises(ConversionError, match=r"\(401\)") as caught:
        send(hub, folder)
    assert "hf_another" not in str(caught.value)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(ConversionError, match="No token of the Hub"):
        send(hub, folder)


def test_other_bytes_on_the_hub_are_never_tagged(hub: LocalHub, folder: Path) -> None:
    hub.spoils = True
    with pytest.raises(ConversionError, match="on the Hub differs from the local file"):
        send(hub, folder)
    assert hub.repos[REPO].tags == {}
    assert hub.repos[REPO].private


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "verify.json").unlink(), "python -m conversion verify"),
        (lambda f: (f / "verify.json").write_text("{", encoding="utf-8"), "is no JSON"),
        (lambda f: (f / "README.md").unlink(), "python -m conversion card"),
        (lambda f: (f / "model-Q8_0.gguf").write_bytes(b"\2" * 8999 + b"x"), "is not the file that was verified"),
        (lambda f: (f / "model-Q8_0.gguf").unlink(), "was verified and is gone"),
        (lambda f: (f / "other.gguf").write_bytes(b"x"), "was never verified"),
        (lambda f: (f / "merged" / "chat_template.jinja").write_bytes(b"x"), "was never verified"),
        (lambda f: write_folder(f, "fail"), "tokens is 3, must be 0: Copy tokenizer.model"),
        (lambda f: write_folder(f, "skipped"), "Nothing was measured"),
    ],
)
def test_what_is_not_verified_stays_here(
    hub: LocalHub, folder: Path, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(folder)
    with pytest.raises(ConversionError, match=said):
        send(hub, folder)
    assert hub.calls == []


def test_the_importance_matrix_of_a_build_stays_here(folder: Path) -> None:
    matrix = Recipe(folder, folder, folder, "model", ()).importance
    matrix.parent.mkdir(exist_ok=True)
    matrix.write_bytes(b"matrix")
    assert set(plan_publish(folder, REPO, "v1").sizes) == {*FILES, "README.md", "Modelfile", "verify.json"}


def test_weights_of_an_earlier_version_are_in_no_later_one(hub: LocalHub, folder: Path) -> None:
    send(hub, folder)
    (folder / "model-Q4_K_M.gguf").unlink()
    left = [name for name in FILES if "Q4" not in name]
    write_report(VerifyReport((Gate("tokens", 0, 0, "pass"),), folder_facts(folder, left)), folder / "verify.json")
    with pytest.raises(ConversionError, match=r"holds model-Q4_K_M\.gguf of an earlier version"):
        send(hub, folder, "v1.1")
    assert (set(hub.repos[REPO].tags), len(hub.repos[REPO].commits)) == ({"v1.0"}, 2)


def test_a_file_that_changes_on_the_way_is_never_tagged(hub: LocalHub, folder: Path) -> None:
    plan = plan_publish(folder, REPO, "v1.0")
    (folder / "model-Q8_0.gguf").write_bytes(b"\2" * 8999 + b"x")
    with pytest.raises(ConversionError, match="is not the file that was verified"):
        publish(plan, endpoint=hub.url)
    assert hub.repos[REPO].tags == {}


def test_a_report_that_contradicts_itself(folder: Path) -> None:
    path = folder / "verify.json"
    read = json.loads(path.read_text(encoding="utf-8"))
    read["gates"][0] |= {"verdict": "fail", "remedy": "none"}
    path.write_text(json.dumps(read), encoding="utf-8")
    with pytest.raises(ConversionError, match="says passed=True, its gates say False"):
        plan_publish(folder, REPO, "v1")


def test_unfinished_and_hidden_files_are_not_sent(hub: LocalHub, folder: Path) -> None:
    (folder / "model.gguf.partial").write_bytes(b"half")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x.bin").write_bytes(b"x")
    (folder / "gates[1].png").write_bytes(b"png")
    send(hub, folder)
    assert set(hub.repos[REPO].commits[-1]) == {*FILES, "README.md", "Modelfile", "verify.json", "gates[1].png"}


@pytest.mark.parametrize(("repo", "tag"), [("philosophers", "v1"), ("a/b/c", "v1"), (REPO, "1.0"), (REPO, "v1 b")])
def test_names_that_are_none(folder: Path, repo: str, tag: str) -> None:
    with pytest.raises(ConversionError, match="expected"):
        Plan(folder, repo, tag, False, {})


def command(hub: LocalHub, *arguments: object) -> "subprocess.Popen[str]":
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "conversion", "publish", *map(str, arguments)],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_process_killed_in_mid_upload_is_resumed_by_the_next(hub: LocalHub, folder: Path) -> None:
    hub.holds = range(1, 3)  # one file arrives, two are on their way when the process dies
    killed = command(hub, "--folder", folder, "--repo", REPO, "--version", "v2.0")
    assert all(hub.waiting.acquire(timeout=120) for _ in hub.holds)
    while not hub.puts():  # the one that arrived may still be being stored
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert hub.repos[REPO].tags == {}
    first = hub.puts()
    assert len(first) == 1
    again = command(hub, "--folder", folder, "--repo", REPO, "--version", "v2.0", "--json")
    out, err = again.communicate()
    assert again.returncode == 0, err
    said = json.loads(out.splitlines()[-1])
    assert (said["tag"], said["private"], said["sent"]) == ("v2.0", True, True)
    assert hub.repos[REPO].tags == {"v2.0": said["commit"]}
    assert len(set(hub.puts())) == len(hub.puts()) == 3
    assert first == hub.puts()[: len(first)]
    assert TOKEN not in out + err


def test_a_dry_run_asks_nobody(hub: LocalHub, folder: Path) -> None:
    dry = command(hub, "--folder", folder, "--repo", REPO, "--version", "v2.0", "--dry-run", "--json")
    out, err = dry.communicate()
    assert dry.returncode == 0, err
    said = json.loads(out)
    assert said["files"]["model-Q8_0.gguf"] == 9000
    assert hub.calls == []
