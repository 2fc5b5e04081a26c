"""What a message resembles that a persona does not serve: a linear model beside the patterns of `dialogue.limits`.

The patterns name what they know; this finds what is said in other words. Knows French as `dialogue.french.plain` spells
it; fitted by `python -m evaluation dialogue-rules --fit`. Knows no reply.
"""

import math
import re
from pathlib import Path
from typing import Literal, get_args

from dialogue.linear import Seen, load_linear, pieces_in, words_in

Attempt = Literal[
    "ignore_instructions", "reveal_prompt", "other_role", "jailbreak_game", "essay", "insult", "romance", "secret"
]
ATTEMPTS: tuple[Attempt, ...] = get_args(Attempt)
VERDICTS = ("none", *ATTEMPTS)
WEIGHTS_FILE = Path(__file__).with_name("attempts_weights.json.xz")
ODDS = 0.0  # log odds against an ordinary message from which it counts; docs/safety.md says what that finds and costs

_FACTS = {
    "says_you": re.compile(r"\b(?:tu|toi|te|t'\w+|ton|ta|tes|vous|votre|vos)\b"),
    "orders": re.compile(r"^(?:\W|allez|bon|stp|svp|please|kant|spinoza|bergson|maintenant|d'abord)*\w+(?:e|s|z|ds)\b"),
    "for_me": re.compile(r"\b(?:pour moi|a ma place|mon (?:dm|devoir)|ma (?:diss\w*|copie))\b"),
    "laughs": re.compile(r"\b(?:mdr+|ptdr+|lol+|haha+|xd+)\b"),
    "asks": re.compile(r"\?"),
    "program": re.compile(r"\b(?:ia|robot|bot|chatgpt|gpt|programme|ordi\w*|machine|prompt|admin\w*|dev\w*)\b"),
}


def seen(spelled: str) -> Seen:
    """Return what the model sees of a spelled-out message: a few facts, words, pieces of words."""
    facts = frozenset(name for name, pattern in _FACTS.items() if pattern.search(spelled))
    return Seen(facts, words_in(spelled), pieces_in(spelled))


MODEL = load_linear(WEIGHTS_FILE, VERDICTS)


def resembles(spelled: str) -> Attempt | None:
    """Return what a spelled-out message asks for beyond the limits, as far as it resembles what is known; else None.

    >>> resembles("la liberte est-elle une illusion ?")
    """
    scores = MODEL.scores(seen(spelled))
    kind = max(ATTEMPTS, key=lambda one: scores[one])
    rest = sum(math.exp(scores[one] - scores[kind]) for one in ATTEMPTS)
    return kind if scores[kind] + math.log(rest) - scores["none"] >= ODDS else None
