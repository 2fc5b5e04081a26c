"""One page from all result files: what ships, what does not, why. Knows files and templates; measures nothing.

The HTML page holds everything in itself, pictures included, and asks nobody for anything; the Markdown says the same.
"""

import base64
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from errors import EngineError
from evaluation.pages import table
from evaluation.report_sections import NOT, OPEN, Reading, Ruling, Section, read
from evaluation.result import must_be_new, write_text

TEMPLATE = Path(__file__).parent / "report.html.j2"
PAGE, MARKDOWN = "index.html", "README.md"
MOST_PICTURE_BYTES = 24_000  # the page stays a small file that can be sent
TITLE = "Bergson and Friends: what ships, what does not, and why"


@dataclass(frozen=True)
class Source:
    """A result file: where, when and by which command it was made."""

    path: Path
    date: str
    machine: str
    command: str


@dataclass(frozen=True)
class Report:
    """All that the page says.

    Attributes:
        rulings: What ships first, what is not measured last.
        sections: One for each file.
        sources: The files.
        unread: Files that could not be read, and why.
    """

    rulings: tuple[Ruling, ...]
    sections: tuple[Section, ...]
    sources: tuple[Source, ...]
    unread: tuple[str, ...] = field(default=())


def find(given: Sequence[Path]) -> list[Path]:
    """Return the result files among paths: JSON files, those of a folder, and runs (`results.json`) below it.

    Raises:
        EngineError: A path is not there, or there is nothing to report.
    """
    found: list[Path] = []
    for path in given:
        if path.is_dir():
            found += [*sorted(path.glob("*.json")), *sorted(path.glob("*/results.json"))]
        elif path.is_file():
            found.append(path)
        else:
            raise EngineError(f"{path} is not there; give result files, or folders that hold them.")
    if not found:
        raise EngineError(f"No result file (*.json) in {', '.join(map(str, given)) or 'nothing'}.")
    return list(dict.fromkeys(found))


def collect(paths: Iterable[Path]) -> Report:
    """Read result files; one that cannot be read is named in the report, and the others are reported."""
    read_ones: list[Reading] = []
    sources: list[Source] = []
    unread: list[str] = []
    for path in paths:
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(data, dict):
                unread.append(f"{path}: no object but {type(data).__name__}")
                continue
            read_ones.append(read(path, data))
            sources.append(_source(path, data))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            unread.append(f"{path}: {type(error).__name__}: {error}")
    rulings = [ruling for _, found in read_ones for ruling in found]
    rulings.sort(key=lambda ruling: (ruling.verdict == OPEN, ruling.verdict == NOT))
    return Report(tuple(rulings), tuple(section for section, _ in read_ones), tuple(sources), tuple(unread))


def _source(path: Path, data: dict[str, Any]) -> Source:
    about = data.get("environment") or data
    machine = about.get("machine") or {}
    said = f"{machine['cores']} cores, {machine['cpu']}" if {"cores", "cpu"} <= set(machine) else "–"
    return Source(path, str(about.get("date") or "–")[:10], said, str(about.get("command") or "–"))


def picture_of(source: Path) -> Path | None:
    """Return the picture that stands beside a result under its name, if it is small enough to be shown."""
    path = source.with_suffix(".png")
    return path if path.is_file() and path.stat().st_size <= MOST_PICTURE_BYTES else None


def _data_uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def render_html(report: Report) -> str:
    """Return the page, every value escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    pictures = {one.source: _data_uri(path) for one in report.sections if (path := picture_of(one.source))}
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(title=TITLE, report=report, pictures=pictures)


def render_markdown(report: Report, folder: Path) -> str:
    """Return the same as Markdown, links being relative to the folder it will stand in."""

    def link(path: Path) -> str:
        return f"[{path.name}]({os.path.relpath(path, folder)})"

    rulings = [[one.subject, one.verdict, one.why, link(one.source) if one.source else "–"] for one in report.rulings]
    lines = [f"# {TITLE}", "", *table(["what", "verdict", "why", "from"], rulings)]
    for section in report.sections:
        lines += ["", f"## {section.title}", "", *(f"- {sentence}" for sentence in section.says)]
        if section.rows:
            lines += ["", *table(section.head, section.rows)]
        if picture := picture_of(section.source):
            lines += ["", f"![{section.title}]({os.path.relpath(picture, folder)})"]
        lines += ["", f"From {link(section.source)}."]
    rows = [[link(one.path), one.date, one.machine, f"`{one.command}`"] for one in report.sources]
    lines += ["", "## Where the figures come from", "", *table(["file", "date", "machine", "command"], rows)]
    if report.unread:
        lines += ["", "## Files that could not be read", "", *(f"- {one}" for one in report.unread)]
    return "\n".join(lines) + "\n"


def write_report(report: Report, folder: Path, *, force: bool = False) -> tuple[Path, Path]:
    """Write the page and its Markdown into a folder, and return both paths.

    Raises:
        EngineError: One of them exists, and `force` was not given.
    """
    page, markdown = folder / PAGE, folder / MARKDOWN
    for path in (page, markdown):
        must_be_new(path, force=force)
    write_text(page, render_html(report))
    write_text(markdown, render_markdown(report, folder))
    return page, markdown
