"""Personal data taken out of a text before it leaves for another machine or is condensed. Knows no model.

Rules only: names in general are missed, and docs/safety.md says so.

What is found becomes a word in brackets, e.g. [courriel]. Redacting twice changes nothing: patterns are applied until
none finds anything, and each must find at least one character outside the brackets.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from dialogue.french import fold

PiiKind = Literal["email", "phone", "name", "school", "address", "social", "birth", "number"]
PLACEHOLDERS: dict[PiiKind, str] = {
    "email": "[courriel]",
    "phone": "[téléphone]",
    "name": "[nom]",
    "school": "[établissement]",
    "address": "[adresse]",
    "social": "[compte]",
    "birth": "[date de naissance]",
    "number": "[numéro]",
}


@dataclass(frozen=True)
class Span:
    """A place in the text in NFC: `text[start:end]` is personal data of this kind."""

    start: int
    end: int
    kind: PiiKind


_UP = r"A-ZÀÂÄÆÇÉÈÊËÎÏÔÖŒÙÛÜŸ"
_LOW = r"a-zàâäæçéèêëîïôöœùûüÿ"
_CAP = rf"(?-i:[{_UP}][{_LOW}{_UP}]*(?:['’-][{_UP}{_LOW}]+){{0,4}})"  # Maëlys, Le, Boulanger-Diallo
# A particle is in small letters: with either, « La La La » has two readings a word, more than can be tried.
_FULL = rf"{_CAP}(?: (?-i:de |du |des |d['’]|le |la )?(?:(?-i:[{_UP}])\.|{_CAP}))*"
_ANY = rf"[{_UP}{_LOW}][{_UP}{_LOW}'’-]{{1,40}}"
# A name in capitals and a word that is shouted look the same: « JE SUIS LIBRE », « C'EST L'ENFER », « C'est OK ».
_LOUD = rf"(?-i:[{_UP}](?:[{_UP}]|['’ -][{_UP}]{{2}}))"
_SMALL = rf"(?<!(?-i:[{_UP}]))"  # what stands before is not shouted, so capitals after it mean a name
_ADVERB = r"\w{3,}[eéa]m?ment|vraiment"  # three letters, since Clément is somebody
# Behind a name typed in small letters: what was said ends here.
_ENDS = r"(?= ?(?:[^\w\s'’\"«(\[@#+/:-]|\n|$)| (?:et|je)\b| j['’])"
_KIN = (
    r"(?:fr[èe]re|s[oœ]e?ur|m[èe]re|p[èe]re|cousine?|oncle|tante|copine?|ami|amie|pote|voisine?"
    r"|petite? amie?|prof|grand[- ]?(?:m[èe]re|p[èe]re))"
)
_STREET = (
    r"(?:rue|avenue|av\.?|boulevard|bd|bld|impasse|all[ée]es?|chemin|place|quai|route|square"
    r"|cours(?! (?:sur|en|avec)\b)(?! (?:de |d['’])(?:philo|Kant|Spinoza|Bergson|Descartes|Platon))"
    r"|r[ée]sidence|lotissement|"
    r"passage|sentier|faubourg|lieu[- ]dit|hameau|villa|cit[ée])"
)
_NUMBER = r"\d{1,4}(?: ?(?:bis|ter|[A-D])\b)?,? "
_PLACE_NAME = rf"(?:(?:de|du|des|d['’]|la|le|les|l['’]|aux?|en|sur|sous)[ -]?)*(?-i:[{_UP}\d])[{_UP}{_LOW}\d'’-]*"
_TOWN = (
    rf"(?:,? (?:[àa] )?\d{{5}}(?: {_CAP}(?:[ -](?:sur|sous|en|le|la|les|de|du|des|{_CAP})(?:[ -]|\b))*(?:{_CAP})?)?)"
)
_MONTH = r"(?:janvier|f[ée]vrier|mars|avril|mai|juin|juillet|ao[uû]t|septembre|octobre|novembre|d[ée]cembre)"
_YEAR = r"(?:199\d|20\d\d)"
_DATE = (
    rf"(?:(?:\d{{1,2}}(?:er)? )?{_MONTH} {_YEAR}|\d{{1,2}}[/.-]\d{{1,2}}[/.-](?:{_YEAR}|\d\d)(?!\d)"
    rf"|{_YEAR}(?!\d))"
)
_NET = (
    r"(?:insta(?:gram)?|snap(?:chat)?|tik ?tok|discord|twitter|twitch|facebook|fb|pseudo|whatsapp"
    r"|telegram|be ?real)"
)
# Said by people who are not giving their own name, and words that follow « je m'appelle » and are none.
_NOT_A_NAME = (
    r"(?!(?:pas|comme|aussi|plus|moi|toi|lui|elle|comment|et|qui|que|quoi|ainsi|mal|bien|quand"
    r"|pourquoi|socrate|platon|aristote|"
    r"spinoza|kant|bergson|descartes|dieu|personne|un|une|le|la|les|encore|jamais|toujours|donc"
    r"|vraiment|ce|c|pareil|trop|très)\b)"
)
# A second word in small letters: « je m'appelle karim benali », not « karim enchanté » or « karim aussi ».
_SURNAME = (
    rf"(?: (?:(?:ben|el|le|da|van) )?{_NOT_A_NAME}"
    r"(?!(?:enchantée?s?|bonjour|bonsoir|salut|coucou|hello|merci|mdr+|lol|ptdr|xd|haha|stp|svp|hein|voil[àa]|l[àa]"
    r"|ici|oui|non|nan|ok|si|o[uù]|mais|car|puis|puisque|alors|sinon|bah|maintenant|aujourd|monsieur|madame|mec"
    r"|fr[èe]re|bro|wesh|perso|d[ée]sol[ée]e?|dsl|peut|je|tu|il|on|[çc]a|en|au|du|lyc[ée]en(?:ne)?|[ée]l[èe]ve"
    rf"|[ée]tudiante?|{_ADVERB})\b)[{_UP}{_LOW}]{{2,}}(?:['’-][{_UP}{_LOW}]+)*{_ENDS})"
)
_FAMOUS = (
    r"(?!(?:Kant|Spinoza|Bergson|Socrate|Platon|Aristote|Descartes|Rousseau|Hegel|Nietzsche|Sartre|Pascal|Hume|Locke|"
    r"Leibniz|Marx|Freud|Arendt|Épicure|Hobbes|Montaigne|Dieu|Zeus|Ulysse|Antigone|Camus|Sénèque|Épictète|Beauvoir|"
    r"Foucault|Levinas|Lévi-Strauss|Wittgenstein|Heidegger|Husserl|Schopenhauer|Machiavel|Voltaire|Diderot|Montesquieu|"
    r"Popper|Bachelard|Merleau-Ponty|Ricœur|Weil|Alain|Lucrèce|Plotin|Cicéron|Marc Aurèle|Mill|Rawls|Comte|Durkheim|"
    r"Tocqueville|Darwin|Galilée|Newton|Einstein|Œdipe|Créon|Ismène|Polynice|Étéocle|Jocaste|Abel|Caïn|Engels|"
    r"La Boétie|Criton|Alcibiade|Lucilius|Patrocle)\b)"
)
_SCHOOL_OF_THOUGHT = (
    r"(?!coll[èe]ge de France\b)(?![ée]cole (?:de la |de |d['’]|des )(?:République|France|Francfort|Athènes|Milet|Élée"
    r"|Mégare|Vienne|Chicago|Marbourg|Annales)\b)"
)
# Small words after « lycée » that begin no name: a pupil types a school's without capitals.
_NO_SCHOOL = (
    r"(?!(?:on|je|tu|il|elle|nous|vous|ils|elles|et|ou|où|mais|est|sont|ont|ça|ca|qui|que|quand|avec|pour|par|sans|dans"
    r"|en|de|du|des|la|le|les|un|une|ne|se|si|comme|car|donc|aussi|depuis|demain|hier|alors|parce|tous|toute?s?|sur"
    r"|pas|plus|après|avant|général|pro|professionnel|technologique|agricole|militaire|français|privé|public"
    r"|international|polyvalent)\b)"
)
# What « mon lycée c'est » is mostly followed by.
_NO_VERDICT = (
    r"(?!(?:nul|cool|super|hyper|grave|assez|plut[ôo]t|toujours|jamais|encore|juste|d[ée]j[àa]|presque|m[êe]me|beaucoup"
    r"|rien|personne|chacun|pire|mieux|bien|trop|tr[èe]s|loin|grande?|petite?|morte?|finie?|ferm[ée]e?|chiante?|sympa"
    r"|horrible|g[ée]niale?|chaud|dure?|moche|triste|peut|chez|plein|mon|ton|son|notre(?! dame)|votre|leur|cet|cette"
    rf"|ces|quelque|{_ADVERB})\b)"
)
_SPACE = r"[ \u00a0\u202f\u2009]"

# Each: kind, pattern; the group « it » is what goes.
_WRITTEN: tuple[tuple[PiiKind, str], ...] = (
    ("email", r"(?<![\w.+-])(?P<it>[\w.+-]{1,64}(?:@| @ )[\w-]{1,63}(?:\.[\w-]{1,63}){1,5})"),
    (
        "email",
        (
            r"(?<![\w.+-])(?P<it>[\w.+-]{1,64} ?(?:\(at\)|\[at\]| arobase ) ?[\w-]{1,63} ?(?:\.|\(dot\)"
            r"| point ) ?[a-z]{2,})"
        ),
    ),
    ("social", r"(?P<it>(?:https?://|www\.)[^\s<>\"«»)\]]+[^\s<>\"«»)\].,;:!?])"),
    (
        "number",
        (
            r"(?<!\d)(?P<it>[12] ?\d\d ?(?:0[1-9]|1[0-2]|[2-9]\d) ?(?:\d\d"
            r"|2[ab]) ?\d{3} ?\d{3}(?: ?\d\d)?)(?!\d)"
        ),
    ),  # NIR
    ("number", r"(?<![\w])(?P<it>\d{9}[a-hj-km-np-z]{2}|\d{10}[a-hj-km-np-z])(?!\w)"),  # INE
    (
        "phone",
        (
            rf"(?<!\d)(?<!\d[.,])(?P<it>(?:\+|00){_SPACE}?33(?:{_SPACE}|[.\-/])?(?:\(0\){_SPACE}?)?[1-9]"
            rf"(?:(?:{_SPACE}|[.\-/])?\d\d){{4}})(?!\d)"
        ),
    ),
    ("phone", rf"(?<!\d)(?<!\d[.,])(?P<it>0[1-9](?:(?:{_SPACE}|[.\-/])?\d\d){{4}})(?!\d)"),
    ("social", r"(?<![\w.])(?P<it>@\w(?:[\w.]{0,40}\w)?)"),
    ("social", r"(?<!\w)(?P<it>\w[\w.]{1,30}#\d{4})(?!\d)"),
    (
        "social",
        (
            rf"\b(?:mon|ma|le|sur|mes)? ?{_NET}\b(?: (?:c['’]?(?:est)?|est"
            r"|:))? ?:? ?(?P<it>(?=[\w.-]{0,40}(?:[\d_]|\w\.\w))[a-z][\w.-]{2,40}\w)"
        ),
    ),
    ("birth", rf"\bn[ée]e?s? (?:le |en )?(?P<it>{_DATE})"),
    ("birth", rf"\bje suis n[ée]e? le (?P<it>\d{{1,2}}(?:er)? {_MONTH})"),
    (
        "birth",
        (
            rf"\b(?:date de naissance|anniv(?:ersaire)?|naissance)\b[^\d\n]{{0,15}}(?P<it>{_DATE}"
            rf"|\d{{1,2}} {_MONTH})"
        ),
    ),
    (
        "address",
        (
            r"(?P<it>(?:(?:b[âa]timent|b[âa]t\.?|appt?\.?|appartement|esc(?:alier)?"
            rf"|[ée]tage) \w{{1,4}},? )*{_NUMBER}{_STREET} {_PLACE_NAME}(?:[ -]{_PLACE_NAME})*{_TOWN}?)"
        ),
    ),
    (
        "address",
        (
            r"(?P<it>\b(?:lieu[- ]dit|hameau|r[ée]sidence"
            rf"|lotissement) {_PLACE_NAME}(?:[ -]{_PLACE_NAME})*{_TOWN}?)"
        ),
    ),
    (
        "address",
        (
            r"\b(?:j['’ ]?habite|j['’]ai grandi|je vis|on vit|je r[ée]side|on habite"
            rf"|adresse)\b[^.\n]{{0,20}}?(?P<it>(?:{_STREET} {_PLACE_NAME}(?:[ -]{_PLACE_NAME})*"
            rf"|\d{{5}} {_CAP}){_TOWN}?)"
        ),
    ),
    (  # without capitals, as it is typed: only behind a number and a kind of street
        "address",
        (
            rf"(?P<it>\b{_NUMBER}(?:rue|avenue|boulevard|bd|bld|impasse|all[ée]e|chemin|quai|square) "
            rf"(?:(?:de|du|des|la|le|les) |d['’]|l['’]){{0,2}}[{_UP}{_LOW}]{{2,}}(?:-[{_UP}{_LOW}]+)*)"
        ),
    ),
    (
        "school",
        (
            rf"\b(?P<it>{_SCHOOL_OF_THOUGHT}(?:lyc[ée]e|coll[èe]ge|[ée]cole|institut(?:ion)?|LP|cit[ée] scolaire|LGT"
            r"|LEGTA|CFA)(?: (?:professionnel|priv[ée]|g[ée]n[ée]ral|technologique|polyvalent"
            r"|international))*(?: (?:de|du|des|d['’]|la|le"
            rf"|les))*[ '’]?{_FAMOUS}(?:(?:{_CAP})(?:[ -](?:(?:de|du|des|d['’]|sur|la|le|les|en"
            rf"|sous)[ -])*{_CAP})*))"
        ),
    ),
    (
        "school",
        (
            r"\b(?:mon|notre|ton) (?:lyc[ée]e|coll[èe]ge|[ée]cole),? (?:c['’]est|est|s['’]appelle|:) ?"
            rf"(?:le |la |l['’])?{_FAMOUS}(?P<it>{_CAP}(?:[ -]{_CAP})*)"
        ),
    ),
    (
        "school",
        (
            rf"\b(?:mon|notre) (?:lyc[ée]e|coll[èe]ge|[ée]cole),? s['’]appelle (?:lyc[ée]e )?(?!lyc[ée]e\b)"
            rf"{_FAMOUS}{_NOT_A_NAME}(?P<it>{_NO_SCHOOL}[{_LOW}]{{3,}}(?:[ -]{_NO_SCHOOL}[{_LOW}]{{3,}})?)"
        ),
    ),
    (  # two words: one alone is nearly always a verdict, and would be hidden wherever it is said again
        "school",
        (
            rf"\b(?:mon|notre) (?:lyc[ée]e|coll[èe]ge|[ée]cole),? c['’]est {_FAMOUS}{_NO_VERDICT}"
            rf"(?P<it>{_NO_SCHOOL}[{_LOW}]{{3,}}(?:[ -](?:de|du|des|la|le))?[ -]{_NO_SCHOOL}[{_LOW}]{{3,}})"
            rf"(?:{_ENDS}|(?= (?:[àa]|en|dans)\b))"
        ),
    ),
    (
        "school",
        (
            r"\b(?:je suis|on est|[ée]l[èe]ve|je vais|j['’][ée]tudie|scolaris[ée]e?) (?:en \w+ )?au (?P<it>lyc[ée]e "
            rf"{_NO_SCHOOL}[{_LOW}]{{3,}}(?:[ -]{_NO_SCHOOL}[{_LOW}]{{3,}})?)"
        ),
    ),
    ("school", r"(?P<it>(?-i:\bT(?:G|STMG|STI2D|STL|ST2S|S|ES|L|le|erm) ?\d{1,2}\b))"),
    (
        "school",
        rf"(?:\b(?:en|classe(?: de)?|la) |\b{_CAP} {_CAP}, |\[nom\], )(?P<it>(?-i:T ?\d{{1,2}}\b))",
    ),
    (
        "school",
        (
            r"\b(?P<it>(?:terminale|tle|term|premi[èe]re|1[èe]?re) (?:(?-i:[A-H])\b"
            r"|[1-9]\d?\b(?! (?:notions?|heures?|h\b|fois|ans|chapitres?|questions?))|(?:g|stmg|sti2d|stl"
            r"|st2s) ?\d{1,2}))"
        ),
    ),
    (
        "name",
        (
            r"\b(?:je m['’ ]?app?el+es?|jm['’ ]?app?el+e|je me nomme|jmapelle|mappelle"
            r"|mon (?:vrai )?(?:nom|pr[ée]nom)(?: de famille)? (?:c['’ ]?(?:est)?|est|:)|mon nom est"
            rf") ?:? ?(?:c['’]est )?{_NOT_A_NAME}(?P<it>(?:{_FULL}|{_ANY}){_SURNAME}?)"
        ),
    ),
    ("name", rf"\bje me pr[ée]sente ?[:,]? ?(?:c['’]est )?{_NOT_A_NAME}{_FAMOUS}(?P<it>{_FULL})"),
    (
        "name",
        (
            r"\b(?:appelle[sz]?-moi|appelez-moi|on m['’]appelle|tout le monde m['’]appelle) "
            rf"{_NOT_A_NAME}{_FAMOUS}(?P<it>{_FULL})"
        ),
    ),
    (
        "name",
        (
            r"\b(?:(?<!pour )(?<!selon )(?<!après )(?:moi c['’ ]?(?:est)?"
            rf"|moi, c['’ ]?(?:est)?{_SMALL})|ici c['’]est|signé|c['’]est moi,?|bisous?,|demande[rz]?{_SMALL}"
            rf"|de la part de) {_NOT_A_NAME}{_FAMOUS}(?P<it>(?>{_FULL}))(?! qu(?:i\b|e\b|['’]))"
        ),
    ),
    (
        "name",
        (
            r"^(?:(?:bonjour|bonsoir|salut|coucou|hello|hey|slt|cc|bjr)(?: \w+\.?)?(?: (?:spinoza|kant|bergson|tous))?"
            rf"[ ,!.]* )?(?:c['’]est|moi c['’]est|je suis|moi,)(?! {_LOUD}) {_NOT_A_NAME}{_FAMOUS}(?P<it>{_FULL})"
            r"(?= (?:de la|du|en|et (?:j(?:e\b|ai\b|['’])|toi\b|vous\b)|,)|[.,!]|$)"
        ),
    ),
    (
        "name",
        (
            r"\b(?:m(?:on|a|es)|s(?:on|a)) (?:petite? |grande? |meilleure? "
            rf"|ptite? )?{_KIN}(?:(?: de \w+)?,? (?:qui )?s['’]appelle "
            rf"|{_SMALL}(?: de \w+)?,? (?:c['’]est |,)?){_FAMOUS}"
            rf"(?!(?:Mme|Mlle|Mr|M|Monsieur|Madame|Étienne de La Boétie|Friedrich Engels)\b)(?P<it>{_FULL})"
        ),
    ),
    (
        "name",
        (
            r"(?<!\w)(?:M\.|Mr\.?|Mme\.?|Mlle\.?|Monsieur|Madame|m\.|mme|mr) (?:(?-i:de|du|le"
            rf"|la) )?{_FAMOUS}(?P<it>(?:(?-i:Le|La|De|Du|Des) )?(?>{_CAP}(?: {_CAP})*))(?=.*\b(?:prof|lyc"
            r"|cours|classe|philo|CPE|proviseur|note|dit que|surveill))"
        ),
    ),
    (
        "name",
        (
            rf"^{_FAMOUS}(?!(?:j['’]ai|d['’]ici|dans|en|depuis|pendant|durant|après|avant|dès|vers|sous|sur|pour|à|et"
            rf"|mais|environ|presque|les|ces|mes|aux?)\b)(?P<it>{_CAP}(?: {_CAP})?),? \d\d ans\b"
        ),
    ),
    ("name", rf"(?<=« ){_FAMOUS}(?P<it>{_CAP} {_CAP})(?=, (?:T|Term|terminale|\[))"),
)
_PATTERNS = tuple((kind, re.compile(pattern, re.IGNORECASE)) for kind, pattern in _WRITTEN)
_BRACKETS = re.compile("|".join(re.escape(word) for word in PLACEHOLDERS.values()))
_NAME_PART = re.compile(rf"[{_UP}{_LOW}]+(?:-[{_UP}{_LOW}]+)*")
_SHORTEST = 3  # letters of a part of a name that is looked for elsewhere
_PARTICLES = frozenset("des les von van del dos".split())


def find_pii(text: str) -> list[Span]:
    """Return the places of personal data in `text` as NFC, in order, none overlapping; the first pattern wins.

    >>> [(s.kind, s.start, s.end) for s in find_pii("Je m'appelle Zoé, 06 39 98 12 45.")]
    [('name', 13, 16), ('phone', 18, 32)]
    """
    text = unicodedata.normalize("NFC", text)
    taken = [False] * len(text)
    for found in _BRACKETS.finditer(text):
        taken[found.start() : found.end()] = [True] * (found.end() - found.start())
    spans: list[Span] = []
    for kind, pattern in _PATTERNS:
        for found in pattern.finditer(text):
            start, end = found.span("it")
            while end > start and text[end - 1].isspace():
                end -= 1
            if start < end and not any(taken[start:end]):
                taken[start:end] = [True] * (end - start)
                spans.append(Span(start, end, kind))
    return sorted(spans, key=lambda span: span.start)


def redact(text: str) -> str:
    """Return `text` in NFC with personal data replaced by its kind in brackets.

    >>> redact("Je m'appelle Zoé, écris-moi : zoe@example.org")
    "Je m'appelle [nom], écris-moi : [courriel]"
    """
    return Told().learn(text)


class Told:
    """What a conversation told so far, hidden wherever it is said again.

    Args:
        but: Words that are nobody's name here, e.g. those of the philosopher's own.
    """

    def __init__(self, but: Iterable[str] = ()) -> None:
        self._but = _PARTICLES | {fold(word) for word in but}
        self._names: set[str] = set()
        self._others: dict[str, PiiKind] = {}

    def learn(self, text: str) -> str:
        """Return `text` as `redact` does, and remember what was taken out of it."""
        text = unicodedata.normalize("NFC", text)
        # Ends: every round turns at least one character outside brackets into none.
        while spans := find_pii(text):
            for span in reversed(spans):
                said = text[span.start : span.end]
                if span.kind == "name":
                    self._names |= {fold(part) for part in _NAME_PART.findall(said) if len(part) >= _SHORTEST}
                else:
                    self._others[said.lower()] = span.kind
                text = text[: span.start] + PLACEHOLDERS[span.kind] + text[span.end :]
        self._names -= self._but
        return text

    def hide(self, text: str) -> str:
        """Return `text` in NFC without what is remembered; a name is known by its capital, with or without accents.

        >>> told = Told()
        >>> told.learn("je m'appelle rose"), told.hide("Rose, qu'est-ce qu'une rose pour toi ?")
        ("je m'appelle [nom]", "[nom], qu'est-ce qu'une rose pour toi ?")
        """
        text = unicodedata.normalize("NFC", text)
        for said in sorted(self._others, key=len, reverse=True):
            text = re.sub(
                rf"(?<!\w){re.escape(said)}(?!\w)", PLACEHOLDERS[self._others[said]], text, flags=re.IGNORECASE
            )
        return _NAME_PART.sub(lambda found: PLACEHOLDERS["name"] if self._is_name(found[0]) else found[0], text)

    def _is_name(self, word: str) -> bool:
        return word[0].isupper() and fold(word) in self._names
