"""The one family of errors. Knows nothing of the rooms that raise them; every room may import it.

A message is for the log and says in English what is wrong, which value, what to do next. `code` is what the page
looks up to say the same in the pupil's language; `retryable` says whether the same call can succeed later.

    ChatError
    ├── SettingsError            a variable is wrong                    -> fix it, start again
    ├── PersonaError             a file of personas/ is wrong           -> fix the key it names
    ├── MessageError             the pupil's message cannot be used     -> the page says why, the text is kept
    ├── EngineError              an engine stopped or refused           -> its tier falls back, or raises TierError
    │   ├── ModelUnfit           the file is no model we can talk with  -> another file
    │   ├── EngineBusy           the queue is full (retryable)          -> wait, ask again
    │   └── EngineTimeout        the deadline passed before the answer began (retryable)
    ├── TierError
    │   ├── TierBusy             no free slot (retryable)               -> wait, ask again
    │   └── TierUnavailable      not configured, or down                -> an operator acts
    ├── SourceError              no source gave the bytes of a model    -> network, or a path
    ├── RetrievalError           notes or an index are missing or wrong -> fix the line it names
    ├── CorpusError              training data is wrong                 -> fix the line it names
    ├── TrainingError            a run cannot start or go on            -> fix the recipe
    └── ConversionError          an artefact is missing or unfit        -> rerun the step before
"""


class ChatError(Exception):
    """Root of every error that this project raises on purpose.

    Attributes:
        code: Key of the sentence that the page shows, e.g. "engine_busy".
        retryable: True when the same call can succeed later.
        retry_after_s: Seconds after which it is worth a try, where somebody knows.
    """

    code: str = "internal"
    retryable: bool = False
    retry_after_s: float | None = None

    def __init__(self, message: str, *, code: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        if retry_after_s is not None:
            self.retry_after_s = retry_after_s


class SettingsError(ChatError):
    """A setting is missing or wrong."""

    code = "settings"


class PersonaError(ChatError):
    """A persona or scheme file is missing, wrong or unknown."""

    code = "persona"


class MessageError(ChatError):
    """The pupil's message is empty, too long or not text (`code` says which)."""

    code = "message_empty"


class EngineError(ChatError):
    """An engine stopped or refused."""

    code = "engine_failed"


class ModelUnfit(EngineError):
    """The file is missing, damaged or no chat model (`code`: model_missing, model_corrupt, model_not_chat)."""

    code = "model_corrupt"


class EngineBusy(EngineError):
    """The engine's queue is full."""

    code = "engine_busy"
    retryable = True


class EngineTimeout(EngineError):
    """The deadline passed before the first token."""

    code = "engine_timeout"
    retryable = True


class TierError(ChatError):
    """A tier cannot answer."""

    code = "tier_unavailable"


class TierBusy(TierError):
    """No slot is free now; the same call can succeed later."""

    code = "engine_busy"
    retryable = True


class TierUnavailable(TierError):
    """This tier cannot answer until an operator acts."""


class SourceError(ChatError):
    """No source gave the bytes of a model (`code`: source_unreachable, source_corrupt, disk_full)."""

    code = "source_unreachable"
    retryable = True


class RetrievalError(ChatError):
    """Reading notes or an index are missing or wrong."""

    code = "retrieval"


class CorpusError(ChatError):
    """A line of training data is wrong."""

    code = "corpus"


class TrainingError(ChatError):
    """A training run cannot start or go on."""

    code = "training"


class ConversionError(ChatError):
    """An artefact is missing, exists already, or is unfit for the next step."""

    code = "conversion"


def place_of(error: BaseException) -> str:
    """Return the file and line that raised it: for the log, where the text of a foreign error may quote a pupil."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "unknown"
