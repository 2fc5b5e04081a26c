"""References that can be trusted: numbers checked, quotations compared with the passages. Knows no model and no page.

The model never writes a reference. Passages are numbered by code; of an answer's markers only those of a passage that
was given survive; what stands in quotation marks must stand in an original text, else the marks go and a notice says
so. Our notes are paraphrases: they carry a number, and nothing of them can be quoted.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein

from retrieval.french import fold
from retrieval.passages import Passage

FUZZY_FROM = 25  # characters: a shorter quotation must stand there word for word
WORDS_A_SLIP = 4  # of so many words one may differ, by a slip
LETTERS = 4  # of a word in which one letter may differ: shorter ones become others (mot, mort)
ENDINGS = frozenset(("e", "s", "x", "es"))  # of gender and number, and what an elision takes away
MAX_PARTS = 4  # between cuts: of more parts any sentence can be made
PART = 3  # words of a part that does not begin its sentence
MAX_QUOTE = 600  # characters held back for a closing mark; a longer one is no quotation
MAX_MARKER = 40  # characters held back for a closing bracket: [1, 2, 3]
PAIRS = {"«": "»", "“": "”", "„": "“", '"': '"'}
# Words that turn a sentence round: none is left out by a cut within it, and none comes by a slip.
NEGATIONS = frozenset("ne n pas jamais rien aucun aucune nul nulle ni non sans".split())
TURNING = NEGATIONS | frozenset("point toujours tout tous toute seul".split())

_MARKER = re.compile(r"\[\s*\d+(?:\s*(?:[,;–-]|et)\s*\d+)*\s*\]")
_MARKER_BEGUN = re.compile(r"\[[\s\d,;–et-]*\Z")
_MARKS = re.compile('[«»“”„"]')
_SENTENCES = re.compile(r"(?<=[.!?…])[\s»”)\]]+(?=[«“(\[–—\s]*[A-ZÀ-ÖØ-ÞŒ])")
_CUT = re.compile(r"\[\s*(?:…|\.\.\.)\s*\]|\(\s*(?:…|\.\.\.)\s*\)|…|\.\.\.")


@dataclass(frozen=True)
class Source:
    """A numbered passage, as a reader sees it.

    Attributes:
        number: From 1, the same in prompt and answer.
        author: Its author.
        work: Title of the work.
        locus: Place in the work, page included, e.g. "chap. II, p. 168"; empty when unknown.
        link: To a facsimile, or empty.
        text: The passage.
        original: Whether these are the author's words.
    """

    number: int
    author: str
    work: str
    locus: str
    link: str
    text: str
    original: bool

    @property
    def reference(self) -> str:
        """Author, work and place, in one line."""
        return ", ".join(part for part in (self.author, self.work, self.locus) if part)


def to_sources(passages: Iterable[Passage]) -> tuple[Source, ...]:
    """Number passages from 1, and render the place of each from what is known of it."""
    return tuple(
        Source(
            number,
            one.author,
            f"{one.work} ({one.edition})" if "extrait" in fold(one.edition) else one.work,
            _place(one),
            one.facsimile if one.facsimile.startswith(("https://", "http://")) else "",
            one.text,
            one.original,
        )
        for number, one in enumerate(passages, 1)
    )


def _place(one: Passage) -> str:
    page = f"p. {one.page}" if one.page and not re.search(rf"p\. ?{re.escape(one.page)}\b", one.locus) else ""
    place = one.locus or (one.section[-1] if one.section else "")
    return ", ".join(part for part in (place, page) if part)


class CheckedAnswer:
    """An answer that is checked while it streams: what was returned is never taken back.

    The joined results of `feed` and `finish` are the answer; how it was cut into pieces changes nothing. What may
    still become a marker or a quotation is held back.

    Args:
        sources: The passages that the prompt gave, numbered.

    Attributes:
        cited: Numbers that the answer names, in the order of their first place.
        notices: Codes of what was changed: "marker_removed", "quote_unmarked".
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.cited: list[int] = []
        self.notices: set[str] = set()
        self._known = {source.number for source in sources}
        # As the prompt shows them: without numbers of notes.
        self._texts = [_Text.of(_without_markers(source.text)) for source in sources if source.original]
        self._held = ""
        self._begun = False
        self._orphans: list[str] = []  # closing marks whose opening ones are gone

    def feed(self, text: str) -> str:
        """Take the next piece of the answer; return what may be shown now."""
        self._held += text
        return self._release(final=False)

    def finish(self) -> str:
        """Return the rest of the answer."""
        return self._release(final=True)

    def _release(self, *, final: bool) -> str:
        shown = []
        while self._held:
            found = re.search(rf"\s*[\[{''.join([*PAIRS, *self._orphans])}]", self._held)
            if not found:
                end = len(self._held) if final else len(self._held.rstrip())
                shown.append(self._held[:end])
                self._held = self._held[end:]
                break
            shown.append(self._held[: found.start()])
            self._held = self._held[found.start() :]
            self._begun = self._begun or any(shown)
            mark = found.group()[-1]
            if mark in self._orphans:
                self._orphans.remove(mark)
                shown.append("" if mark == "»" else found.group()[:-1])
                self._held = self._held[len(found.group()) :]
                continue
            part = self._marker(final=final) if mark == "[" else self._quotation(final=final)
            if part is None:
                break
            shown.append(part)
        text = "".join(shown)
        self._begun = self._begun or bool(text)
        return text

    def _marker(self, *, final: bool) -> str | None:
        """Take what begins with a bracket; None while it may still become a marker."""
        space = self._held[: self._held.index("[")]
        rest = self._held[len(space) :]
        whole = _MARKER.match(rest)
        if whole:
            self._held = rest[whole.end() :]
            kept = self._numbers(whole.group())
            return space + "".join(f"[{number}]" for number in kept) if kept else ""
        if not final and len(rest) <= MAX_MARKER and _MARKER_BEGUN.match(rest):
            return None
        self._held = rest[1:]
        return f"{space}["

    def _numbers(self, marker: str) -> list[int]:
        numbers = [int(digits[:6]) for digits in re.findall(r"\d+", marker)]
        if len(numbers) == 2 and re.search(r"\d\s*[–-]\s*\d", marker):  # [1-3] means all of them
            low, high = numbers
            numbers = list(range(low, min(high, low + len(self._known)) + 1)) or numbers
        kept = [number for number in dict.fromkeys(numbers) if number in self._known]
        if len(kept) < len(set(numbers)):
            self.notices.add("marker_removed")
        self.cited += [number for number in kept if number not in self.cited]
        return kept

    def _quotation(self, *, final: bool) -> str | None:
        """Take what begins with an opening mark; None while its end has not come."""
        opening = re.search(f"[{''.join(PAIRS)}]", self._held)
        if opening is None:
            return None
        start, mark = opening.start(), opening.group()
        end = self._held.find(PAIRS[mark], start + 1, start + 1 + MAX_QUOTE)
        if end < 0 and not final and len(self._held) - start <= MAX_QUOTE:
            return None
        space = self._held[:start]
        if end < 0:  # it never ends: the words stay, the mark goes
            self.notices.add("quote_unmarked")
            self._orphans.append(PAIRS[mark])
            rest = self._held[start + 1 :]
            self._held = rest.lstrip() if space or not self._begun else rest
            return space
        inner = self._held[start + 1 : end]
        words = _MARKS.sub("", _without_markers(inner))  # a mark left inside would pair with one outside
        if self.is_quotation(words):
            self._held = self._held[end + 1 :]
            kept = [number for found in _MARKER.findall(inner) for number in self._numbers(found)]
            return space + mark + words + PAIRS[mark] + "".join(f" [{number}]" for number in dict.fromkeys(kept))
        self.notices.add("quote_unmarked")
        if mark == "«":
            inner = inner.strip()
        elif space or not self._begun:  # what follows a word may be a closing mark: its blank parts two words
            inner = inner.lstrip()
        self._held = inner + self._held[end + 1 :]  # markers and marks inside it are looked at in their turn
        return space

    def is_quotation(self, text: str) -> bool:
        """Whether these words stand in an original passage: all of them, or, of a longer text, with a slip of the pen.

        The parts between cuts (« … », « […] ») must follow each other in one passage, and what is left out must not
        turn them round: see `_Text.may_cut`.
        """
        plain = _without_markers(text)
        ways = [[_words(plain)]]  # first without cuts: the dots may be the author's
        parts = [part for part in map(_words, _CUT.split(plain)) if part]
        if len(parts) <= MAX_PARTS:
            ways.append(parts)
        return bool(parts) and any(_stands_in(way, passage) for way in ways for passage in self._texts)


