"""Embedders: vectors of length 1, prefixes, NFC, spaces, windows; an HTTP service of every temper; clear errors."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from errors import ChatError, RetrievalError
from retrieval.embedders import HttpEmbedder, LlamaEmbedder, default_embedder, open_embedder, unit


def test_a_vector_has_the_length_one(embedder: LlamaEmbedder) -> None:
    rows = embedder.passages(["la durée", "le temps"])
    assert rows.shape == (2, embedder.id.dimensions)
    assert rows.dtype == np.float32
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert np.linalg.norm(embedder.query("la durée")) == pytest.approx(1, abs=1e-5)


def test_the_prefixes_of_e5_tell_a_question_from_a_passage(embedder: LlamaEmbedder, tiny_bert: Path) -> None:
    assert embedder.query("la duree") @ embedder.passages(["la duree"])[0] < 0.99999
    plain = LlamaEmbedder(tiny_bert, prefixes=("", ""))
    assert plain.query("passage: la duree") @ embedder.passages(["la duree"])[0] == pytest.approx(1, abs=1e-5)
    assert plain.id.digest != embedder.id.digest
    plain.close()


@pytest.mark.parametrize("written", ["e\u0301tat", "état ", "\n état\t", "état\u00a0"])
def test_accents_and_spaces_change_nothing(embedder: LlamaEmbedder, written: str) -> None:
    assert np.array_equal(embedder.query(written), embedder.query("état"))


def test_a_text_beyond_the_window_is_averaged(embedder: LlamaEmbedder) -> None:
    long = "la durée est une mélodie. " * 200
    assert np.linalg.norm(embedder.passages([long])[0]) == pytest.approx(1, abs=1e-5)
    tail = embedder.passages(["a" * 60 + " " + "zut " * 100])[0]
    assert (
        tail @ embedder.passages(["zut " * 20])[0]
        > embedder.passages(["a" * 60])[0] @ embedder.passages(["zut " * 20])[0]
    )


@pytest.mark.parametrize("text", ["", "   ", "😂😂", "\x00", "x" * 50_000, "; DROP TABLE passages; --"])
def test_any_text_gives_a_finite_vector(embedder: LlamaEmbedder, text: str) -> None:
    assert np.isfinite(embedder.query(text)).all()
    assert np.isfinite(embedder.passages([text])).all()


def test_an_embedder_asks_before_each_text_how_many_threads_are_free(tiny_bert: Path) -> None:
    granted = [2, 1, 0]
    opened, alone = LlamaEmbedder(tiny_bert, threads=lambda: granted.pop(0)), LlamaEmbedder(tiny_bert)
    for text in ("la durée", "le devoir", "la joie"):
        assert opened.query(text) @ alone.query(text) > 0.999
    assert granted == []
    opened.close()
    alone.close()


def test_threads_share_an_embedder(embedder: LlamaEmbedder) -> None:
    texts = [f"question {number} sur la joie" for number in range(40)]
    alone = [embedder.passages([text])[0] for text in texts]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda text: embedder.passages([text])[0], texts))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_what_is_no_embedder_is_refused(
    garbage_gguf: Path, truncated_gguf: Path, vocab_gguf: Path, embedder_gguf: Path, tmp_path: Path
) -> None:
    for path in (garbage_gguf, truncated_gguf, vocab_gguf, embedder_gguf, tmp_path / "absent.gguf"):
        with pytest.raises(ChatError):
            LlamaEmbedder(path)


def test_closed_means_closed(tiny_bert: Path) -> None:
    opened = LlamaEmbedder(tiny_bert)
    opened.close()
    opened.close()
    with pytest.raises(RetrievalError, match="closed"):
        opened.query("la joie")


@pytest.mark.parametrize("spec", ["", "gguf:", "e5", "openai:http://x", "model2vec", "word2vec:x"])
def test_an_unknown_spec_is_said(spec: str) -> None:
    with pytest.raises(RetrievalError, match="expected gguf:PATH"):
        open_embedder(spec)


def test_without_the_file_there_is_no_default(tmp_path: Path, tiny_bert: Path) -> None:
    assert default_embedder(tmp_path) is None
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "multilingual-e5-small-fr-q4_0.gguf").write_bytes(b"half a file")
    assert default_embedder(tmp_path) is None
    (tmp_path / "models" / "multilingual-e5-small-fr-q4_0.gguf").write_bytes(tiny_bert.read_bytes())
    opened = default_embedder(tmp_path)
    assert opened
    opened.close()


def test_a_static_model_is_an_embedder(tmp_path: Path) -> None:
    model2vec = pytest.importorskip("model2vec")
    tokenizers = pytest.importorskip("tokenizers")
    words = {word: number for number, word in enumerate(["[UNK]", "joie", "tristesse", "temps"])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    vectors = np.eye(4, dtype=np.float32)
    model2vec.StaticModel(vectors, tokenizer).save_pretrained(tmp_path / "static")
    opened = open_embedder(f"model2vec:{tmp_path / 'static'}")
    assert opened.id.dimensions == 4
    assert opened.query("joie temps") @ opened.passages(["temps"])[0] == pytest.approx(2**-0.5, abs=1e-3)
    assert not opened.query("").any()
    with pytest.raises(RetrievalError, match="no Model2Vec"):
        open_embedder(f"model2vec:{tmp_path}")
    for name in ("tokenizer.json", "model.safetensors"):
        path = tmp_path / "static" / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-20])
        with pytest.raises(RetrievalError, match="cannot be read as a Model2Vec model"):
            open_embedder(f"model2vec:{tmp_path / 'static'}")
        path.write_bytes(whole)


class _Service(BaseHTTPRequestHandler):
    """An embeddings service: the model's name says how it behaves."""

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        rows = [{"index": i, "embedding": [float(len(text)), 1.0]} for i, text in enumerate(body["input"])]
        status, answer = 200, json.dumps({"data": rows[::-1]})
        if body["model"] == "refuses":
            status, answer = 401, "{}"
        elif body["model"] == "babbles":
            answer = "<html>"
        elif body["model"] == "forgets":
            answer = json.dumps({"data": []})
        self.send_response(status)
        self.end_headers()
        self.wfile.write(answer.encode())


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Service)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_service_answers_in_order(service: str) -> None:
    opened = open_embedder(f"openai:{service}#plain")
    texts = ["a" * length for length in range(1, 131)]
    assert np.allclose(opened.passages(texts), unit(np.array([[float(len(text)), 1.0] for text in texts])))
    assert opened.id.dimensions == 2
    opened.close()


@pytest.mark.parametrize("model", ["refuses", "babbles", "forgets"])
def test_a_service_that_fails_is_named(service: str, model: str) -> None:
    with pytest.raises(RetrievalError, match="embeddings"):
        HttpEmbedder(service, model)


def test_a_service_that_is_not_there_is_named() -> None:
    for url in ("http://127.0.0.1:9", "http://127.0.0.1:port"):
        with pytest.raises(RetrievalError, match="does not answer"):
            HttpEmbedder(url, "any")
