"""The streaming merge is PEFT's, and refuses what it cannot do exactly."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from cli import run_commands
from conversion.__main__ import app
from conversion.gates.files import preflight
from conversion.hub_folder import UNWANTED, local_folder
from conversion.merge import merge, read_facts
from conversion.qlora import merge_both
from conversion.tensors import INDEX, read_checkpoint
from conversion.tokenizer_files import pieces_of, template_of
from errors import ConversionError, SourceError
from tests.conversion.families import CHATML_TEMPLATE, held_out, mistral_spm, qwen2, train_adapter
from tests.conversion.local_hub import TOKEN, Repo, local_hub, sha_of
from training import base as base_of_training

pytestmark = pytest.mark.filterwarnings("default")

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "patterns": {
        "rank_pattern": {"q_proj": 4, r"layers\.1\.mlp\.up_proj": 2},
        "alpha_pattern": {"v_proj": 40, "q_proj": 3},
    },
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "saved": {"target_modules": ["q_proj", "v_proj"], "modules_to_save": ["lm_head", "embed_tokens"]},
    "embeddings": {"target_modules": ["q_proj", "embed_tokens", "lm_head"]},
    "regex": {"target_modules": r".*\.1\.self_attn\.(q|k)_proj"},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mistral_spm(tmp_path_factory.mktemp("bases") / "mistral")


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_adapter(base, tmp_path_factory.mktemp("adapters") / "plain", steps=3)


def logits(path: Path, adapter: Path | None = None) -> torch.Tensor:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter)
    with torch.no_grad():
        return model.eval()(torch.arange(20)[None]).logits  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", KINDS)
def test_merged_as_peft_merges(kind: str, base: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    adapter = train_adapter(base, tmp_path / "adapter", steps=3, **KINDS[kind])
    made = merge(base, adapter, tmp_path / "merged")
    expected = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter).merge_and_unload(True)
    wanted, found = expected.state_dict(), load_file(made.path / "model.safetensors")
    assert set(found) == set(wanted)
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, wanted[name], rtol=1e-6, atol=1e-6)
    assert (logits(made.path) - logits(base, adapter)).abs().max() < 1e-3
    assert (logits(base) - logits(base, adapter)).abs().max() > 1e-2
    assert read_facts(made.path)["changed"] == made.changed


@pytest.mark.parametrize(
    "lora", [{"target_modules": ["embed_tokens"]}, {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}]
)
def test_a_shared_embedding_is_untied_when_only_one_end_changes(lora: dict[str, Any], tmp_path: Path) -> None:
    """PEFT's own merge would change the output matrix too, which the adapter never did."""
    base = qwen2(tmp_path / "qwen2")
    adapter = train_adapter(base, tmp_path / "adapter", steps=3, **lora)
    made = merge(base, adapter, tmp_path / "merged")
    assert made.untied
    assert json.loads((made.path / "config.json").read_text())["tie_word_embeddings"] is False
    assert (logits(made.path) - logits(base, adapter)).abs().max() < 1e-3


def test_transposed_weights(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    base = tmp_path / "gpt2"
    GPT2LMHeadModel(GPT2Config(vocab_size=60, n_embd=32, n_layer=2, n_head=2, n_positions=64)).save_pretrained(base)
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(
        r=4, target_modules=["c_attn", "c_proj"], fan_in_fan_out=True, init_lora_weights=False, use_dora=True
    )
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(tmp_path / "adapter")
    made = merge(base, tmp_path / "adapter", tmp_path / "merged")
    assert (logits(made.path) - logits(base, tmp_path / "adapter")).abs().max() < 1e-3


def test_shards_and_their_index(base: Path, adapter: Path, tmp_path: Path) -> None:
    whole = merge(base, adapter, tmp_path / "whole")
    parts = merge(base, adapter, tmp_path / "parts", max_shard_bytes=600_000)
    index = json.loads((parts.path / INDEX).read_text(encoding="utf-8"))
    files = sorted(set(index["weight_map"].values()))
    assert len(files) > 3
    assert files == sorted(path.name for path in parts.path.glob("*.safetensors"))
    assert index["metadata"]["total_size"] == parts.n_bytes
    assert torch.equal(logits(parts.path), logits(whole.path))
    again = merge(parts.path, adapter, tmp_path / "again")  # a sharded base is read as well
    assert again.tensors == parts.tensors


def test_rounded_once_to_bfloat16(base: Path, adapter: Path, tmp_path: Path) -> None:
    exact = load_file(merge(base, adapter, tmp_path / "exact").path / "model.safetensors")
    made = merge(base, adapter, tmp_path / "bf16", dtype="bfloat16")
    for name, tensor in load_file(made.path / "model.safetensors").items():
        assert torch.equal(tensor, exact[name].bfloat16())
    assert json.loads((made.path / "config.json").read_text())["dtype"] == "bfloat16"


def test_every_file_of_the_base_is_there(base: Path, adapter: Path, tmp_path: Path) -> None:
    made = merge(base, adapter, tmp_path / "merged")
    beside = {path.name for path in base.iterdir()} - {"model.safetensors"}
    assert beside <= {path.name for path in made.path.iterdir()}
    for name in ("tokenizer.model", "tokenizer.json", "chat_template.jinja"):
        assert (made.path / name).read_bytes() == (base / name).read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]