@dataclass(frozen=True)
class _Text:
    """A passage as quotations are compared with it.

    Attributes:
        words: See `_words`.
        sentences: The number of the sentence of each.
    """

    words: list[str]
    sentences: list[int]

    @classmethod
    def of(cls, text: str) -> "_Text":
        told = [(word, at) for at, one in enumerate(_SENTENCES.split(text)) for word in _words(one)]
        return cls([word for word, _ in told], [number for _, number in told])

    def begins(self, at: int) -> bool:
        """Whether a sentence begins with this word."""
        return at == 0 or self.sentences[at] != self.sentences[at - 1]

    def may_cut(self, end: int, start: int) -> bool:
        """Whether the words between may be left out: of one sentence, without a negation; else up to the next head."""
        if self.sentences[end - 1] != self.sentences[start]:
            return self.begins(start)
        return NEGATIONS.isdisjoint(self.words[end:start])


def _without_markers(text: str) -> str:
    return re.sub(r"\s*" + _MARKER.pattern, "", text)


def _words(text: str) -> list[str]:
    """Return the words alone, folded, so that whole words are compared."""
    return re.findall(r"[a-z0-9]+", fold(text))


def _stands_in(parts: Sequence[Sequence[str]], passage: _Text) -> bool:
    """Whether the parts of a quotation follow each other in a passage, with nothing between that may not be cut."""
    ends: set[int] | None = None
    for part in parts:
        ends = {
            stop
            for start, stop in _places(part, passage.words)
            if (len(parts) == 1 or len(part) >= PART or passage.begins(start))
            and (ends is None or any(end <= start and passage.may_cut(end, start) for end in ends))
        }
    return bool(ends)


