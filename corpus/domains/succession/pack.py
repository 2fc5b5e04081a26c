"""The succession domain's code: its targets, their rules, what a text must say, and what is learnt from it."""

import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from corpus.domains.succession.case import COLLATERALS, PARENTS, Case
from corpus.domains.succession.generate import generate
from corpus.domains.succession.rules_estate import rule_findings
from corpus.domains.succession.said import says_share, told_shares, ways
from corpus.domains.succession.topics import misaligned
from corpus.server.targets import Finding, to_toon
from corpus.server.texts import Fact, Kind

__all__ = ["alignment", "dialogue", "facts", "generate", "messages", "notes", "rule_findings", "text_findings"]

SYSTEM = (
    "Tu lis le récit d'une succession. Réponds par sa fiche en TOON : ce que le récit dit, avec les clés convenues, "
    "et rien qu'il ne dise pas."
)
KINDS: dict[str, Kind] = {
    **dict.fromkeys(("prenom", "nom", "lieu_dernier_domicile", "assureur", "creancier"), "name"),
    **dict.fromkeys(("nationalite", "objet"), "words"),
    **dict.fromkeys(
        ("age", "age_usufruitier", "valeur", "montant", "valeur_jour_donation", "valeur_jour_deces", "capital_deces",
         "primes_avant_70_ans", "primes_apres_70_ans", "duree_convention_annees", "indemnite_occupation_mensuelle"),
        "amount",
    ),
    **dict.fromkeys(
        ("date_naissance", "date_deces", "invitation_a_opter", "date_option", "sommation", "date", "date_souscription",
         "date_partage"), "date",
    ),
}  # fmt: skip
_CODE = re.compile(r"\b[a-z]+(?:_[a-z0-9]+)+\b|\b(?:H|B|D|G|T|AV)[1-9][0-9]?\b")  # a word of the schema, or an id

# A false clue that the target contradicts, and when it can be laid: hard negatives.
TRAPS: tuple[tuple[Callable[[Case], bool], str], ...] = (
    (lambda case: case.spouse.get("lien") == "concubin", "quelqu'un tient le concubin pour un héritier."),
    (lambda case: case.spouse.get("lien") == "ex_conjoint", "l'ancien conjoint croit hériter encore."),
    (lambda case: case.spouse.get("lien") == "partenaire_pacs" and not case.legacies,
     "le partenaire croit que le PACS suffit pour hériter."),
    (lambda case: bool(case.many("assurances_vie")), "quelqu'un compte le capital de l'assurance dans le partage."),
    (lambda case: bool(case.will), "la famille parle d'un testament que les deux époux auraient signé ensemble."),
    (lambda case: bool(case.taking(PARENTS)), "un parent du défunt croit avoir droit à une réserve."),
    (lambda case: case.survivor and not case.taking(COLLATERALS),
     "un frère du défunt, qui n'hérite pas, réclame sa part."),
    (lambda case: any(one["statut"] == "renoncant" for one in case.heirs),
     "celui qui renonce croit garder un droit de regard sur les biens."),
    (lambda case: bool(case.many("donations")), "quelqu'un croit que ce qui a été donné ne compte plus jamais."),
    (lambda _: True, "quelqu'un affirme que l'aîné reçoit davantage."),
)  # fmt: skip


def alignment(target: Mapping[str, Any], cell: Mapping[str, str]) -> list[str]:
    """Return how a target is not about the topics of its cell; nothing where it is."""
    return misaligned(target, cell["topic"], cell["second_topic"])


def notes(target: Mapping[str, Any], toon: str) -> dict[str, str]:
    """Return what sentences of `told` hold in braces: the false clue of a hard case, the same for the same target."""
    case = Case(target)
    able = [said for holds, said in TRAPS[:-1] if holds(case)] or [TRAPS[-1][1]]
    return {"trap": able[zlib.crc32(toon.encode()) % len(able)]}


def facts(target: Mapping[str, Any]) -> list[Fact]:
    """Return the names, days, amounts, roles and things that a text must say."""
    return list(_facts(target, "$"))


def _facts(part: Mapping[str, Any], path: str) -> Iterator[Fact]:
    for key, value in part.items():
        if isinstance(value, Mapping):
            yield from _facts(value, f"{path}.{key}")
        elif isinstance(value, list):
            for at, one in enumerate(value):
                if isinstance(one, Mapping):
                    yield from _facts(one, f"{path}.{key}[{at}]")
        elif key in KINDS:
            yield Fact(f"{path}.{key}", KINDS[key], str(value))
        elif key == "bien" and path.startswith("$.donations"):  # elsewhere it is a reference
            yield Fact(f"{path}.{key}", "words", value)
        elif isinstance(value, str) and (said := ways(key, value)) is not None:
            yield Fact(f"{path}.{key}", "role", said)


def text_findings(target: Mapping[str, Any], text: str) -> list[Finding]:
    """Return the shares that a text leaves unsaid, and the codes that it copies from the target."""
    known = json.dumps(target)  # « un T3 » and « la D12 » are French, unless they are ids here
    copied = [Finding("leaked_code", "$", f"« {one} » is a word of the target; say it in French.")
              for one in dict.fromkeys(_CODE.findall(text)) if "_" in one or f'"{one}"' in known]  # fmt: skip
    return copied + [
        Finding("missing_fact", path, f"the share {share} is not said.")
        for path, share in told_shares(target).items()
        if not says_share(text, share)
    ]


def messages(target: Mapping[str, Any], text: str) -> list[dict[str, str]]:
    """Return the training example: the text is read, its target is answered in TOON."""
    return [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": text.strip()},
        {"role": "assistant", "content": to_toon(target)},
    ]


def dialogue(_name: str, _target: Mapping[str, Any], _text: str) -> None:
    """Return nothing: a case of this domain is no dialogue."""
