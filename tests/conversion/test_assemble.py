"""The cut GGUF holds the base's own rows, or the merged ones; llama.cpp runs it; what does not fit is refused."""

import json
from pathlib import Path

import llama_cpp
import numpy as np
import pytest
from gguf import GGMLQuantizationType
from jinja2.sandbox import ImmutableSandboxedEnvironment
from safetensors.numpy import load_file, save_file

from conversion.assemble import CHAT_TEMPLATE, cut_gguf, read_adapter, to_float
from conversion.container import read_container
from conversion.demo import logits_after
from errors import ConversionError
from tests.conversion.tiny import FRENCH, Source, write_adapter


def test_the_cut_keeps_the_bases_own_bytes(tiny: Source, tiny_kept: list[int], tmp_path: Path) -> None:
    cut = read_container(cut_gguf(tiny.path, tiny_kept, tmp_path / "cut.gguf"))
    base = read_container(tiny.path)
    np.testing.assert_array_equal(
        cut.tensors["token_embd.weight"].data, base.tensors["token_embd.weight"].data[tiny_kept]
    )
    others = [name for name in base.tensors if name != "token_embd.weight"]
    for name in others:
        assert cut.tensors[name].kind is base.tensors[name].kind
        np.testing.assert_array_equal(cut.tensors[name].data, base.tensors[name].data)


def test_the_cut_says_what_it_is(tiny: Source, tiny_kept: list[int], tmp_path: Path) -> None:
    cut = read_container(cut_gguf(tiny.path, tiny_kept, tmp_path / "cut.gguf", name="Essai"))
    assert cut.value("tokenizer.ggml.tokens")[:6] == ["<pad>", "<eos>", "<bos>", "<unk>", "[INST]", "[/INST]"]
    assert cut.value("tokenizer.ggml.token_type")[4:6] == [3, 3]
    assert [cut.value(f"tokenizer.ggml.{name}_token_id") for name in ("padding", "eos", "bos", "unknown")] == [
        0,
        1,
        2,
        3,
    ]
    assert cut.value("general.name") == "Essai"
    assert cut.value("general.license") == "gemma"
    assert cut.value("general.size_label") == "0M"
    assert "Modified from Tiny base" in cut.value("general.description")
    assert cut.value("tokenizer.chat_template") == CHAT_TEMPLATE.read_text(encoding="utf-8")


def test_llama_cpp_reads_the_prompt_format(tiny: Source, tiny_kept: list[int], tmp_path: Path) -> None:
    path = cut_gguf(tiny.path, tiny_kept, tmp_path / "cut.gguf", outtype="q8_0")
    model = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    ids = model.tokenize(b"[INST]La joie ?[/INST]", add_bos=True, special=True)
    assert (ids[:2], ids[-1]) == ([2, 4], 5)
    vocabulary = llama_cpp.llama_model_get_vocab(model.model)
    assert [i for i in range(len(tiny_kept)) if llama_cpp.llama_vocab_is_eog(vocabulary, i)] == [1]
    # A pupil who types the mark sends characters, not the mark.
    assert 4 not in model.tokenize(b"[INST]", add_bos=False, special=False)
    model.close()


def test_french_is_cut_as_in_the_base(tiny: Source, tiny_kept: list[int], tmp_path: Path) -> None:
    path = cut_gguf(tiny.path, tiny_kept, tmp_path / "cut.gguf")
    cut = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    full = llama_cpp.Llama(str(tiny.path), vocab_only=True, verbose=False)
    for line in [*FRENCH.splitlines(), "  deux  espaces\n\n\nfin", "émoji 😀 œuvre"]:
        ids = cut.tokenize(line.encode(), add_bos=False)
        assert [tiny_kept[i] for i in ids] == full.tokenize(line.encode(), add_bos=False)
    cut.close()
    full.close()


@pytest.mark.parametrize(("outtype", "tolerance"), [("f32", 1e-5), ("bf16", 4e-3), ("q8_0", 8e-3)])
def test_the_adapter_is_added(
    tiny: Source, tiny_kept: list[int], tiny_adapter: Path, tmp_path: Path, outtype: str, tolerance: float
) -> None:
    cut = read_container(
        cut_gguf(tiny.path, tiny_kept, tmp_path / "cut.gguf", adapter=tiny_adapter, outtype=outtype)  # type: ignore[arg-type]
    )
    base, lora = read_container(tiny.path), load_file(tiny_adapter / "adapter_model.safetensors")
    prefix = "base_model.model.model.layers.1.mlp.down_proj.lora_"
    a, b = (lora[f"{prefix}{side}.weight"].astype(np.float64) for side in "AB")
    expected = to_float(base.tensors["blk.1.ffn_down.weight"]) + 2.0 * b @ a
    found = to_float(cut.tensors["blk.1.ffn_down.weight"])
    assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()
    assert cut.tensors["blk.0.attn_q_norm.weight"].kind is GGMLQuantizationType.F32


def test_the_adapter_changes_what_is_said(
    tiny: Source, tiny_kept: list[int], tiny_adapter: Path, tmp_path: Path
) -> None:
    plain = cut_gguf(tiny.path, tiny_kept, tmp_path / "plain.gguf", outtype="q8_0")
    tuned = cut_gguf(tiny.path, tiny_kept, tmp_path / "tuned.gguf", outtype="q8_0", adapter=tiny_adapter)
    assert np.abs(logits_after(plain, [2, 4, 300, 5]) - logits_after(tuned, [2, 4, 300, 5])).max() > 1