def _places(part: Sequence[str], words: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield where a part begins and ends among the words of a passage; a long one may differ by slips."""
    letters, long = "".join(part), len(" ".join(part)) >= FUZZY_FROM
    for start in range(len(words)):
        there = words[start : start + len(part)]
        if there == part or (long and len(there) == len(part) and _differ_by_slips(part, there)):
            yield start, start + len(part)
        elif long and (stop := _spelt(letters, words, start)):
            yield start, stop


def _spelt(letters: str, words: Sequence[str], start: int) -> int:
    """Return where the words end that have these letters, 0 if none do: « con science » is what a scan has read."""
    spelt = ""
    for stop in range(start, len(words)):
        spelt += words[stop]
        if spelt == letters:
            return stop + 1
        if not letters.startswith(spelt):
            break
    return 0


def _differ_by_slips(said: Sequence[str], there: Sequence[str]) -> bool:
    different = [pair for pair in zip(said, there, strict=True) if pair[0] != pair[1]]
    return len(different) * WORDS_A_SLIP <= len(said) and all(_is_slip(*pair) for pair in different)


def _is_slip(said: str, there: str) -> bool:
    """Whether two words are one but for an ending, or for a letter that is not the first.

    >>> _is_slip("sucre", "sucree"), _is_slip("l", "les"), _is_slip("joie", "peur"), _is_slip("moral", "immoral")
    (True, True, False, False)
    """
    short, long = sorted((said, there), key=len)
    if not TURNING.isdisjoint((short, long)) or not (short + long).isalpha() or short[0] != long[0]:
        return False
    if long.startswith(short) and long[len(short) :] in ENDINGS:
        return True
    return len(short) >= LETTERS and Levenshtein.distance(short, long) <= 1
