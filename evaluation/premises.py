"""Whether what the rules read in an exercise's premises is what was due. Pure: knows no engine and no file."""

import re

from dialogue.french import fold
from dialogue.inference import Inference
from dialogue.premises import is_negated
from dialogue.scheme_score import linked

_REFUSED = re.compile(r"^on ne peut (?:pas|rien) conclure (?:que,? |qu')?")
_FALSE = re.compile(r"\bil est faux qu(?:e |')|\best (?:donc )?fausse\b")
_ONLY = re.compile(r"^(?P<thesis>.+?) n'est vrai que ")


def agrees(found: Inference, conclusion: str) -> bool:
    """Return whether an inference says what a conclusion says, as far as words and negations show.

    >>> agrees(Inference("MT", "false", "la joie grandit"), "La joie ne grandit pas.")
    True
    >>> agrees(Inference("MT", "open", "la joie grandit"), "La joie ne grandit pas.")
    False
    >>> agrees(Inference("MP", "open", "tu lis"), "On ne peut pas conclure que tu lis.")
    True
    """
    due = fold(conclusion)
    if only := _ONLY.match(due):
        return found.outcome == "limited" and linked(found.clause, only["thesis"])
    due, refused = _REFUSED.subn("", due)
    due, false = _FALSE.subn("", due)
    if bool(refused) != found.outcome.startswith("open") or not linked(found.clause, due):
        return False
    denied = found.outcome in {"false", "open_contrary"}
    return (is_negated(found.clause) != denied) == (is_negated(due) != bool(false % 2))
