"""Cases in folders of their own: `ENONCE.md`, and beside it what is expected. Knows Markdown's front matter alone."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from corpus.seed.cases import Found
from corpus.server.targets import Target, from_toon
from errors import CorpusError

CASE = "ENONCE.md"
TOON, JSON = "ATTENDU.toon", "ATTENDU.json"
_FRONT = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_HEADING = re.compile(r"^#{1,6} .*$", re.MULTILINE)
_BEFORE = re.compile(r"(?:\s|<!--.*?-->|^#{1,6} [^\n]*)*", re.DOTALL | re.MULTILINE)  # what is no part of a text


def read_case_files(folder: Path) -> list[Found]:
    """Return every case under a folder, by path.

    Its front matter may say `dimensions`; headings and comments are no part of its text. What was expected of it
    stands beside it, in TOON or in JSON.

    Raises:
        CorpusError: There is no such folder, or a file is wrong; the message names it.
    """
    if not folder.is_dir():
        raise CorpusError(f"{folder} is no folder; pass one with {CASE} files.")
    return [_read(path, folder) for path in sorted(folder.rglob(CASE))]


def _read(path: Path, root: Path) -> Found:
    content = _text(path).replace("\r\n", "\n")
    front = _FRONT.match(content)
    said: Any = {}
    if front:
        try:
            said = yaml.safe_load(front[1]) or {}
        except yaml.YAMLError as error:
            raise CorpusError(f"{path}: front matter: {error}") from None
    dimensions = said.get("dimensions", {}) if isinstance(said, dict) else None
    if not isinstance(dimensions, dict) or not all(isinstance(level, str) for level in dimensions.values()):
        raise CorpusError(f"{path}: front matter: expected dimensions with a level each, in quotes.")
    begin = front.end() if front else 0
    body = _HEADING.sub("", _COMMENT.sub("", content[begin:]))
    text = re.sub(r"\n{3,}", "\n\n", body).strip()
    if not text:
        raise CorpusError(f"{path}: no text under its headings; write the case, or remove the file.")
    before = _BEFORE.match(content, begin)
    line = content[: before.end() if before else begin].count("\n") + 1
    return Found("enonce", f"{path.relative_to(root)}:{line}", text, dimensions, _expected(path.parent))


def _expected(folder: Path) -> Target | None:
    if (folder / TOON).exists():
        try:
            return from_toon(_text(folder / TOON))
        except CorpusError as error:
            raise CorpusError(f"{folder / TOON}: {error}") from None
    if (folder / JSON).exists():
        try:
            value = json.loads(_text(folder / JSON))
        except json.JSONDecodeError as error:
            raise CorpusError(f"{folder / JSON}: {error}") from None
        if not isinstance(value, dict):
            raise CorpusError(f"{folder / JSON}: a {type(value).__name__}; expected an object.")
        return value
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CorpusError(f"{path}: byte {error.start} is not UTF-8; save it so.") from None
