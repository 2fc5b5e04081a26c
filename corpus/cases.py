"""What the instruction server kept, checked once more: targets, texts, and as dialogues where they are some.

Knows the server's domains; changes nothing. A case that was accepted passes, so a fault here is a file that somebody
changed, or a domain that changed since.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from corpus.check import ANSWER_WORDS, Report, check_dialogues
from corpus.dialogues import parse_dialogue, read_objects
from corpus.server.domain import Domain, load_domain
from corpus.server.texts import SOFT, Copies, findings
from errors import CorpusError

CASES, SUMMARY = "generated_cases.jsonl", "summary.json"
CASE_WORDS = (1, ANSWER_WORDS[1])  # of an answer: what a submission is held to; shorter than what we write ourselves
KEYS = ("id", "target", "case_text")


def is_state(folder: Path) -> bool:
    """Whether a folder is an instruction server's."""
    return (folder / CASES).is_file() and (folder / SUMMARY).is_file()


def check_cases(folder: Path) -> Report:
    """Check every accepted case of a server's folder.

    Raises:
        CorpusError: Its summary names no domain.
    """
    try:
        domain = load_domain(json.loads((folder / SUMMARY).read_text(encoding="utf-8"))["domain"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorpusError(f"{folder / SUMMARY}: {error!r}; make it again with `python -m corpus rebuild`.") from None
    faults: list[str] = []
    copies = Copies()
    dialogues = []
    count = 0
    for where, row in read_objects(folder / CASES):
        count += 1
        missing = [key for key in KEYS if key not in row]
        if missing:
            faults.append(f"{where}: {', '.join(missing)} is missing; rebuild the file.")
            continue
        found = list(_case_faults(where, row, domain, copies))
        faults += found
        copies.add(row["case_text"])
        if not found and (made := domain.pack.dialogue(row["id"], row["target"], row["case_text"])) is not None:
            dialogues.append(parse_dialogue(dict(made), where))
    faults += check_dialogues(dialogues, set(), answer_words=CASE_WORDS, opening_uses=None)
    return Report(faults, {"cases": count, "dialogues": len(dialogues)})


def _case_faults(where: str, row: Mapping[str, Any], domain: Domain, copies: Copies) -> Iterator[str]:
    target, text = row["target"], row["case_text"]
    found = domain.findings(target)
    if not found:  # facts can be asked of a sound target alone
        found = findings(text, domain.facts(target), copies) + domain.text_findings(target, text)
        if row.get("reviewed"):  # a person has found said what we did not
            found = [one for one in found if one.code != SOFT]
    for one in found:
        yield f"{where}: {one.code} {one.path}: {one.message}"
