"""The model card and the Modelfile of a verified folder. Knows the report and the GGUF's own words; measures nothing.

Every number comes from `verify.json` or from the files: nothing can be claimed that was not found.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from conversion.container import Container, read_container
from conversion.hub import check_repo
from conversion.ollama_file import modelfile, read_layout
from conversion.report import REPORT_FILE, Gate, VerifyReport, read_report
from conversion.tokenizer_files import read_json
from errors import ConversionError

log = logging.getLogger(__name__)

SIGNS = {"pass": "✓ pass", "warn": "⚠ warn", "fail": "✗ fail", "skipped": "– skipped"}
MB = 1_000_000


@dataclass(frozen=True)
class CardFacts:
    """What the card says beyond the report.

    Attributes:
        repo: "owner/name" where the folder is published.
        base: The base model on the Hub.
        licence: SPDX id, or the Hub's name of a licence, e.g. "gemma".
        title: First line; empty takes the repository's name.
        adapter: The adapter on the Hub, or its folder's name; empty for none.
        languages: ISO codes.
        datasets: What the adapter was trained on: Hub ids or plain words.
        recipe: How, as key → value; from `training_summary.json` by `read_recipe`. One of a limited run gets a warning.
        notes: Further Markdown: limits, notices that the base's licence asks for.
    """

    repo: str
    base: str
    licence: str
    title: str = ""
    adapter: str = ""
    languages: tuple[str, ...] = ("fr",)
    datasets: tuple[str, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    notes: str = ""

    def __post_init__(self) -> None:
        check_repo(self.repo)


def read_recipe(path: Path) -> dict[str, Any]:
    """Return the recipe inside a `training_summary.json`, or any JSON object as it is; nested keys become "lora.r".

    Of a run that was limited, the limits as well, as "limits.max_steps".

    Raises:
        ConversionError: The file is missing or no JSON object.
    """
    read = read_json(path, "it is the training summary that the card tells")
    recipe = {**read.get("recipe", read), "limits": read.get("limits")}
    flat: dict[str, Any] = {}
    for key, value in recipe.items():
        inner = value.items() if isinstance(value, dict) else ((None, value),)
        flat |= {f"{key}.{name}" if name else key: one for name, one in inner if one is not None}
    return flat


def _metadata(facts: CardFacts, report: VerifyReport, title: str) -> str:
    """Return the YAML that the Hub reads."""
    from huggingface_hub import EvalResult, ModelCardData

    texts = ", ".join(report.about.get("texts", {})) or "held-out text"
    measured = [
        EvalResult(
            task_type="text-generation",
            dataset_type="held-out",
            dataset_name=texts,
            metric_type=gate.name.replace(" ", "-").lower(),
            metric_name=gate.name,
            metric_value=gate.value,
        )
        for gate in report.gates
        if isinstance(gate.value, (int, float)) and gate.verdict in ("pass", "warn")
    ]
    data = ModelCardData(
        base_model=facts.base,
        language=list(facts.languages),
        license=facts.licence,
        library_name="gguf" if smallest_gguf(report) else "transformers",
        pipeline_tag="text-generation",
        tags=[*(("gguf", "llama-cpp") if smallest_gguf(report) else ()), *(("lora",) if facts.adapter else ())] or None,
        datasets=[name for name in facts.datasets if "/" in name] or None,
        model_name=title,
        eval_results=measured or None,
    )
    return str(data.to_yaml())


def _cell(value: object) -> str:
    if value is None:
        return "–"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def gates_table(gates: tuple[Gate, ...]) -> str:
    """Return the gates as a Markdown table, remedies of those that did not pass below it."""
    rows = [f"| {_cell(g.name)} | {_cell(g.value)} | {_cell(g.threshold)} | {SIGNS[g.verdict]} |" for g in gates]
    remedies = [f"- **{gate.name}**: {gate.remedy}" for gate in gates if gate.verdict != "pass"]
    table = ["| gate | found | must be | verdict |", "|---|---|---|---|", *rows]
    return "\n".join([*table, *(["", *remedies] if remedies else [])])


def _files_table(report: VerifyReport) -> str:
    rows = [f"| `{name}` | {one.bytes / MB:,.1f} MB | `{one.sha256}` |" for name, one in report.files.items()]
    return "\n".join(["| file | size | sha256 |", "|---|---|---|", *rows])


def _recipe_table(recipe: Mapping[str, Any]) -> str:
    rows = [f"| {_cell(key)} | {_cell(value)} |" for key, value in recipe.items()]
    return "\n".join(["| setting | value |", "|---|---|", *rows])


def _smoke_warning(recipe: Mapping[str, Any]) -> str:
    """Return the warning that the training's own card has, as `training.results.card` words it; empty for none."""
    limits = [f"{key.removeprefix('limits.')} = {one}" for key, one in recipe.items() if key.startswith("limits.")]
    if not limits:
        return ""
    return f"> **A smoke run, no model to use**: it was limited to {', '.join(limits)}.\n\n"


