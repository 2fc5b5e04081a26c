"""Whether a note's locus is well formed, and its place speaks of what the note says. Knows no file and no model.

Two checks. The form: each work has its grammar of places and its bounds. The place: where the text of the work is at
hand, the words of the note are compared with every place of the book; if many places are nearer to the note than the
one it names, the locus is wrong. The second finds what the first lets through: a page that exists and is not the one.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from errors import RetrievalError
from retrieval.french import search_tokens
from retrieval.notes import Note
from retrieval.ranking import Lexical

# Share of a book's places that may be nearer to a note than its own: the smallest at which no right locus is refused.
# A proposition may be two lines long, which says less than a page.
FARTHEST_PAGE = 0.05
FARTHEST_PROPOSITION = 0.09
NEIGHBOURS = 1  # places on each side that count as the place: an argument runs over the edge of a page

ETHICS = {  # the last of each kind of place, in each part
    "P": {1: 36, 2: 49, 3: 59, 4: 73, 5: 42},
    "L": {2: 7},
    "Def": {1: 8, 2: 7, 3: 3, 4: 8},
    "Ax": {1: 7, 2: 5, 4: 1, 5: 2},
    "Post": {2: 6, 3: 2},
    "DefAff": {3: 48},
    "App": {4: 32},
}
UNNUMBERED = frozenset("E1App E2Préf E3Préf E3DefGen E4Préf E4App E5Préf".split())
# Of Spinoza's other works: patterns whose groups are a Roman chapter and a paragraph, last chapter, last paragraph.
SPINOZA: Mapping[str, Sequence[tuple[str, int, int]]] = {
    "Traité théologico-politique": [(r"TTP, (?:Préface|chap\. ([IVX]+))()", 20, 0)],
    "Traité politique": [(r"TP, chap\. ([IVX]+), §(\d+(?:-\d+)?)", 11, 49)],
    "Traité de la réforme de l'entendement": [(r"TRE, §()(\d+(?:-\d+)?)", 0, 110)],
    "Lettres": [(r"Lettre ()(\d+)", 0, 84)],
    "Court traité": [
        (r"Court traité, I, chap\. ([IVX]+)()", 10, 0),
        (r"Court traité, II, chap\. ([IVX]+)()", 26, 0),
    ],
    "Pensées métaphysiques": [
        (r"Pensées métaphysiques, I, chap\. ([IVX]+)()", 6, 0),
        (r"Pensées métaphysiques, II, chap\. ([IVX]+)()", 12, 0),
    ],
    "Principes de la philosophie de Descartes": [
        (r"PPD, Préface()()", 0, 0),
        (r"PPD1P()(\d+)S?", 0, 21),
        (r"PPD2P()(\d+)S?", 0, 37),
        (r"PPD3P()(\d+)S?", 0, 2),
    ],
}
CHAPTERS = {  # of Bergson's books in the order of their text; a name stands twice when it has two sections
    "Essai sur les données immédiates de la conscience": "Avant-propos|chap. I|chap. II|chap. III|conclusion",
    "Matière et mémoire": "Avant-propos|chap. I|chap. II|chap. III|chap. IV|conclusion",
    "Le Rire": "Préface|chap. I|chap. II|chap. III|appendice",
    "L'Évolution créatrice": "introduction|chap. I|chap. II|chap. III|chap. IV",
    "L'Énergie spirituelle": "La conscience et la vie|L'âme et le corps|Fantômes de vivants|Le rêve"
    "|Le souvenir du présent|L'effort intellectuel|Le cerveau et la pensée",
    "Durée et simultanéité": "Préface|Avant-propos|chap. I|chap. II|chap. III|chap. IV|chap. V|chap. VI"
    "|Remarque finale|appendice I|appendice II|appendice III",
    "Les Deux Sources de la morale et de la religion": "chap. I|chap. II|chap. III|chap. IV",
    "La Pensée et le mouvant": "Avant-propos|Introduction I|Introduction II|Le possible et le réel"
    "|L'intuition philosophique|La perception du changement|La perception du changement|Introduction à la métaphysique"
    "|La philosophie de Claude Bernard|Sur le pragmatisme de William James|La vie et l'œuvre de Ravaisson",
}
# Of Kant: short title, volume, first and last page in the Academy edition, last § (0: none), whether pages are needed.
ACADEMY: Mapping[str, tuple[str, str, int, int, int, bool]] = {
    "Prolégomènes": ("Prolégomènes", "IV", 253, 383, 60, True),
    "Fondements de la métaphysique des mœurs": ("FMM", "IV", 385, 463, 0, True),
    "Premiers principes métaphysiques de la science de la nature": ("Premiers principes", "IV", 465, 565, 0, True),
    "Critique de la raison pratique": ("CRPr", "V", 1, 163, 8, True),
    "Critique de la faculté de juger": ("CFJ", "V", 165, 485, 91, False),
    "La Religion dans les limites de la simple raison": ("Religion", "VI", 1, 202, 0, True),
    "Métaphysique des mœurs": ("Métaphysique des mœurs", "VI", 203, 493, 0, True),
    "Doctrine du droit": ("Doctrine du droit", "VI", 203, 372, 62, True),
    "Doctrine de la vertu": ("Doctrine de la vertu", "VI", 373, 493, 53, True),
    "Le Conflit des facultés": ("Conflit des facultés", "VII", 1, 116, 0, True),
    "Anthropologie du point de vue pragmatique": ("Anthropologie", "VII", 117, 333, 88, True),
    "Idée d'une histoire universelle": ("Idée", "VIII", 15, 31, 0, True),
    "Qu'est-ce que les Lumières ?": ("Lumières", "VIII", 33, 42, 0, True),
    "Conjectures sur le début de l'histoire humaine": ("Conjectures", "VIII", 107, 123, 0, True),
    "Qu'est-ce que s'orienter dans la pensée ?": ("Orientation", "VIII", 131, 147, 0, True),
    "Sur l'insuccès de toutes les tentatives philosophiques en matière de théodicée": (
        "Théodicée", "VIII", 253, 271, 0, True),
    "Sur le lieu commun : il se peut que ce soit juste en théorie": (
        "Théorie et pratique", "VIII", 273, 313, 0, True),
    "Vers la paix perpétuelle": ("PPP", "VIII", 341, 386, 0, True),
    "Sur un prétendu droit de mentir par humanité": ("Droit de mentir", "VIII", 423, 430, 0, True),
    "Réflexions sur l'éducation": ("Éducation", "IX", 437, 499, 0, True),
}  # fmt: skip
PURE_REASON = {"A": 856, "B": 884}  # last pages of the two editions
PREFACES = {"A": 22, "B": 44}  # the same, of the pages in Roman numbers
DRIFT = 60  # pages by which B runs ahead of A at most, and never behind

_SPAN = r"(\d+)(?:-(\d+))?"
# "E2P16C2", "E1P11D", "E2L7S", "E3DefAff27": only propositions and lemmas have demonstrations, scholia, corollaries.
_ETHICS = re.compile(r"E([1-5])(?:(P|L)(\d+)(?:D\d?|S\d?|C\d?[DS]?)?|(Def|Ax|Post|DefAff|App)(\d+))")
_BERGSON = re.compile(r"(?P<chapter>.+), p\. (?P<pages>\d+(?:-\d+)?(?:, \d+(?:-\d+)?)*)\Z")
_HEAD = r"(?:, (?:préface|conclusion|introduction(?:, [IVX]+(?:-[IVX]+)?(?: [a-z])?)?))?"
_ROMAN = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}


def roman(numeral: str) -> int:
    """Return the number a Roman numeral stands for, or 0 when it is none.

    >>> [roman(one) for one in ("IV", "XXX", "IIII", "")]
    [4, 30, 0, 0]
    """
    if not numeral or not re.fullmatch(r"C{0,3}(XC|XL|L?X{0,3})(IX|IV|V?I{0,3})", numeral):
        return 0
    values = [_ROMAN[letter] for letter in numeral]
    return sum(
        -value if value < following else value for value, following in zip(values, [*values[1:], 0], strict=True)
    )


def _spans(text: str) -> list[tuple[int, int]]:
    return [(int(first), int(last or first)) for first, last in re.findall(_SPAN, text)]


def _within(text: str, last: int, first: int = 1) -> bool:
    """Whether every span of `text` runs forward and stays between the two."""
    return all(first <= one <= other <= last for one, other in _spans(text))


def _spinoza_fits(work: str, locus: str) -> bool:
    if work == "Éthique":
        found = _ETHICS.fullmatch(locus)
        if not found:
            return locus in UNNUMBERED
        kind, number = found[2] or found[4], found[3] or found[5]
        return 1 <= int(number) <= ETHICS[kind].get(int(found[1]), 0)
    for pattern, last_chapter, last_paragraph in SPINOZA.get(work, ()):
        found = re.fullmatch(pattern, locus)
        if found:
            chapter, paragraph = found.groups()
            return (not chapter or 1 <= roman(chapter) <= last_chapter) and _within(paragraph, last_paragraph)
    return False


def _kant_fits(work: str, locus: str) -> bool:
    if work == "Critique de la raison pure":
        return _pure_reason_fits(locus)
    if work not in ACADEMY:
        return False
    short, volume, first, last, last_paragraph, pages_needed = ACADEMY[work]
    found = re.fullmatch(
        rf"{re.escape(short)}{_HEAD}(?:, § (?P<paragraph>\d+(?:-\d+)?)(?:, Remarque I{{1,3}})?)?"
        rf"(?:, AK {volume}, (?P<pages>\d+(?:-\d+)?)(?: \(note\))?)?",
        locus,
    )
    if not found or not (found["pages"] or (found["paragraph"] and not pages_needed)):
        return False
    return _within(found["pages"] or "", last, first) and _within(found["paragraph"] or "", last_paragraph)


def _pure_reason_fits(locus: str) -> bool:
    preface = re.fullmatch(r"CRP, ([AB]) ([IVXL]+)(?:-([IVXL]+))?(?: \(note\))?", locus)
    if preface:
        first, last = roman(preface[2]), roman(preface[3] or preface[2])
        return 1 <= first <= last <= PREFACES[preface[1]]
    one = re.fullmatch(r"CRP, ([AB]) (\d+(?:-\d+)?)(?: \(note\))?", locus)
    if one:
        return _within(one[2], PURE_REASON[one[1]])
    both = re.fullmatch(r"CRP, A (\d+(?:-\d+)?) / B (\d+(?:-\d+)?)(?: \(note\))?", locus)
    if not both or not _within(both[1], PURE_REASON["A"]) or not _within(both[2], PURE_REASON["B"]):
        return False
    return 0 <= _spans(both[2])[0][0] - _spans(both[1])[0][0] <= DRIFT


def _bergson_fits(work: str, locus: str) -> bool:
    found = _BERGSON.match(locus)
    return found is not None and found["chapter"] in CHAPTERS.get(work, "").split("|") and _within(found["pages"], 999)


_FITS = {"Spinoza": _spinoza_fits, "Bergson": _bergson_fits, "Kant": _kant_fits}


def is_well_formed(author: str, work: str, locus: str) -> bool:
    """Whether `locus` follows the grammar of its work and stays within its bounds; False for an unknown work.

    >>> is_well_formed("Spinoza", "Éthique", "E3P9S"), is_well_formed("Spinoza", "Éthique", "E3P60")
    (True, False)
    >>> is_well_formed("Kant", "Critique de la raison pure", "CRP, A 51 / B 75")
    True
    """
    return author in _FITS and _FITS[author](work, locus)


def places_of(author: str, locus: str) -> list[str]:
    """Return the places of a well formed locus as a `Book` names them.

    >>> places_of("Bergson", "chap. II, p. 95-96, 98")
    ['chap. II, 95', 'chap. II, 96', 'chap. II, 98']
    >>> places_of("Spinoza", "E3P9S")
    ['E3P9S']
    """
    found = _BERGSON.match(locus) if author == "Bergson" else None
    if not found:
        return [re.sub(r"([PL]\d+(?:C\d?)?)D\d?\Z", r"\1", locus)]  # a demonstration stands with what it demonstrates
    return [f"{found['chapter']}, {page}" for one, last in _spans(found["pages"]) for page in range(one, last + 1)]


class Book:
    """The text of a work, cut into the places that a locus names. Built once, then only read.

    Args:
        texts: Of each place, in the order of the work.
        where: From a place's name to its position in `texts`; several names may share one.
        farthest: The share above which `share_nearer` says that a locus is wrong.
    """

    def __init__(self, texts: Sequence[str], where: Mapping[str, int], farthest: float) -> None:
        self.where = where
        self.farthest = farthest
        self._index = Lexical.build(search_tokens(text) for text in texts)

    def share_nearer(self, text: str, places: Iterable[str]) -> float:
        """Return which share of the book's places, 0 to 1, is nearer to `text` than the best of `places`.

        Raises:
            RetrievalError: The book has no such place.
        """
        missing = [place for place in places if place not in self.where]
        if missing:
            raise RetrievalError(f"The book has no place {missing[0]!r}.")
        # A word said twice in a note says no more than once.
        scores = self._index.scores(list(dict.fromkeys(search_tokens(text))))
        positions = [self.where[place] for place in places]
        if not positions:
            raise RetrievalError("No place to compare with.")
        own = max(scores[max(one - NEIGHBOURS, 0) : one + NEIGHBOURS + 1].max() for one in positions)
        if own == 0:
            return 1.0
        return float((scores > own).mean())


def paged_book(work: str, paragraphs: Iterable[Mapping[str, Any]]) -> Book:
    """Return one of Bergson's books, cut at its pages; what has no page number is left out.

    Args:
        work: Title, a key of `CHAPTERS`.
        paragraphs: In order; each has "text", "section" (a path, its first part the chapter), "page" and "page_end".
            The words of a paragraph over several pages are shared out evenly among them.

    Raises:
        RetrievalError: The sections are not as many as the chapters.
    """
    names = CHAPTERS[work].split("|")
    sections: dict[str, int] = {}
    words: dict[int, list[str]] = {}
    named: dict[str, int] = {}
    for one in paragraphs:
        chapter = sections.setdefault((one["section"] or [""])[0], len(sections))
        if chapter >= len(names):
            raise RetrievalError(f"{work} has a section too many: {one['section'][0]!r}.")
        if not one["page"]:
            continue
        first = int(one["page"])
        pages = range(first, max(first, int(one["page_end"] or first)) + 1)
        said = one["text"].split()
        for number, page in enumerate(pages):
            share = said[len(said) * number // len(pages) : len(said) * (number + 1) // len(pages)]
            words.setdefault(page, []).extend(share)
            named[f"{names[chapter]}, {page}"] = page
    if len(sections) != len(names):
        raise RetrievalError(f"{work} has {len(sections)} sections; expected {len(names)}.")
    position = {page: number for number, page in enumerate(sorted(words))}
    where = {name: position[page] for name, page in named.items()}
    return Book([" ".join(words[page]) for page in position], where, FARTHEST_PAGE)


_PART_OF_PROPOSITION = re.compile(r"(?P<kind>SCOLIE|COROLLAIRE)(?: (?P<number>[IV]+))?\Z")
_NUMBERED = re.compile(r"(?P<number>[IVX]+)\b")


def ethics_book(paragraphs: Iterable[Mapping[str, Any]]) -> Book:
    """Return the Ethics, cut at propositions, definitions, prefaces, appendices and their chapters.

    Args:
        paragraphs: In order; each has "ref" (e.g. "E3P9", "E3 XLIV", "E1 Appendice"), "kind" ("label" for a heading
            such as SCOLIE II, else "p") and "text".
    """
    texts: list[list[str]] = []
    where: dict[str, int] = {}
    name = corollary = ""
    for one in paragraphs:
        name = _ethics_name(one["ref"], one["kind"], one["text"], name)
        if name not in where:
            where[name] = len(texts)
            texts.append([])
            corollary = ""
        if one["kind"] != "label":
            texts[where[name]].append(one["text"])
            continue
        part = _PART_OF_PROPOSITION.match(one["text"])
        if not part:
            continue
        short = f"{part['kind'][0]}{roman(part['number'] or '') or ''}"
        where.setdefault(f"{name}{short}", where[name])
        if part["kind"] == "COROLLAIRE":
            corollary = short
        elif corollary:  # a scholium after a corollary is often cited as the corollary's
            where[f"{name}{corollary}S"] = where[name]
    return Book([" ".join(parts) for parts in texts], where, FARTHEST_PROPOSITION)


def _ethics_name(ref: str, kind: str, text: str, before: str) -> str:
    """Return the name of the place that a paragraph belongs to; `before` is the last paragraph's."""
    part, _, title = ref.partition(" ")
    if title == "Définitions":
        numbered = _NUMBERED.match(text) if kind != "label" else None
        if numbered:
            return f"{part}Def{roman(numbered['number'])}"
        return before if before.startswith(f"{part}Def") else f"{part}Def"
    if roman(title):
        return f"{part}DefAff{roman(title)}"
    if title.startswith("Chapitre "):
        return f"{part}App{roman(title.removeprefix('Chapitre '))}"
    if not title and re.fullmatch(r"E\d", part):
        return f"{part}Préf"
    known = {"Préface": "Préf", "Appendice": "App", "Définition générale des affections": "DefGen"}
    return f"{part}{known[title]}" if title in known else ref


def own_words(note: Note) -> str:
    """Return what a note says of its place: all but the notions, the schemes and the question."""
    return " ".join((note.title, note.idea, note.image, note.text, *note.keywords))


def problems(notes: Iterable[Note], books: Mapping[str, Book]) -> dict[str, str]:
    """Return what is wrong with the loci: a sentence for each note, by its id; empty when all is well.

    Args:
        notes: Of any author.
        books: By title of the work; notes of other works are judged by the form of their locus alone.
    """
    found: dict[str, str] = {}
    for note in notes:
        if not is_well_formed(note.author, note.work, note.locus):
            found[note.id] = f"{note.locus!r} is no place of {note.work}."
        elif note.work in books:
            try:
                share = books[note.work].share_nearer(own_words(note), places_of(note.author, note.locus))
            except RetrievalError as error:
                found[note.id] = str(error)
                continue
            if share > books[note.work].farthest:
                found[note.id] = f"{share:.0%} of {note.work} is nearer to the note than {note.locus}."
    return found