def test_a_template_beside_the_base_is_the_only_one(base: Path, adapter: Path, tmp_path: Path) -> None:
    config = Path(shutil.copytree(base, tmp_path / "base")) / "tokenizer_config.json"
    own = json.dumps(json.loads(config.read_text(encoding="utf-8")) | {"chat_template": "another"})
    config.write_text(own, encoding="utf-8")
    made = merge(config.parent, adapter, tmp_path / "merged").path
    assert not preflight(made, config.parent).value
    assert config.read_text(encoding="utf-8") == own


@pytest.mark.parametrize("place", ["tokenizer", "adapter"])
def test_the_chat_template_of_the_training_is_shipped(place: str, base: Path, adapter: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(adapter, run / "adapter")
    (run / place).mkdir(exist_ok=True)
    (run / place / "chat_template.jinja").write_text(CHATML_TEMPLATE, encoding="utf-8")
    made = merge(base, run / "adapter", tmp_path / "merged").path
    assert template_of(made) == CHATML_TEMPLATE
    assert read_facts(made)["chat_template"] == "adapter"


def test_pieces_that_a_padded_embedding_takes_come_with_the_adapter(base: Path, adapter: Path, tmp_path: Path) -> None:
    """Saved by transformers 4, whose template is a key, beside a base that has it as a file."""
    own = Path(shutil.copytree(adapter, tmp_path / "adapter"))
    tokenizer, config = (json.loads((base / f"{name}.json").read_text()) for name in ("tokenizer", "tokenizer_config"))
    tokenizer["added_tokens"].append({**tokenizer["added_tokens"][-1], "id": 999, "content": "<neu>"})
    (own / "tokenizer.json").write_text(json.dumps(tokenizer))
    (own / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": CHATML_TEMPLATE}))
    made = merge(base, own, tmp_path / "merged").path
    assert pieces_of(made) - pieces_of(base) == {"<neu>"}
    assert template_of(made) == CHATML_TEMPLATE
    assert preflight(made, base).verdict == "pass"


def test_what_float16_cannot_hold_is_refused(base: Path, adapter: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(base, tmp_path / "base"))
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][0] = 70_000
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConversionError, match=r"model\.norm\.weight holds what float16 cannot"):
        merge(folder, adapter, tmp_path / "merged", dtype="float16")
    assert not (tmp_path / "merged").exists()


def test_a_chat_that_the_template_refuses_is_found_before_two_merges(base: Path, adapter: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(base, tmp_path / "base"))
    (folder / "chat_template.jinja").write_text("{{ raise_exception('No system text.') }}", encoding="utf-8")
    done: list[float] = []
    with pytest.raises(ConversionError, match=r"refuses a chat of system, user, assistant.*: No system text\."):
        merge_both(
            folder, adapter, tmp_path / "merged", held_out=[held_out(tmp_path / "held.jsonl")], on_progress=done.append
        )
    assert not done


