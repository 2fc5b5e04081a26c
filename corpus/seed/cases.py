"""A case that somebody wrote before, and the files of a seed corpus. Knows a domain's pack; reads no source tree."""

import json
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from corpus.dialogues import read_objects
from corpus.server.domain import Domain
from corpus.server.files import json_line, write_whole
from corpus.server.texts import digest
from corpus.server.workshop import SeedCorpus
from errors import CorpusError

CASES, TRAIN = "e2e_cases.jsonl", "e2e_cases_train.jsonl"
MISTRAL, MANIFEST = "e2e_cases_train_mistral.jsonl", "manifest.json"

Source = Literal["enonce", "spec", "search"]


@dataclass(frozen=True)
class Found:
    """A case as it stands in a source tree.

    Attributes:
        source: A case file, a prompt in a specification, or a search.
        where: Path and line, for whoever wants to mend it.
        text: What is written.
        dimensions: What its source says of it.
        target: The object that it was written from, where its source has one.
    """

    source: Source
    where: str
    text: str
    dimensions: Mapping[str, str] = field(default_factory=dict)
    target: Mapping[str, Any] | None = None


def write_seed(found: Sequence[Found], domain: Domain, folder: Path, *, force: bool = False) -> dict[str, Any]:
    """Write the four files of a seed corpus, the manifest last, and return the manifest.

    A case without a target is kept, so that nobody writes it again; it trains nothing, and no quota counts it.

    Args:
        found: Every case; the same text again is left out.
        domain: What they are about.
        folder: Of the files.
        force: Replace files that exist.

    Raises:
        CorpusError: A target or a dimension is wrong, there is no case, or a file exists.
    """
    if not found:
        raise CorpusError("no case found; pass --cases with ENONCE.md files, or --specs with test specifications.")
    for name in (CASES, TRAIN, MISTRAL, MANIFEST):
        if (folder / name).exists() and not force:
            raise CorpusError(f"{folder / name} exists and is never overwritten. Move it, or pass --force.")
    first = {digest(one.text): one for one in reversed(found)}  # of two copies the earlier one stays
    kept = [one for one in found if first[digest(one.text)] is one]
    rows: list[dict[str, Any]] = []
    for number, one in enumerate(kept, 1):
        _check(one, domain)
        row = {"id": f"E2E-{number:04}", "source": one.source, "where": one.where, "case_text": one.text}
        rows.append({**row, "dimensions": dict(one.dimensions), **({"target": one.target} if one.target else {})})
    trained = [
        {"id": row["id"], "source": row["source"], "dimensions": row["dimensions"],
         "messages": domain.messages(row["target"], row["case_text"])}
        for row in rows
        if "target" in row
    ]  # fmt: skip
    manifest = _manifest(rows, domain) | {"trained": len(trained), "copies_left_out": len(found) - len(kept)}
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in ((CASES, rows), (TRAIN, trained), (MISTRAL, [{"messages": row["messages"]} for row in trained])):
        write_whole(folder / name, "".join(map(json_line, lines)))
    write_whole(folder / MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=1) + "\n")
    return manifest


def _check(one: Found, domain: Domain) -> None:
    for name, level in one.dimensions.items():
        if level not in domain.weights.get(name, {}):
            known = ", ".join(domain.weights.get(name, {})) or f"none; dimensions are {', '.join(domain.weights)}"
            raise CorpusError(f"{one.where}: {name}={level!r} is no level of {domain.key}. Known: {known}.")
    wrong = domain.findings(one.target) if one.target is not None else []
    if wrong:
        raise CorpusError(f"{one.where}: target: {wrong[0].path}: {wrong[0].message}")


def _paths(value: Any, path: str = "") -> Iterator[str]:
    """Yield the path of every key of a target, the numbers of lists left out."""
    for inner in value if isinstance(value, list) else []:
        yield from _paths(inner, f"{path}[]")
    for key, inner in value.items() if isinstance(value, Mapping) else []:
        yield f"{path}.{key}".lstrip(".")
        yield from _paths(inner, f"{path}.{key}".lstrip("."))


def _manifest(rows: Sequence[Mapping[str, Any]], domain: Domain) -> dict[str, Any]:
    """Return what the seed corpus covers."""
    lengths = [len(row["case_text"].split()) for row in rows]
    paths = Counter(path for row in rows for path in set(_paths(row.get("target", {}))))
    unknown = "(not said)"
    return {
        "domain": domain.key,
        "cases": len(rows),
        "by_source": dict(Counter(row["source"] for row in rows)),
        "by_file": dict(Counter(row["where"].rpartition(":")[0] for row in rows)),
        "words": {"least": min(lengths), "median": statistics.median(lengths), "most": max(lengths)},
        "dimensions": {
            name: dict(Counter(row["dimensions"].get(name, unknown) for row in rows)) for name in domain.weights
        },
        "target_paths": dict(sorted(paths.items())),
    }


def load_seed(folder: Path) -> SeedCorpus:
    """Read what `write_seed` wrote.

    Raises:
        CorpusError: A file is missing or damaged.
    """
    missing = [name for name in (CASES, TRAIN) if not (folder / name).exists()]
    if missing:
        raise CorpusError(f"{folder} has no {missing[0]}; make it with `python -m corpus seed --out {folder}`.")
    trained = [row for _, row in read_objects(folder / TRAIN)]
    try:
        return SeedCorpus(
            [row["dimensions"] for row in trained],
            [row["messages"] for row in trained],
            [row["case_text"] for _, row in read_objects(folder / CASES)],
        )
    except KeyError as error:
        raise CorpusError(f"{folder}: a row has no {error}; make the seed corpus again.") from None


def known_texts(path: Path) -> list[str]:
    """Return the texts of a JSONL file in any of our shapes, that a new case may not be near to.

    Raises:
        CorpusError: It is missing, or a line is no JSON object.
    """
    found: list[str] = []
    for _, row in read_objects(path):
        found += [
            row[key] for key in ("case_text", "text", "prompt", "user", "concept") if isinstance(row.get(key), str)
        ]
        found += [f"Élève : {one['pupil']}\nPhilosophe : {one['answer']}" for one in row.get("exchanges", [])]
        found += [one["content"] for one in row.get("messages", []) if one.get("role") == "user"]
    return found
