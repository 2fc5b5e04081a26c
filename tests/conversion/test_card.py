"""The card says what the report and the files say; the Modelfile renders chats as the GGUF's own template does."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from conversion.assemble import CHAT_TEMPLATE, cut_gguf
from conversion.card import CardFacts, gates_table, read_recipe, render_card, write_card
from conversion.ollama_file import Layout, go_template, modelfile, read_layout
from conversion.report import (
    FileFacts,
    Gate,
    VerifyReport,
    folder_facts,
    read_report,
    write_report,
)
from errors import ConversionError
from tests.conversion.tiny import Source
from training.results import smoke_warning

OURS = CHAT_TEMPLATE.read_text(encoding="utf-8")
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LAST_TURN = (  # as Mistral's own does: the system text moves to the last message
    "{{ bos_token }}{% set ns = namespace(system='') %}{% for m in messages %}{% if m.role == 'system' %}"
    "{% set ns.system = m.content + '\\n\\n' %}{% elif m.role == 'user' %}[INST] {% if loop.last %}{{ ns.system }}"
    "{% endif %}{{ m.content }}[/INST]{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
FACTS = CardFacts(
    repo="owner/philosophes", base="google/gemma-3-270m", licence="gemma", adapter="owner/lora",
    datasets=("owner/dialogues", "360 dialogues of our own"), recipe={"lora.r": 32, "learning_rate": 2.5e-4},
    notes="It is a demonstration.",
)  # fmt: skip
GATES = (
    Gate("tokens", 0, 0, "pass"),
    Gate("kl Q8_0", 0.0043, 0.05, "pass"),
    Gate("kl Q4_K_M", 0.525, 0.05, "warn", "Publish Q8_0 | Q6_K instead.", {"Q6_K": 0.037}),
    Gate("speech", None, 0.9, "skipped", "Needs a GPU."),
)


@pytest.fixture
def folder(tiny: Source, tiny_kept: list[int], tmp_path: Path) -> Path:
    path = tmp_path / "built"
    cut_gguf(tiny.path, tiny_kept, path / "model-f32.gguf", outtype="f32")
    cut_gguf(tiny.path, tiny_kept, path / "model-Q8_0.gguf", outtype="q8_0")
    about = {"texts": {"demo.eval.jsonl": "0" * 64}, "merge": {"dtype": "float32", "pairs": 14, "names": ["a"]}}
    files = folder_facts(path, ["model-f32.gguf", "model-Q8_0.gguf"])
    write_report(VerifyReport(GATES, files, about), path / "verify.json")
    return path


def test_the_card_says_what_was_found(folder: Path) -> None:
    written = write_card(folder, FACTS)
    assert [path.name for path in written] == ["Modelfile", "README.md"]
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "# philosophes" in text
    assert "| kl Q4_K_M | 0.525 | 0.05 | ⚠ warn |" in text
    assert "- **kl Q4_K_M**: Publish Q8_0 | Q6_K instead." in text
    assert "| speech | – | 0.9 | – skipped |" in text
    assert "No gate fails (warnings: 1, skipped: 1)." in text
    assert "- merge: dtype float32, pairs 14" in text
    assert "| learning_rate | 0.00025 |" in text
    assert "BAF_FREE_MODEL=hf:owner/philosophes/model-Q8_0.gguf make run" in text
    assert "<bos>[INST]SYSTEM\n\nQUESTION[/INST]ANSWER<eos>[INST]QUESTION…" in text
    assert text.rstrip().endswith("It is a demonstration.")
    for facts in read_report(folder / "verify.json").files.values():
        assert facts.sha256 in text


def test_the_hub_reads_its_metadata(folder: Path) -> None:
    write_card(folder, FACTS)
    data = ModelCard.load(folder / "README.md").data
    assert (data.base_model, data.license, data.language, data.library_name) == (
        "google/gemma-3-270m", "gemma", ["fr"], "gguf"
    )  # fmt: skip
    assert data.datasets == ["owner/dialogues"]
    found = {one.metric_name: (one.metric_value, one.dataset_name) for one in data.eval_results}
    assert found["kl Q4_K_M"] == (0.525, "demo.eval.jsonl")
    assert set(found) == {"tokens", "kl Q8_0", "kl Q4_K_M"}


def test_a_failed_report_gets_no_praise() -> None:
    failed = VerifyReport((Gate("tokens", 3, 0, "fail", "Copy tokenizer.model."),), {"a.gguf": FileFacts("0" * 64, 9)})
    assert "It did not pass its gates: do not use it" in render_card(FACTS, failed)


def test_a_folder_without_gguf_or_template(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x")
    write_report(VerifyReport(GATES, folder_facts(tmp_path, ["model.safetensors"])), tmp_path / "verify.json")
    assert [path.name for path in write_card(tmp_path, FACTS)] == ["README.md"]
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "How to run" not in text
    assert "library_name: transformers" in text
    assert "llama-cpp" not in text


def test_a_repository_has_an_owner() -> None:
    with pytest.raises(ConversionError, match="expected owner/name"):
        replace(FACTS, repo="philosophes")


def test_a_folder_that_was_not_verified(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="python -m conversion verify"):
        write_card(tmp_path, FACTS)


def test_a_cell_with_a_bar_stays_a_cell() -> None:
    assert r"| a\|b | x y |" in gates_table((Gate("a|b", "x\ny", None, "pass"),))


def test_the_recipe_of_a_training_summary(tmp_path: Path) -> None:
    path = tmp_path / "training_summary.json"
    path.write_text(json.dumps({"recipe": {"lora": {"r": 32}, "epochs": 2, "seed": None}, "loss": 3}), encoding="utf-8")
    assert read_recipe(path) == {"lora.r": 32, "epochs": 2}
    path.write_text("[1]", encoding="utf-8")
    with pytest.raises(ConversionError, match="no JSON object"):
        read_recipe(path)
    with pytest.raises(ConversionError, match="is missing"):
        read_recipe(tmp_path / "none.json")


def test_a_limited_run_gets_the_training_s_own_warning(tmp_path: Path) -> None:
    """Word for word: this room may not import that one."""
    limits = {"max_steps": 3, "first.train_limit": 8}
    path = tmp_path / "training_summary.json"
    path.write_text(json.dumps({"recipe": {"epochs": 2}, "smoke": True, "limits": limits}), encoding="utf-8")
    text = render_card(replace(FACTS, recipe=read_recipe(path)), VerifyReport(GATES, {}))
    assert f"# philosophes\n\n> {smoke_warning(limits)}\n\n## What it is" in text
    assert "smoke" not in render_card(FACTS, VerifyReport(GATES, {}))


def said_by_ollama(template: str, messages: list[dict[str, str]]) -> str:
    """The part of Go's text/template that our templates use."""
    system = next((m["content"] for m in messages if m["role"] == "system"), "")
    (body,) = re.findall(r"^\{\{ range \$i, \$m := \.Messages \}\}(.*)\{\{ end \}\}$", template, re.S)
    tokens = re.split(r"(\{\{.*?\}\}(?!\}))", body)

    def run(at: int, values: dict[str, Any], active: bool) -> tuple[str, int]:
        out = ""
        while at < len(tokens):
            word = tokens[at].removeprefix("{{ ").removesuffix(" }}") if tokens[at].startswith("{{ ") else None
            if word in ("end", "else"):
                return out, at
            at += 1
            if word is None:
                out += tokens[at - 1]
            elif word.startswith("if "):
                true = bool(values[word[3:]])
                text, at = run(at, values, active and true)
                out += text if true else ""
                if tokens[at] == "{{ else }}":
                    text, at = run(at + 1, values, active and not true)
                    out += "" if true else text
                at += 1
            else:
                out += json.loads(word) if word.startswith('"') else values[word]
        return out, at

    said = ""
    for number, message in enumerate(messages):
        values: dict[str, Any] = {f'eq $m.Role "{role}"': message["role"] == role for role in ("user", "assistant")}
        values |= {"le $i 1": number <= 1, "$.System": system, "$m.Content": message["content"]}
        said += run(0, values, True)[0]
    return said


