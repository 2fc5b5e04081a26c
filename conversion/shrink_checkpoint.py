"""A checkpoint folder with a vocabulary cut to a language. Knows tokenizer files and rows; knows no GGUF.

Every file that holds an id is written anew: the tokenizer's three forms, the settings, the rows of the embeddings. All
else is copied byte for byte.
"""

import json
import logging
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conversion.checkpoint import SP_UNKNOWN
from conversion.tokenizer_files import check_sentencepiece
from conversion.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, Vocabulary
from errors import ConversionError

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

# Names under which checkpoints keep a row, or a number, for each piece.
BY_PIECE = re.compile(
    r"(.*\.)?(embed_tokens|lm_head|word_embeddings|shared|wte)\.weight|(.*\.)?lm_head\.bias|(.*\.)?predictions\.(bias|decoder\.bias)"
)
ID_KEY = re.compile(r".*(token_id|token_index|token_ids)$")
SETTINGS = ("config.json", "generation_config.json", "tokenizer_config.json", "special_tokens_map.json")
PIECE_FILES = ("tokenizer.model", "sentencepiece.bpe.model", "spiece.model")
WEIGHTS = re.compile(r".*\.(safetensors|bin|gguf)|.*\.index\.json")


def _read(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConversionError(f"{path} is missing: the folder is no whole checkpoint.") from None
    except json.JSONDecodeError as error:
        raise ConversionError(f"{path} is no JSON: {error}.") from error
    if not isinstance(read, dict):
        raise ConversionError(f"{path} holds no JSON object.")
    return read


def _piece_model(path: Path) -> Any:
    """Return a SentencePiece file as its protobuf message."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from sentencepiece import sentencepiece_model_pb2 as pb

    try:
        return pb.ModelProto.FromString(path.read_bytes())
    except DecodeError as error:
        raise ConversionError(f"{path} is no SentencePiece model: {error}.") from error


def _named_ids(folder: Path) -> frozenset[int]:
    """Return the ids that the settings name."""
    found: set[int] = set()

    def look(value: Any, key: str = "") -> None:
        if isinstance(value, dict):
            for name, one in value.items():
                look(one, name)
        elif ID_KEY.fullmatch(key):
            found.update(
                one for one in (value if isinstance(value, list) else [value]) if type(one) is int and one >= 0
            )

    for name in SETTINGS[:2]:
        if (folder / name).is_file():
            look(_read(folder / name))
    return frozenset(found)


def checkpoint_vocabulary(folder: Path) -> Vocabulary:
    """Return the vocabulary of a checkpoint: SentencePiece BPE with its `tokenizer.model`, or Unigram.

    Raises:
        ConversionError: A file is missing or damaged, or the vocabulary is of another kind.
    """
    tokenizer = _read(folder / "tokenizer.json")
    model = tokenizer.get("model", {})
    added = {token["id"]: token for token in tokenizer.get("added_tokens", [])}
    if model.get("type") == "Unigram":
        rows = [(piece, score, NORMAL) for piece, score in model["vocab"]]
        method, leading = "unigram", True
        if (unknown := model.get("unk_id")) is not None:
            rows[unknown] = (*rows[unknown][:2], UNKNOWN)
    elif model.get("type") == "BPE" and model.get("byte_fallback"):
        check_sentencepiece(folder)
        pieces = _piece_model(folder / "tokenizer.model")
        rows = [(one.piece, one.score, one.type) for one in pieces.pieces]
        method, leading = "bpe", bool(pieces.normalizer_spec.add_dummy_prefix)
    else:
        raise ConversionError(
            f"{folder} has another vocabulary than SentencePiece's BPE and Unigram: it cannot be cut."
        )
    for number, token in sorted(added.items()):
        kind = CONTROL if token["special"] else USER_DEFINED
        if number < len(rows):
            keeps = rows[number][2] in (UNKNOWN, BYTE)
            rows[number] = (token["content"], rows[number][1], rows[number][2] if keeps else kind)
        elif number == len(rows):
            rows.append((token["content"], 0.0, kind))
        else:
            raise ConversionError(f"{folder} adds piece {number} to {len(rows)} pieces: some between are missing.")
    tokens, scores, kinds = zip(*rows, strict=True)
    return Vocabulary(str(folder), method, tokens, scores, kinds, _named_ids(folder), leading)  # type: ignore[arg-type]


def _moved(value: Any, place: Mapping[int, int], key: str = "") -> Any:
    """Return settings with every id counted anew; an id whose piece is gone becomes null, or leaves its list."""
    if isinstance(value, dict):
        return {name: _moved(one, place, name) for name, one in value.items()}
    if not ID_KEY.fullmatch(key):
        return value
    if isinstance(value, list):
        return [place[one] for one in value if one in place]
    return place.get(value) if type(value) is int and value >= 0 else value


def _moved_post(value: Any, place: Mapping[int, int]) -> Any:
    """Return a post-processor with the ids of its special pieces counted anew."""
    if isinstance(value, list):
        if len(value) == 2 and isinstance(value[0], str) and type(value[1]) is int:  # ["</s>", 2]
            return [value[0], place[value[1]]]
        return [_moved_post(one, place) for one in value]
    if isinstance(value, dict):
        if "ids" in value and "tokens" in value:
            return {**value, "ids": [place[number] for number in value["ids"]]}
        return {name: _moved_post(one, place) for name, one in value.items()}
    return value


def _cut_tokenizer_json(tokenizer: dict[str, Any], kept: Sequence[int]) -> dict[str, Any]:
    """Return `tokenizer.json` with the kept pieces alone; merges whose pieces are all there stay, in their order."""
    place = {number: at for at, number in enumerate(kept)}
    model = dict(tokenizer["model"])
    if model["type"] == "Unigram":
        model["vocab"] = [model["vocab"][number] for number in kept if number < len(model["vocab"])]
        model["unk_id"] = place.get(model.get("unk_id", -1))
    else:
        vocab = {piece: place[number] for piece, number in model["vocab"].items() if number in place}
        model["vocab"] = dict(sorted(vocab.items(), key=lambda item: item[1]))
        pairs = ((merge, merge.split(" ") if isinstance(merge, str) else merge) for merge in model["merges"])
        model["merges"] = [merge for merge, (a, b) in pairs if a in vocab and b in vocab and a + b in vocab]
    added = [{**one, "id": place[one["id"]]} for one in tokenizer.get("added_tokens", []) if one["id"] in place]
    post = tokenizer.get("post_processor")
    return {**tokenizer, "model": model, "added_tokens": added, "post_processor": _moved_post(post, place)}


def _cut_piece_model(path: Path, full: Vocabulary, kept: Sequence[int]) -> bytes:
    """Return a SentencePiece file with the kept pieces alone, in its own order."""
    model = _piece_model(path)
    if full.method == "bpe":  # the file's order is that of the ids; pieces added later are not in it
        pieces = [model.pieces[number] for number in kept if number < len(model.pieces)]
    else:  # an order of its own: its first pieces are others, the rest are found by their texts
        wanted = {full.tokens[number] for number in kept}
        pieces = [one for one in model.pieces if one.piece in wanted or one.type in (SP_UNKNOWN, CONTROL)]
    del model.pieces[:]
    model.pieces.extend(pieces)
    place = {one.piece: at for at, one in enumerate(pieces)}
    trainer = model.trainer_spec
    trainer.vocab_size = len(pieces)
    for name in ("unk", "bos", "eos", "pad"):
        setattr(trainer, f"{name}_id", place.get(getattr(trainer, f"{name}_piece"), -1))
    return bytes(model.SerializeToString())


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _write_settings(source: Path, folder: Path, kept: Sequence[int], n_rows: int) -> None:
    """Write the settings with ids and sizes counted anew."""
    place = {number: at for at, number in enumerate(kept)}
    for name in SETTINGS:
        if not (source / name).is_file():
            continue
        read = _moved(_read(source / name), place)
        for part in (read, read.get("text_config")):
            if isinstance(part, dict) and part.get("vocab_size") == n_rows:
                part["vocab_size"] = len(kept)
        decoder = read.get("added_tokens_decoder")
        if isinstance(decoder, dict):
            read["added_tokens_decoder"] = {str(place[int(k)]): v for k, v in decoder.items() if int(k) in place}
        _write_json(folder / name, read)


def _write_weights(source: Path, folder: Path, kept: Sequence[int], n_rows: int) -> None:
    """Write the weights, rows of the embeddings selected, one tensor in memory at a time."""
    import torch

    from conversion.tensors import Spec, read_checkpoint, write_checkpoint

    stored = read_checkpoint(source)
    cut = {name for name, one in stored.items() if BY_PIECE.fullmatch(name) and one.spec.shape[0] == n_rows}
    if not any(name.endswith("weight") for name in cut):
        raise ConversionError(f"{source} has no embedding with {n_rows} rows, as its config.json says.")
    specs = {
        name: Spec(one.spec.dtype, (len(kept), *one.spec.shape[1:])) if name in cut else one.spec
        for name, one in stored.items()
    }
    rows = torch.tensor(kept)

    def produce(name: str) -> "torch.Tensor":
        tensor = stored[name].load()
        return tensor[rows] if name in cut else tensor

    write_checkpoint(folder, specs, produce)


def shrink_checkpoint(source: Path, kept: Sequence[int], out: Path) -> Path:
    """Write `out`, the checkpoint `source` with the kept pieces alone; written beside itself, named last.

    Args:
        source: A folder with config, tokenizer and safetensors.
        kept: Ids of its pieces, rising; what `choose` gave for `checkpoint_vocabulary(source)`.
        out: Must not exist.

    Raises:
        ConversionError: `out` exists, a file is missing or damaged, or a piece that the model needs is not kept.
    """
    if out.exists():
        raise ConversionError(f"{out} exists and is never overwritten. Move it, or pass another --out.")
    full = checkpoint_vocabulary(source)
    lost = sorted(full.named - set(kept))
    if not kept or kept[-1] >= len(full.tokens) or lost:
        what = f"piece {lost[0]}, which the settings name" if lost else f"piece {kept[-1] if kept else None}"
        raise ConversionError(f"The kept pieces do not fit {source}: {what}. Make the list again.")
    config = _read(source / "config.json")
    n_rows = int(config.get("vocab_size") or config.get("text_config", {}).get("vocab_size") or len(full.tokens))
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as work:
        folder = Path(work) / "checkpoint"
        folder.mkdir()
        for path in source.iterdir():
            anew = path.name in (*SETTINGS, *PIECE_FILES, "tokenizer.json") or WEIGHTS.fullmatch(path.name)
            if path.is_file() and not anew:
                shutil.copy2(path, folder / path.name)
        tokenizer = _read(source / "tokenizer.json")
        _write_json(folder / "tokenizer.json", _cut_tokenizer_json(tokenizer, kept))
        for name in PIECE_FILES:
            if (source / name).is_file():
                (folder / name).write_bytes(_cut_piece_model(source / name, full, kept))
        _write_settings(source, folder, kept, n_rows)
        _write_weights(source, folder, kept, n_rows)
        folder.rename(out)
    log.info("checkpoint cut pieces=%d of %d", len(kept), len(full.tokens))
    return out


def folder_bytes(folder: Path) -> int:
    """Return the size of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def checkpoint_ids(folder: Path, lines: Sequence[str]) -> list[list[int]]:
    """Return how `tokenizer.json` cuts lines, no special piece added.

    Raises:
        ConversionError: The tokenizer cannot be read.
    """
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ConversionError(f"{path} is missing.")
    tokenizer = Tokenizer.from_file(str(path))
    return [one.ids for one in tokenizer.encode_batch(list(lines), add_special_tokens=False)]
