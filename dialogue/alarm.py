"""How likely a message speaks of a danger to somebody real: words by theme, and a linear model over them.

`dialogue.distress` holds what must always be found; this finds what resembles it. Knows French as
`dialogue.french.plain` spells it; fitted by `python -m evaluation dialogue-rules --fit`. No card, no number.
"""

import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from dialogue.distress import COURSE, EXERCISE, FICTION, FIRST_PERSON, IDIOMS, MEANT, OWN_DANGER, TOPIC, Kind
from dialogue.linear import Seen, load_linear, pieces_in, words_in
from errors import SettingsError

Verdict = Literal["none", "self_harm", "violence_suffered", "other_danger"]
VERDICTS: tuple[Verdict, ...] = ("none", "self_harm", "violence_suffered", "other_danger")
DANGERS: tuple[Kind, ...] = ("self_harm", "violence_suffered", "other_danger")
WEIGHTS_FILE = Path(__file__).with_name("alarm_weights.json.xz")
THEMES_FILE = Path(__file__).with_name("alarm_themes.toml")


def load_themes(path: Path = THEMES_FILE) -> dict[str, dict[str, re.Pattern[str]]]:
    """Read the words of each theme: {"danger" or "calm": {theme: pattern}}.

    Raises:
        SettingsError: The file cannot be read, lacks a table, or a word of it is no pattern.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        return {
            side: {theme: re.compile(rf"\b(?:{_alternatives(words)})") for theme, words in tables[side].items()}
            for side in ("danger", "calm")
        }
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, re.error) as error:
        raise SettingsError(f"{path.name} cannot be read: {error!r}.") from None


def _alternatives(words: str) -> str:
    return "|".join(words.split()).replace("_", " ").replace("$", r"\b")


_THEMES = load_themes()
ANY_DANGER = re.compile("|".join(pattern.pattern for pattern in _THEMES["danger"].values()))
_FACTS = {
    "me": FIRST_PERSON,
    "topic": TOPIC,
    "fiction": FICTION,
    "exercise": EXERCISE,
    "idiom": IDIOMS,
    "laughs": re.compile(r"\b(?:mdr+|ptdr+|lol+|haha+|xd+)\b|😂|💀|🤣|😅"),
    "quotes": re.compile(r"[«»“”\"]"),
    "asks": re.compile(r"\?"),
    "asks_last": re.compile(r"\?\W*$"),
    "close": re.compile(
        r"\b(?:mon|ma|mes|une?|le|la) (?:\w+ )?(?:meilleure? )?(?:pere|mere|parents|frere|soeur|beau[ -]pere"
        r"|belle[ -]mere|oncle|tante|cousine?|copain|copine|mec|meuf|pote|amie?|ex|prof|coach|entraineur|voisin)\b"
    ),
    "done_to_me": re.compile(r"\b(?:m'(?:a|ont|avait|en)|(?:il|elle|on|ils|elles) (?:me|m')|me (?:\w+e|\w+ent))\b"),
    "i_no_more": re.compile(r"\b(?:je|j')(?: ?\w+\b){0,3} (?:plus|pas|rien|jamais)\b"),
    "since": re.compile(r"\b(?:depuis|tous les (?:jours|soirs)|chaque|toutes les|encore|tout le temps|hier|ce soir)\b"),
    "refuses": re.compile(
        r"\b(?:veux|voudrais|envie|voulu|pense|suis|fait|frapp\w+|force|harcel\w+) (?:\w+ )?(?:pas|jamais)\b"
        r"|\b(?:pas|jamais|aucune) (?:\w+ )?(?:envie|pense|voulu|frapp\w+|suicidaire|harcel\w+)\b|\bvais bien\b"
    ),
    "i_want": re.compile(r"\b(?:je (?:veux|voudrais|vais|pense|compte)|j'(?:ai|aimerais|ai envie))\b"),
}
_COMPANY = ("me", "close", "laughs", "asks_last", "done_to_me", "i_no_more", "since", "refuses")


def seen(spelled: str) -> Seen:
    """Return what the model sees of a spelled-out message: themes and their company, words, pieces of words."""
    facts = {name for name, pattern in _FACTS.items() if pattern.search(spelled)}
    dangers = {name for name, pattern in _THEMES["danger"].items() if pattern.search(spelled)}
    calm = {name for name, pattern in _THEMES["calm"].items() if pattern.search(spelled)}
    if "me" not in facts:
        facts.add("nobody")
    company = {name for name in _COMPANY if name in facts} | calm
    found = facts | dangers | calm | {f"{danger} {other}" for danger in dangers for other in company}
    found |= {f"{one} {two}" for one in dangers for two in dangers if one < two}
    found.add(f"dangers {min(len(dangers), 4)}")
    if not calm:
        found.add(f"dangers {min(len(dangers), 4)} alone")
    return Seen(frozenset(found), words_in(spelled), pieces_in(spelled))


SENTENCE_ENDS = re.compile(r"(?<=[.!?…])\s+|\n+")


def without_idioms(spelled: str) -> str:
    """Take out what only sounds like danger.

    >>> without_idioms("mort de rire"), without_idioms("je prefere mourir que de rentrer")
    (' ', 'je prefere mourir que de rentrer')
    """
    return IDIOMS.sub(lambda found: found[0] if MEANT.match(spelled, found.start()) else " ", spelled)


def is_story(sentence: str) -> bool:
    """Whether a spelled-out sentence is about a story or an example of the course, and no danger to who writes."""
    if FICTION.search(sentence) is None and EXERCISE.search(sentence) is None:
        return False
    return OWN_DANGER.search(without_idioms(sentence)) is None


# « Il se tue à la fin. » after a sentence of a story is the story's; « il y a » begins anything.
_GOES_ON = re.compile(r"\W*(?:il(?! y a| faut)|ils|elles?)\b")


def _outside_stories(sentences: list[str]) -> list[str]:
    told, in_story = [], False
    for one in sentences:
        goes_on = in_story and _GOES_ON.match(one) is not None and FIRST_PERSON.search(one) is None
        in_story = goes_on or is_story(one)
        if not in_story:
            told.append(one)
    return told


# Log odds of a danger from which the card answers in the philosopher's place, and from which the numbers stand above an
# ordinary answer; docs/safety.md says what each finds and what it costs.
ODDS, DOUBT = -1.9, -3.0
MODEL = load_linear(WEIGHTS_FILE, VERDICTS)


def odds(scores: Mapping[str, float]) -> tuple[Kind, float]:
    """Return the likeliest danger, and the log odds of any danger against none.

    >>> odds({"none": 0.0, "self_harm": -9.0, "violence_suffered": 1.0, "other_danger": -9.0})[0]
    'violence_suffered'
    """
    kind = max(DANGERS, key=lambda one: scores[one])
    rest = sum(math.exp(scores[one] - scores[kind]) for one in DANGERS)
    return kind, scores[kind] + math.log(rest) - scores["none"]


def sounds(spelled: str) -> tuple[Kind, float]:
    """Return the likeliest danger of a spelled-out message and its log odds.

    Stories and exercises are not looked at, and what only sounds like distress is a doubt.

    Args:
        spelled: As `dialogue.french.plain` returns it.

    >>> kind, found = sounds("je veux que la douleur s'arrete pour toujours")
    >>> kind, found > ODDS, sounds("les stoiciens et la douleur")[1] > DOUBT
    ('self_harm', True, False)
    """
    sentences = SENTENCE_ENDS.split(spelled)
    course = any(COURSE.match(sentence) for sentence in sentences)
    told = [sentence for sentence in _outside_stories(sentences) if not COURSE.match(sentence)]
    if not told:
        return DANGERS[0], DOUBT if course else -math.inf
    kind, found = odds(MODEL.scores(seen(spelled if len(told) == len(sentences) else " ".join(told))))
    return kind, max(found, DOUBT) if course else found