CHAT = [
    ("user", "Qui es-tu ?"),
    ("assistant", "Je suis « Kant »."),
    ("user", "Bien."),
    ("assistant", "Et toi ?"),
    ("user", "…"),
]
TALKS = [[("system", "Tu es Kant.\nSois bref."), *CHAT[:n]] for n in (1, 3, 5)] + [CHAT[:n] for n in (1, 3, 5)]


@pytest.mark.parametrize("template", [OURS, CHATML], ids=["ours", "chatml"])
@pytest.mark.parametrize("talk", TALKS)
def test_ollama_says_what_the_template_says(template: str, talk: list[tuple[str, str]]) -> None:
    from conversion.ollama_file import _render

    layout = read_layout(template, bos="<bos>", eos="<eos>")
    messages = [{"role": role, "content": content} for role, content in talk]
    expected = _render(template, talk, "<bos>", "<eos>").removeprefix("<bos>")  # llama.cpp puts it there itself
    assert said_by_ollama(go_template(layout), messages) == expected


def test_the_modelfile_word_for_word() -> None:
    layout = Layout("[INST]", "[INST]", "\n\n", "[/INST]", "<eos>[INST]")
    assert modelfile("m.gguf", layout, eos="<eos>") == (
        "FROM ./m.gguf\n"
        'TEMPLATE """{{ range $i, $m := .Messages }}{{ if eq $m.Role "user" }}{{ if le $i 1 }}{{ if $.System }}'
        '{{ "[INST]" }}{{ $.System }}{{ "\\n\\n" }}{{ else }}{{ "[INST]" }}{{ end }}{{ else }}{{ "<eos>[INST]" }}'
        '{{ end }}{{ $m.Content }}{{ "[/INST]" }}{{ end }}{{ if eq $m.Role "assistant" }}{{ $m.Content }}{{ end }}'
        '{{ end }}"""\n'
        'PARAMETER stop "<eos>"\n'
        'PARAMETER stop "[INST]"\n'
        "PARAMETER num_ctx 4096\n"
        "PARAMETER temperature 0.7\n"
    )


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (LAST_TURN, "changes earlier turns"),
        (
            "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}",
            "every message once",
        ),
        ("{{ raise_exception('no system') }}", "refuses a plain chat: no system"),
        ("{% for", "cannot be rendered"),
    ],
)
def test_templates_that_ollama_cannot_say(template: str, said: str) -> None:
    with pytest.raises(ConversionError, match=said):
        read_layout(template, bos="<bos>", eos="<eos>")


