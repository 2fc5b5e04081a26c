"""Two tiers of crisis: a pupil in distress gets a fixed card, a question about death gets an answer. Knows no model.

`assess` reads what a pupil wrote (and a condensation), `assess_answer` what a model wrote. The rules stand in
`dialogue.distress`, the linear model that finds what no rule foresaw in `dialogue.alarm`; the numbers in
data/safety/crisis_numbers.toml, read once when this module is imported, so that a broken file stops the start and never
a pupil in need.
"""

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path
from typing import Literal

from dialogue.alarm import ANY_DANGER, DOUBT, ODDS, SENTENCE_ENDS, is_story, sounds, without_idioms
from dialogue.distress import FIRST_PERSON, RULES, TOPIC, Kind
from dialogue.french import plain
from errors import SettingsError

NUMBERS_FILE = Path(__file__).parents[1] / "data" / "safety" / "crisis_numbers.toml"
Level = Literal["none", "topic", "doubt", "personal"]
_WINDOW, _OVERLAP = 400, 160  # characters; the longest thing a rule looks for is shorter than the overlap

_NEEDED = frozenset(word for rule in RULES for word in rule.needs)

_QUOTES = (("«", "»"), ("“", "”"), ('"', '"'))
# Around a quotation, what makes its words the pupil's own.
_OWN_WORDS = re.compile(
    r"\b(?:moi aussi|c'est moi|comme moi|pareil|je me (?:dis|repete|sens)|je (?:ressens|pense|suis"
    r"|l'ai|me)|j'ai (?:\w+ )?(?:envie|ecrit|dit|note|tape|cherche|recherche|google|pense)"
    r"|ce que je (?:veux|voudrais|ressens))\b"
)
# Beside a quotation, what makes it the words of somebody real, said to the pupil; « m'a dit de commenter » is homework.
_TO_ME = (
    r"\b(?:(?:me|m'a|m'ont|m'avait|m'avaient|nous a|nous ont) (?:\w+ )?|m')(?:dit|disent|disait|ecri\w+|envo\w+"
    r"|repet\w+|avou\w+|confi\w+|cri(?:e|ent|ait)|hurl\w+|jur\w+|laiss\w+|murmur\w+)\b(?! (?:de|d')\b)"
)
_TOLD_TO_ME = re.compile(rf"{_TO_ME}[^.!?«»“”\"]{{0,40}}[«“\"]|[»”\"][ ,]{{0,3}}{_TO_ME}")


_NO_SPEECH = 2  # words within quotation marks that are no sentence of somebody else's
_HESITATES = re.compile(r"\s*(?:\.{2,}|…)\s*(?=[a-zà-ÿœ])")  # « envie de... mourir » is one sentence
_TYPED_QUOTE = re.compile(r"(?<=\b[cdjlmnstCDJLMNST])\"(?=\w)")  # « j"ai »: the key beside the apostrophe
_SIGNS_WITHIN = re.compile(r"[ \t]*[^\w\s'’.,;:!?…«»“”\"()%-]+[ \t]*")


@dataclass(frozen=True)
class Distress:
    """What was found in a message.

    Attributes:
        level: "personal" stops the turn, "doubt" puts the numbers above an ordinary answer, "topic" is a question like
            another, "none" is none of these.
        kind: What the pupil seems to suffer, where the level is personal or a doubt.
        rule: Name of the rule, or "model", for counts and tests; it quotes nobody.
    """

    level: Level
    kind: Kind | None = None
    rule: str = ""

    @property
    def stops(self) -> bool:
        """Whether the fixed card answers, and no model is called."""
        return self.level == "personal"

    @property
    def doubts(self) -> bool:
        """Whether the pupil is answered and told at once where help is, should the message be about somebody real."""
        return self.level == "doubt"


NOTHING = Distress("none")


def _unquoted(text: str, keep: int = 0) -> str:
    """Drop quotations; what follows the last closing sign is not looked at, or a page of « would take long."""
    return _without_quotations(text, keep)[0]


