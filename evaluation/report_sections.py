"""From a result file to a section of the report, and to a ruling where a rule applies. Knows what result files hold.

A file is known by its keys, never by its name. What no reader knows is shown by its plain figures.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation import ablation, comparison
from evaluation.decisions import FREE_ACCURACY, FREE_LATENCY_S
from evaluation.pipeline.steps import LIKENESS

Data = Mapping[str, Any]
Row = tuple[str, ...]
SHIPS, DEMO, NOT, OPEN = "ships", "ships as a demonstration", "does not ship", "not measured"
PROSE_LIMIT = 1.3  # times the base's perplexity on general prose
KL_LIMIT = 0.02  # nats, of the quantised file against the merged one
MOST_FIGURES = 24  # of a file that no reader knows


@dataclass(frozen=True)
class Section:
    """What one result file says.

    Attributes:
        title: Its heading.
        source: The file.
        says: Sentences.
        head: Of the table; empty for none.
        rows: Of the table.
    """

    title: str
    source: Path
    says: tuple[str, ...] = ()
    head: Row = ()
    rows: tuple[Row, ...] = ()


@dataclass(frozen=True)
class Ruling:
    """What is done with something, and why.

    Attributes:
        subject: What it is about.
        verdict: One of SHIPS, DEMO, NOT, OPEN.
        why: The figures.
        source: The file they come from; None where nothing was measured.
    """

    subject: str
    verdict: str
    why: str
    source: Path | None


Reading = tuple[Section, list[Ruling]]


def _interval(one: Data) -> str:
    return f"{100 * one['low']:.1f} to {100 * one['high']:.1f}"


def read_ablation(path: Path, data: Data) -> Reading:
    """The four cells, and the decision on the tiers."""
    cells, decision = data["cells"], data["freemium"]
    rows = tuple((name, f"{100 * one['mean']:.1f}", _interval(one), _seconds(one)) for name, one in cells.items())
    lora, both = data["effects"]["LoRA"], cells[ablation.BOTH]
    title = "What the adapter brings, what the prompt brings"
    says = (*data["conclusion"], decision["title"], *(f"{name}. {said}" for name, said in decision["options"]))
    holds = both["mean"] > FREE_ACCURACY and both.get("latency_median_s", FREE_LATENCY_S) < FREE_LATENCY_S
    amount = f"{lora['points']:+.1f} points ({lora['low']:+.1f} to {lora['high']:+.1f})"
    rulings = [
        Ruling(
            "The embedded model as the free tier",
            SHIPS if holds else DEMO,
            f"{both['mean']:.1%} of the schemes, over {FREE_ACCURACY:.0%} are asked; "
            f"{_seconds(both)} an answer, under {FREE_LATENCY_S:.0f} s are asked.",
            path,
        ),
        Ruling(
            "Its adapter, for schemes",
            SHIPS if lora["sure"] and lora["points"] > 0 else DEMO,
            f"{amount} of scheme accuracy; {'significant' if lora['sure'] else 'not significant'}.",
            path,
        ),
    ]
    if decision["premium_justified"] is None:
        why = "No premium model has been measured on these items, in quality and in seconds."
        rulings.append(Ruling("Premium at a price", OPEN, why, None))
    return Section(title, path, says, ("", data["metric"], "interval", "median"), rows), rulings


def _seconds(one: Data) -> str:
    return f"{one['latency_median_s']:.2f} s" if "latency_median_s" in one else "–"


def read_comparison(path: Path, data: Data) -> Reading:
    """Models side by side."""
    rows = tuple(
        (name, f"{100 * one['mean']:.1f}", _interval(one), f"{one['p_best']:.0%}", _seconds(one))
        for name, one in data["models"].items()
    )
    decision = data["decision"]
    says = (*data["conclusion"], *((decision["title"], *decision["reasons"]) if decision else ()))
    return Section(
        f"Compared by {data['metric']}", path, says, ("model", "points", "interval", "best in", "median"), rows
    ), []


def read_requirements(path: Path, data: Data) -> Reading:
    """A business analyst's model."""
    decision, (low, high) = data["decision"], data["interval"]
    rows = tuple((part, f"{data['weights'][part]:g}", f"{cost:.1f}") for part, cost in data["points_lost"].items())
    says = (decision["title"], *decision["reasons"], *decision["next_steps"])
    why = f"{data['score']:.2f} of 100 points ({low:.2f} to {high:.2f}); {data['baseline']:.2f} is to be beaten."
    ruling = Ruling(
        f"{data['engine']} as business analyst", SHIPS if decision["verdict"] == "adopt" else NOT, why, path
    )
    return Section("Requirements documents", path, says, ("part", "weight", "points lost"), rows), [ruling]


