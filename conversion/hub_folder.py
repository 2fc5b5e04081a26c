"""A checkpoint or an adapter by path or by its name on the Hub. Knows what to fetch; knows no model."""

import re
from pathlib import Path

from errors import ConversionError, SourceError

WANTED = ("*.json", "*.safetensors", "*.model", "*.jinja", "LICENSE*", "NOTICE*")
# Mistral's own copies of weights and vocabulary, as in training.base.
UNWANTED = ("consolidated*", "tekken.json", "params.json")
NAME = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w./-]+))?")


def local_folder(spec: str, data_dir: Path, token: str | None = None) -> Path:
    """Return a folder with the files of `spec`, fetched from the Hub into `data_dir/hub` if it names a repository.

    Args:
        spec: A folder, or "owner/name", or "owner/name@revision"; an interrupted download goes on where it stopped.
        data_dir: Where downloads are kept.
        token: Opens a gated repository; None is the Hub library's own.

    Raises:
        ConversionError: It is neither a folder nor the name of a repository.
        SourceError: The Hub does not give it.
    """
    if Path(spec).is_dir():
        return Path(spec)
    named = NAME.fullmatch(spec)
    if not named:
        raise ConversionError(f"{spec} is no folder, and no owner/name on the Hub.")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    folder = data_dir / "hub" / spec.replace("/", "--")
    wanted, unwanted = list(WANTED), list(UNWANTED)
    try:
        snapshot_download(
            named[1], revision=named[2], local_dir=folder, allow_patterns=wanted, ignore_patterns=unwanted, token=token
        )
    except RepositoryNotFoundError as error:
        raise SourceError(f"The Hub has no {spec}, or you may not read it (accept its licence, log in).") from error
    except Exception as error:  # a broken connection is of the Hub's HTTP library, of no family that we know
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise SourceError(f"{spec} cannot be fetched from the Hub: {said}") from error
    return folder