def _without_quotations(text: str, keep: int = 0) -> tuple[str, bool]:
    """Drop quotations; say as well whether one is open at the end, whose words its closing sign may still take away.

    Args:
        text: Anything.
        keep: Of so many words at most a quotation stays, without its signs: « mon oncle me "touche" » is no speech.
    """
    is_open = False
    for opening, closing in _QUOTES:
        end = text.rfind(closing) + 1
        quotation = f"{opening}([^{closing}]*){closing}"
        bare = re.sub(quotation, lambda it: f" {it[1]} " if len(it[1].split()) <= keep else " ", text[:end])
        text = bare + text[end:]
        is_open = is_open or opening in text
    return text, is_open


def _said(text: str, bare: str) -> str:
    """Spell out, without quotations that are neither the pupil's own words nor said to the pupil."""
    spelled = plain(bare)
    if bare == text:
        return spelled
    if _OWN_WORDS.search(spelled) or not re.search(r"\w", spelled) or _TOLD_TO_ME.search(plain(text)):
        return plain(re.sub(r"[«»“”\"]", " ", text))
    return spelled


def _sentences(said: str) -> list[str]:
    told = _SIGNS_WITHIN.sub(" ", without_idioms(said))  # « je veux 😭 mourir »
    parts = [part for part in SENTENCE_ENDS.split(told) if part]
    return [window for part in parts for window in _windows(part)]


def _windows(sentence: str) -> list[str]:
    """Cut a sentence without end into overlapping pieces: what a rule looks for stands close together."""
    if len(sentence) <= _WINDOW:
        return [sentence]
    return [sentence[start : start + _WINDOW] for start in range(0, len(sentence) - _OVERLAP, _WINDOW - _OVERLAP)]


def assess(text: str) -> Distress:
    """Say whether a pupil's message speaks of a danger to somebody real, of a theme, or of neither.

    Args:
        text: As typed; accents, case and spelling do not matter.

    >>> assess("J'ai plus envie de vivre.").level, assess("Le suicide est-il un acte libre ?").level
    ('personal', 'topic')
    >>> assess("Ce devoir me tue, je suis mort de rire").level
    'topic'
    """
    text = _TYPED_QUOTE.sub("'", _HESITATES.sub(" ", text))
    bare = _unquoted(text, keep=_NO_SPEECH)
    said = _said(text, bare)
    sentences = _sentences(said)
    whole = " ".join(sentences)
    held = [word for word in _NEEDED if word in whole]
    for sentence in sentences:
        here = [word for word in held if word in sentence]
        tried = [rule for rule in RULES if not rule.needs.isdisjoint(here)] if here else []
        if not tried or is_story(sentence):
            continue
        first = FIRST_PERSON.search(sentence) is not None
        for rule in tried:
            if (first or not rule.first_person) and rule.pattern.search(sentence):
                return Distress("personal", rule.kind, rule.name)
    windows = _windows(said)
    doubt: Distress | None = None
    for window in windows:  # of a page only what holds a word of danger: the rest would cost much and find nothing
        if len(windows) > 1 and not ANY_DANGER.search(window):
            continue
        kind, odds = sounds(window)
        if odds >= ODDS:
            return Distress("personal", kind, "model")
        if odds >= DOUBT and doubt is None:
            doubt = Distress("doubt", kind, "model")
    if doubt:
        return doubt
    if bare != text:  # a theme may stand in the quotation alone
        whole = without_idioms(plain(text))
    return Distress("topic") if TOPIC.search(whole) else NOTHING


