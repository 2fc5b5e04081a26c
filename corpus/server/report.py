"""What a state comes to, in numbers and as a page of Markdown. Pure: the same log gives the same bytes."""

from typing import Any

from corpus.server.state import State

KINDS = ("issued", "accepted", "rejected", "review", "expired", "released", "surplus")


def pace(state: State) -> float | None:
    """Return accepted cases an hour, over the last ones; None before there are two."""
    if len(state.times) < 2 or state.times[-1] <= state.times[0]:
        return None
    return 3600 * (len(state.times) - 1) / (state.times[-1] - state.times[0])


def levels(state: State) -> dict[str, dict[str, dict[str, int]]]:
    """Return each level of each dimension: what is wanted of it in all, and where that stands."""
    return {
        name: {
            level: {
                "target": quota + state.plan.seeded.get(name, {}).get(level, 0),
                "seed": state.plan.seeded.get(name, {}).get(level, 0),
                "quota": quota,
                "served": state.sampler.counts[name][level],
                "accepted": state.accepted[name][level],
            }
            for level, quota in quotas.items()
        }
        for name, quotas in state.sampler.quotas.items()
    }


def numbers(state: State) -> dict[str, Any]:
    """Return progress and balance, as `summary.json` has it."""
    sampler, speed = state.sampler, pace(state)
    left = sampler.wanted - state.counts["accepted"]
    return {
        "domain": state.domain,
        "total": state.plan.total,
        "seed_cases": state.plan.total - sampler.wanted,
        "wanted": sampler.wanted,
        "leased": len(state.live),
        "waiting_for_review": len(state.waiting),
        **{kind: state.counts[kind] for kind in KINDS},
        "cases_an_hour": None if speed is None else round(speed, 1),
        "eta_s": None if speed is None else round(3600 * left / speed),
        "worst_error": round(sampler.worst_error(), 3),
        "pairs_seen": len(sampler.feasible) - len(sampler.unseen),
        "pairs_feasible": len(sampler.feasible),
        "paths_reached": len(state.reached),
        "paths_of_schema": len(state.paths),
        "done": state.done,
        "levels": levels(state),
    }


def as_markdown(said: dict[str, Any]) -> str:
    """Return `numbers` as a page to read."""
    eta = "unknown yet" if said["eta_s"] is None else f"{said['eta_s'] / 3600:.1f} h"
    progress = (
        f"Seed corpus {said['seed_cases']}, accepted {said['accepted']} of {said['wanted']}, leased {said['leased']}, "
        f"waiting for review {said['waiting_for_review']}; issued {said['issued']}, texts refused {said['rejected']}, "
        f"expired {said['expired']}, surplus {said['surplus']}. Time left: {eta}."
    )
    balance = (
        f"Worst distance of a level from its share: {said['worst_error']} cases. "
        f"Pairs of levels seen: {said['pairs_seen']} of {said['pairs_feasible']}; "
        f"paths of the schema: {said['paths_reached']} of {said['paths_of_schema']}."
    )
    title = f"# {said['domain']}: {said['seed_cases'] + said['accepted']} of {said['total']} cases"
    lines = [title, "", progress, "", balance]
    for name, rows in said["levels"].items():
        lines += ["", f"## {name}", "", "| level | target | seed | served | accepted |", "|---|---|---|---|---|"]
        lines += [
            f"| {level} | {row['target']} | {row['seed']} | {row['served']} | {row['accepted']} |"
            for level, row in rows.items()
        ]
    return "\n".join(lines) + "\n"