def test_the_same_parts_give_the_same_bytes(
    tiny: Source, tiny_kept: list[int], tiny_adapter: Path, tmp_path: Path
) -> None:
    made = [
        cut_gguf(tiny.path, tiny_kept, tmp_path / name, adapter=tiny_adapter, outtype="q8_0").read_bytes()
        for name in ("one.gguf", "two.gguf")
    ]
    assert made[0] == made[1]


def test_progress_rises_to_one(tiny: Source, tiny_kept: list[int], tmp_path: Path) -> None:
    seen: list[float] = []
    cut_gguf(tiny.path, tiny_kept, tmp_path / "cut.gguf", on_progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_an_existing_output_is_never_touched(tiny: Source, tiny_kept: list[int], tmp_path: Path) -> None:
    out = tmp_path / "cut.gguf"
    out.write_text("mine", encoding="utf-8")
    with pytest.raises(ConversionError, match="never overwritten"):
        cut_gguf(tiny.path, tiny_kept, out)
    assert out.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (lambda ids: [*ids, 999_999], "Piece 999999 is asked for"),
        (lambda ids: [i for i in ids if i != 5], "<unused0>"),
        (lambda ids: ids[1:], "padding_token_id"),
    ],
)
def test_kept_pieces_that_do_not_fit(
    tiny: Source, tiny_kept: list[int], tmp_path: Path, kept: object, said: str
) -> None:
    with pytest.raises(ConversionError, match=said):
        cut_gguf(tiny.path, kept(tiny_kept), tmp_path / "cut.gguf")  # type: ignore[operator]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [({"width": 96}, "trained on another base"), ({"layers": 3}, r"changes blk\.2\.")],
)
def test_an_adapter_of_another_base(
    tiny: Source, tiny_kept: list[int], tmp_path: Path, given: dict[str, int], said: str
) -> None:
    adapter = write_adapter(tmp_path / "adapter", **given)
    with pytest.raises(ConversionError, match=said):
        cut_gguf(tiny.path, tiny_kept, tmp_path / "out" / "cut.gguf", adapter=adapter, outtype="q8_0")
    assert not list(tmp_path.glob("out/*"))


def test_an_adapter_never_goes_back_to_the_bases_grid(
    tiny: Source, tiny_kept: list[int], tiny_adapter: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConversionError, match="vanishes"):
        cut_gguf(tiny.path, tiny_kept, tmp_path / "cut.gguf", adapter=tiny_adapter)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"rank_pattern": {"q_proj": 8}}, "rank_pattern"),
        ({"modules_to_save": ["embed_tokens"]}, "modules_to_save"),
        ({"peft_type": "IA3"}, "a IA3 adapter"),
        ({"init_lora_weights": "pissa"}, "changes the base as well"),
        ({"lora_bias": True}, "lora_bias"),
    ],
)
def test_adapters_that_are_no_plain_lora(tmp_path: Path, change: dict[str, object], said: str) -> None:
    folder = write_adapter(tmp_path / "adapter")
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(ConversionError, match=said):
        read_adapter(folder)


def test_rank_stabilised_scale(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "adapter", rank=4)
    path = folder / "adapter_config.json"
    assert read_adapter(folder).scale == 2.0
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | {"use_rslora": True}), encoding="utf-8")
    assert read_adapter(folder).scale == 4.0


def test_adapters_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="holds no adapter"):
        read_adapter(tmp_path)
    folder = write_adapter(tmp_path / "adapter")
    weights = folder / "adapter_model.safetensors"
    tensors = load_file(weights)
    key = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    save_file({name: tensor for name, tensor in tensors.items() if name != key}, weights)
    with pytest.raises(ConversionError, match=r"no whole pair for \['blk\.0\.attn_q"):
        read_adapter(folder)
    save_file(tensors | {"base_model.model.lm_head.lora_A.weight": np.zeros((4, 64), np.float16)}, weights)
    with pytest.raises(ConversionError, match="lm_head"):
        read_adapter(folder)
    save_file(tensors | {key.replace("A.weight", "B.bias"): np.zeros(64, np.float16)}, weights)
    with pytest.raises(ConversionError, match="only lora_A and lora_B"):
        read_adapter(folder)
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(ConversionError, match="cannot be read"):
        read_adapter(folder)


def _render(messages: list[dict[str, str]]) -> str:
    def refuse(message: str) -> None:
        raise ValueError(message)

    template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(
        CHAT_TEMPLATE.read_text(encoding="utf-8")
    )
    return template.render(messages=messages, bos_token="<bos>", eos_token="<eos>", raise_exception=refuse)


def test_the_template_renders_the_format_and_never_rewrites() -> None:
    chat = [
        {"role": "system", "content": "Tu es Kant.\n"},
        {"role": "user", "content": "Qui es-tu ?"},
        {"role": "assistant", "content": "Je suis Kant."},
        {"role": "user", "content": "Bien."},
    ]
    assert _render(chat) == "<bos>[INST]Tu es Kant.\n\nQui es-tu ?[/INST]Je suis Kant.<eos>[INST]Bien.[/INST]"
    assert _render(chat).startswith(_render(chat[:3]))
    assert _render(chat).startswith(_render(chat[:2]))
    assert _render(chat[1:2]) == "<bos>[INST]Qui es-tu ?[/INST]"
    assert _render([{"role": "system", "content": " "}, *chat[1:2]]) == "<bos>[INST]Qui es-tu ?[/INST]"
    with pytest.raises(ValueError, match="Roles"):
        _render([*chat, chat[0]])
