"""One answer on its way: tokens come in one by one, text goes to the caller, something ends it. Knows no batch."""

import time

from engines.base import FinishReason, SamplingParams, Token
from engines.llama_model import LlamaModel, Sampler
from engines.prompt import OPEN
from engines.text import AnswerText, nears_end
from engines.waiting import Job
from errors import EngineError, EngineTimeout


class Answer:
    """What an answer has come to.

    Near the end of `max_tokens` or of the deadline (`engines.text.nears_end`), and with `end_at_sentence`, a sentence
    that has begun to be shown is shown on, and later ones only when they are finished. So a cut answer ends at a
    sentence's end, unless a sentence is longer than the tail.

    Args:
        job: Who asked.
        params: How to answer: the job's own, or those of what follows its answer.
        model: For the pieces of the vocabulary.
        sampler: Draws its tokens; freed by `close`.

    Attributes:
        sampled: Ids so far.
        said: Text that was shown.
        began: When the first text was shown, on the clock of `time.monotonic`; 0 before.
        reason: What ended it, None while it goes on.
    """

    def __init__(self, job: Job, params: SamplingParams, model: LlamaModel, sampler: Sampler) -> None:
        self.sampled: list[int] = []
        self.said = ""
        self.began = 0.0
        self.reason: FinishReason | None = None
        self._job, self._params, self._model, self._sampler = job, params, model, sampler
        # JSON ends where its grammar says: no stop text and no sentence may cut it.
        plain = params.json_schema is None
        stops = (*params.stop, OPEN) if plain else ()
        self._text = AnswerText(stops, sentences=plain and params.end_at_sentence)
        self._started = 0.0  # when the first token was drawn: the time to read the prompt says nothing of the speed

    def draw(self, row: int) -> None:
        """Sample the next token from a row of the last step, show what may be shown, and note what ends the answer.

        Raises:
            EngineTimeout: The deadline passed before there was anything to show.
            EngineError: `answer_empty`: the model ended its answer before there was.
        """
        self._started = self._started or time.monotonic()
        token = self._model.sample(self._sampler, row, speak=self._text.is_blank)
        if self._model.is_control(token):
            self._end("stop", cut=False)
            return
        self.sampled.append(token)
        count = len(self.sampled)
        self._show(self._text.feed(self._model.piece(token), hold=self._nears_end(count)))
        if self._text.stopped:
            self._end("stop", cut=False)
        elif count >= self._params.max_tokens:
            self._end("length", cut=True)
        elif self._job.is_late:
            self._end("deadline", cut=True)

    def close(self) -> None:
        """Free the sampler."""
        self._sampler.close()

    def kept(self) -> tuple[int, ...]:
        """Return the sampled ids that spell what was shown: the chat's next turn gives them back. Empty if none do."""
        pieces = list(map(self._model.piece, self.sampled))
        for count in range(len(pieces), 0, -1):
            text = b"".join(pieces[:count]).decode("utf-8", errors="ignore").strip()
            if text == self.said:
                return tuple(self.sampled[:count])
            if len(text) < len(self.said):
                break
        return ()

    def _end(self, reason: FinishReason, *, cut: bool) -> None:
        self._show(self._text.finish(cut=cut))
        if not self.said and reason == "deadline":
            raise EngineTimeout("The deadline passed before the first word; ask again later.")
        if not self.said:
            raise EngineError("The model answered with nothing that can be shown; ask again.", code="answer_empty")
        self.reason = reason

    def _show(self, text: str) -> None:
        if text:
            self.began = self.began or time.monotonic()
            self.said += text
            self._job.send(Token(text))

    def _nears_end(self, count: int) -> bool:
        now, deadline = time.monotonic(), self._job.deadline
        left_s = float("inf") if deadline is None else deadline - now
        return nears_end(count, self._params.max_tokens, spent_s=now - self._started, left_s=left_s)
