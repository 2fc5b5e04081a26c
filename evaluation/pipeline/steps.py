"""The steps of the optimisation plan, what each promises, and what was found beside it. Measures nothing.

A step's gain is the share by which it lowers a figure against the step that the plan names. The waterfall goes down
the chain of steps that answer; the last two stand beside it: one saves calls, the other needs a graphics card.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from evaluation.runs import Run, summary

Figure = Literal["median_latency", "tokens_sent", "calls"]
LOSS = 1.05  # of perplexity, that a quantisation may cost
LIKENESS = 0.92  # of meaning, that the plan asks for where no person has read fifty answers
SPEED_UP = 3.0  # of the whole


@dataclass(frozen=True)
class Promise:
    """What the plan expects of a step.

    Attributes:
        text: As the plan says it.
        figure: Which figure goes down.
        share: By how much at least.
        against: Key of the step that it is compared with.
    """

    text: str
    figure: Figure
    share: float
    against: str


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        key: Its name in results.
        title: What is done.
        artefact: File that it leaves, by the plan's name.
        model: "adapter", "merged", "float" or "quantised".
        promise: What the plan expects; None where it says nothing.
        renewed: A new engine for every talk: nothing is kept.
        kept: Personas are read ahead and kept.
        condensed: The history is condensed.
        same_weights: Perplexity cannot differ from the step before.
    """

    key: str
    title: str
    artefact: str
    model: str
    promise: Promise | None = None
    renewed: bool = False
    kept: bool = False
    condensed: bool = False
    same_weights: bool = False


CHAIN = (
    Step("adapter", "adapter at run time, transformers", "baseline.json", "adapter"),
    Step("merged", "adapter merged, transformers", "post_merge.json", "merged",
         Promise("gain > 15 %, or the gap explained", "median_latency", 0.15, "adapter")),
    Step("float", "GGUF of 16 bits, our engine", "gguf_16bit.json", "float", renewed=True),
    Step("quantised", "GGUF, quantised", "quant_4bit.json", "quantised",
         Promise("latency −25 % against the merged one, quality loss ≤ 5 %", "median_latency", 0.25, "merged"),
         renewed=True),
    Step("persona", "persona's keys and values kept", "persona_kv.json", "quantised", kept=True, same_weights=True),
    Step("condensed", "history condensed", "context_vs_full.json", "quantised",
         Promise("tokens sent −40 %", "tokens_sent", 0.40, "persona"), kept=True, condensed=True, same_weights=True),
)  # fmt: skip
TOGETHER = Step("together", "answer and evaluation in one call", "chat_plus_eval.json", "quantised",
                Promise("one call replaces two in 70 % of exchanges, calls −25 %", "calls", 0.25, "two calls"),
                kept=True, condensed=True, same_weights=True)  # fmt: skip
ATTENTION = Step("attention", "attention and graph settings, transformers", "attention.json", "merged",
                 Promise("> 10 % on top", "median_latency", 0.10, "eager attention"))  # fmt: skip


def figures(run: Run) -> dict[str, Any]:
    """Return what a run of talks comes to, by the plan's names; tokens and calls are sums, seconds as named.

    Raises:
        KeyError: Not one talk was answered.
    """
    found = summary(run)
    answered = [one for one in run.samples if one.error is None]
    cached = sum(int(one.metrics.get("cached", 0)) for one in answered)
    seconds_a_token = [one.total_s / one.tokens_out for one in answered if one.total_s and one.tokens_out]
    return {
        "n": len(run.samples),
        "failures": int(found["failures"]),
        "median_latency": found["latency_median_s"],
        "p95_latency": found["latency_p95_s"],
        "median_first_token": found["first_token_median_s"],
        "median_s_per_token_out": round(statistics.median(seconds_a_token), 5) if seconds_a_token else None,
        "tokens_sent": int(found["tokens_in"]),
        "tokens_read": int(found["tokens_in"]) - cached,
        "tokens_out": int(found["tokens_out"]),
        "calls": sum(int(one.metrics.get("calls", 1)) for one in answered),
    }


def gain(before: Mapping[str, Any], after: Mapping[str, Any], figure: Figure) -> float | None:
    """Return the share by which a figure went down; None where one of the two is missing.

    >>> gain({"calls": 8}, {"calls": 6}, "calls")
    0.25
    """
    old, new = before.get(figure), after.get(figure)
    return None if not old or new is None else round(1 - new / old, 4)


def verdict(step: Step, found: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the plan promised of a step beside what it gave.

    Where a talk failed in one of the two steps they answered different talks: there is no gain, and no verdict. Nor is
    there one of a quantisation whose loss nobody measured.

    Args:
        step: Which.
        found: Its figures.
        others: Figures of the steps before, by key.
    """
    if step.promise is None:
        return {"promised": None, "gain": None, "met": None}
    against = others.get(step.promise.against, {})
    alike = not found.get("failures") and not against.get("failures")
    share = gain(against, found, step.promise.figure) if alike else None
    met = None if share is None else share >= step.promise.share
    if met and step.key == "quantised":
        loss = found.get("perplexity_ratio")
        met = None if loss is None else loss <= LOSS
    if met and step.key == "together":
        met = found["one_call_enough"] >= 0.7
    return {
        "promised": step.promise.text,
        "figure": step.promise.figure,
        "against": step.promise.against,
        "gain": share,
        "met": met,
    }


def total(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the whole chain's speed-up and quality beside the plan's; None where a talk failed in one of the two ends.

    Args:
        results: Of `CHAIN`, in order, with their figures.
    """
    first, last = results[0], results[-1]
    alike = not first.get("failures") and not last.get("failures")
    speed = first["median_latency"] / last["median_latency"] if alike and last["median_latency"] else None
    likeness = (last.get("similarity") or {}).get("mean")
    same_prompt = (next((one for one in results if one["key"] == "persona"), {}).get("similarity") or {}).get("mean")
    return {
        "promised": f"median latency ≤ baseline / {SPEED_UP:.0f}; similarity ≥ {LIKENESS}",
        "speed_up": None if speed is None else round(speed, 2),
        "speed_up_met": None if speed is None else speed >= SPEED_UP,
        "similarity": likeness,
        "similarity_before_condensing": same_prompt,
        "similarity_met": None if likeness is None else likeness >= LIKENESS,
        "tokens_read_saved": round(1 - last["tokens_read"] / first["tokens_read"], 4) if alike else None,
    }
