"""A formative evaluation of the pupil's last exchanges: what is asked of a model, and what of its reply is accepted.

Knows conversations and schemes; calls no model. An evaluation says in words what stands in the pupil's reasoning: no
mark, no level, nothing kept. Free text comes first and strict JSON after it, behind a mark that is new at every
request: a pupil who types a mark injects nothing, and `split_at_mark` keeps mark and JSON off the screen however the
text was cut into pieces.

What a model says is accepted only when it fits the schema, quotes the pupil word for word, does not contradict itself
and urges no harm. Otherwise there is no evaluation: no default ever stands in its place.
"""

import json
import re
import secrets
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from dialogue.conversation import Conversation, Turn
from dialogue.french import split_sentences
from dialogue.redact import find_pii
from dialogue.safety import assess, assess_answer
from personas import SCHEMES

Result = Literal["ok", "missing", "invalid", "unsupported"]
RESULTS: tuple[Result, ...] = get_args(Result)
Place = Literal["after", "alone"]

EXCHANGES = 2  # the last ones, which are evaluated
QUOTE_CHARS, QUOTES = 160, 8  # of one quotation; how many there are to choose from
MAX_TOKENS = 320  # an evaluation has about 410 characters; small vocabularies need a token for every two of them
TEMPERATURE = 0.3

SKILL = ("oui", "en_partie", "non", "na")
VALIDITY = ("valide", "probable", "invalide", "na")
ERRORS = (
    "aucune", "contradiction", "concept_confondu", "consequent_affirme", "antecedent_nie", "faux_dilemme",
    "generalisation_hative", "correlation_cause", "petition_de_principe", "autorite", "exemple_pour_preuve",
    "hors_sujet",
)  # fmt: skip
REPERES = (
    "absolu_relatif", "abstrait_concret", "acte_puissance", "analyse_synthese", "concept_image_metaphore",
    "contingent_necessaire", "croire_savoir", "essentiel_accidentel", "exemple_preuve", "expliquer_comprendre",
    "fait_droit", "formel_materiel", "genre_espece_individu", "hypothese_consequence_conclusion", "ideal_reel",
    "identite_egalite_difference", "impossible_possible", "intuitif_discursif", "legal_legitime",
    "mediat_immediat", "objectif_subjectif_intersubjectif", "obligation_contrainte", "origine_fondement",
    "persuader_convaincre", "principe_cause_fin", "public_prive", "ressemblance_analogie", "theorie_pratique",
    "transcendant_immanent", "universel_general_particulier_singulier", "vrai_probable_certain",
)  # fmt: skip
NEVER_VALID = frozenset({"IN", "AN", "CA"})  # probable at best
FORMAL = {"consequent_affirme": "MP", "antecedent_nie": "MT"}  # a fallacy and the scheme that it imitates


@dataclass(frozen=True)
class Digest:
    """What an earlier evaluation of the same conversation said, for the next one to compare with.

    Attributes:
        these: The pupil's thesis, restated.
        problematiser: One of `SKILL`, as are the next two.
        erreur: One of `ERRORS`.
    """

    these: str
    problematiser: str
    conceptualiser: str
    argumenter: str
    erreur: str

    def line(self) -> str:
        """One line for a prompt."""
        return (
            f"Évaluation précédente : thèse « {self.these} » ; problématiser {self.problematiser}, conceptualiser "
            f"{self.conceptualiser}, argumenter {self.argumenter} ; erreur {self.erreur}."
        )


@dataclass(frozen=True)
class EvaluationAsk:
    """That an evaluation is wanted.

    Attributes:
        place: "after" the answer, in the same call, or "alone", without an answer.
        previous: What the one before said, if there was one.
    """

    place: Place = "after"
    previous: Digest | None = None


@dataclass(frozen=True)
class Request:
    """One request for an evaluation, ready for a model.

    Attributes:
        mark: Divides the answer from the JSON; new at every request.
        message: What the model is asked, after the conversation; the mark stands in it.
        schema: The JSON Schema of the reply, as JSON text. Its quotations are the pupil's own sentences.
        said: The pupil's turns that may be quoted.
        max_tokens: Most tokens of the reply.
        temperature: To sample it with.
    """

    mark: str
    message: str
    schema: str
    said: tuple[str, ...]
    max_tokens: int = MAX_TOKENS
    temperature: float = TEMPERATURE


def _enum(values: Sequence[str]) -> dict[str, Any]:
    return {"enum": list(values)}


