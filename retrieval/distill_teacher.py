"""The teacher of a static model: a transformer that turns pieces and sentences into vectors. Knows torch when it runs.

A teacher is a Hugging Face folder, encoder or decoder, with or without a PEFT adapter, or a GGUF of a BERT with a
Unigram vocabulary (our French embedder), whose weights are unpacked. Knows nothing of what is made of its vectors.
"""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from errors import RetrievalError
from retrieval.embedders import MAX_CHARS, MAX_QUERY_CHARS, PREFIXES, WINDOW, EmbedderId, unit
from retrieval.passages import normal

log = logging.getLogger(__name__)

BATCH_TOKENS = 4_096  # padded tokens computed together
NAMES = {"attn_q": "attention.self.query", "attn_k": "attention.self.key", "attn_v": "attention.self.value",
         "attn_output": "attention.output.dense", "attn_output_norm": "attention.output.LayerNorm",
         "ffn_up": "intermediate.dense", "ffn_down": "output.dense",
         "layer_output_norm": "output.LayerNorm"}  # fmt: skip
TOP = {"token_embd": "embeddings.word_embeddings", "position_embd": "embeddings.position_embeddings",
       "token_types": "embeddings.token_type_embeddings", "token_embd_norm": "embeddings.LayerNorm"}  # fmt: skip


