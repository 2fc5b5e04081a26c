"""Virtual environments beside ours, for tools whose pins exclude ours. Knows pip and processes; knows no model."""

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from conversion.base import disk_errors
from conversion.child import die_with_parent
from conversion.lock import one_at_a_time
from errors import ConversionError, SourceError

log = logging.getLogger(__name__)

WAIT_S = 3600.0  # for another process that installs: gigabytes on a slow line
READY = ".ready"  # written last into an environment
LAST_LINES = 3  # of a failed program, in the message

Report = Callable[[str, float], None]


def environment_folder(data_dir: Path, name: str, requirements: Path) -> Path:
    """Return where the environment of a requirements file is, or will be; other requirements, another folder."""
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
    return data_dir / "envs" / f"{name}-{digest[:12]}"


def is_made(folder: Path) -> bool:
    """Say whether an environment is whole."""
    return (folder / READY).is_file()


def make_environment(data_dir: Path, name: str, requirements: Path, report: Report = lambda _s, _p: None) -> Path:
    """Return the Python of an environment, made first if need be. Blocks; can take many minutes and gigabytes.

    Args:
        data_dir: Environments live under its `envs/`.
        name: Of the tool, for people.
        requirements: Pinned packages.
        report: Told the step.

    Raises:
        SourceError: pip could not install something, or the disk is full; nothing half-made stays.
    """
    folder = environment_folder(data_dir, name, requirements)
    python = folder.resolve() / "bin" / "python"  # absolute: it is started in other folders
    if is_made(folder):
        return python
    with one_at_a_time(folder.parent / f".{name}.lock", wait_s=WAIT_S), disk_errors(folder.parent):
        if is_made(folder):  # another process has just made it
            return python
        report("installing", 0.0)
        shutil.rmtree(
            folder, ignore_errors=True
        )  # what a killed run left; an environment cannot be moved, hence the mark
        try:
            _run([sys.executable, "-m", "venv", "--without-pip", str(folder)], name)
            options = ["--disable-pip-version-check", "--no-input", "--quiet", "--timeout=30", "--retries=2"]
            target = [f"--python={python}", "install", *options, f"--requirement={requirements}"]
            _run([sys.executable, "-m", "pip", *target], name)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        (folder / READY).write_text(requirements.read_text(encoding="utf-8"), encoding="utf-8")
    log.info("environment made name=%s folder=%s", name, folder.name)
    return python


def _run(command: list[str], name: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=die_with_parent)
    if done.returncode:
        errors = [line.strip() for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines()[-1:]
        full = "No space left" in done.stderr
        reason = errors[-1] if errors else f"status {done.returncode}"
        raise SourceError(
            f"The environment of {name} cannot be made: {reason}", code="disk_full" if full else "source_unreachable"
        )


def run_worker(
    python: Path, worker: Path, request: Mapping[str, Any], work: Path, report: Report = lambda _s, _p: None
) -> dict[str, Any]:
    """Run a worker in its environment and return what it found.

    Args:
        python: Of the environment.
        worker: A script that reads a request, says JSON lines and writes a result.
        request: Anything that JSON holds.
        work: Folder for request, result and the worker's talk; files of an earlier run are replaced.
        report: Told the worker's steps.

    Raises:
        ConversionError: The worker failed; its last words are in the message.
    """
    asked, found, talk = work / "request.json", work / "result.json", work / "worker.log"
    found.unlink(missing_ok=True)
    asked.write_text(json.dumps(request, ensure_ascii=False), encoding="utf-8")
    quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": "", "PYTHONUNBUFFERED": "1"}
    command = [str(python), "-P", str(worker), str(asked), str(found)]
    environment = {**os.environ, **quiet}
    with (
        talk.open("w", encoding="utf-8") as errors,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
            cwd=work,
            preexec_fn=die_with_parent,
        ) as process,
    ):
        assert process.stdout is not None  # noqa: S101  for the type checker: PIPE was asked for
        try:
            for line in process.stdout:
                _tell(line, report)
        except BaseException:  # interrupted: the worker must not go on alone
            process.kill()
            raise
    if process.returncode or not found.is_file():
        said = [line.strip() for line in talk.read_text(encoding="utf-8").splitlines() if line.strip()]
        last = " / ".join(said[-LAST_LINES:]) or f"it ended with {process.returncode}"
        raise ConversionError(f"{worker.name} failed: {last}")
    result: dict[str, Any] = json.loads(found.read_text(encoding="utf-8"))
    return result


def _tell(line: str, report: Report) -> None:
    """Pass a JSON line on; libraries print other things in between."""
    try:
        said = json.loads(line)
        report(str(said["step"]), float(said["progress"]))
    except (ValueError, KeyError, TypeError):
        log.debug("worker said %d characters that are no progress", len(line))