def read_gate(path: Path, data: Data) -> Reading:
    """The committed run that a new model must not fall behind."""
    rows = tuple(
        (name, f"{100 * one['mean']:.1f}", _interval(one), str(one["n"])) for name, one in data["means"].items()
    )
    says = (f"{data['engine']}: a new embedded model is refused when it is worse than this beyond its interval.",)
    return Section("The gate for a new embedded model", path, says, ("metric", "points", "interval", "items"), rows), []


def read_run(path: Path, data: Data) -> Reading:
    """Any run of this room."""
    found = data["summary"]
    says = (f"{data['engine']}, {data['task']} version {data['version']}: {found['failures']} of {found['n']} failed.",)
    rows = tuple((name, f"{value:g}") for name, value in found.items() if not name.endswith("_n"))
    return Section(f"A run of {data['task']}", path, says, ("figure", "value"), rows), []


def read_exercises(path: Path, data: Data) -> Reading:
    """Held-out exercises."""
    floor = data["if_the_question_were_repeated"]
    says = (
        (
            f"{data['right']} of {data['n']} conclusions right ({data['share']:.0%}), {data['alone']['right']} by the "
            f"model alone; repeating the question would "
            f"have scored {floor['right']}."
        ),
    )
    rows = tuple((name, f"{one['right']} of {one['n']}") for name, one in data["by_scheme"].items())
    return Section("Held-out scheme exercises", path, says, ("scheme", "right"), rows), []


def read_perplexity(path: Path, data: Data) -> Reading:
    """What the model lost and won as a language model."""
    models, kl = data["models"], data["kl"]
    rows = tuple(
        (name, f"{one['dialogues']['perplexity']:.1f}", f"{one['prose']['perplexity']:.1f}" if one["prose"] else "–")
        for name, one in models.items()
    )
    head = ("model", "perplexity on held-out dialogues", "on general prose")
    rulings = []
    if {"base", "ours"} <= set(models) and kl and models["ours"]["prose"]:
        base, ours = models["base"], models["ours"]
        ratio = ours["prose"]["perplexity"] / base["prose"]["perplexity"]
        better = ours["dialogues"]["perplexity"] < base["dialogues"]["perplexity"]
        why = (
            f"perplexity on dialogues {base['dialogues']['perplexity']:.1f} to {ours['dialogues']['perplexity']:.1f}, "
            f"on prose × {ratio:.2f} (≤ {PROSE_LIMIT}), KL {kl['mean']:.4f} (≤ {KL_LIMIT})."
        )
        whole = better and ratio <= PROSE_LIMIT and kl["mean"] <= KL_LIMIT
        rulings.append(Ruling("The embedded model's file (Q8_0)", SHIPS if whole else NOT, why, path))
    return Section("The embedded model as a language model", path, (), head, rows), rulings


def read_context(path: Path, data: Data) -> Reading:
    """A condensed history."""
    tokens = data["tokens"]
    rows = tuple(
        (size, f"{tokens[f'{size} full']:.0f}", f"{tokens[f'{size} condensed']:.0f}", f"{tokens[f'{size} saved']:.0%}")
        for size in ("small", "large")
    )
    why = f"{tokens['small saved']:.0%} fewer tokens sent over {data['turns']} turns; {data['goal']:.0%} are asked."
    head = ("prefix", "tokens, full history", "condensed", "saved")
    ruling = Ruling("The condensed history", SHIPS if data["met"] else NOT, why, path)
    return Section("A condensed history", path, (why,), head, rows), [ruling]


def read_soak(path: Path, data: Data) -> Reading:
    """Hours under load and faults."""
    verdict, run = data["verdict"], data["run"]
    said = (
        f"{run['hours']:g} h, {run['pupils']} pupils, {data['answers']} answers, "
        f"{sum(sum(one.values()) for one in data['faults'].values())} faults thrown at it, "
        f"{verdict['engine_failures']:.0f} failures of the engine."
    )
    rows = tuple(
        (name, f"{one['per_hour']:+.1f}", "yes" if one["leaks"] else "no") for name, one in verdict["growth"].items()
    )
    ruling = Ruling("The server under load", SHIPS if verdict["passed"] else NOT, said, path)
    return Section("Our server under load and faults", path, (said,), ("held", "more an hour", "leaks"), rows), [ruling]


