"""A checkpoint becomes a GGUF through llama.cpp's own converter. Knows where the converter is; converts nothing itself.

The converter is not in the wheel of llama-cpp-python but in its source archive, in the very version that will read
the result. It is fetched once through pip, checked by its hash, and kept in the data folder.
"""

import logging
import os
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from conversion.base import disk_errors
from conversion.child import die_with_parent
from conversion.lock import one_at_a_time
from conversion.tokenizer_files import conversion_copy
from errors import ConversionError, SourceError

log = logging.getLogger(__name__)

PACKAGE = "llama-cpp-python"
SDIST_SHA256 = {"0.3.36": "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"}
SCRIPT = "convert_hf_to_gguf.py"
WANTED = (SCRIPT, "conversion/", "gguf-py/")  # of the llama.cpp tree inside the archive
ENTRY = Path(__file__).with_name("pre_tokenizer.py")
WAIT_S = 300.0

FloatType = Literal["bf16", "f16", "f32"]


def _download_sdist(folder: Path, number: str) -> Path:
    """Download the source archive; pip checks the hash before it looks into it."""
    requirement = folder / "requirement.txt"
    requirement.write_text(f"{PACKAGE}=={number} --hash=sha256:{SDIST_SHA256[number]}\n", encoding="utf-8")
    options = ["--no-deps", f"--no-binary={PACKAGE}", "--no-cache-dir", "--disable-pip-version-check", "--quiet"]
    waits = ["--timeout=10", "--retries=1", "--no-input"]
    paths = [f"--dest={folder}", f"--requirement={requirement}"]
    command = [sys.executable, "-m", "pip", "download", *options, *waits, *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line.strip() for line in done.stderr.splitlines() if "ERROR" in line]
        corrupt = "DO NOT MATCH THE HASHES" in done.stderr
        code = "source_corrupt" if corrupt else "source_unreachable"
        reason = errors[-1] if errors else f"pip ended with {done.returncode}"
        raise SourceError(f"The source archive of {PACKAGE} {number} cannot be had: {reason}", code=code)
    return next(folder.glob("*.tar.gz"))


def converter(data_dir: Path) -> Path:
    """Return llama.cpp's `convert_hf_to_gguf.py`, of the version installed; fetched on the first call.

    Raises:
        SourceError: The package index does not give the archive, or gives another one.
        ConversionError: No hash is pinned for the version installed.
    """
    number = version(PACKAGE)
    if number not in SDIST_SHA256:
        raise ConversionError(f"No hash of {PACKAGE} {number} is pinned; known: {', '.join(SDIST_SHA256)}.")
    target = data_dir / "tools" / f"llama.cpp-{number}"
    if not target.exists():
        with one_at_a_time(target.parent / ".lock", wait_s=WAIT_S), disk_errors(target.parent):
            if not target.exists():
                _unpack(target, number)
    return target / SCRIPT


def _unpack(target: Path, number: str) -> None:
    """Download, take the converter's files out of the archive, name the folder last."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".sdist-") as work:
        archive_path = _download_sdist(Path(work), number)
        with tarfile.open(archive_path) as archive:
            prefix = f"{archive_path.name.removesuffix('.tar.gz')}/vendor/llama.cpp/"
            members = [member for member in archive if member.name.startswith(tuple(prefix + name for name in WANTED))]
            archive.extractall(work, members=members, filter="data")
        (Path(work) / prefix).rename(target)
    log.info("converter unpacked version=%s files=%d", number, len(members))


def _check_range(model_dir: Path) -> None:
    """Refuse weights that float16 cannot hold: they would become infinite, and the model would say nothing at all."""
    import torch

    from conversion.tensors import read_checkpoint

    limit = torch.finfo(torch.float16).max
    for name, stored in read_checkpoint(model_dir).items():
        if stored.spec.dtype in (torch.float32, torch.bfloat16, torch.float64):
            weight = stored.load()
            largest = float(weight.abs().max()) if weight.numel() else 0.0
            if not largest <= limit:
                raise ConversionError(f"{name} holds {largest:.4g}, float16 ends at {limit:.0f}. Use --outtype bf16.")


def _run(command: list[str], script: Path, partial: Path) -> None:
    """Run the converter; what it left is removed when it fails or is interrupted."""
    # The script's tree has a package called like this room: only its own paths may be searched.
    paths = os.pathsep.join((str(script.parent), str(script.parent / "gguf-py")))
    environment = {**os.environ, "PYTHONPATH": paths}
    partial.unlink(missing_ok=True)  # what a killed run left, or still writes
    try:
        done = subprocess.run(
            command, cwd=script.parent, env=environment, capture_output=True, text=True, check=False,
            preexec_fn=die_with_parent,
        )  # fmt: skip
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    if done.returncode or not partial.is_file():
        partial.unlink(missing_ok=True)
        if "No space left" in done.stderr:
            raise SourceError(f"The disk of {partial.parent} is full. Free some space, start again.", code="disk_full")
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["no output"]
        raise ConversionError(f"llama.cpp's converter refused the checkpoint: {lines[-1]}")


def to_gguf(model_dir: Path, out: Path, outtype: FloatType = "bf16", *, data_dir: Path) -> Path:
    """Write `out`, the checkpoint `model_dir` as a GGUF.

    Args:
        model_dir: A checkpoint folder with its whole tokenizer.
        out: Must not exist; written as `<out>.partial`, named last.
        outtype: How matrices are stored. Never llama.cpp's "auto". For f16 the weights are looked through first: it
            overflows above 65504.
        data_dir: Where the converter is kept.

    Raises:
        ConversionError: The folder is unfit, or the converter refused it (its last line is in the message).
        SourceError: The converter cannot be had, or the disk is full.
    """
    if not (model_dir / "config.json").is_file():
        raise ConversionError(f"{model_dir} is no checkpoint: config.json is missing.")
    if out.exists():
        raise ConversionError(f"{out} exists and is never overwritten. Move it, or pass another --out.")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".partial").resolve()
    name = model_dir.resolve().name
    # Absolute: the converter works in a folder of its own.
    with tempfile.TemporaryDirectory(dir=out.parent.resolve(), prefix=".convert-") as work:
        copy = Path(work) / name  # the converter writes the folder's name into the file
        copy.mkdir()
        conversion_copy(model_dir, copy)
        if outtype == "f16":
            _check_range(model_dir)
        script = converter(data_dir).resolve()
        options = ["--outfile", str(partial), "--outtype", outtype, "--model-name", name]
        # -P: this room's own files may not be found by the converter's imports.
        _run([sys.executable, "-P", str(ENTRY), str(script), str(copy), *options], script, partial)
    partial.rename(out)
    log.info("gguf outtype=%s bytes=%d", outtype, out.stat().st_size)
    return out
