"""The tokenizer files of a checkpoint folder, whole again. Knows which files; knows no weights.

transformers 5 writes a folder without `tokenizer.model` and without `added_tokens_decoder`; llama.cpp's converter then
invents scores and forgets control pieces, and the GGUF cuts text otherwise than training did, with no warning.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from errors import ConversionError

TEMPLATE = "chat_template.jinja"
FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    TEMPLATE,
)
TOKEN_FIELDS = ("content", "lstrip", "rstrip", "normalized", "single_word", "special")
OPEN = "[INST]"  # one control piece in the formats V3 and later of Mistral


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy every tokenizer file as it is: the merged model reads text as its base did, byte for byte."""
    for name in FILES:
        if (source / name).is_file():
            shutil.copy2(source / name, target / name)


def keep_one_template(folder: Path) -> None:
    """Drop the key `chat_template` beside a `chat_template.jinja`: transformers reads the file, llama.cpp the key."""
    path = folder / "tokenizer_config.json"
    if not path.is_file() or not (folder / TEMPLATE).is_file():
        return
    config = read_json(path)
    if config.pop("chat_template", None) is not None:
        path.write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def template_of(folder: Path) -> str | None:
    """Return a folder's chat template, of its file or else of the key; None where it has none."""
    config = folder / "tokenizer_config.json"
    if (folder / TEMPLATE).is_file():
        return (folder / TEMPLATE).read_text(encoding="utf-8")
    found = read_json(config).get("chat_template") if config.is_file() else None
    return found if isinstance(found, str) else None


def pieces_of(folder: Path) -> set[str]:
    """Return every piece that a folder's `tokenizer.json` names; none without such a file."""
    path = folder / "tokenizer.json"
    read = read_json(path) if path.is_file() else {}
    return {*dict(read.get("model", {}).get("vocab", {})), *(one["content"] for one in read.get("added_tokens", []))}


def read_json(path: Path, why: str = "the folder is no whole checkpoint") -> dict[str, Any]:
    """Return the object of a JSON file.

    Args:
        path: The file.
        why: What its absence means, for the message.

    Raises:
        ConversionError: The file is missing or no JSON object.
    """
    if not path.is_file():
        raise ConversionError(f"{path} is missing: {why}.")
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ConversionError(f"{path} is no JSON: {error}.") from error
    if not isinstance(read, dict):
        raise ConversionError(f"{path} holds no JSON object.")
    return read


def check_sentencepiece(folder: Path) -> None:
    """Refuse a SentencePiece model without its `tokenizer.model`: its merges would lose their scores.

    Raises:
        ConversionError: The file is missing, or the folder has no tokenizer.
    """
    tokenizer = read_json(folder / "tokenizer.json")
    with_bytes = bool(tokenizer.get("model", {}).get("byte_fallback"))  # only SentencePiece's vocabularies have it
    if with_bytes and not (folder / "tokenizer.model").is_file():
        raise ConversionError(
            f"{folder} has no tokenizer.model: the GGUF would cut text otherwise than training did. Copy the base's."
        )


def conversion_copy(folder: Path, copy: Path) -> None:
    """Make `copy`, the folder as llama.cpp's converter needs it: weights linked, tokenizer files repaired.

    The added tokens come back into `tokenizer_config.json`; for Mistral's V3 format `add_prefix_space` becomes false,
    else llama.cpp puts a space after each control piece on top of the template's. The folder itself is untouched.

    Raises:
        ConversionError: A tokenizer file is missing or damaged.
    """
    check_sentencepiece(folder)
    for path in folder.iterdir():
        if path.suffix in (".json", ".jinja", ".model"):
            shutil.copy2(path, copy / path.name)
        elif path.is_file():
            (copy / path.name).symlink_to(path.resolve())
    config = read_json(folder / "tokenizer_config.json")
    added = read_json(folder / "tokenizer.json").get("added_tokens", [])
    config["added_tokens_decoder"] = {str(token["id"]): {name: token[name] for name in TOKEN_FIELDS} for token in added}
    if any(token["content"] == OPEN and token["special"] for token in added):
        config["add_prefix_space"] = False
    if "chat_template" in config and (folder / TEMPLATE).is_file():
        raise ConversionError(f"{folder} has two chat templates; keep chat_template.jinja or the key, not both.")
    text = json.dumps(config, ensure_ascii=False, indent=2)
    (copy / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")
