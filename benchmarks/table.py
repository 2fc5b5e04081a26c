"""From saved cells to a table, verdicts and a plot. Knows the targets; measures nothing."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from evaluation.pages import save_small

OURS = "ours"
PEER = "llama-server"
KINDS = ("repacked", "tiled")
AT = 8  # pupils at which most targets stand
PAIRED = "What is compared with a peer is the median of the quotients of the rounds that both have."

Data = Mapping[str, Any]
Value = Callable[[Data], float | None]
Best = Callable[[Sequence[float]], float]  # max or min


@dataclass(frozen=True)
class Target:
    """One promise and what was found.

    Attributes:
        text: What is compared.
        limit: The promised number; `at_least` says from which side.
        found: The number measured; None when it was not.
        at_least: Whether `found` must reach `limit`, or stay under it.
        rounds: How many rounds both sides have, over which `found` is the median; None where it is no such quotient.
    """

    text: str
    limit: float
    found: float | None
    at_least: bool = True
    rounds: int | None = None

    @property
    def verdict(self) -> str:
        """met, missed, or not measured."""
        if self.found is None:
            return "not measured"
        return "met" if (self.found >= self.limit) == self.at_least or self.found == self.limit else "missed"


def part(*keys: str) -> Value:
    """Return a function that takes one number out of a cell, None where it is missing."""

    def take(cell: Data) -> float | None:
        value: Any = cell
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return None if value is None else float(value)

    return take


SPEED, DECODE = part("tokens_per_s"), part("decode_tokens_per_s")
FIRST, FIRST_LATE = part("ttft_s", "p50"), part("ttft_s", "p95")
GAP, GAP_LATE, STALL = part("gap_s", "p50"), part("gap_s", "p95"), part("gap_s", "max")
OPENING = part("ttft_first_turn_s", "p50")
MEMORY, CPU = part("rss_peak_gb"), part("cpu_s")


def cached(cell: Data) -> float | None:
    """Share of the prompts' tokens that were not read again."""
    total, known = cell.get("prompt_tokens"), cell.get("cached_tokens")
    return known / total if total and known is not None else None


def measured(data: Data) -> dict[tuple[str, int], list[Data]]:
    """Return the finished cells of each server and number of pupils, in the order they were measured."""
    found: dict[tuple[str, int], list[Data]] = {}
    for key, cell in data["cells"].items():
        server, pupils, _ = key.rsplit("/", 2)
        if "error" not in cell:
            found.setdefault((server, int(pupils)), []).append(cell)
    return found


def middle(data: Data, server: str, pupils: int, value: Value) -> float | None:
    """Return the median over the rounds."""
    values = [one for cell in measured(data).get((server, pupils), []) if (one := value(cell)) is not None]
    return median(values) if values else None


def newest(data: Data, server: str, pupils: int, value: Value) -> float | None:
    """Return what the newest round found: memory follows from the code, not from how fast the host is that hour."""
    cells = measured(data).get((server, pupils))
    return value(cells[-1]) if cells else None


def rounds(data: Data, server: str, pupils: int) -> dict[str, Data]:
    """Return the finished cells by the number of their round: all servers take turns in it, and are asked alike."""
    found = {}
    for key, cell in data["cells"].items():
        name, at, number = key.rsplit("/", 2)
        if (name, int(at)) == (server, pupils) and "error" not in cell:
            found[number] = cell
    return found


def beside_peers(
    data: Data, pupils: int, value: Value, *, best: Best = max, peer: str = PEER, at: int | None = None
) -> list[float]:
    """Return ours divided by the best peer, for each round that both have: a host's speed changes from round to round.

    Args:
        data: The results.
        pupils: Of ours.
        value: What is compared.
        best: Which of several peers in a round counts: max of speeds, min of waits.
        peer: How the names of the peers begin.
        at: Pupils of the peers; as many as ours when None.
    """
    names = {server for server, _ in measured(data) if server.startswith(peer)}
    peers = [rounds(data, name, at or pupils) for name in sorted(names)]
    found = []
    for number, cell in rounds(data, OURS, pupils).items():
        theirs = [one for cells in peers if number in cells and (one := value(cells[number])) is not None]
        if theirs and (own := value(cell)) is not None:
            found.append(own / best(theirs))
    return found


def ratio(above: float | None, below: float | None) -> float | None:
    """Return a quotient, None where a part is missing."""
    return above / below if above is not None and below else None


def limit_of(data: Data, pupils: int) -> float | None:
    """Tokens a second of `llama-batched-bench` for this many rows, the reading of their questions in the time.

    The better of both kinds of kernels: N * tg / (seconds for N questions + seconds for the answers in step).
    """
    found = []
    for kind in KINDS:
        answers = _row(data, f"batched/{kind}", "pl", pupils)
        questions = _row(data, f"questions/{kind}", "pl", pupils)
        if answers and questions:
            found.append(pupils * answers["tg"] / (questions["t_pp"] + answers["t_tg"]))
    return max(found, default=None)


