"""Texts to vectors: llama.cpp, Model2Vec, or an HTTP service, behind one protocol. Knows no index and no note.

Every vector has the length 1: a dot product is a cosine. Texts are normalised to NFC and stripped first, for decomposed
accents and a last space give other pieces than those the model was trained on.
"""

import ctypes
import hashlib
import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
import numpy as np

from engines.gguf_file import inspect
from errors import EngineError, RetrievalError
from retrieval.passages import normal

log = logging.getLogger(__name__)

DEFAULT_FILE = "multilingual-e5-small-fr-q4_0.gguf"  # made by `python -m conversion embedder`
# What a model wants before a question and before a passage, by a part of its name. Without it, e5 loses 2 to 4 points.
PREFIXES = {
    "e5": ("query: ", "passage: "),
    "nomic": ("search_query: ", "search_document: "),
}
WINDOW = 512  # tokens; longer texts are averaged over windows
MAX_CHARS = 20_000  # of a passage; no passage of ours comes near it
MAX_QUERY_CHARS = 2_000  # a question says its subject within the first page; the rest would only cost time
REMEMBERED = 256  # query vectors: a talk asks for those of its earlier turns again
HTTP_TIMEOUT_S = 30.0
HTTP_BATCH = 64  # texts a request


@dataclass(frozen=True)
class EmbedderId:
    """Which embedder made a vector; vectors of two embedders cannot be compared.

    Attributes:
        name: For people.
        digest: Of the weights, or of the address where the weights are not ours to see.
        dimensions: Of a vector.
    """

    name: str
    digest: str
    dimensions: int

    def to_data(self) -> dict[str, Any]:
        """Return what JSON can hold."""
        return asdict(self)


Threads = Callable[[], int]


def one() -> int:
    """Return 1: what an embedder takes of a machine on which others may compute."""
    return 1


