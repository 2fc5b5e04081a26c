"""Does the GGUF say what the checkpoint says? Divergence, perplexity, greedy answers, their ends. Knows both sides."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from conversion.gates.judge import at_least, at_most, skipped
from conversion.reference import F32, HubModel, Laid, encode, lay_out, nats, render
from conversion.report import Gate
from conversion.tensors import Progress
from conversion.texts import Texts
from engines.base import ChatMessage
from engines.scoring import MAX_TOKENS, ScoringModel, kl, log_softmax

KL_FLOAT, TOP_FLOAT = 1e-3, 0.99
KL_QUANTISED, KL_QUANTISED_99, TOP_QUANTISED = 0.05, 0.5, 0.90
PPL_FLOAT, PPL_QUANTISED = 0.01, 0.05  # relative increase of perplexity
LOGIT_LIMIT = 1e-3  # between a float32 merge and its adapter
GREEDY = 64  # first tokens compared
ANSWER = 160  # tokens within which an answer should end
MAX_PROMPTS = 4
TIE = 0.05  # difference of logits below which either choice is right
ENDS, ENDS_QUANTISED = 0.99, TOP_QUANTISED
# Of the adapter's effect on the answers. A share below it is nearer to another model than to the one that was trained.
KEPT = 0.8


@dataclass(frozen=True)
class Rows:
    """Log-probabilities at the positions that count, one file a text: too many for memory where vocabularies are large.

    Attributes:
        laid: The texts.
        files: As many .npy files, (n_counted, n_vocab) float32.
    """

    laid: tuple[Laid, ...]
    files: tuple[Path, ...]

    def __iter__(self) -> Iterator[tuple[Laid, F32]]:
        for laid, file in zip(self.laid, self.files, strict=True):
            yield laid, np.load(file, mmap_mode="r")

    def drop(self) -> None:
        """Remove the files: they are gigabytes."""
        for file in self.files:
            file.unlink()


@dataclass(frozen=True)
class Compared:
    """How far one model is from another, at every position that counts.

    Attributes:
        tokens: Positions.
        mean: Mean KL(reference ‖ other), nats; `median`, `p99`, `p999`, `largest` likewise.
        same_top: Share of positions with the same likeliest token.
        same_sure: The same, where the reference's two best are nearer than `TIE` counted as the same: rounding alone
            may take either.
        perplexity: Of the other model on the tokens that came.
        reference_perplexity: Of the reference.
        ends: Positions where the reference ends its answer, and where the other does too.
    """

    tokens: int
    mean: float
    median: float
    p99: float
    p999: float
    largest: float
    same_top: float
    same_sure: float
    perplexity: float
    reference_perplexity: float
    ends: tuple[int, int]

    @property
    def figures(self) -> dict[str, float]:
        """The divergence as the report shows it."""
        names = ("tokens", "median", "p99", "p999", "largest", "same_top", "same_sure")
        return {name: round(getattr(self, name), 6) for name in names}


def record(laid: Sequence[Laid], ask: Callable[[Sequence[int]], F32], folder: Path, on_progress: Progress) -> Rows:
    """Ask a model for every text and keep what counts in `folder`, which is made."""
    folder.mkdir(parents=True)
    files = []
    for number, one in enumerate(laid):
        path = folder / f"{number}.npy"
        np.save(path, ask(one.ids)[np.asarray(one.counted) - 1])
        files.append(path)
        on_progress((number + 1) / len(laid))
    return Rows(tuple(laid), tuple(files))


def compare(reference: Rows, other: Rows) -> Compared:
    """Compare two models on the same texts; columns that only one vocabulary has are left out."""
    found: list[npt.NDArray[np.float64]] = []
    same: list[npt.NDArray[np.bool_]] = []
    sure: list[npt.NDArray[np.bool_]] = []
    ours: list[npt.NDArray[np.float64]] = []
    theirs: list[npt.NDArray[np.float64]] = []
    n_ends, n_kept = 0, 0
    for (laid, wanted), (_, given) in zip(reference, other, strict=True):
        a, b = _same_width(wanted, given)
        found.append(kl(a, b))
        same.append(a.argmax(1) == b.argmax(1))
        best = np.partition(a, -2, axis=1)[:, -2:]
        sure.append(same[-1] | (best[:, 1] - best[:, 0] < TIE))
        ours.append(nats(b, laid))
        theirs.append(nats(a, laid))
        for row, at in enumerate(laid.counted):
            if at in laid.ends and int(a[row].argmax()) == laid.ids[at]:
                n_ends += 1
                n_kept += int(b[row].argmax()) == laid.ids[at]
    every, agree = np.concatenate(found), np.concatenate(same)
    median, p99, p999 = (float(value) for value in np.percentile(every, (50, 99, 99.9)))
    return Compared(
        tokens=len(every),
        mean=float(every.mean()),
        median=median,
        p99=p99,
        p999=p999,
        largest=float(every.max()),
        same_top=float(agree.mean()),
        same_sure=float(np.concatenate(sure).mean()),
        perplexity=float(np.exp(np.concatenate(ours).mean())),
        reference_perplexity=float(np.exp(np.concatenate(theirs).mean())),
        ends=(n_ends, n_kept),
    )


def _same_width(a: F32, b: F32) -> tuple[F32, F32]:
    if a.shape[1] == b.shape[1]:
        return np.asarray(a), np.asarray(b)
    width = min(a.shape[1], b.shape[1])
    return log_softmax(np.array(a[:, :width])), log_softmax(np.array(b[:, :width]))


def divergence(label: str, found: Compared, *, quantised: bool, siblings: dict[str, float]) -> Gate:
    """Judge the mean divergence of a GGUF from the checkpoint.

    Args:
        label: Of the file.
        found: Its comparison.
        quantised: A quantised file only warns.
        siblings: Mean divergence of finer schemes, shown beside a warning.
    """
    details = {**found.figures, **({"finer": siblings} if siblings else {})}
    if not quantised:
        remedy = "The 16-bit file is another model: look at the tokens, config and numbers gates, convert again."
        return at_most(f"kl {label}", found.mean, KL_FLOAT, remedy=remedy, details=details)
    finer = ", ".join(f"{scheme} {mean:.4f}" for scheme, mean in siblings.items())
    remedy = f"Publish a finer scheme{f' ({finer})' if finer else ''} or quantise with an importance matrix."
    gate = at_most(f"kl {label}", found.mean, KL_QUANTISED, remedy=remedy, soft=True, details=details)
    if gate.verdict == "pass" and found.p99 > KL_QUANTISED_99:
        far = f"One position in a hundred is {found.p99:.2f} nats away (at most {KL_QUANTISED_99}). {remedy}"
        return Gate(gate.name, gate.value, gate.threshold, "warn", far, details)
    return gate


def same_top(label: str, found: Compared, *, quantised: bool) -> Gate:
    """Judge the share of positions with the same likeliest token; for a 16-bit file, where the checkpoint was sure."""
    limit, share = (TOP_QUANTISED, found.same_top) if quantised else (TOP_FLOAT, found.same_sure)
    remedy = "Publish a finer scheme." if quantised else "Convert again; see the gates of this file above."
    details = {"ties_apart": round(found.same_top, 5)}
    return at_least(f"top-1 {label}", round(share, 5), limit, remedy=remedy, soft=quantised, details=details)


def perplexity(label: str, found: Compared, *, quantised: bool) -> Gate:
    """Judge how much more the held-out texts surprise a GGUF than the checkpoint."""
    increase = found.perplexity / found.reference_perplexity - 1
    details = {"hf": round(found.reference_perplexity, 4), "gguf": round(found.perplexity, 4), "tokens": found.tokens}
    limit = PPL_QUANTISED if quantised else PPL_FLOAT
    remedy = "Publish a finer scheme." if quantised else "Convert again; see the gates of this file above."
    return at_most(
        f"perplexity {label}", round(increase, 5), limit, remedy=remedy, soft=quantised, details=details
    )  # fmt: skip


@dataclass(frozen=True)
class Said:
    """The checkpoint's greedy answers.

    Attributes:
        prompts: Ids of each question.
        answers: Ids of each answer, the token that ends it included.
        margins: How sure each choice was, as a difference of logits.
        ended: Whether each answer ended by itself.
    """

    prompts: tuple[tuple[int, ...], ...]
    answers: tuple[tuple[int, ...], ...]
    margins: tuple[tuple[float, ...], ...]
    ended: tuple[bool, ...]


def first_questions(texts: Texts) -> Iterator[list[ChatMessage]]:
    """Yield the beginning of each chat, up to its first question."""
    for chat in texts.chats:
        users = [number for number, message in enumerate(chat) if message["role"] == "user"]
        if users:
            yield list(chat[: users[0] + 1])


def answers(hub: HubModel, texts: Texts) -> Said:
    """Let the checkpoint answer a few questions greedily that leave room; with no chats, go on with a few texts."""
    if hub.tokenizer.chat_template and texts.chats:
        every = (encode(hub.tokenizer, render(hub.tokenizer, chat, asking=True)) for chat in first_questions(texts))
        prompts = list(islice((ids for ids in every if len(ids) <= MAX_TOKENS - ANSWER), MAX_PROMPTS))
    else:
        laid = lay_out(hub.tokenizer, texts.first(MAX_PROMPTS), hub.ends)
        prompts = [list(one.ids[: max(2, len(one.ids) // 2)]) for one in laid]
    said = [hub.greedy(prompt, ANSWER) for prompt in prompts]
    return Said(
        tuple(map(tuple, prompts)),
        tuple(tuple(ids) for ids, _ in said),
        tuple(tuple(margins) for _, margins in said),
        tuple(ids[-1] in hub.ends for ids, _ in said),
    )


def repeated(said: Said, model: ScoringModel) -> list[list[int]]:
    """Return a GGUF's greedy answers to the same prompts."""
    return [model.greedy(prompt, ANSWER) for prompt in said.prompts]


