"""A small model says its reading note back; where it loses its way in a sentence, the note's own stands there.

Pure text, pieces in and pieces out. Knows sentences; knows no model, no note file and no tier.
"""

import re
from collections.abc import Iterable

from rapidfuzz.distance import Indel, Prefix

_END = re.compile(r"[.?!…]+(?:\s*[»”\"])*(?=\s+[^\s»”\"?!.…])")  # « je ? » ends behind its quotation mark
_LAST_END = re.compile(r"[.?!…]+(?:\s*[»”\"])*$")
_ALIKE = 0.65  # of the letters, in order: sentences that lost their way had .68 and more, the model's own .55 and less
_BEGUN_CHARS = 18  # said as the note says them: longer than « Est-ce que c'est », which begins many questions


class Retelling:
    """An answer as it comes, kept to the note that stands in its prompt.

    What is word for word the note's is passed on at once. A sentence that leaves the note is held until it ends: where
    it began as the note's, or is nearly the note's, the note's is said to its end; else the model's own words are.
    A sentence without its end, as `max_tokens` leaves it, is left so.
    However the answer is cut into pieces, the pieces returned join to the same text.

    Args:
        note: What the prompt gave: its idea, its image, its question.

    Attributes:
        mended: How many sentences the note gave in the model's place.
    """

    def __init__(self, note: Iterable[str]) -> None:
        self._unsaid = [sentence for text in note for sentence in split(text)]
        self._sentence = ""  # the one that is being said, as the model says it
        self._passed = 0  # characters of it that were passed on
        self.mended = 0

    def feed(self, text: str) -> str:
        """Take the next piece; return what can be shown."""
        self._sentence += text
        shown = self._take_space()
        while end := _END.search(self._sentence):
            rest = self._sentence[end.end() :]
            self._sentence = self._sentence[: end.end()]
            shown += self._end_sentence()
            self._sentence = rest
            shown += self._take_space()
        return shown + self._pass_on()

    def finish(self) -> str:
        """Return what was held, once the answer is over; a sentence that was cut short is left as it was cut."""
        end = len(self._sentence.rstrip())
        space, self._sentence = self._sentence[end:], self._sentence[:end]
        if _LAST_END.search(self._sentence):
            return self._end_sentence() + space
        shown = self._sentence[self._passed :]
        self._sentence, self._passed = "", 0
        return shown + space

    def _take_space(self) -> str:
        """Return the white space before a sentence's first word: it is nobody's, and is shown as it is."""
        words = self._sentence.lstrip()
        space = self._sentence[: len(self._sentence) - len(words)]
        self._sentence = words
        return space

    def _pass_on(self) -> str:
        """Return what of the open sentence is the note's so far and was not yet shown."""
        whole = len(self._sentence.rstrip())  # what comes next decides to which sentence a space belongs
        common = max((Prefix.similarity(self._sentence, one) for one in self._unsaid), default=whole)
        if common <= self._passed:
            return ""
        shown, self._passed = self._sentence[self._passed : common], common
        return shown

    def _end_sentence(self) -> str:
        shown = self._pass_on()
        said, passed = self._sentence, self._passed
        self._sentence, self._passed = "", 0
        fits = [one for one in self._unsaid if one.startswith(said[:passed])]
        nearest = max(fits, key=lambda one: Indel.normalized_similarity(said, one), default=None)
        if nearest is None:
            return shown + said[passed:]
        if said == nearest:
            self._unsaid.remove(nearest)
            return shown
        if passed < _BEGUN_CHARS and Indel.normalized_similarity(said, nearest) < _ALIKE:
            return shown + said[passed:]
        self._unsaid.remove(nearest)
        self.mended += 1
        return shown + nearest[passed:]


def retell(answer: str, note: Iterable[str]) -> tuple[str, int]:
    """Return a whole answer kept to its note, and how many of its sentences the note gave.

    >>> retell("La vie est un élan que rien arrêter. Et toi ?", ["La vie est un élan que rien n'arrête."])
    ("La vie est un élan que rien n'arrête. Et toi ?", 1)
    """
    keeper = Retelling(note)
    shown = keeper.feed(answer)
    return shown + keeper.finish(), keeper.mended


def split(text: str) -> list[str]:
    """Return the sentences of a text, a closing quotation mark with the sentence that it ends.

    >>> split("Il dit « je ? » Et toi ?")
    ['Il dit « je ? »', 'Et toi ?']
    """
    found, start = [], 0
    for end in _END.finditer(text):
        found.append(text[start : end.end()].strip())
        start = end.end()
    return [*found, text[start:].strip()] if text[start:].strip() else found
