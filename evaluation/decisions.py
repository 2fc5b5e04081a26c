"""Two decisions, by rules written down before the figures: adopt a requirements model or not, and what free is.

Pure: figures in, a decision with its reasons out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from errors import EngineError
from evaluation.statistics import Estimate, Pair

BASELINE = 85.35  # points: the prompt-optimised model that a fine-tuned one has to beat
ADOPT = 90.0  # points from which a fine-tuned model is adopted
FREE_LATENCY_S = 15.0  # a pupil waits 10 to 15 seconds and no longer
FREE_ACCURACY = 0.75
FEW_DOCUMENTS = 200  # training documents from which more of them is no longer the first remedy
FORM = ("parsed", "schema", "sections", "ids", "priorities")

Verdict = Literal["adopt", "between", "keep"]


@dataclass(frozen=True)
class Decision:
    """What is decided, and why.

    Attributes:
        verdict: A word for programs.
        title: The decision in a sentence.
        reasons: The figures it rests on.
        next_steps: What follows.
    """

    verdict: str
    title: str
    reasons: tuple[str, ...]
    next_steps: tuple[str, ...]


def adopt_or_keep(name: str, found: Estimate, costs: Mapping[str, float], *, baseline: float = BASELINE) -> Decision:
    """Decide on a requirements model: from 90 points adopt; not above the baseline keep what is there.

    Args:
        name: The model.
        found: Its score, 0 to 1.
        costs: Points of 100 that each part of the score costs, the dearest first (`requirements.lost`).
        baseline: Points to beat.
    """
    points, low, high = (round(100 * one, 2) for one in (found.mean, found.low, found.high))
    dearest = ", ".join(f"{part} {cost:.1f}" for part, cost in list(costs.items())[:3] if cost > 0.05) or "none"
    reasons = (
        f"{name}: {points:.2f} of 100 points on {found.n} documents, 95 % interval {low:.2f} to {high:.2f}.",
        f"The baseline to beat is {baseline:.2f}, adoption begins at {ADOPT:.0f}.",
        f"Points lost, by part: {dearest}.",
    )
    if points >= ADOPT:
        doubt = () if low > baseline else (f"The interval reaches down to {low:.2f}: add documents to be sure.",)
        steps = ("Name the model in config.yaml, role ba.", "Run the benchmarks again.", *doubt)
        return Decision("adopt", f"Adopt {name}.", reasons, steps)
    if points > baseline:
        sure = low > baseline
        said = "above" if sure else "not surely above"
        title = f"{name} is {said} the baseline and under {ADOPT:.0f}: do not adopt it yet."
        return Decision("between", title, reasons, remedies(costs))
    return Decision("keep", f"Keep the baseline: {name} is not better than {baseline:.2f}.", reasons, remedies(costs))


def remedies(costs: Mapping[str, float], documents: int = 98) -> tuple[str, ...]:
    """Return what to try next, by where the points are lost.

    Form that is missed is a matter of examples; a form that is held with words that pass the concept by is a matter
    of the model.

    Args:
        costs: As `adopt_or_keep` takes them.
        documents: How many the model was trained on.
    """
    form = sum(costs.get(part, 0.0) for part in FORM)
    matter = costs.get("coverage", 0.0) + costs.get("constraints", 0.0)
    more = f"Train on {FEW_DOCUMENTS} documents or more instead of {documents}."
    rank = "Train with r 16 and alpha 64 instead of r 8 and alpha 32."
    larger = "Take a larger base."
    analysed = f"Points lost by form: {form:.1f}; by what the document says: {matter:.1f}."
    if costs.get("parsed", 0.0) > 5:  # half of the answers are no document at all: rank and data come after
        return (analysed, f"{larger} Most answers are no YAML document: this one does not hold the form.", more)
    if form >= matter:
        first = more if documents < FEW_DOCUMENTS else rank
        return (analysed, f"{first} The form is what is missed.", rank if first == more else larger)
    return (analysed, f"{larger} The form is held; the concept's words are what is missed.", more)


@dataclass(frozen=True)
class Figures:
    """How one way of answering did.

    Attributes:
        name: For the report.
        accuracy: Share of the scheme, 0 to 1, with its interval.
        latency_s: Median seconds of an answer; None when it was not measured.
        where: The machine it was measured on.
    """

    name: str
    accuracy: Estimate
    latency_s: float | None
    where: str

    def spoken(self) -> str:
        """Say it in a line."""
        latency = "latency not measured" if self.latency_s is None else f"median answer {self.latency_s:.2f} s"
        found = self.accuracy
        return (
            f"{self.name}: {found.mean:.1%} ({found.low:.1%} to {found.high:.1%}, {found.n} items), "
            f"{latency}, {self.where}."
        )


@dataclass(frozen=True)
class Freemium:
    """The decision on the tiers.

    Attributes:
        option: "A", "B", "C", or "none" where nothing can be decided yet.
        free_viable: Free answers under 15 s and over 75 %.
        premium_justified: It is better and faster, both significantly; None when one of the two was not measured.
        title: The decision in a sentence.
        options: Each option's name, and what the figures say for and against it.
        reasons: The figures.
    """

    option: str
    free_viable: bool
    premium_justified: bool | None
    title: str
    options: tuple[tuple[str, str], ...]
    reasons: tuple[str, ...]


OPTIONS = {
    "A": "A: free with the adapter on a processor, premium on a GPU at Modal",
    "B": "B: free by prompts alone, the adapter for premium on a GPU",
    "C": "C: no free tier, premium at a price that pupils can pay",
}


def viable(figures: Figures) -> bool:
    """Whether a free tier of these figures is worth having: under 15 s and over 75 %."""
    return (
        figures.latency_s is not None and figures.latency_s < FREE_LATENCY_S and figures.accuracy.mean > FREE_ACCURACY
    )


def freemium(
    free: Figures,
    prompts: Figures,
    adapter_gain: Pair,
    premium: Figures | None,
    gap: Pair | None,
    wait: Pair | None = None,
) -> Freemium:
    """Decide what free is, and whether premium is worth its price.

    Args:
        free: The adapter with its prompts, on a processor.
        prompts: The base with prompts alone, on the same machine.
        adapter_gain: From `prompts` to `free`, on the same items.
        premium: The model on a GPU; None when it was not measured.
        gap: From `free` to `premium`, on the same items.
        wait: The same in seconds of an answer; None when they were not measured.

    Raises:
        EngineError: One of `premium` and `gap` is given without the other.
    """
    if (premium is None) != (gap is None):
        raise EngineError("Premium's figures and its gap to free go together; give both, or neither.")
    with_adapter, by_prompts = viable(free), viable(prompts)
    justified = _justified(gap, wait)
    reasons = [free.spoken(), prompts.spoken(), f"Adapter against prompts alone: {gap_spoken(adapter_gain)}"]
    if premium is not None and gap is not None:
        reasons += [premium.spoken(), f"Premium against free: {gap_spoken(gap)}"]
        reasons += [f"Its wait against free's: {wait_spoken(wait)}"] if wait is not None else []
    option, title = _chosen(with_adapter, by_prompts, justified)
    said = (
        (OPTIONS["A"], _for_a(free, adapter_gain, justified)),
        (OPTIONS["B"], _for_b(prompts, adapter_gain)),
        (OPTIONS["C"], _for_c(with_adapter or by_prompts, justified)),
    )
    return Freemium(option, with_adapter or by_prompts, justified, title, said, tuple(reasons))


def _justified(gap: Pair | None, wait: Pair | None) -> bool | None:
    """Whether premium earns a price, which the brief asks of quality and of latency."""
    if gap is None:
        return None
    if not (gap.different and gap.difference > 0):
        return False
    return None if wait is None else wait.different and wait.difference < 0


def gap_spoken(pair: Pair) -> str:
    """Say a difference in a line, in points of 100."""
    return (
        f"{100 * pair.difference:+.1f} points ({100 * pair.low:+.1f} to {100 * pair.high:+.1f}), "
        f"p after Holm {pair.p_holm:.3f}, {_sure(pair)}."
    )


def wait_spoken(pair: Pair) -> str:
    """Say a difference in a line, in seconds."""
    return f"{pair.difference:+.1f} s ({pair.low:+.1f} to {pair.high:+.1f}), p {pair.p_holm:.3f}, {_sure(pair)}."


def _sure(pair: Pair) -> str:
    return "significant" if pair.different else "not significant"


def _chosen(with_adapter: bool, by_prompts: bool, justified: bool | None) -> tuple[str, str]:
    if with_adapter or by_prompts:
        option = "A" if with_adapter else "B"
        if justified is None:
            return option, f"Free is viable (option {option}); whether premium is justified is not measured."
        if justified:
            return option, f"Option {option}: free is viable and premium is justified."
        return option, f"Option {option} without a price: free is viable, premium is not surely better and faster."
    if justified:
        return "C", "Option C: free is not viable with this model, premium is significantly better and faster."
    if justified is None:
        return "none", "With this model free is not viable as a tutor of logic; premium is not measured: no option yet."
    return "none", "Neither free nor premium holds what was asked: no option."


def _short_of(figures: Figures) -> str:
    short = []
    if figures.accuracy.mean <= FREE_ACCURACY:
        short.append(f"{figures.accuracy.mean:.1%} of the schemes, over {FREE_ACCURACY:.0%} are asked")
    if figures.latency_s is None:
        short.append("its latency was not measured")
    elif figures.latency_s >= FREE_LATENCY_S:
        short.append(f"{figures.latency_s:.1f} s an answer, under {FREE_LATENCY_S:.0f} s are asked")
    return "; ".join(short)


def _for_a(free: Figures, gain: Pair, justified: bool | None) -> str:
    short = _short_of(free)
    said = f"Against it: {short}." if short else "For it: free holds both limits."
    better = gain.different and gain.difference > 0
    said += " The adapter is significantly better than prompts alone." if better else " The adapter adds nothing sure."
    return said + {True: " Premium earns its price.", False: " Premium does not earn a price.", None: ""}[justified]


def _for_b(prompts: Figures, gain: Pair) -> str:
    short = _short_of(prompts)
    said = f"Against it: by prompts alone, {short}." if short else "For it: prompts alone hold both limits."
    if gain.different and gain.difference > 0:
        return said + " What it keeps for premium, the adapter, is a significant gain."
    return said + " The adapter that it would keep for premium is no significant gain."


def _for_c(free_viable: bool, justified: bool | None) -> str:
    if free_viable:
        return "Against it: there is a viable free tier, and pupils who cannot pay would lose it."
    said = "For it: no free tier holds the limits with this model."
    if justified is None:
        return said + " But premium was not measured: there is nothing to sell yet."
    return said + (" Premium is better and faster." if justified else " But premium is not surely better and faster.")


def table_of(figures: Sequence[Figures]) -> list[list[str]]:
    """Return rows for a report: name, accuracy, interval, latency, machine."""
    return [
        [
            one.name,
            f"{one.accuracy.mean:.1%}",
            f"{one.accuracy.low:.1%} to {one.accuracy.high:.1%}",
            "–" if one.latency_s is None else f"{one.latency_s:.2f} s",
            one.where,
        ]
        for one in figures
    ]