def read_rules(path: Path, data: Data) -> Reading:
    """Stances and distress."""
    crisis, stance = data["crisis"], data["stance"]
    low, high = crisis["recall_interval"]
    why = (
        f"{crisis['recall']:.1%} of the messages in distress get the card ({low:.1%} to {high:.1%}), "
        f"{crisis['with_line']['recall']:.1%} the card or a line of help; {crisis['false_alarms']:.1%} false alarms."
    )
    rows = tuple((name, f"{value:.2f}") for name, value in stance["f1"].items())
    says = (why, f"Stances: macro-F1 {stance['macro_f1']:.2f} on {stance['n']} messages that nobody tuned on.")
    return Section("What is read in a message", path, says, ("stance", "F1"), rows), []


def read_pipeline(path: Path, data: Data) -> Reading:
    """The optimisation plan, step by step."""
    whole = data["total"]
    rows = tuple(
        (one["title"], f"{one['median_latency']:.2f} s", str(one["tokens_sent"]), one["promised"] or "–")
        for one in data["steps"]
    )
    speed, near = (
        "not measured" if whole[name] is None else f"{whole[name]:.2f}" for name in ("speed_up", "similarity")
    )
    why = (
        f"Times faster than the adapter at run time: {speed}; 3 are asked. "
        f"Similarity of the answers: {near}; {LIKENESS} is asked."
    )
    says = tuple(said for said in (data["note"], why) if said)
    verdict = SHIPS if whole["speed_up_met"] and whole["similarity_met"] else NOT
    rulings = [] if data["note"] else [Ruling("The whole chain of optimisations", verdict, why, path)]
    head = ("step", "an answer, median", "tokens sent", "promised")
    return Section(f"The optimisation plan on {data['origin']['base']['name']}", path, says, head, rows), rulings


def read_figures(path: Path, data: Data) -> Reading:
    """A file that no reader knows: its plain figures."""
    rows = tuple(_figures(data))
    more = f"{len(rows) - MOST_FIGURES} more figures stand in the file." if len(rows) > MOST_FIGURES else ""
    title = str(data.get("title") or data.get("kind") or path.stem)
    return Section(title, path, (more,) if more else (), ("figure", "value"), rows[:MOST_FIGURES]), []


def _figures(data: Data, before: str = "") -> list[Row]:
    found: list[Row] = []
    for key, value in data.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping) and name.count(" · ") < 2 and key not in ("machine", "environment", "versions"):
            found += _figures(value, f"{name} · ")
        elif isinstance(value, (int, float)):
            found.append((name, str(value) if isinstance(value, (bool, int)) else f"{value:.4g}"))
    return found


# The keys by which a file is known, the most telling first.
READERS: tuple[tuple[Callable[[Data], bool], Callable[[Path, Data], Reading]], ...] = (
    (lambda data: data.get("kind") == ablation.KIND, read_ablation),
    (lambda data: data.get("kind") == comparison.KIND, read_comparison),
    (lambda data: data.get("kind") == "requirements", read_requirements),
    (lambda data: data.get("kind") == "model-gate", read_gate),
    (lambda data: {"summary", "task_hashes"} <= set(data), read_run),
    (lambda data: "if_the_question_were_repeated" in data, read_exercises),
    (lambda data: {"models", "kl", "dialogues_sha256"} <= set(data), read_perplexity),
    (lambda data: {"tokens", "talks", "met"} <= set(data), read_context),
    (lambda data: {"verdict", "faults"} <= set(data), read_soak),
    (lambda data: {"stance", "crisis"} <= set(data), read_rules),
    (lambda data: data.get("kind") == "pipeline", read_pipeline),
    (lambda _: True, read_figures),
)


def read(path: Path, data: Data) -> Reading:
    """Return a file's section, and its rulings.

    Raises:
        KeyError, TypeError, ValueError: The file is known by its keys and lacks others: `report.collect` names it.
    """
    return next(reader for known, reader in READERS if known(data))(path, data)
