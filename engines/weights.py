"""A model file from the Hub, on disk. Knows addresses and bytes; knows no format, no engine and no tier.

`hf_hub_download` starts from zero when the process was stopped; here the part that came is kept beside the cache and
completed by the next call, in this process or another. The Hub names a large file by its sha256: it is checked.
"""

import errno
import hashlib
import logging
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from huggingface_hub import get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import FileMetadataError, HfHubHTTPError
from huggingface_hub.file_download import http_get
from huggingface_hub.utils import WeakFileLock, build_hf_headers  # type: ignore[attr-defined]

from errors import SourceError

logger = logging.getLogger(__name__)

TIMEOUT_S = 10.0  # also what huggingface_hub allows between two chunks
ATTEMPTS = 3  # in a row without a new byte
PAUSE_S = 1.0  # before a broken download goes on
PROGRESS_STEP = 0.002  # smaller steps are not reported
CHUNK = 1 << 20  # bytes
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
SHA256 = re.compile(r"[0-9a-f]{64}")


def fetch_from_hub(
    repo: str,
    filename: str,
    cache_dir: Path,
    on_progress: Callable[[float], None],
    *,
    endpoint: str | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Path:
    """Return the path of a file of the Hub, downloaded where it is not already. Blocks.

    Where the Hub does not answer and some version was downloaded before, that one is returned.

    Args:
        repo: "owner/name".
        filename: Path inside the repository.
        cache_dir: Where files are kept; made when missing.
        on_progress: Told the part that is there, from 0 to 1, from this thread.
        endpoint: Address of the Hub; None takes `HF_ENDPOINT`, else the public one.
        timeout_s: How long the Hub may take to describe the file.

    Raises:
        SourceError: `source_unreachable` (no answer, refused, no such file), `source_corrupt` (the bytes are not those
            that were announced), `disk_full`. A retry goes on where this call stopped.
    """
    folder = cache_dir / repo.replace("/", "--")
    url = hf_hub_url(repo, filename, endpoint=endpoint)
    try:
        location, etag, size = _announced(url, endpoint, timeout_s)
    except SourceError as error:
        known = sorted(folder.glob(f"*/{filename}"), key=lambda path: path.stat().st_mtime)
        if not known:
            raise
        logger.warning("%s The copy in the cache is used.", error)
        on_progress(1.0)
        return known[-1]
    target = folder / etag[:16] / filename
    partial = folder / f"{etag}.partial"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(folder / f"{etag}.lock"):  # another process may fetch the same file
            if not target.exists():
                _check_space(folder, partial, size)
                _download(location, _headers(url, location), partial, size, on_progress)
                _check_bytes(partial, etag, filename)
                partial.rename(target)  # last: a file under its final name is whole
    except OSError as error:
        raise _explain(error, repo, filename) from error
    on_progress(1.0)
    return target


def _announced(url: str, endpoint: str | None, timeout_s: float) -> tuple[str, str, int]:
    """Ask the Hub for the address of the bytes, their name (an etag) and their number."""
    try:
        metadata = get_hf_file_metadata(url, timeout=timeout_s, endpoint=endpoint)
    except (OSError, FileMetadataError) as error:
        raise _explain(error, url, "its description") from error
    except Exception as error:
        if not _is_network(error):
            raise
        raise SourceError(f"No answer from {urlsplit(url).netloc}: {_first_line(error)}") from error
    if metadata.etag is None or metadata.size is None:
        raise SourceError(f"{urlsplit(url).netloc} does not say what {url} holds; is it a Hub? Check HF_ENDPOINT.")
    return metadata.location, re.sub(r"[^\w.-]", "_", metadata.etag), metadata.size


def _headers(url: str, location: str) -> dict[str, str]:
    """Headers of the download; the token stays at home when the bytes lie with a third party."""
    same_host = urlsplit(url).netloc == urlsplit(location).netloc
    headers: dict[str, str] = build_hf_headers(token=None if same_host else False)
    return headers


def _check_space(folder: Path, partial: Path, size: int) -> None:
    missing = size - (partial.stat().st_size if partial.exists() else 0)
    free = shutil.disk_usage(folder).free
    if free < missing:
        raise OSError(errno.ENOSPC, f"{missing} bytes are needed, {free} are free")


def _download(
    location: str, headers: dict[str, str], partial: Path, size: int, on_progress: Callable[[float], None]
) -> None:
    """Append to `partial` until it has `size` bytes; go on after a broken connection as long as bytes come."""
    failures = 0
    while (have := partial.stat().st_size if partial.exists() else 0) != size:
        if have > size:
            partial.unlink()
            continue
        try:
            with partial.open("ab") as file:
                # Its own retries are left to this loop, which knows every kind of break and keeps what came.
                http_get(location, file, resume_size=have, headers=headers, expected_size=size,
                         tqdm_class=_progress_class(size, on_progress), _nb_retries=0)  # fmt: skip
        except Exception as error:
            if not _is_network(error):
                raise
            failures = failures + 1 if partial.stat().st_size <= have else 1
            if failures >= ATTEMPTS:
                raise SourceError(f"The download broke off and does not go on: {_first_line(error)}") from error
            logger.warning("download broken at byte %d of %d, going on", partial.stat().st_size, size)
            time.sleep(PAUSE_S)


def _check_bytes(partial: Path, etag: str, filename: str) -> None:
    """Compare the file with its sha256, where the Hub gave one (it does for every large file)."""
    if not SHA256.fullmatch(etag):
        return
    digest = hashlib.sha256()
    with partial.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != etag:
        partial.unlink()
        raise SourceError(
            f"{filename} has the sha256 {digest.hexdigest()}, not {etag} as announced; fetch it again.",
            code="source_corrupt",
        )


def _is_network(error: Exception) -> bool:
    """Whether the connection failed. The exceptions are those of huggingface_hub's HTTP library, whichever it is."""
    names = {base.__name__ for base in type(error).__mro__}
    return bool(names & {"TransportError", "OfflineModeIsEnabled", "ConnectionError"})


def _explain(error: OSError, repo: str, filename: str) -> SourceError:
    if error.errno in NO_SPACE:
        return SourceError(f"The disk is full ({error}); make room, or set BAF_DATA_DIR elsewhere.", code="disk_full")
    if isinstance(error, HfHubHTTPError):
        return SourceError(f"The Hub refuses {filename} of {repo}: {_first_line(error)}")
    if "Consistency check failed" in str(error):
        return SourceError(f"{filename} of {repo} has another size than announced.", code="source_corrupt")
    return SourceError(f"{filename} of {repo} cannot be fetched: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _progress_class(size: int, on_progress: Callable[[float], None]) -> Any:
    """A stand-in for tqdm's class that draws nothing and calls `on_progress`."""

    class Progress:
        def __init__(self, *, initial: int = 0, **_: object) -> None:
            self.done = initial
            self.told = -1.0
            self.update(0)

        def update(self, count: int) -> None:
            self.done += count
            part = min(self.done / max(size, 1), 1.0)
            if part >= self.told + PROGRESS_STEP or part == 1.0:
                self.told = part
                on_progress(part)

        def __enter__(self) -> "Progress":
            return self

        def __exit__(self, *_: object) -> None:
            """Nothing was drawn."""

    return Progress