def _row(data: Data, key: str, field: str, value: int) -> Data | None:
    rows = data["limits"].get(key, {}).get("rows", [])
    return next((row for row in rows if row.get(field) == value), None)


def beside(data: Data, what: Callable[[Data, str], float | None]) -> list[float]:
    """Return, for each round of one pupil, ours divided by what `llama-bench` did just before it.

    Args:
        data: The results.
        what: Takes a cell of ours and its round's number, gives the quotient; None where a part is missing.
    """
    return [one for number, cell in rounds(data, OURS, 1).items() if (one := what(cell, number)) is not None]


def decode_share(data: Data, depth: int) -> list[float]:
    """Tokens a second of one answer beside those of `llama-bench` at a depth, the better of both kinds of kernels."""

    def share(cell: Data, number: str) -> float | None:
        rows = [_row(data, f"decode/{kind}/{number}", "n_depth", depth) for kind in KINDS]
        return ratio(DECODE(cell), max((row["avg_ts"] for row in rows if row), default=None))

    return beside(data, share)


def read_share(data: Data) -> list[float]:
    """Seconds to the first text beside those in which `llama-bench` reads as many new tokens."""

    def share(cell: Data, number: str) -> float | None:
        speeds = [row["avg_ts"] for kind in KINDS for row in _rows(data, f"read/{kind}/{number}")]
        new = cell.get("new_tokens_first_turn") or []
        return ratio(OPENING(cell), median(new) / max(speeds) if new and speeds else None)

    return beside(data, share)


def targets(data: Data) -> list[Target]:
    """Return what was promised for the 7B shape, with what this run found."""
    ours = middle(data, OURS, AT, SPEED)
    starts = data["starts"].get(OURS, {})
    extra = median(starts["with_files_s"]) - median(starts["load_s"]) if starts.get("load_s") else None
    # A lock serves one at a time: more pupils only wait longer, so its speed at 4 is its speed at 8.
    naive = beside_peers(data, AT, SPEED, peer="naive") or beside_peers(data, AT, SPEED, peer="naive", at=4)
    depths = [int(row["n_depth"]) for key in data["limits"] if key.startswith("decode/") for row in _rows(data, key)]
    depth = max(depths, default=0)
    wait, long_wait = (beside_peers(data, AT, value, best=min) for value in (FIRST, FIRST_LATE))

    shares = [c["python_share"] for cells in measured(data).values() for c in cells if "python_share" in c]
    python = max(shares, default=None)

    def memory(server: str) -> float | None:
        return newest(data, server, AT, MEMORY)

    def paired(text: str, limit: float, found: Sequence[float], *, at_least: bool = True) -> Target:
        return Target(text, limit, median(found) if found else None, at_least, len(found))

    return [
        paired(f"tokens/s at {AT} / llama-server's best setting", 2.0, beside_peers(data, AT, SPEED)),
        paired(f"tokens/s at {AT} / naive lock", 4.0, naive),
        Target(f"tokens/s at {AT} / llama-batched-bench, questions in the time", 0.85, ratio(ours, limit_of(data, AT))),
        paired(f"first text at {AT}, p50 / llama-server's best", 0.3, wait, at_least=False),
        paired(f"first text at {AT}, p95 / llama-server's best", 0.4, long_wait, at_least=False),
        paired(f"tokens/s of one answer / llama-bench at depth {depth}", 0.95, decode_share(data, depth)),
        paired("the same / llama-bench at depth 0", 0.95, decode_share(data, 0)),
        paired("first text of one pupil, warm persona / reading its new tokens", 1.2, read_share(data), at_least=False),
        Target(f"resident GB at {AT}, tiled kernels", 6.0, memory("ours-tiled"), at_least=False),
        Target(f"resident GB at {AT}, repacked kernels", 10.0, memory("ours-repacked"), at_least=False),
        Target(f"resident GB at {AT}, kernels chosen at start", 10.0, memory(OURS), at_least=False),
        Target("share of Python in our steps, the largest of all cells", 0.03, python, at_least=False),
        Target("start with persona files, seconds beyond loading", 1.0, extra, at_least=False),
    ]


def _rows(data: Data, key: str) -> list[Data]:
    rows: list[Data] = data["limits"].get(key, {}).get("rows", [])
    return rows


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    digits = 3 if 0 < abs(value) < 0.05 else 2
    return f"{value:.{digits}f}" if abs(value) < 100 else f"{value:.0f}"


COLUMNS: dict[str, Value] = {
    "tokens/s": SPEED, "one answer, tokens/s": DECODE, "first text p50 s": FIRST, "p95 s": FIRST_LATE, "gap p50 s": GAP,
    "gap p95 s": GAP_LATE, "longest gap s": STALL, "memory GB": MEMORY, "CPU s": CPU, "prompt cached": cached,
}  # fmt: skip