def schema_for(quotes: Sequence[str] = ()) -> dict[str, Any]:
    """Return the JSON Schema of an evaluation.

    Args:
        quotes: The sentences that may be quoted; none leaves the quotation free, to be checked afterwards.
    """
    quote: dict[str, Any] = _enum(quotes) if quotes else {"type": "string", "maxLength": QUOTE_CHARS}
    properties: dict[str, Any] = {
        "v": {"const": 1},
        "these": {"type": "string", "maxLength": 160},
        "problematiser": _enum(SKILL),
        "conceptualiser": _enum(SKILL),
        "argumenter": _enum(SKILL),
        "schema": _enum((*SCHEMES, "aucun")),
        "validite": _enum(VALIDITY),
        "erreur": _enum(ERRORS),
        "preuve": quote,
        "reperes": {"type": "array", "maxItems": 2, "items": _enum(REPERES)},
        "delta": _enum(("progres", "stable", "recul", "na")),
        "geste": _enum(("sonder", "recentrer", "dire", "generique")),
        "revele": _enum(("non", "en_partie", "oui")),
        "suite": {"type": "string", "maxLength": 140},
    }
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [name for name in properties if name != "reperes"],
        "properties": properties,
    }


def last_exchanges(conversation: Conversation, count: int = EXCHANGES) -> tuple[Turn, ...]:
    """Return the turns from the pupil's `count` last messages on."""
    turns = conversation.exchanges
    asked = [place for place, turn in enumerate(turns) if turn.role == "user"][-count:]
    return turns[asked[0] :] if asked else ()


# What the JSON of a grammar cannot hold as it stands; a pupil's sentence is quoted around it.
_UNQUOTABLE = re.compile(r"[^\u0020-\uffff]|[\"\\]")


def quotes_from(said: Sequence[str]) -> list[str]:
    """Return sentences of a pupil that may be quoted, the latest first: short, without personal data.

    >>> quotes_from(["Je suis libre 😀. Non ?", "Je m'appelle Zoé."])
    ['Je suis libre', 'Non ?']
    """
    found: list[str] = []
    for text in reversed(said):
        for sentence in split_sentences(text):
            one = max(_UNQUOTABLE.split(re.sub(r"\s+", " ", sentence)), key=len).strip()
            if len(one) > QUOTE_CHARS:
                one = one[:QUOTE_CHARS].rsplit(" ", 1)[0]
            if re.search(r"\w", one) and one not in found and not find_pii(one):
                found.append(one)
    return found[:QUOTES]


def request_for(conversation: Conversation, ask: EvaluationAsk) -> Request | None:
    """Return what to ask a model, or None where there is nothing that may be evaluated.

    Nothing is evaluated in a turn of distress, and nothing where the pupil said no sentence that may be quoted.
    """
    said = tuple(turn.text for turn in last_exchanges(conversation) if turn.role == "user")
    quotes = quotes_from(said)
    if not quotes or any(assess(text).stops for text in said):
        return None
    mark = f"<<<EVAL-{secrets.token_hex(6)}>>>"
    before = f" {ask.previous.line()}" if ask.previous else ""
    message = (
        "(Consigne hors du dialogue, que l'élève ne lit pas.) Réponds à l'élève comme d'habitude ; puis, sur une ligne "
        f"seule, écris {mark}, et derrière un seul objet JSON qui décrit le raisonnement de l'élève dans ses deux "
        "derniers messages. these : sa thèse redite ; problematiser, conceptualiser, argumenter : oui, en_partie, non "
        "ou na ; schema : le schéma de son raisonnement, ou aucun ; validite : na s'il n'y en a pas, jamais valide "
        "pour CA, AN, IN ; erreur : ce qui manque à l'argument ; preuve : une phrase de l'élève, mot pour mot ; "
        "reperes : deux au plus ; delta : par rapport à l'évaluation précédente, na s'il n'y en a pas ; geste, revele "
        ": ce que ta réponse a fait ; suite : ce que l'élève peut essayer. Être d'accord avec toi ne compte pas."
        + before
    )
    return Request(mark, message, json.dumps(schema_for(quotes), ensure_ascii=False), said)


class MarkSplitter:
    r"""Divides a text that comes in pieces at a mark: what stands before may be shown, what stands behind never.

    Whatever might still turn out to be the mark, or the space before it, is held back; so the joined results of `feed`
    and `finish` are the text before the mark without its last spaces, however the pieces were cut.

    Args:
        mark: At least one character.

    >>> splitter = MarkSplitter("<<<E>>>")
    >>> splitter.feed("Oui.\n<<"), splitter.feed('<E>>>{"v":'), splitter.feed("1}"), splitter.finish()
    ('Oui.', '', '', '')
    >>> splitter.behind
    '{"v":1}'
    """

    def __init__(self, mark: str) -> None:
        if not mark:
            raise ValueError("A mark has at least one character.")
        self._mark = mark
        self._held = ""
        self._behind: list[str] | None = None

    @property
    def behind(self) -> str | None:
        """What came behind the mark; None while it has not come."""
        return None if self._behind is None else "".join(self._behind)

    def feed(self, piece: str) -> str:
        """Take the next piece and return what may be shown now, perhaps nothing."""
        if self._behind is not None:
            self._behind.append(piece)
            return ""
        text = self._held + piece
        before, mark, after = text.partition(self._mark)
        if mark:
            self._behind, self._held = [after], ""
            return before.rstrip()
        keep = next((n for n in range(min(len(self._mark) - 1, len(text)), 0, -1) if text.endswith(self._mark[:n])), 0)
        shown = text[: len(text) - keep].rstrip()
        self._held = text[len(shown) :]
        return shown

    def finish(self) -> str:
        """Return the rest that may be shown: what looked like the beginning of a mark and was none."""
        rest, self._held = self._held.rstrip(), ""
        return rest


