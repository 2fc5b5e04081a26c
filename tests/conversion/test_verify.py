"""Every gate passes on whole models of five families, and fails on what was planted for it: the table of defects."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf.quants import dequantize
from safetensors.torch import load_file, save_file

from conversion.container import Container, read_container
from conversion.gates import speech, tokens
from conversion.gguf import converter, to_gguf
from conversion.imatrix import compute_importance
from conversion.merge import FACTS, merge
from conversion.quantize import quantize
from conversion.reference import HubModel, encode
from conversion.report import VerifyReport
from conversion.texts import Texts, read_held_out
from conversion.tokenizer_files import conversion_copy
from conversion.verify import Subject, verify
from engines.scoring import ScoringModel
from errors import ConversionError, SourceError
from settings import load_settings
from tests.conversion.families import FAMILIES, held_out, mistral_spm, rewrite_gguf, train_adapter

pytestmark = [pytest.mark.smoke, pytest.mark.filterwarnings("default"), pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Made:
    """One family, from base to quantised files."""

    base: Path
    adapter: Path
    merged: Path
    bf16: Path
    q4: Path
    texts: Path

    @property
    def subject(self) -> Subject:
        return Subject(self.merged, (self.bf16,), self.base, self.adapter)


@pytest.fixture(scope="session")
def family(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    known: dict[str, Made] = {}

    def make(name: str) -> Made:
        if name not in known:
            folder = tmp_path_factory.mktemp(name)
            texts = held_out(folder / "held.jsonl")
            base = FAMILIES[name](folder / "base")
            adapter = train_adapter(base, folder / "adapter")
            merged = merge(base, adapter, folder / "merged").path
            bf16 = to_gguf(merged, folder / "bf16.gguf", "bf16", data_dir=load_settings().data_dir)
            matrix = compute_importance(merged, bf16, [texts], folder / "imatrix.gguf")
            q4 = quantize(bf16, folder / "q4.gguf", "Q4_K_M", importance=matrix).path
            known[name] = Made(base, adapter, merged, bf16, q4, texts)
        return known[name]

    return make


def run(subject: Subject, texts: Path, **more: Any) -> VerifyReport:
    return verify(subject, [texts], root=ROOT, threads=1, **more)


def failed(report: VerifyReport) -> set[str]:
    """Names of the gates that failed, without their file."""
    return {gate.name.removesuffix(" BF16").removesuffix(" bf16") for gate in report.gates if gate.verdict == "fail"}


RARE = {"qwen3", "tekken"}  # of their kinds, qwen2 and mistral are read at every run


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=pytest.mark.proof) if one in RARE else one for one in FAMILIES]
)
def test_a_whole_model_passes_every_gate(name: str, family: Callable[[str], Made]) -> None:
    made = family(name)
    subject = Subject(made.merged, (made.bf16, made.q4), made.base, made.adapter)
    report = run(subject, made.texts, schemes=("IQ2_XXS",))  # which needs a matrix: it is left out
    assert report.passed
    assert report.gate("adapter kept Q4_K_M").details["schemes"] == {}
    verdicts = {gate.name: gate.verdict for gate in report.gates}
    apart = {name for name, verdict in verdicts.items() if verdict not in ("pass",)}
    assert apart <= {"engine layout BF16", "engine layout Q4_K_M"}
    assert name.startswith("qwen") == bool(apart)  # our engine writes Mistral's format alone
    assert report.gate("kl BF16").value <= 1e-4  # type: ignore[operator]
    assert report.gate("tokens BF16").details["lines"] >= 2000
    assert report.gate("stop BF16").details["ends_wanted"] >= 3
    assert report.gate("adapter kept Q4_K_M").details["kept_in_the_weights"] > 0.95
    assert set(report.files) >= {"bf16.gguf", "q4.gguf", "merged/model.safetensors", "merged/tokenizer.json"}


# The planted defects. Each takes a whole model and an empty folder, and returns what is to be verified.


def dropped_tokenizer_model(made: Made, folder: Path) -> Subject:
    """transformers 5 writes none; the converter then invents scores."""
    merged = Path(shutil.copytree(made.merged, folder / "merged"))
    copy = folder / "copy"
    copy.mkdir()
    conversion_copy(merged, copy)
    for place in (merged, copy):
        (place / "tokenizer.model").unlink()
    script = converter(load_settings().data_dir).resolve()
    command = [
        sys.executable,
        "-P",
        str(script),
        str(copy),
        "--outfile",
        str(folder / "bf16.gguf"),
        "--outtype",
        "bf16",
    ]
    environment = {"PYTHONPATH": f"{script.parent}:{script.parent / 'gguf-py'}", "PATH": "/usr/bin:/bin"}
    subprocess.run(command, cwd=script.parent, env=environment, check=True, capture_output=True)
    return replace(made.subject, merged=merged, ggufs=(folder / "bf16.gguf",))


def shifted_added_token(made: Made, folder: Path) -> Subject:
    tokens = list(read_container(made.bf16).value("tokenizer.ggml.tokens"))
    at = tokens.index("[INST]")
    tokens[at], tokens[at + 1] = tokens[at + 1], tokens[at]
    return _rewritten(made, folder, {"tokenizer.ggml.tokens": tokens})


def lost_added_token(made: Made, folder: Path) -> Subject:
    """What becomes of an added token without added_tokens_decoder."""
    read = read_container(made.bf16)
    tokens, kinds = list(read.value("tokenizer.ggml.tokens")), list(read.value("tokenizer.ggml.token_type"))
    at = tokens.index("[/INST]")
    tokens[at], kinds[at] = f"[PAD{at}]", 5
    return _rewritten(made, folder, {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": kinds})


def doubled_bos(made: Made, folder: Path) -> Subject:
    """In both templates, so that only counting finds it."""
    merged = Path(shutil.copytree(made.merged, folder / "merged"))
    template = "{{ bos_token }}" + (merged / "chat_template.jinja").read_text(encoding="utf-8")
    (merged / "chat_template.jinja").write_text(template, encoding="utf-8")
    subject = _rewritten(made, folder, {"tokenizer.chat_template": template})
    return replace(subject, merged=merged)


def edited_template(made: Made, folder: Path) -> Subject:
    template = read_container(made.bf16).value("tokenizer.chat_template").replace("[/INST]", " [/INST]")
    return _rewritten(made, folder, {"tokenizer.chat_template": template})


def wrong_alpha(made: Made, folder: Path) -> Subject:
    adapter = Path(shutil.copytree(made.adapter, folder / "adapter"))
    config = json.loads((adapter / "adapter_config.json").read_text()) | {"lora_alpha": 24}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    return replace(made.subject, adapter=adapter)


def module_left_out_of_the_merge(made: Made, folder: Path) -> Subject:
    merged = Path(shutil.copytree(made.merged, folder / "merged"))
    name = "model.layers.1.mlp.down_proj.weight"
    weights = load_file(merged / "model.safetensors")
    weights[name] = load_file(made.base / "model.safetensors")[name]
    save_file(weights, merged / "model.safetensors", metadata={"format": "pt"})
    ggufs = (to_gguf(merged, folder / "bf16.gguf", "bf16", data_dir=load_settings().data_dir),)
    return replace(made.subject, merged=merged, ggufs=ggufs)


def module_lost_from_the_adapter(made: Made, folder: Path) -> Subject:
    adapter = Path(shutil.copytree(made.adapter, folder / "adapter"))
    file = adapter / "adapter_model.safetensors"
    save_file({key: value for key, value in load_file(file).items() if "layers.1.mlp.down_proj" not in key}, file)
    return replace(made.subject, adapter=adapter)


def swapped_rope_base(made: Made, folder: Path) -> Subject:
    return _rewritten(made, folder, {"llama.rope.freq_base": 1_000_000.0})


def changed_eos(made: Made, folder: Path) -> Subject:
    return _rewritten(made, folder, {"tokenizer.ggml.eos_token_id": 0})


def lost_end(made: Made, folder: Path) -> Subject:
    """The output row of the piece that ends an answer was not trained, or was overwritten."""
    tensor = read_container(made.bf16).tensors["output.weight"]
    values = np.array(dequantize(tensor.data, tensor.kind), np.float32).reshape(tensor.shape)
    values[2] = 0
    path = rewrite_gguf(made.bf16, folder / "bf16.gguf", tensors={"output.weight": values})
    return replace(made.subject, ggufs=(path,))


def overflow(made: Made, folder: Path) -> Subject:
    """What float16 makes of a weight that it cannot hold."""
    tensor = read_container(made.bf16).tensors["blk.0.ffn_up.weight"]
    values = np.array(dequantize(tensor.data, tensor.kind), np.float32).reshape(tensor.shape)
    values[3, 5] = np.inf
    path = rewrite_gguf(made.bf16, folder / "bf16.gguf", tensors={"blk.0.ffn_up.weight": values})
    return replace(made.subject, ggufs=(path,))


def truncated(made: Made, folder: Path) -> Subject:
    path = folder / "bf16.gguf"
    path.write_bytes(made.bf16.read_bytes()[:-1000])
    return replace(made.subject, ggufs=(path,))


def unreadable_to_us(made: Made, folder: Path) -> Subject:
    path = folder / "bf16.gguf"
    path.write_bytes(made.bf16.read_bytes().replace(b"{{ bos_token }}", b"{{ bos_toke\xff }}", 1))
    return replace(made.subject, ggufs=(path,))


def missing_shard(made: Made, folder: Path) -> Subject:
    merged = Path(shutil.copytree(made.merged, folder / "merged"))
    (merged / "model.safetensors").unlink()
    return replace(made.subject, merged=merged)


def _rewritten(made: Made, folder: Path, fields: dict[str, Any]) -> Subject:
    return replace(made.subject, ggufs=(rewrite_gguf(made.bf16, folder / "bf16.gguf", fields),))


# Defect × gate: exactly these gates fail, every other one passes or is skipped.
TABLE: list[tuple[Callable[[Made, Path], Subject], set[str]]] = [
    (dropped_tokenizer_model, {"files", "tokens", "template", "engine layout"}),
    (shifted_added_token, {"special tokens", "template", "engine layout"}),
    (lost_added_token, {"special tokens", "template", "engine layout"}),
    (doubled_bos, {"template", "engine layout"}),
    (edited_template, {"template"}),
    (wrong_alpha, {"merged weights", "merged logits"}),
    (module_left_out_of_the_merge, {"merged weights", "merged logits"}),
    (module_lost_from_the_adapter, {"merged weights", "merged logits"}),
    (swapped_rope_base, {"config", "kl", "top-1", "perplexity", "greedy"}),
    (changed_eos, {"special tokens", "engine layout"}),  # llama.cpp stops at `</s>` all the same: it knows the name
    (lost_end, {"kl", "top-1", "perplexity", "greedy", "stop"}),
    (overflow, {"numbers"}),
    (truncated, {"integrity"}),
    (unreadable_to_us, {"contents"}),
    (missing_shard, {"files", "merged weights", "checkpoint"}),
]


@pytest.mark.parametrize(("plant", "gates"), TABLE, ids=[plant.__name__ for plant, _ in TABLE])
def test_each_defect_fails_its_gates(
    plant: Callable[[Made, Path], Subject], gates: set[str], family: Callable[[str], Made], tmp_path: Path
) -> None:
    made = family("mistral")
    report = run(plant(made, tmp_path), made.texts)
    assert failed(report) == gates
    assert not report.passed
    for gate in report.gates:
        assert gate.verdict == "pass" or len(gate.remedy) > 20
    assert not list(tmp_path.glob(".verify-*"))


def test_without_chats_the_templates_themselves_are_compared(family: Callable[[str], Made], tmp_path: Path) -> None:
    made = family("mistral")
    whole, edited = (read_container(path) for path in (made.bf16, edited_template(made, tmp_path).ggufs[0]))
    lost = Container(whole.path, {k: v for k, v in whole.fields.items() if "chat_template" not in k}, whole.tensors)
    tokenizer = HubModel(made.merged).tokenizer
    model = ScoringModel(made.bf16, threads=1)
    gates = [tokens.template("x", tokenizer, model, container, []) for container in (whole, edited, lost)]
    assert [gate.verdict for gate in gates] == ["pass", "fail", "fail"]
    assert tokens.layout("x", tokenizer, model, []).verdict == "skipped"
    model.close()


def test_a_first_question_that_leaves_no_room_is_not_asked(family: Callable[[str], Made]) -> None:
    made = family("mistral")
    hub, texts = HubModel(made.merged), read_held_out([made.texts])
    long = ({"role": "user", "content": "la joie " * 1000},)
    assert speech.answers(hub, Texts((long, *texts.chats))) == speech.answers(hub, texts)  # type: ignore[arg-type]
    none = speech.answers(hub, Texts((long,)))  # type: ignore[arg-type]
    assert speech.greedy("x", none, [], quantised=False).verdict == "skipped"


def test_an_end_is_looked_for_after_the_checkpoints_own_words(family: Callable[[str], Made]) -> None:
    """A file that takes longer in words of its own has lost no end."""
    made = family("mistral")
    hub = HubModel(made.merged)
    prompt = tuple(encode(hub.tokenizer, "<s>[INST]"))
    answer = tuple(encode(hub.tokenizer, "Le désir est l'essence même de l'homme.</s>"))
    said = speech.Said((prompt,), (answer,), ((1.0,) * len(answer),), (True,))
    nothing = speech.Compared(0, *(0.0,) * 9, (0, 0))
    model = ScoringModel(made.q4, threads=1)
    assert not model.ends(model.greedy(prompt, 2 * len(answer))[-1])
    assert speech.stops("x", said, nothing, model, hub.ends, quantised=True).verdict == "pass"
    model.close()


def test_a_scheme_that_is_none_is_refused_before_any_gate(family: Callable[[str], Made]) -> None:
    made, done = family("mistral"), list[str]()
    with pytest.raises(ConversionError, match="No scheme 'Q4KM'"):
        run(made.subject, made.texts, schemes=("Q4KM",), report=lambda step, _: done.append(step))
    assert not done


def test_a_disk_without_room_is_no_fault_of_the_checkpoints(
    family: Callable[[str], Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = family("mistral")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 0))
    with pytest.raises(SourceError, match="MB are needed"):
        run(replace(made.subject, ggufs=()), made.texts)


def test_a_grown_vocabulary_is_merged_and_verified(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base, adapter = mistral_spm(tmp_path / "base"), tmp_path / "adapter"
    tokenizer, model = AutoTokenizer.from_pretrained(base), AutoModelForCausalLM.from_pretrained(base)
    tokenizer.add_tokens(["<neu>"])
    model.resize_token_embeddings(len(tokenizer))
    get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False)).save_pretrained(adapter)
    tokenizer.save_pretrained(adapter)
    merged = merge(base, adapter, tmp_path / "merged").path
    report = run(Subject(merged, (), base, adapter), held_out(tmp_path / "held.jsonl"))
    verdicts = {gate.name: gate.verdict for gate in report.gates}
    assert verdicts == dict.fromkeys(("files", "merged weights", "merged logits"), "pass")


def test_a_good_merge_is_none_the_worse_for_its_dtype(tmp_path: Path) -> None:
    """Of a folder that was not merged here; and in float32 of a 16-bit base that was rounded to nf4."""
    base = mistral_spm(tmp_path / "base")
    file = base / "model.safetensors"
    save_file({name: weight.bfloat16() for name, weight in load_file(file).items()}, file, metadata={"format": "pt"})
    adapter, texts = train_adapter(base, tmp_path / "adapter", steps=3), held_out(tmp_path / "held.jsonl")
    found = merge(base, adapter, tmp_path / "found", dtype="bfloat16").path
    (found / FACTS).unlink()
    nf4 = merge(base, adapter, tmp_path / "nf4", dtype="float32", base_weights="nf4").path
    for merged in (found, nf4):
        assert run(Subject(merged, (), base, adapter), texts).gate("merged logits").verdict == "pass"
