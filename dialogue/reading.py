"""An evaluation without a model: what the form of the pupil's sentences shows, in the shape of `dialogue.evaluation`.

For models too small to judge: under a grammar they write JSON, and nothing stands in it. Knows the Maïeuthon's reading
of one message, the schemes and their scorer; calls no model. It sees connectives, definitions and questions, never
whether a thought is right.
"""

import re
from collections.abc import Mapping
from typing import Any

from dialogue.conversation import Conversation
from dialogue.evaluation import NEVER_VALID, Digest, EvaluationAsk, has_words, last_exchanges, quotes_from
from dialogue.maieuthon import SKILLS, Advice, Remark, remark
from dialogue.moves import MOVE_OF
from dialogue.redact import redact
from dialogue.safety import assess
from dialogue.scheme_score import read
from dialogue.stance import detect
from personas import SCHEMES, MoveName

_LEVELS = ("non", "en_partie", "oui")
_STRICT = ("MP", "MT", "SH", "SD", "DI", "RA", "CA", "AN", "IN")  # the looser readers find themselves everywhere
_FORMAL: Mapping[str, tuple[str, str]] = {  # a fallacy of the scorer's, and the scheme and error of an evaluation
    "consequent_affirme": ("MP", "consequent_affirme"),
    "antecedent_nie": ("MT", "antecedent_nie"),
    "disjoint_affirme": ("SD", "aucune"),  # the schema has no name for it
    "generalisation_hative": ("IN", "generalisation_hative"),
}
_GESTURES: Mapping[MoveName, str] = {
    "avancer": "dire", "montrer": "dire", "contredire": "sonder", "demander": "sonder",
}  # fmt: skip
_ADVICE: Mapping[Advice, str] = {
    "these": "Essaie de dire en une phrase ce que tu soutiens.",
    "problematiser": "Cherche ce qui s'oppose à ton idée : qui dirait le contraire, et pourquoi ?",
    "conceptualiser": "Prends le mot le plus important de ta phrase et définis-le.",
    "argumenter": "Ajoute un « parce que » : qu'est-ce qui te permet de le dire ?",
    "objection": "Cherche le meilleur contre-exemple à ta propre idée.",
}


def read_evaluation(conversation: Conversation, ask: EvaluationAsk) -> dict[str, Any] | None:
    """Return an evaluation of the pupil's last message, or None where nothing may be evaluated.

    Args:
        conversation: Its last two pupil's turns are read; the philosopher may have answered already.
        ask: What the evaluation before said, if there was one.
    """
    said = [turn.text for turn in last_exchanges(conversation) if turn.role == "user"]
    quotes = quotes_from(said[-1:])
    if not quotes or any(assess(text).stops for text in said):
        return None
    before: list[Remark] = []
    for text in said[:-1]:
        before.append(remark(text, before))
    found = remark(said[-1], before)
    scheme, validity, error = _scheme(said[-1])
    thesis = _shortened(redact(found.these), 160)
    return {
        "v": 1,
        "these": thesis if has_words(thesis) else "",
        **{skill: found.level(skill) for skill in SKILLS},
        "schema": scheme,
        "validite": validity,
        "erreur": error,
        "preuve": next((one for one in quotes if found.these.startswith(one)), max(quotes, key=len)),
        "reperes": [],
        "delta": _delta(found, ask.previous),
        "geste": _GESTURES[MOVE_OF[detect(said[-1])]],
        "revele": "non",
        "suite": _ADVICE[found.suite],
    }


def _scheme(text: str) -> tuple[str, str, str]:
    """Return the scheme that stands in a message in full, how far it carries, and the fallacy that imitates one."""
    for scheme in _STRICT:
        reading = read(text, scheme)
        if reading.full:
            return scheme, "probable" if scheme in NEVER_VALID else "valide", "aucune"
        if reading.fallacy in _FORMAL:
            announced, error = _FORMAL[reading.fallacy]
            return announced, "invalide", error
    return "aucun", "na", "aucune"


def _delta(found: Remark, previous: Digest | None) -> str:
    if previous is None:
        return "na"
    steps = [
        _LEVELS.index(found.level(skill)) - _LEVELS.index(old)
        for skill, old in zip(
            SKILLS, (previous.problematiser, previous.conceptualiser, previous.argumenter), strict=True
        )
        if old in _LEVELS
    ]
    if any(step > 0 for step in steps):
        return "progres"
    return "recul" if any(step < 0 for step in steps) else "stable"


def _shortened(text: str, most: int) -> str:
    text = re.sub(r"\s+", " ", text).strip()
    return text if len(text) <= most else text[:most].rsplit(" ", 1)[0]


assert set(_STRICT) <= set(SCHEMES)  # noqa: S101