class Teacher:
    """A transformer as a source of vectors; also an `Embedder`, so that it can be measured beside its pupils.

    Args:
        model: A transformers model without a head, e.g. `BertModel`, `Qwen2Model`.
        tokenizer: Its fast tokenizer.
        name: For people.
        digest: Of the weights.
        layers: Hidden states averaged, counted from the last.
        prefixes: Before a question and before a passage; None to choose by the name.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        name: str,
        digest: str,
        *,
        layers: int = 1,
        prefixes: tuple[str, str] | None = None,
    ) -> None:
        self._model = model.eval()
        self.tokenizer = tokenizer
        self.decoder = bool(getattr(model.config, "is_decoder", False)) or not hasattr(model, "encoder")
        self.width = int(model.config.hidden_size)
        if not 1 <= layers <= int(model.config.num_hidden_layers):
            raise RetrievalError(f"{name} has {model.config.num_hidden_layers} layers; {layers} cannot be averaged.")
        self._layers = layers
        self._window = min(WINDOW, int(getattr(model.config, "max_position_embeddings", WINDOW)))
        self._prefixes = prefixes or next((pair for part, pair in PREFIXES.items() if part in name.lower()), ("", ""))
        said = hashlib.sha256(f"{digest} {self._prefixes} {layers}".encode()).hexdigest()
        self._id = EmbedderId(name, said[:32], self.width)

    @property
    def id(self) -> EmbedderId:
        """See `Embedder.id`."""
        return self._id

    def query(self, text: str) -> np.ndarray:
        """See `Embedder.query`."""
        row: np.ndarray = self._embed([text[:MAX_QUERY_CHARS]], self._prefixes[0])[0]
        return row

    def passages(self, texts: Sequence[str]) -> np.ndarray:
        """See `Embedder.passages`."""
        return self._embed([text[:MAX_CHARS] for text in texts], self._prefixes[1])

    def close(self) -> None:
        """Nothing is held but memory."""

    def questions(self, texts: Sequence[str]) -> np.ndarray:
        """Return (len(texts), width) float32, rows of length 1: many texts, each as a question."""
        return self._embed(texts, self._prefixes[0])

    def _embed(self, texts: Sequence[str], prefix: str) -> np.ndarray:
        ready = [normal(text) for text in texts]
        given = [prefix + text if text else "" for text in ready]
        sequences = self.tokenizer(given, add_special_tokens=True)["input_ids"] if given else []
        # A decoder's first position gathers attention and says nothing of the text.
        skip = int(self.decoder and bool(sequences) and self._begins(sequences[0]))
        rows = self.states(
            [one[: self._window] if text else [] for one, text in zip(sequences, ready, strict=True)], skip
        )
        return unit(rows)

    def _begins(self, sequence: Sequence[int]) -> bool:
        return len(sequence) > 0 and sequence[0] == self.tokenizer.bos_token_id

    def frame(self) -> tuple[list[int], list[int]]:
        """Return the ids that stand before and after every text, e.g. those of `<s>` and `</s>`."""
        plain = self.tokenizer("a", add_special_tokens=False)["input_ids"]
        whole = self.tokenizer("a", add_special_tokens=True)["input_ids"]
        at = next((i for i in range(len(whole)) if whole[i : i + len(plain)] == plain), 0)
        return whole[:at], whole[at + len(plain) :]

    def states(self, sequences: Sequence[Sequence[int]], skip: int = 0) -> np.ndarray:
        """Return (len(sequences), width) float32: the mean of the hidden states of each sequence of ids.

        Args:
            sequences: May be empty, whose row is then zeros.
            skip: First positions left out of the mean.
        """
        import torch

        rows = np.zeros((len(sequences), self.width), np.float32)
        order = [place for place in np.argsort([len(one) for one in sequences], kind="stable") if len(sequences[place])]
        at = 0
        while at < len(order):
            size = 1  # rising lengths: the last one is what all are padded to
            while at + size < len(order) and (size + 1) * len(sequences[order[at + size]]) <= BATCH_TOKENS:
                size += 1
            places = order[at : at + size]
            longest = max(len(sequences[place]) for place in places)
            ids = torch.full((len(places), longest), self.tokenizer.pad_token_id or 0)
            mask = torch.zeros((len(places), longest), dtype=torch.long)
            for row, place in enumerate(places):
                ids[row, : len(sequences[place])] = torch.tensor(sequences[place])
                mask[row, : len(sequences[place])] = 1
            rows[places] = self._means(ids, mask, skip)
            at += size
        return rows

    def _means(self, ids: Any, mask: Any, skip: int) -> np.ndarray:
        import torch

        with torch.inference_mode():
            said = self._model(input_ids=ids, attention_mask=mask, output_hidden_states=self._layers > 1)
            hidden = said.last_hidden_state
            if self._layers > 1:
                hidden = torch.stack(said.hidden_states[-self._layers :]).mean(dim=0)
            counted = mask.clone()
            counted[:, :skip] = 0
            counted = torch.where(counted.any(dim=1, keepdim=True), counted, mask).unsqueeze(-1).float()
            means: np.ndarray = ((hidden.float() * counted).sum(dim=1) / counted.sum(dim=1)).numpy()
        return means


def open_teacher(source: Path, *, adapter: Path | None = None, layers: int = 1, name: str | None = None) -> Teacher:
    """Open a teacher.

    Args:
        source: A Hugging Face folder, or a GGUF of a BERT.
        adapter: A PEFT folder that is merged in.
        layers: Hidden states averaged, counted from the last.
        name: For people; the file's name otherwise.

    Raises:
        RetrievalError: It is missing, or no such model.
    """
    name = name or source.name
    try:
        if source.is_file() and source.suffix == ".gguf":
            model, tokenizer = _bert_of(source)
            return Teacher(model, tokenizer, name, _digest([source]), layers=layers)
        weights = sorted(source.glob("*.safetensors")) or sorted(source.glob("pytorch_model*.bin"))
        if not weights or not (source / "config.json").is_file():
            raise RetrievalError(f"{source} is no teacher: expected a folder with config.json and weights, or a GGUF.")
        model, tokenizer = _from_folder(source, adapter)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise RetrievalError(f"{source} cannot be read as a teacher ({type(error).__name__}: {error}).") from error
    weights += sorted(adapter.glob("*.safetensors")) if adapter else []
    return Teacher(model, tokenizer, name, _digest(weights), layers=layers)


def fetch_teacher(name: str) -> Path:
    """Return the local folder of `owner/name` on the Hub, downloaded first if need be.

    Raises:
        RetrievalError: It cannot be had.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, httpx.HTTPError, OSError) as error:
        raise RetrievalError(
            f"{name} is no folder here, and the Hub does not give it ({type(error).__name__}). Pass a local folder."
        ) from None