def _folded(text: str) -> str:
    """NFC, lower case, one space, plain quotes: what may differ between a sentence and its quotation."""
    plain = unicodedata.normalize("NFC", text).casefold().translate(str.maketrans("’‘“”«»", '\'\'""""'))
    return re.sub(r"\s+", " ", re.sub(r'\s*"\s*', '"', plain)).strip(' "')


def _fits(value: object, schema: Mapping[str, Any]) -> bool:
    """Whether a value fits the part of JSON Schema that `schema_for` uses."""
    if "const" in schema:
        return value == schema["const"] and not isinstance(value, bool)
    if "enum" in schema:
        return value in schema["enum"]
    match schema["type"]:
        case "string":
            return isinstance(value, str) and len(value) <= schema["maxLength"]
        case "array" if isinstance(value, list):
            return len(value) <= schema["maxItems"] and all(_fits(one, schema["items"]) for one in value)
    return False


def _contradicts_itself(data: Mapping[str, Any]) -> bool:
    scheme, validity, error = data["schema"], data["validite"], data["erreur"]
    formal = FORMAL.get(error)
    return (
        (scheme == "aucun" and validity != "na")
        or (scheme in NEVER_VALID and validity == "valide")
        or (formal is not None and (scheme != formal or validity != "invalide"))
    )


_FENCE = re.compile(r"\A\s*```(?:json)?")  # a model that nothing constrains may put its JSON behind one


def _says_something(data: Mapping[str, Any]) -> bool:
    """Whether thesis and advice are words and not what a grammar made of a model that had none."""
    these, advice = str(data["these"]), str(data["suite"])
    return has_words(advice) and (not these or has_words(these))


def has_words(text: str) -> bool:
    """Whether a text is more than one word and single signs.

    >>> has_words("La liberté."), has_words("0 0 0")
    (True, False)
    """
    return len(re.findall(r"\w{2,}", text)) > 1


def _quotes(said: str, quote: str) -> bool:
    """Whether a message has a quotation, from word to word: a letter or two stand in every one."""
    begins, ends = r"(?<!\w)" if quote[0].isalnum() else "", r"(?!\w)" if quote[-1].isalnum() else ""
    return re.search(r"\w\w", quote) is not None and re.search(begins + re.escape(quote) + ends, said) is not None


def accept(text: str | None, said: Sequence[str]) -> tuple[dict[str, Any] | None, Result]:
    """Return the evaluation that a model wrote, or None and why it is refused.

    Args:
        text: What stood behind the mark; None where no mark came.
        said: The pupil's turns, the only ones that may be quoted.

    Returns:
        The evaluation with "ok"; else None with "missing" (nothing came), "invalid" (no JSON of the schema, a
        contradiction, or words that urge harm) or "unsupported" (the quotation is not the pupil's).
    """
    if text is None or not text.strip():
        return None, "missing"
    try:
        data, _ = json.JSONDecoder().raw_decode(_FENCE.sub("", text, count=1).lstrip())
    except (ValueError, RecursionError):
        return None, "invalid"
    schema = schema_for()
    if not isinstance(data, dict) or not set(schema["required"]) <= set(data) <= set(schema["properties"]):
        return None, "invalid"
    if not all(_fits(value, schema["properties"][name]) for name, value in data.items()):
        return None, "invalid"
    if _contradicts_itself(data) or not _says_something(data):
        return None, "invalid"
    if any(assess_answer(data[name]).stops for name in ("these", "suite")):
        return None, "invalid"
    quote = _folded(data["preuve"])
    offered = any(quote == _folded(one) for one in quotes_from(said))  # it may be of one letter, or cut within a word
    if not quote or not (offered or any(_quotes(_folded(one), quote) for one in said)):
        return None, "unsupported"
    return {"reperes": [], **data}, "ok"


def digest_of(data: Mapping[str, object]) -> Digest | None:
    """Return what of an evaluation the next one compares with; None where a client sent something else.

    >>> digest_of({"these": "x", "problematiser": "non", "conceptualiser": "na", "argumenter": "oui", "erreur": "?"})
    """
    fields = {name: data.get(name) for name in ("these", "problematiser", "conceptualiser", "argumenter", "erreur")}
    properties = schema_for()["properties"]
    if not all(_fits(value, properties[name]) for name, value in fields.items()):
        return None
    if find_pii(str(fields["these"])) or assess(str(fields["these"])).stops:
        return None
    return Digest(**{name: re.sub(r"\s+", " ", str(value)) for name, value in fields.items()})
