"""From the bytes of sampled pieces to text that may be shown. Pure: knows no model, no thread and no clock.

Shown text cannot be taken back, so `AnswerText` holds back what might still have to go: half a character, spaces that
may turn out to be the last, the beginning of a stop text and, near the end of the budget, an unfinished sentence.
"""

import codecs
import math
import re
from collections.abc import Sequence

TAIL = 24  # tokens before the end of the budget from which only whole sentences are begun; a quarter of it if more

# A sentence ends with its mark and any closing quotes after it (« Oui ! »), before a space or the end of the text.
# One letter before a dot is an initial (B. Spinoza) or a page (p. 12), and « cf. » announces something.
_END = re.compile(
    r"(?:(?<!\b\w)(?<!\bcf)(?<!\bCf)\.|[!?…])[.!?…]*(?:\s?[»”\"’')\]])*(?=\s|\Z)",
)


def sentence_end(text: str, *, whole: bool = True) -> int:
    """Return where the last finished sentence of `text` ends, 0 when none is finished.

    Args:
        text: Any text.
        whole: False when more may follow: an end is then only sure once a space has come after it.

    >>> sentence_end("Je pense. Donc je")
    9
    >>> sentence_end("Je pense.", whole=False)
    0
    """
    ends = [match.end() for match in _END.finditer(text) if whole or match.end() < len(text)]
    return ends[-1] if ends else 0


def nears_end(n_tokens: int, max_tokens: int, *, spent_s: float = 0.0, left_s: float = math.inf) -> bool:
    """Say whether an answer comes near its end, by length or by time: from then on, `AnswerText.feed` should hold.

    Args:
        n_tokens: Tokens so far, at least one.
        max_tokens: Most tokens.
        spent_s: Seconds that they took.
        left_s: Seconds until the deadline; at the speed so far, they are so many tokens more.

    >>> nears_end(10, 160), nears_end(130, 160), nears_end(10, 160, spent_s=1.0, left_s=2.0)
    (False, True, True)
    """
    steps_left = left_s / max(spent_s / n_tokens, 1e-6)
    return min(max_tokens - n_tokens, steps_left) < max(TAIL, max_tokens // 4)


class AnswerText:
    """The text of one answer, as it grows.

    The joined results of `feed` and `finish` are the answer, without outer spaces and without any stop text; how the
    bytes were cut into pieces does not change them. Bytes that are no UTF-8 are dropped.

    Args:
        stop: Texts that end the answer. The one completed first counts; of several, the longest.
        sentences: Whether `finish(cut=True)` drops an unfinished last sentence.

    When `feed` is called with `hold=True`, because the budget is nearly spent, a sentence that has begun to be shown
    is shown on, as nothing can be won by stopping it; from its end on only whole sentences are shown.
    """

    def __init__(self, stop: Sequence[str] = (), *, sentences: bool = False) -> None:
        self.stopped = False
        self._stop = tuple(text for text in stop if text)
        self._sentences = sentences
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="ignore")
        self._text = ""  # everything so far, without leading spaces; `_shown` characters of it were returned
        self._shown = 0
        self._raw = ""  # the last characters, leading spaces included: stop texts are looked for here
        self._held_from: int | None = None  # what was shown when holding began

    def feed(self, piece: bytes, *, hold: bool = False) -> str:
        """Take the bytes of the next piece and return what may be shown now, perhaps nothing.

        After a stop text (`stopped` is True) everything that follows is ignored.
        """
        self._take(self._decoder.decode(piece))
        if hold and self._sentences and self._held_from is None:
            self._held_from = self._shown
        limit = len(self._text) if self.stopped else max(len(self._text) - self._pending_stop(), 0)
        if self._held_from is not None and not self.stopped:
            limit = min(limit, self._sentence_limit())
        return self._show(limit)

    def finish(self, *, cut: bool = False) -> str:
        """Return the rest of the answer.

        Args:
            cut: The answer did not end by itself: an unfinished last sentence is dropped, unless it was shown already
                or is all there is.
        """
        self._take(self._decoder.decode(b"", final=True))
        limit = len(self._text)
        if cut and self._sentences and not self.stopped:
            limit = sentence_end(self._text) or limit
        return self._show(limit)

    @property
    def is_blank(self) -> bool:
        """Whether nothing but spaces has come so far."""
        return not self._text.strip()

    def _take(self, text: str) -> None:
        """Add characters one by one, so that a stop text is found at its last one, however the pieces were cut."""
        longest = max(map(len, self._stop), default=0)
        for char in text:
            if self.stopped:
                return
            self._raw = (self._raw + char)[-longest:] if longest else ""
            if self._text or not char.isspace():
                self._text += char
            found = [len(stop) for stop in self._stop if self._raw.endswith(stop)]
            if found:
                self.stopped = True
                self._text = self._text[: max(len(self._text) - max(found), 0)]

    def _pending_stop(self) -> int:
        """Length of the longest end of the text that may become a stop text."""
        return max(
            (n for stop in self._stop for n in range(1, len(stop)) if self._raw.endswith(stop[:n])),
            default=0,
        )

    def _sentence_limit(self) -> int:
        held_from = self._held_from or 0
        end = sentence_end(self._text, whole=False)
        mid_sentence = sentence_end(self._text[:held_from]) < held_from
        if end > held_from or not mid_sentence:
            return end
        return len(self._text)

    def _show(self, limit: int) -> str:
        end = max(len(self._text[:limit].rstrip()), self._shown)
        shown = self._text[self._shown : end]
        self._shown = end
        return shown