def greedy(label: str, said: Said, found: Sequence[Sequence[int]], *, quantised: bool) -> Gate:
    """Count answers whose first tokens differ where the checkpoint was sure.

    Where its two best choices were closer than `TIE`, rounding may take either, and what follows is another answer.
    """
    if not said.prompts:
        return skipped(f"greedy {label}", f"No first question is shorter than {MAX_TOKENS - ANSWER} tokens: give one.")
    apart, agreed = 0, []
    for answer, margins, other in zip(said.answers, said.margins, found, strict=True):
        length = min(len(answer), GREEDY)
        differs = (n for n in range(length) if n >= len(other) or other[n] != answer[n])
        at = next(differs, length)
        agreed.append(at)
        apart += at < length and margins[at] > TIE
    details = {"prompts": len(said.prompts), "same_tokens": agreed, "compared": GREEDY}
    if quantised:
        # A quantised model may choose other words; the share that it repeats is told, never judged.
        return Gate(f"greedy {label}", apart, None, "pass", details=details)
    remedy = "The same question gets another answer: look at the kl and config gates of this file."
    return at_most(f"greedy {label}", apart, 0, remedy=remedy, details=details)


def stops(
    label: str, said: Said, compared: Compared, model: ScoringModel, ends: frozenset[int], *, quantised: bool
) -> Gate:
    """Judge the share of answers that the GGUF ends where the checkpoint ends them, after the checkpoint's own words.

    In words of its own a quantised model may take longer: that is no lost end.
    """
    name, limit = f"stop {label}", ENDS_QUANTISED if quantised else ENDS
    known = [token for token in ends if token < model.n_vocab and model.ends(token)]
    wanted, kept = compared.ends
    wanted += sum(said.ended)
    for prompt, answer, ended in zip(said.prompts, said.answers, said.ended, strict=True):
        kept += ended and model.ends(int(model.log_probs([*prompt, *answer[:-1]])[-1].argmax()))
    details = {"ends_wanted": wanted, "ends_found": kept, "known_to_llama_cpp": bool(known)}
    if not known:
        return at_least(
            name, 0.0, limit, remedy="llama.cpp does not stop at the model's eos: restore it.", details=details
        )
    if not wanted:
        never = "The checkpoint itself never ends an answer on these texts: train on answers that end, or give chats."
        return Gate(name, None, limit, "warn", never, details)
    remedy = "Answers run on: the eos piece was lost or its row was changed; convert again or take a finer scheme."
    return at_least(name, round(kept / wanted, 4), limit, remedy=remedy, details=details)


def kept_effect(merged_and_base: float, merged_and_other: float) -> float:
    """Return the share of an adapter's effect on the answers that another form of the merged model keeps.

    >>> kept_effect(0.8, 0.2)
    0.75
    """
    return 1.0 - merged_and_other / merged_and_base if merged_and_base > 0 else float("nan")