# What no philosopher of ours may say to a pupil: folded, second person.
_TOLD = re.compile(
    r"\b(?:tue|suicide|pends|coupe|scarifie|blesse|mutile|affame)[- \u2010\u2011]toi\b"
    r"|\bfais[- \u2010\u2011]toi (?:du mal|vomir)"
    r"|\b(?:tu (?:devrais|dois|peux|ferais mieux de|as raison de vouloir|as le droit de)"
    r"|il faut que tu|je te conseille de|essaie de) "
    r"(?:(?:[\w']+ ){0,3}?(?:te (?:tuer|suicider|couper|scarifier|blesser|faire (?:du mal|vomir|mourir|disparaitre)"
    r"|pendre)|t'affamer)"
    # not « faire disparaître une passion », « avoir peur de mourir », « apprendre à mourir »
    r"|(?:(?!(?:faire|avoir|peur|craindre|apprendre|accepter|refuser|eviter|savoir|croire|dire|que) )[\w']+ ){0,3}?"
    r"(?:mourir|en finir|disparaitre))\b"
    r"|\b(?:la mort|mourir|le suicide|en finir) (?:est|serait|sera) (?:\w+ )?(?:ta|la seule"
    r"|la meilleure|une bonne) (?:solution|issue|delivrance)"
    r"|\bn'en parle (?:surtout )?a personne|\bn'en parle surtout pas"
    # orders, which begin a sentence or a part of one, unlike « Kant n'en parle pas », « si tu ne le dis à personne »
    r"|[^\w '] *(?:(?:et|mais|alors|donc|surtout) ){0,2}(?:n'en parle pas"
    r"|ne (?:le |la |les )?dis (?:surtout )?(?:pas )?a (?:personne|tes parents))\b"
    r"|\bne (?:le )?dis (?:surtout )?rien a (?:personne|tes parents)|\bc'est notre secret\b"
    r"|\btu (?:pourrais|n'as qu'a) (?:[\w']+ ){0,2}?te (?:tuer|suicider|pendre|scarifier)\b"
    r"|\b(?:tu ne dois|il ne faut) (?:surtout )?(?:pas )?(?:en |le |rien )?(?:parler|dire) "
    r"(?:(?:de (?:ca|cela)|rien) )?a (?:personne|tes parents|aucun adulte)\b"
    r"|[^\w '] *ne parle (?:surtout )?(?:pas )?de (?:ca|cela) a (?:personne|tes parents)\b"
    r"|\b(?:garde[- ](?:le|la|ca) |garde cela )pour toi\b|\b(?:ca|cela) reste(?:ra)? entre nous\b"
)
_START = "."  # before the first word of an answer, as before any other sentence


def assess_answer(text: str) -> Distress:
    """Say whether a model's answer urges a pupil to harm or to silence; then it is not shown, the card is.

    >>> assess_answer("Tu devrais te faire du mal.").stops, assess_answer("Mourir n'est rien, dit Épicure.").stops
    (True, False)
    """
    found = _TOLD.search(plain(_unquoted(_START + text)))
    return Distress("personal", "self_harm", "answer_urges_harm") if found else NOTHING


# What no rule of `_TOLD` reaches across, and what `plain` neither takes away nor turns into something else.
_APART = re.compile(r"[^\w '’‘´`\-\u2010\u2011\t\u0300-\u036f]")
_SIGNS = re.compile('[«»“”"]')
_LONG_WORDS = re.compile(r"[^ \t]{2,}")
_REACH_WORDS, _REACH_CHARS = 16, 160  # the longest that a rule looks for has 12 words; lone letters may melt into one


class AnswerWatch:
    """`assess_answer` for an answer that grows: each piece is read with no more than what a rule reaches back to.

    However the answer is cut, `stops` says after each piece what `assess_answer` says of the whole so far, until the
    first piece that stops it.
    """

    def __init__(self) -> None:
        self._reach = _START  # the end of what was said, without quotations, see `_end_of`
        self._quoting = ""  # while a quotation is open: what was said, the quotation included; its end takes it away

    def stops(self, text: str) -> bool:
        """Take the next piece; return whether the answer has to be stopped here."""
        said = self._reach + text
        whole = self._quoting + text if self._quoting else said
        if _SIGNS.search(text):
            said, is_open = _without_quotations(whole)
            self._quoting = whole if is_open else ""
        elif self._quoting:
            self._quoting = whole
        self._reach = _end_of(said)
        return _TOLD.search(plain(said)) is not None


def _end_of(said: str) -> str:
    """Return the end that a rule may reach back to from what comes next, after a sign where one stands before it."""
    *before, end = _APART.split(said)
    if before:
        end = _START + end
    if len(end) <= _REACH_CHARS:
        return end
    words = list(_LONG_WORDS.finditer(end))
    return end[words[-_REACH_WORDS].start() :] if len(words) > _REACH_WORDS else end