def render(data: Data) -> str:
    """Return the page: targets, cells, first users at once, limits, and what each cell was measured with."""
    run = data["run"]
    lines = [f"# Our engine beside its peers: {run['model']}", ""]
    lines += [f"{run['threads']} threads, {run['turns']} turns a pupil, medians of the rounds; of memory, the newest."]
    lines += [PAIRED, ""]
    lines += ["| target | promised | found | rounds of both | verdict |", "|---|---|---|---|---|"]
    for one in targets(data):
        sign = "≥" if one.at_least else "≤"
        both = "–" if one.rounds is None else one.rounds
        lines.append(f"| {one.text} | {sign} {one.limit} | {_number(one.found)} | {both} | {one.verdict} |")
    head = f"| pupils | server | rounds | {' | '.join(COLUMNS)} | tokens/s / llama-server's best (rounds) | failed |"
    lines += ["", head, "|---" * (len(COLUMNS) + 5) + "|"]
    for (server, pupils), found in sorted(measured(data).items(), key=lambda item: item[0][1]):
        values = " | ".join(
            _number((newest if value is MEMORY else middle)(data, server, pupils, value)) for value in COLUMNS.values()
        )
        quotients = beside_peers(data, pupils, SPEED) if server == OURS else []
        times = f"{_number(median(quotients))} ({len(quotients)})" if quotients else "–"
        lines.append(f"| {pupils} | {server} | {len(found)} | {values} | {times} | {_failed(found)} |")
    broken = {key: cell["error"] for key, cell in data["cells"].items() if "error" in cell}
    lines += ["", *(f"- {key} failed: {error}" for key, error in broken.items())]
    lines += ["", "## First users at once, no persona read", ""]
    lines += ["| server/pupils | first text p50 s | p95 s |", "|---|---|---|"]
    for key, cell in data["cold"].items():
        said = [cell.get("error", "–"), "–"] if "error" in cell else [_number(FIRST(cell)), _number(FIRST_LATE(cell))]
        lines.append(f"| {key} | {said[0]} | {said[1]} |")
    lines += ["", "## Limits of llama.cpp itself", "", "| pupils | tokens/s, questions in the time |", "|---|---|"]
    numbers = sorted({pupils for _, pupils in measured(data)})
    lines += [f"| {pupils} | {_number(limit_of(data, pupils))} |" for pupils in numbers]
    return "\n".join([*lines, "", *_made(data)]) + "\n"


def _failed(found: Sequence[Data]) -> str:
    """Say how many answers failed, and what the time limit cut."""
    said = str(sum(cell["n_errors"] for cell in found))
    if any(cell["cut_by_limit"] for cell in found):
        said += ", cut by the time limit"
    if waiting := sum(cell.get("waiting", 0) for cell in found):
        said += f", {waiting} without a first text by then"
    return said


def _made(data: Data) -> list[str]:
    """Say with which engine, weights, library and command the cells were measured, and when."""
    cells = [cell for section in ("cells", "cold", "starts", "limits") for cell in data[section].values()]
    lines = ["## Measured with", "", "| measures | from | to | engines | weights | llama.cpp | processor | command |"]
    lines += ["|---" * 8 + "|"]
    for number, made in enumerate(data.get("made", [])):
        times = sorted(cell["at"] for cell in cells if cell.get("made") == number)
        what = [made["engines"][:8], made["model_sha256"][:8], made["llama_cpp"], made["cpu"], f"`{made['command']}`"]
        if times:
            lines.append(f"| {len(times)} | {times[0]} | {times[-1]} | {' | '.join(what)} |")
    if older := sum("made" not in cell for cell in cells):
        lines.append(f"| {older} |{' not noted |' * 7}")
    return lines


def write(data: Data, path: Path) -> None:
    """Write the page; the last one stays until this one is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(render(data), encoding="utf-8")
    partial.replace(path)


def plot(data: Data, path: Path) -> None:
    """Draw tokens a second and the wait for the first text over the number of pupils."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.5))
    cells = measured(data)
    for server in dict.fromkeys(server for server, _ in cells):
        pupils = sorted(n for name, n in cells if name == server)
        style = {"marker": "o", "label": server, "linewidth": 2.5 if server == OURS else 1.2}
        left.plot(pupils, [middle(data, server, n, SPEED) for n in pupils], **style)
        right.plot(pupils, [middle(data, server, n, FIRST) or float("nan") for n in pupils], **style)
    limits = [(n, found) for n in sorted({n for _, n in cells}) if (found := limit_of(data, n))]
    if limits:
        left.plot(*zip(*limits, strict=True), "k--", label="llama-batched-bench")
    left.set(xlabel="pupils", ylabel="tokens a second, all pupils", title=str(data["run"]["model"]))
    right.set(xlabel="pupils", ylabel="seconds to the first text, median", yscale="log")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    if cells:
        left.legend(fontsize=8)
    figure.tight_layout()
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=75)
    pyplot.close(figure)
    save_small(drawn.getvalue(), path)