def test_stdout_has_the_path_where_stderr_is_a_terminal(
    base: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # Rich takes any stream for a terminal
    given = ["merge", "--base", base, "--adapter", adapter, "--out", tmp_path / "merged"]
    with pytest.raises(SystemExit) as ended:
        run_commands(app, arguments=list(map(str, given)))
    assert (ended.value.code, capsys.readouterr().out) == (0, f"{tmp_path / 'merged'}\n")


def edited(adapter: Path, to: Path, **changes: Any) -> Path:
    folder = shutil.copytree(adapter, to)
    config = json.loads((folder / "adapter_config.json").read_text()) | changes
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"peft_type": "LOHA"}, "a LOHA adapter"),
        ({"init_lora_weights": "pissa_niter_4"}, "changes the base as well"),
        ({"bias": "all"}, "bias=all"),
        ({"use_qalora": True}, "use_qalora"),
        ({"r": 4}, r"ranks \(8, 8\); adapter_config.json says 4"),
        ({"use_dora": True}, "no magnitude vector"),
    ],
)
def test_other_adapters_are_refused(
    changes: dict[str, Any], said: str, base: Path, adapter: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConversionError, match=said):
        merge(base, edited(adapter, tmp_path / "adapter", **changes), tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize(
    ("dropped", "said"),
    [
        (("layers.1.mlp.up_proj.lora_B",), "half a pair for model.layers.1.mlp.up_proj"),
        (("layers.1.mlp.up_proj",), "nothing for model.layers.1.mlp.up_proj.weight"),
        (("lora",), "is empty"),
    ],
)
def test_a_part_of_the_adapter_is_missing(
    dropped: tuple[str, ...], said: str, base: Path, adapter: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(adapter, tmp_path / "adapter")
    file = folder / "adapter_model.safetensors"
    save_file({k: v for k, v in load_file(file).items() if not any(part in k for part in dropped)}, file)
    with pytest.raises(ConversionError, match=said):
        merge(base, folder, tmp_path / "merged")


def test_an_adapter_of_another_base(base: Path, adapter: Path, tmp_path: Path) -> None:
    from transformers import AutoConfig, MistralForCausalLM

    config = AutoConfig.from_pretrained(base)
    config.num_hidden_layers = 1
    MistralForCausalLM(config).save_pretrained(tmp_path / "shallow")
    with pytest.raises(ConversionError, match=r"changes model\.layers\.1\..* and \d more, which the base has not"):
        merge(tmp_path / "shallow", adapter, tmp_path / "merged")
    config.num_hidden_layers, config.intermediate_size = 2, 64
    MistralForCausalLM(config).save_pretrained(tmp_path / "narrow")
    with pytest.raises(ConversionError, match="trained on another base"):
        merge(tmp_path / "narrow", adapter, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_a_base_that_is_not_whole(base: Path, adapter: Path, tmp_path: Path) -> None:
    parts = merge(base, adapter, tmp_path / "parts", max_shard_bytes=600_000).path
    shard = sorted(parts.glob("*.safetensors"))[1]
    raw = shard.read_bytes()
    shard.write_bytes(raw[:-100])
    with pytest.raises(ConversionError, match="fetched or copied in part"):
        merge(parts, adapter, tmp_path / "merged")
    shard.write_bytes(raw[:4])
    with pytest.raises(ConversionError, match="no whole safetensors"):
        merge(parts, adapter, tmp_path / "merged")
    shard.unlink()
    with pytest.raises(ConversionError, match=r"1 of .* shards"):
        merge(parts, adapter, tmp_path / "merged")
    with pytest.raises(ConversionError, match=r"holds no model\.safetensors"):
        read_checkpoint(tmp_path)
    with pytest.raises(ConversionError, match=r"adapter_config\.json is missing"):
        merge(base, tmp_path, tmp_path / "merged")
    with pytest.raises(ConversionError, match=r"config\.json is missing"):
        merge(tmp_path, adapter, tmp_path / "merged")
    with pytest.raises(ConversionError, match="never overwritten"):
        merge(base, adapter, parts)
    assert not (tmp_path / "merged").exists()


def test_a_quantised_base_is_refused(base: Path, adapter: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(base, tmp_path / "base")
    config = json.loads((folder / "config.json").read_text()) | {"quantization_config": {"load_in_4bit": True}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConversionError, match="is quantised"):
        merge(folder, adapter, tmp_path / "merged")


def test_a_full_disk_leaves_nothing(base: Path, adapter: Path, tmp_path: Path) -> None:
    """A file larger than the process may write is what a full disk looks like."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000));"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "from conversion.__main__ import main; main()"
    )
    out = tmp_path / "out" / "merged"
    command = [sys.executable, "-c", code, "merge", "--base", str(base), "--adapter", str(adapter), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "disk" in done.stderr
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("spec", "said"),
    [("owner/name", "cannot be fetched from the Hub"), ("no such folder", "is no folder, and no owner")],
)
def test_a_base_from_the_hub_that_does_not_answer(spec: str, said: str, adapter: Path, tmp_path: Path) -> None:
    environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "BAF_DATA_DIR": str(tmp_path / "data")}
    command = [sys.executable, "-m", "conversion", "merge", "--base", spec, "--adapter", str(adapter)]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "merged")], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert not (tmp_path / "merged").exists()


def test_what_the_hubs_library_raises_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"owner/\.name cannot be fetched from the Hub"):
        local_folder("owner/.name", tmp_path)


def test_a_pinned_base_comes_without_second_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the commit that is named, by the token that is given."""
    oid, wanted = hashlib.sha256(b"{}").hexdigest(), {"config.json", "model.safetensors"}
    with local_hub() as hub:
        for name in ("HUGGINGFACE_CO_URL_TEMPLATE", "ENDPOINT"):
            monkeypatch.setattr(constants, name, getattr(constants, name).replace(constants.ENDPOINT, hub.url))
        hub.objects[oid] = b"{}"
        listed = dict.fromkeys([*wanted, "consolidated.safetensors", "params.json"], (oid, 2, "lfs"))
        hub.repos["owner/base"] = Repo(commits=[{}, listed, {}])
        found = local_folder(f"owner/base@{sha_of(1)}", tmp_path, TOKEN)
    assert {path.name for path in found.iterdir() if path.is_file()} == wanted
    assert base_of_training.UNWANTED == UNWANTED