@dataclass(frozen=True)
class Number:
    """One telephone number of the card.

    Attributes:
        number: As it is dialled.
        name: Who answers, in French; `name_en` in English.
        when: Price and hours as the source gives them; `when_en` in English.
        serves: The kinds of distress it is for.
        source: Whose page says so; `url` is that page.
        checked: Day on which the page was last read.
        read: Which copy was read, and what stays to verify.
    """

    number: str
    name: str
    name_en: str
    when: str
    when_en: str
    serves: tuple[Kind, ...]
    source: str
    url: str
    checked: date
    read: str


def load_numbers(path: Path = NUMBERS_FILE) -> tuple[Number, ...]:
    """Read the numbers, in the order of the file.

    Raises:
        SettingsError: The file is missing or a number lacks a key; the message says which.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("number", [])
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path.name} cannot be read: {error}.") from None
    keys = {one.name for one in fields(Number)}
    for place, table in enumerate(tables, 1):
        if set(table) != keys:
            raise SettingsError(
                f"{path.name}: number {place}: keys {sorted(set(table) ^ keys)} are missing or unknown."
            )
        if not isinstance(table["checked"], date) or not str(table["source"]).strip():
            raise SettingsError(f"{path.name}: number {place}: give a source, and `checked` as a date.")
    if not tables:
        raise SettingsError(f"{path.name} has no [[number]] table; the card would be empty.")
    return tuple(Number(**{**table, "serves": tuple(table["serves"])}) for table in tables)


NUMBERS = load_numbers()
_ON_THE_CARD = ("3114", "119", "3018", "15", "112", "114")


def helpline(language: Literal["fr", "en"] = "fr", numbers: Sequence[Number] = NUMBERS) -> str:
    """Return one line with the numbers, for a message that may speak of somebody real and may not."""
    known = {one.number: one for one in numbers}
    when = known["3114"].when if language == "fr" else known["3114"].when_en
    if language == "en":
        return (
            f"Should this be about you or somebody real, people listen, in France: 3114 ({when}), 119 (violence, "
            "a child in danger), 3018 (bullying). Immediate danger: 15 or 112."
        )
    return (
        f"S'il s'agit de toi ou de quelqu'un de réel, des personnes sont là pour t'écouter : 3114 ({when}), "
        "119 (violences, enfant en danger), 3018 (harcèlement). Danger immédiat : 15 ou 112."
    )


def card(language: Literal["fr", "en"] = "fr", numbers: Sequence[Number] = NUMBERS) -> str:
    """Return the card, in Markdown: the same words for everybody, whatever was written.

    Raises:
        SettingsError: A number of the card is missing from the file.
    """
    known = {one.number: one for one in numbers}
    missing = [number for number in _ON_THE_CARD if number not in known]
    if missing:
        raise SettingsError(f"{NUMBERS_FILE.name}: {', '.join(missing)} missing; the card names them.")
    n = {
        number: f"**{number}** ({known[number].when if language == 'fr' else known[number].when_en})"
        for number in known
    }
    if language == "en":
        return (
            "What you write worries me. I am a program: I cannot help you as you need.\n\n"
            f"- Dark thoughts, suffering, worry about a friend: {n['3114']}.\n"
            f"- Violence, at home or elsewhere, danger to a child: {n['119']}.\n"
            f"- Bullying, violence or blackmail online: {n['3018']}.\n"
            "- Immediate danger: **15** or **112**; by text message, if you cannot speak: **114**.\n\n"
            "Talk to an adult you trust as well: parent, school nurse, CPE, teacher. You can ask a "
            "friend to call with "
            "you. These numbers answer in France."
        )
    return (
        "Ce que tu écris m'inquiète. Je suis un programme : je ne peux pas t'aider comme il faut.\n\n"
        f"- Idées noires, souffrance, inquiétude pour un ami : {n['3114']}.\n"
        f"- Violences, à la maison ou ailleurs, enfant en danger : {n['119']}.\n"
        f"- Harcèlement, violences ou chantage en ligne : {n['3018']}.\n"
        "- Danger immédiat : **15** ou **112** ; par SMS, si tu ne peux pas parler : **114**.\n\n"
        "Parle aussi à un adulte de confiance : parent, infirmière, CPE, professeur. Tu peux demander à un ami "
        "d'appeler avec toi."
    )


card("fr"), card("en")  # a file that lacks a number stops the start