def _digest(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _from_folder(folder: Path, adapter: Path | None) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

    given = {"dtype": torch.float32, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    if adapter is None:
        return AutoModel.from_pretrained(str(folder), **given), tokenizer
    from peft import PeftModel

    base = AutoModelForCausalLM.from_pretrained(str(folder), **given)
    return PeftModel.from_pretrained(base, str(adapter)).merge_and_unload().model, tokenizer


def _bert_of(path: Path) -> tuple[Any, Any]:
    """Unpack a GGUF of a BERT into the model and the tokenizer that transformers would have."""
    import torch
    from gguf import GGUFReader
    from gguf.quants import dequantize
    from transformers import BertConfig, BertModel

    read = GGUFReader(path)

    def field(key: str, *otherwise: Any) -> Any:
        found = read.fields.get(key)
        if found is None and not otherwise:
            raise ValueError(f"{key} is not in the file")
        return found.contents() if found is not None else otherwise[0]

    if field("general.architecture") != "bert" or field("tokenizer.ggml.model") != "t5":
        raise ValueError("only a BERT with a Unigram vocabulary can be unpacked")
    state = {}
    for tensor in read.tensors:
        values = np.array(dequantize(tensor.data, tensor.tensor_type), np.float32)
        state[_hub_name(tensor.name)] = torch.from_numpy(values)
    config = BertConfig(
        vocab_size=len(state["embeddings.word_embeddings.weight"]),
        hidden_size=field("bert.embedding_length"),
        num_hidden_layers=field("bert.block_count"),
        num_attention_heads=field("bert.attention.head_count"),
        intermediate_size=field("bert.feed_forward_length"),
        max_position_embeddings=len(state["embeddings.position_embeddings.weight"]),
        type_vocab_size=len(state["embeddings.token_type_embeddings.weight"]),
        layer_norm_eps=field("bert.attention.layer_norm_epsilon"),
    )
    model = BertModel(config, add_pooling_layer=False)
    model.load_state_dict(state)
    return model, _unigram(field)


def _hub_name(name: str) -> str:
    """Return a tensor's name in transformers.

    >>> _hub_name("blk.3.attn_output.weight")
    'encoder.layer.3.attention.output.dense.weight'
    """
    part, _, side = name.rpartition(".")
    if part in TOP:
        return f"{TOP[part]}.{side}"
    _, layer, kind = part.split(".")
    return f"encoder.layer.{layer}.{NAMES[kind]}.{side}"


def _unigram(field: Any) -> Any:
    """Return the tokenizer of a GGUF's Unigram vocabulary; its ids are those of llama.cpp."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokens, scores = field("tokenizer.ggml.tokens"), field("tokenizer.ggml.scores")
    special = {key: field(f"tokenizer.ggml.{key}_token_id") for key in ("bos", "eos", "unknown", "padding")}
    made = Tokenizer(models.Unigram(list(zip(tokens, map(float, scores), strict=True)), special["unknown"]))
    steps = [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()]
    if (charsmap := field("tokenizer.ggml.precompiled_charsmap", None)) is not None:
        steps.insert(0, normalizers.Precompiled(bytes(charsmap)))
    made.normalizer = normalizers.Sequence(steps)
    made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    bos, eos = tokens[special["bos"]], tokens[special["eos"]]
    made.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A {eos}", special_tokens=[(bos, special["bos"]), (eos, special["eos"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token=bos,
        eos_token=eos,
        unk_token=tokens[special["unknown"]],
        pad_token=tokens[special["padding"]],
    )