class Embedder(Protocol):
    """Turns texts into vectors. May be called from any thread."""

    @property
    def id(self) -> EmbedderId:
        """Which one it is."""
        ...

    def query(self, text: str) -> np.ndarray:
        """Return (dimensions,) float32 of length 1 for a question; zeros for an empty one.

        Raises:
            RetrievalError: The embedder failed.
        """
        ...

    def passages(self, texts: Sequence[str]) -> np.ndarray:
        """Return (len(texts), dimensions) float32, rows of length 1.

        Raises:
            RetrievalError: The embedder failed.
        """
        ...

    def close(self) -> None:
        """Free the model."""
        ...


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return the rows (or the one vector) with length 1; zeros stay zeros.

    >>> unit(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    shortened: np.ndarray = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return shortened


class _Remembered:
    """The vectors of the last questions, so that each turn of a talk is embedded once. In memory alone."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, text: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        with self._lock:
            if text in self._kept:
                self._kept.move_to_end(text)
                return self._kept[text]
        made = make()
        made.setflags(write=False)
        with self._lock:
            self._kept[text] = made
            while len(self._kept) > REMEMBERED:
                self._kept.popitem(last=False)
        return made


class LlamaEmbedder:
    """A GGUF embedder in a llama.cpp context of its own.

    One thread by default: llama.cpp's threads wait for each other by spinning, and one more than there are free cores
    makes a question thirty times slower, as well as the chat beside it.

    Args:
        path: A GGUF with a pooling layer, or one whose tokens are to be averaged.
        threads: Asked before each text how many may read it.
        prefixes: Before a question and before a passage; None to choose by the model's name.

    Raises:
        ModelUnfit: The file is missing or no GGUF.
        RetrievalError: llama.cpp refuses it.
    """

    def __init__(self, path: Path, *, threads: Threads = one, prefixes: tuple[str, str] | None = None) -> None:
        import engines.llama_model  # noqa: F401  # first: it sets what llama.cpp reads when it is loaded

        import llama_cpp  # isort: skip

        info = inspect(path)
        if info.n_bytes_expected > info.n_bytes:
            raise RetrievalError(f"{path.name} is truncated: {info.n_bytes} bytes of {info.n_bytes_expected}.")
        logging.getLogger("llama-cpp-python").setLevel(logging.CRITICAL)  # it prints warnings as errors; ours say more
        self._lib: Any = llama_cpp
        self._lock = threading.Lock()
        self._threads = threads
        self._remembered = _Remembered()
        named = f"{info.name} {path.name}".lower()
        self._prefixes = prefixes or next((pair for part, pair in PREFIXES.items() if part in named), ("", ""))
        self._open(path, pooled=bool(info.pooling))
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        said = hashlib.sha256(f"{digest} {self._prefixes}".encode()).hexdigest()
        self._id = EmbedderId(path.name, said[:32], self._lib.llama_model_n_embd(self._model))
        self._ends = self._tokens("", special=True)  # what stands around every text, e.g. <s> and </s>

    def _open(self, path: Path, *, pooled: bool) -> None:
        lib = self._lib
        lib.llama_backend_init()
        self._ctx: Any = None
        self._model: Any = lib.llama_model_load_from_file(os.fsencode(path), lib.llama_model_default_params())
        if not self._model:
            raise RetrievalError(f"llama.cpp cannot load {path.name} as an embedder; make or fetch it again.")
        self._window = min(WINDOW, lib.llama_model_n_ctx_train(self._model) or WINDOW)
        params = lib.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = self._window  # a whole text must fit one micro-batch
        params.n_seq_max = 1
        params.embeddings = True
        if not pooled:
            params.pooling_type = lib.LLAMA_POOLING_TYPE_MEAN
        self._ctx = lib.llama_init_from_model(self._model, params)
        if not self._ctx:
            lib.llama_model_free(self._model)
            raise RetrievalError(f"llama.cpp makes no embedding context for {path.name}; is it an embedder?")
        self._vocab = lib.llama_model_get_vocab(self._model)
        self._batch = lib.llama_batch_init(self._window, 0, 1)

    @property
    def id(self) -> EmbedderId:
        """See `Embedder.id`."""
        return self._id

    def query(self, text: str) -> np.ndarray:
        """See `Embedder.query`."""
        asked = normal(text[:MAX_QUERY_CHARS])
        return self._remembered.get(asked, lambda: self._vector(asked, self._prefixes[0]))

    def passages(self, texts: Sequence[str]) -> np.ndarray:
        """See `Embedder.passages`. One text at a time, which is faster here than several."""
        rows = [self._vector(normal(text[:MAX_CHARS]), self._prefixes[1]) for text in texts]
        return np.stack(rows) if rows else np.zeros((0, self._id.dimensions), np.float32)

    def close(self) -> None:
        """Free the memory; a second call does nothing."""
        with self._lock:
            if self._model:
                self._lib.llama_batch_free(self._batch)
                self._lib.llama_free(self._ctx)
                self._lib.llama_model_free(self._model)
            self._model = self._ctx = None

    def _tokens(self, text: str, *, special: bool) -> list[int]:
        raw = text.encode("utf-8", errors="replace")
        out = (self._lib.llama_token * (len(raw) + 8))()
        count = self._lib.llama_tokenize(self._vocab, raw, len(raw), out, len(out), special, False)
        return list(out[: max(count, 0)])

    def _vector(self, text: str, prefix: str) -> np.ndarray:
        with self._lock:
            if not self._model:
                raise RetrievalError("The embedder is closed.")
            if not text:
                return np.zeros(self._id.dimensions, np.float32)
            threads = max(1, self._threads())
            self._lib.llama_set_n_threads(self._ctx, threads, threads)
            whole = self._tokens(prefix + text, special=True)
            if len(whole) <= self._window:
                return unit(self._pooled(whole))
            before, after = self._ends[:1], self._ends[1:]
            lead, body = self._tokens(prefix, special=False), self._tokens(text, special=False)
            room = self._window - len(self._ends) - len(lead)
            parts = [body[at : at + room] for at in range(0, len(body), room)]
            vectors = [unit(self._pooled([*before, *lead, *part, *after])) for part in parts]
            return unit(np.average(vectors, axis=0, weights=[len(part) for part in parts]).astype(np.float32))

    def _pooled(self, tokens: list[int]) -> np.ndarray:
        lib, batch = self._lib, self._batch
        if not tokens:
            return np.zeros(self._id.dimensions, np.float32)
        for place, token in enumerate(tokens):
            batch.token[place], batch.pos[place] = token, place
            batch.n_seq_id[place], batch.seq_id[place][0], batch.logits[place] = 1, 0, 1
        batch.n_tokens = len(tokens)
        memory = lib.llama_get_memory(self._ctx)
        if memory:  # a decoder keeps what it has read; an encoder has no memory
            lib.llama_memory_clear(memory, True)
        code = lib.llama_decode(self._ctx, batch)
        found = lib.llama_get_embeddings_seq(self._ctx, 0) if code == 0 else None
        if not found:
            raise RetrievalError(f"The embedder failed on {len(tokens)} tokens (code {code}).")
        vector = np.ctypeslib.as_array(ctypes.cast(found, ctypes.POINTER(ctypes.c_float)), (self._id.dimensions,))
        return vector.copy()


class StaticEmbedder:
    """A Model2Vec folder: the average of the vectors of a text's pieces. Under a millisecond; word order is lost.

    Raises:
        RetrievalError: The folder holds no such model, or the package is missing.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from model2vec import StaticModel
        except ImportError:
            raise RetrievalError('Model2Vec is not installed: pip install -e ".[retrieval]".') from None
        weights = folder / "model.safetensors"
        if not weights.is_file():
            raise RetrievalError(f"{folder} holds no Model2Vec model (model.safetensors); make one with distill.")
        try:
            self._model: Any = StaticModel.from_pretrained(folder, force_download=False)
        except Exception as error:  # safetensors and tokenizers raise errors of no family
            raise RetrievalError(f"{folder} cannot be read as a Model2Vec model: {error}.") from None
        with weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self._id = EmbedderId(folder.name, digest[:32], int(self._model.dim))

    @property
    def id(self) -> EmbedderId:
        """See `Embedder.id`."""
        return self._id

    def query(self, text: str) -> np.ndarray:
        """See `Embedder.query`."""
        row: np.ndarray = self.passages([text[:MAX_QUERY_CHARS]])[0]
        return row

    def passages(self, texts: Sequence[str]) -> np.ndarray:
        """See `Embedder.passages`."""
        if not texts:
            return np.zeros((0, self._id.dimensions), np.float32)
        return unit(np.asarray(self._model.encode([normal(text[:MAX_CHARS]) for text in texts]), np.float32))

    def close(self) -> None:
        """Nothing is held."""


class HttpEmbedder:
    """An embeddings service with OpenAI's interface (vLLM, llama-server, Ollama, …).

    Args:
        url: Up to and without `/embeddings`, e.g. "http://127.0.0.1:8080/v1".
        model: Its name there.
        api_key: Sent as a bearer token; never logged.
        prefixes: Before a question and before a passage; None to choose by the model's name.

    Raises:
        RetrievalError: The service does not answer, refuses, or answers something else.
    """

    def __init__(
        self, url: str, model: str, *, api_key: str | None = None, prefixes: tuple[str, str] | None = None
    ) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.Client(headers=headers, timeout=HTTP_TIMEOUT_S)
        self._url, self._model = f"{url.rstrip('/')}/embeddings", model
        self._prefixes = prefixes or next((p for part, p in PREFIXES.items() if part in model.lower()), ("", ""))
        self._remembered = _Remembered()
        try:
            dimensions = self._ask(["dimensions"]).shape[1]
        except RetrievalError:
            self._client.close()
            raise
        digest = hashlib.sha256(f"{self._url} {model} {self._prefixes}".encode()).hexdigest()
        self._id = EmbedderId(model, digest[:32], dimensions)

    @property
    def id(self) -> EmbedderId:
        """See `Embedder.id`."""
        return self._id

    def query(self, text: str) -> np.ndarray:
        """See `Embedder.query`."""
        asked = normal(text[:MAX_QUERY_CHARS])
        if not asked:
            return np.zeros(self._id.dimensions, np.float32)
        return self._remembered.get(asked, lambda: self._ask([self._prefixes[0] + asked])[0])

    def passages(self, texts: Sequence[str]) -> np.ndarray:
        """See `Embedder.passages`."""
        ready = [self._prefixes[1] + normal(text[:MAX_CHARS]) for text in texts]
        parts = [self._ask(ready[at : at + HTTP_BATCH]) for at in range(0, len(ready), HTTP_BATCH)]
        return np.concatenate(parts) if parts else np.zeros((0, self._id.dimensions), np.float32)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _ask(self, texts: Sequence[str]) -> np.ndarray:
        try:
            reply = self._client.post(self._url, json={"model": self._model, "input": list(texts)})
            reply.raise_for_status()
            rows = sorted(reply.json()["data"], key=lambda row: row["index"])
            vectors = np.array([row["embedding"] for row in rows], np.float32)
        except httpx.HTTPStatusError as error:
            raise RetrievalError(f"{self._url} answered {error.response.status_code} to an embedding.") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise RetrievalError(f"{self._url} does not answer ({type(error).__name__}); is it running?") from None
        except (KeyError, TypeError, ValueError) as error:
            raise RetrievalError(f"{self._url} answered no embeddings ({error!r}).") from None
        if vectors.shape[0] != len(texts) or vectors.ndim != 2 or not np.isfinite(vectors).all():
            raise RetrievalError(f"{self._url} answered vectors of the shape {vectors.shape} for {len(texts)} texts.")
        return unit(vectors)


def open_embedder(spec: str, *, api_key: str | None = None, threads: Threads = one) -> Embedder:
    """Open the embedder that `spec` names: "gguf:PATH", "model2vec:FOLDER" or "openai:URL#MODEL".

    Args:
        spec: Which.
        api_key: For an embedder behind an address.
        threads: See `LlamaEmbedder`.

    Raises:
        RetrievalError: The spec has no such form, or the embedder cannot be opened (`ModelUnfit` for a wrong file).
    """
    scheme, colon, address = spec.partition(":")
    url, _, model = address.rpartition("#")
    if colon and address:
        if scheme == "gguf":
            return LlamaEmbedder(Path(address), threads=threads)
        if scheme == "model2vec":
            return StaticEmbedder(Path(address))
        if scheme == "openai" and url and model:
            return HttpEmbedder(url, model, api_key=api_key)
    raise RetrievalError(f"No embedder {spec!r}; expected gguf:PATH, model2vec:FOLDER or openai:URL#MODEL.")


def default_embedder(data_dir: Path, *, threads: Threads = one) -> Embedder | None:
    """Open the default embedder if it has been made; None, with the reason in the log, when searches stay lexical."""
    path = data_dir / "models" / DEFAULT_FILE
    if not path.is_file():
        log.warning("No embedder at %s: searches compare words alone. `python -m conversion embedder` makes it.", path)
        return None
    try:
        return LlamaEmbedder(path, threads=threads)
    except (EngineError, RetrievalError) as error:
        log.error("The embedder cannot be opened, searches compare words alone: %s", error)
        return None
