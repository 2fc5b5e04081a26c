"""What the engine keeps of each request that it serves, and of each prompt that is being read. Knows no model."""

import time
from dataclasses import dataclass, field

from engines.answer import Answer
from engines.base import Finished, SamplingParams
from engines.cells import CachedSequence
from engines.prompt import Prompt
from engines.residents import Prefix
from engines.waiting import Job


def room(prompt: Prompt, params: SamplingParams) -> int:
    """Cells that an answer and what follows it may take behind their prompt."""
    return params.max_tokens + (len(prompt.aside) + params.aside.max_tokens if params.aside else 0)


@dataclass(frozen=True)
class Ended:
    """An answer that is over, while its aside is read and written.

    Attributes:
        finished: What is told in the end.
        prompt: The whole that the aside is drawn from.
        n_kept: Length of the prompt and the answer: what the chat keeps.
        began: When its reading could begin, on the clock of `time.monotonic`: it has not waited before.
    """

    finished: Finished
    prompt: Prompt
    n_kept: int
    began: float = field(default_factory=time.monotonic)


@dataclass(eq=False)
class Slot:
    """A request that is being served.

    Attributes:
        job: Who asked.
        answer: What has been said; None for a prompt that is only read ahead.
        prefix: The system prompt that must be read first, None once it was.
        sequence: Where it is read, None until then.
        n_cached: Tokens of the prompt that were known.
        turn: The step that it last had a row in.
        spoke: When it got its last token, on the clock of `time.monotonic`; 0 before the first.
        started: When it was taken in, on the clock of `time.monotonic`.
        ended: What the answer came to, while an aside follows it.
    """

    job: Job
    answer: Answer | None = None
    prefix: Prefix | None = None
    sequence: CachedSequence | None = None
    n_cached: int = 0
    turn: int = 0
    spoke: float = 0.0
    started: float = field(default_factory=time.monotonic)
    ended: Ended | None = None

    @property
    def prompt(self) -> Prompt:
        """What is read now: the job's prompt, or that of the aside which follows its answer."""
        return self.ended.prompt if self.ended else self.job.prompt

    @property
    def unread(self) -> int:
        """Tokens of the prompt still to be read."""
        return max(len(self.prompt.ids) - len(self.sequence.tokens), 0) if self.sequence else 0

    @property
    def promised(self) -> int:
        """Cells that it may still take."""
        if self.job.params is None:
            return 0
        held = len(self.sequence.tokens) if self.sequence else self.job.prompt.n_shared if self.prefix else 0
        return max(len(self.job.prompt.ids) + room(self.job.prompt, self.job.params) - held, 0)


@dataclass(frozen=True, order=True)
class Reading:
    """A prompt that is being read.

    Attributes:
        urgency: Least first: tokens left, less what it gained by waiting.
        number: Tells two of the same urgency apart.
        ids: All of it.
        sequence: Where it is read.
        slot: Who gets the token after its last one; None for a system prompt.
    """

    urgency: float
    number: int
    ids: tuple[int, ...] = field(compare=False)
    sequence: CachedSequence = field(compare=False)
    slot: Slot | None = field(compare=False)
