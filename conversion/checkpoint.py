"""The cut base as a Hugging Face checkpoint, to train an adapter on. Knows torch and transformers, when it runs.

The tokenizer exists three times afterwards: `tokenizer.model` (SentencePiece, what llama.cpp's converter reads),
`tokenizer.json` (Hugging Face) and the GGUF's own lists. The tests say whether they cut texts alike.
"""

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from conversion.assemble import CHAT_TEMPLATE, cut_gguf
from conversion.container import Container, read_container
from conversion.vocabulary import NORMAL, RENAMED, SPECIALS, USER_DEFINED
from errors import ConversionError

log = logging.getLogger(__name__)

Dtype = Literal["float32", "bfloat16"]
PAD, EOS, BOS, UNK = SPECIALS
SP_UNKNOWN = 2  # SentencePiece's own type of `<unk>`, which GGUF files mark as a control piece


def sentencepiece_model(cut: Container) -> bytes:
    """Return the `tokenizer.model` of a GGUF with a SentencePiece BPE vocabulary.

    Nothing is normalised: no dummy prefix, no whitespace removed, as Gemma's tokenizer does.
    """
    from sentencepiece import sentencepiece_model_pb2 as pb

    model = pb.ModelProto()
    tokens, scores, kinds = (cut.value(f"tokenizer.ggml.{key}") for key in ("tokens", "scores", "token_type"))
    for token, score, kind in zip(tokens, scores, kinds, strict=True):
        # SentencePiece wants scores of 0 where they carry no order.
        model.pieces.add(piece=token, score=score if kind == NORMAL else 0.0, type=SP_UNKNOWN if token == UNK else kind)
    trainer = model.trainer_spec
    trainer.model_type = pb.TrainerSpec.BPE
    trainer.vocab_size = len(tokens)
    trainer.byte_fallback = True
    trainer.pad_id, trainer.eos_id, trainer.bos_id, trainer.unk_id = range(len(SPECIALS))
    trainer.pad_piece, trainer.eos_piece, trainer.bos_piece, trainer.unk_piece = SPECIALS
    normalizer = model.normalizer_spec
    normalizer.name = "identity"
    normalizer.add_dummy_prefix = False
    normalizer.remove_extra_whitespaces = False
    return bytes(model.SerializeToString())


def merges_of(pieces: Mapping[str, float]) -> list[tuple[str, str]]:
    """Return the pairs that join into a piece, the best score first: the merges that scores alone imply."""
    ranked: list[tuple[float, int, tuple[str, str]]] = []
    for piece, score in pieces.items():
        for at in range(1, len(piece)):
            pair = (piece[:at], piece[at:])
            if pair[0] in pieces and pair[1] in pieces:
                ranked.append((-score, at, pair))
    ranked.sort(key=lambda item: item[:2])
    return [pair for _, _, pair in ranked]


def hub_tokenizer(cut: Container) -> Any:
    """Return the GemmaTokenizer of a cut GGUF, chat template included; its ids are those of the file."""
    from transformers import AddedToken, GemmaTokenizerFast

    tokens, scores, kinds = (cut.value(f"tokenizer.ggml.{key}") for key in ("tokens", "scores", "token_type"))
    pieces = {token: score for token, score, kind in zip(tokens, scores, kinds, strict=True) if kind == NORMAL}
    tokenizer = GemmaTokenizerFast(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=merges_of(pieces),
        mask_token=None,  # by default a piece beyond the embedding
        model_max_length=cut.value("gemma3.context_length"),
        padding_side="right",
        additional_special_tokens=list(RENAMED.values()),
    )
    runs = [token for token, kind in zip(tokens, kinds, strict=True) if kind == USER_DEFINED]
    tokenizer.add_tokens([AddedToken(run, normalized=False, special=False) for run in runs])
    tokenizer.chat_template = CHAT_TEMPLATE.read_text(encoding="utf-8")
    if len(tokenizer) != len(tokens):
        raise ConversionError(f"The tokenizer has {len(tokenizer)} pieces, the embedding {len(tokens)} rows.")
    return tokenizer


def rebuild_model(gguf: Path, dtype: Dtype) -> Any:
    """Return a clean `Gemma3ForCausalLM` with a GGUF's weights.

    transformers reads the GGUF, but calls what it read quantised and refuses to save it; hence the second object.
    """
    import torch
    from transformers import AutoModelForCausalLM, Gemma3ForCausalLM, GenerationConfig

    read = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.float32)
    config = read.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.pad_token_id, config.eos_token_id, config.bos_token_id = range(3)
    config.tie_word_embeddings = True
    config.query_pre_attn_scalar = config.head_dim  # not in the file; llama.cpp scales by the head's width
    config.dtype = dtype
    model = Gemma3ForCausalLM(config)
    model.load_state_dict(read.state_dict())
    model.tie_weights()
    model.generation_config = GenerationConfig(pad_token_id=0, eos_token_id=1, bos_token_id=2)
    return model.to(getattr(torch, dtype)).eval()


def _write_tokenizer(cut: Container, folder: Path) -> None:
    """Write every tokenizer file, with what transformers 5 leaves out put back."""
    tokenizer = hub_tokenizer(cut)
    tokenizer.save_pretrained(folder)
    (folder / "tokenizer.model").write_bytes(sentencepiece_model(cut))
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["mask_token"] = None  # else the class brings its own back when it is read again
    path.write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def cut_checkpoint(base: Path, kept: Sequence[int], out_dir: Path, *, dtype: Dtype = "float32") -> Path:
    """Write `out_dir`, the cut base as a checkpoint folder that transformers, PEFT and llama.cpp's converter read.

    Args:
        base: The full GGUF.
        kept: Ids of its pieces, rising.
        out_dir: Must not exist; written beside itself, named last.
        dtype: Of the weights on disk.

    Raises:
        ConversionError: The folder exists, or the base or the list does not fit.
    """
    if out_dir.exists():
        raise ConversionError(f"{out_dir} exists and is never overwritten. Move it, or pass another --out.")
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out_dir.parent, prefix=f".{out_dir.name}-") as work:
        gguf = cut_gguf(base, kept, Path(work) / "cut.gguf", outtype="f32")
        folder = Path(work) / "checkpoint"
        model = rebuild_model(gguf, dtype)
        model.save_pretrained(folder)
        _write_tokenizer(read_container(gguf), folder)
        folder.rename(out_dir)
    log.info("checkpoint pieces=%d parameters=%d", len(kept), sum(p.numel() for p in model.parameters()))
    return out_dir