def test_the_card_says_why_there_is_no_modelfile(folder: Path) -> None:
    from conversion.assemble import write_container
    from conversion.container import Container, read_container

    source = read_container(folder / "model-Q8_0.gguf")
    field = source.fields["tokenizer.chat_template"]
    fields = {**source.fields, "tokenizer.chat_template": replace(field, value=LAST_TURN)}
    write_container(Container(source.path, fields, source.tensors), folder / "other.gguf")
    files = folder_facts(folder, ["other.gguf"])
    write_report(VerifyReport(GATES, files), folder / "verify.json")
    assert [path.name for path in write_card(folder, FACTS)] == ["README.md"]
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "There is no Modelfile. The chat template changes earlier turns" in text
    assert "ollama create" not in text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r | {"gates": [{"name": "a"}]}, "is no report"),
        (lambda r: r | {"gates": "x"}, "is no report"),
        (lambda r: [r], "is no report"),
        (lambda r: {k: v for k, v in r.items() if k != "passed"}, "is no report"),
        (lambda r: r | {"passed": False}, "says passed=False"),
        (lambda r: r | {"gates": r["gates"][:1] * 2}, "two gates called 'tokens'"),
        (lambda r: r | {"gates": [r["gates"][0] | {"verdict": "good"}]}, "the verdict 'good'"),
        (lambda r: r | {"gates": [r["gates"][0] | {"verdict": "fail"}]}, "without a remedy"),
        (lambda r: r | {"files": {"a": {"sha256": "1", "bytes": 3}}}, "is no hash"),
    ],
)
def test_reports_that_are_none(tmp_path: Path, change: Callable[[Any], Any], said: str) -> None:
    path = write_report(VerifyReport(GATES, {}), tmp_path / "verify.json")
    assert read_report(path).to_dict() == VerifyReport(GATES, {}).to_dict()
    path.write_text(json.dumps(change(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")
    with pytest.raises(ConversionError, match=said):
        read_report(path)