def _how_to_run(repo: str, gguf: str, *, with_modelfile: bool) -> str:
    name = repo.split("/")[1].lower()
    ways = {
        "llama.cpp": (
            f"llama-cli -hf {repo} -hff {gguf} --jinja -cnv\nllama-server -hf {repo} -hff {gguf} --jinja --port 8080"
        ),
        "Ollama, from this folder: the `Modelfile` holds the template and the stops": (
            f"ollama create {name} -f Modelfile\nollama run {name}" if with_modelfile else ""
        ),
        "LM Studio": f"lms get {repo}    # or, from this folder: lms import {gguf}",
        "Bergson and Friends, the page this model was made for": f"BAF_FREE_MODEL=hf:{repo}/{gguf} make run",
    }
    return "\n\n".join(f"{way}:\n\n```sh\n{commands}\n```" for way, commands in ways.items() if commands)


def _piece(container: Container, key: str) -> str:
    number = container.fields.get(f"tokenizer.ggml.{key}")
    return "" if number is None else str(container.value("tokenizer.ggml.tokens")[number.value])


def smallest_gguf(report: VerifyReport) -> str | None:
    """Return the GGUF that the examples name: the smallest, which runs on most machines; None without one."""
    sizes = {one.bytes: name for name, one in report.files.items() if name.endswith(".gguf")}
    return sizes[min(sizes)] if sizes else None


def _merge_line(report: VerifyReport) -> str:
    """Say how base and adapter were added, as far as it fits on a line."""
    merge = report.about.get("merge") or {}
    plain = [f"{key} {_cell(one)}" for key, one in merge.items() if not isinstance(one, (dict, list))]
    return f"\n- merge: {', '.join(plain)}" if plain else ""


def render_card(facts: CardFacts, report: VerifyReport, template: str = "", *, with_modelfile: bool = False) -> str:
    """Return README.md.

    Args:
        facts: What the report cannot know.
        report: The gates and the files.
        template: An example of a rendered prompt; empty leaves it out.
        with_modelfile: Whether a Modelfile stands beside it.
    """
    title = facts.title or facts.repo.split("/")[-1]
    smallest = smallest_gguf(report)
    verdict = report.praise if report.passed else "**It did not pass its gates: do not use it.**"
    adapter = f"\n- adapter: {facts.adapter}, merged" if facts.adapter else ""
    data = f"\n- data: {', '.join(facts.datasets)}" if facts.datasets else ""
    sections = {
        "What it is": f"- base: [{facts.base}](https://huggingface.co/{facts.base}){adapter}{data}{_merge_line(report)}",
        "Recipe": _recipe_table(facts.recipe) if facts.recipe else "",
        "Gates": f"{verdict} Each compares two ways of running the same model.\n\n{gates_table(report.gates)}",
        "Files": _files_table(report),
        "Prompt": f"```text\n{template}\n```" if template else "",
        "How to run": _how_to_run(facts.repo, smallest, with_modelfile=with_modelfile) if smallest else "",
        "Notes": facts.notes,
    }
    body = "\n\n".join(f"## {name}\n\n{text}" for name, text in sections.items() if text)
    head = f"# {title}\n\n{_smoke_warning(facts.recipe)}"
    return f"---\n{_metadata(facts, report, title)}\n---\n\n{head}{body}\n"


def write_card(folder: Path, facts: CardFacts) -> list[Path]:
    """Write README.md and, where a GGUF carries a chat template, a Modelfile; earlier ones are replaced whole.

    Args:
        folder: A folder with `verify.json` and the files it names.
        facts: What the report cannot know.

    Returns:
        The files written.

    Raises:
        ConversionError: The report or a file is missing, or the Hub's metadata would be refused.
    """
    report = read_report(folder / REPORT_FILE)
    name = smallest_gguf(report)
    container = read_container(folder / name) if name else None
    template = container.fields.get("tokenizer.chat_template") if container else None
    texts: dict[str, str] = {}
    example, notes = "", facts.notes
    if name and container and template:
        bos, eos = _piece(container, "bos_token_id"), _piece(container, "eos_token_id")
        try:
            layout = read_layout(str(template.value), bos=bos, eos=eos)
        except ConversionError as error:
            log.warning("no Modelfile: %s", error)
            notes = f"There is no Modelfile. {error}\n\n{notes}".strip()
        else:
            example = f"{bos}{layout.example()}"
            texts["Modelfile"] = modelfile(name, layout, eos=eos)
    texts["README.md"] = render_card(replace(facts, notes=notes), report, example, with_modelfile="Modelfile" in texts)
    for filename, text in texts.items():
        partial = folder / f"{filename}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(folder / filename)
    log.info("card gates=%d files=%d", len(report.gates), len(report.files))
    return [folder / filename for filename in texts]
