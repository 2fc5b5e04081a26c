"""A vocabulary cut to a language: the same bytes, the same ids in every form of the tokenizer, a report to check."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import pytest

from conversion.assemble import cut_gguf
from conversion.checkpoint import cut_checkpoint
from conversion.container import read_container
from conversion.demo import logits_after
from conversion.shrink import Pair, compare_tokens, gguf_ids, measure, sample_lines, shrink_gguf
from conversion.shrink_checkpoint import checkpoint_ids, checkpoint_vocabulary, shrink_checkpoint
from conversion.shrinking import Request, shrink_model
from conversion.vocabulary import Rules, choose, vocabulary_of
from errors import ConversionError
from tests.conversion.tiny import FRENCH, STRAY, Source, tiny_vocabulary

ROOT = Path(__file__).parents[2]
LINES = FRENCH.splitlines()
OTHERS = ["  deux  espaces\n\n\nfin", "émoji 😀 œuvre", STRAY]
pytestmark = pytest.mark.filterwarnings("default")  # torch and transformers warn of their own affairs


@pytest.fixture(scope="module")
def kept(tiny: Source) -> list[int]:
    return choose(vocabulary_of(read_container(tiny.path)), LINES[:5], min_word_count=1, min_piece_weight=1)


@pytest.fixture(scope="module")
def base(tiny: Source, tiny_kept: list[int], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same model in both forms: a checkpoint folder and its GGUF."""
    folder = tmp_path_factory.mktemp("whole")
    gguf = cut_gguf(tiny.path, tiny_kept, folder / "whole.gguf", outtype="f32")
    return cut_checkpoint(tiny.path, tiny_kept, folder / "whole"), gguf


@pytest.fixture(scope="module")
def fewer(base: tuple[Path, Path]) -> list[int]:
    return choose(vocabulary_of(read_container(base[1])), LINES[:5], min_word_count=1, min_piece_weight=1)


def test_control_pieces_stay_and_free_rows_go(tiny: Source, kept: list[int]) -> None:
    tokens = tiny_vocabulary()[0]
    pieces = [tokens[number] for number in kept]
    assert pieces[:4] == ["<pad>", "<eos>", "<bos>", "<unk>"]
    assert not {"<mask>", "<unused0>", "<unused2>"} & set(pieces)
    assert {"\n", "<0xC3>", "é"} <= set(pieces)
    everything = choose(vocabulary_of(read_container(tiny.path)), [FRENCH, STRAY], min_word_count=1, min_piece_weight=1)
    assert len(kept) < len(everything) < len(tokens)
    without = choose(vocabulary_of(read_container(tiny.path)), [FRENCH, STRAY], rules=Rules(forbidden="Ã"),
                     min_word_count=1, min_piece_weight=1)  # fmt: skip
    assert [n for n in everything if "Ã" in tokens[n]]
    assert not [n for n in without if "Ã" in tokens[n]]


def test_numbers_stay_whatever_the_texts() -> None:
    from conversion.vocabulary import Vocabulary

    full = Vocabulary("test", "unigram", ["▁", "1987", "▁2003", "▁liberté", "x1", "123a"], [-1.0] * 6, [1] * 6)
    assert choose(full, []) == [0, 1, 2]
    assert choose(full, [], rules=Rules(digits=False)) == [0]


def test_from_gguf_to_gguf_every_byte_stays(tiny: Source, kept: list[int], tmp_path: Path) -> None:
    cut, full = read_container(shrink_gguf(tiny.path, kept, tmp_path / "cut.gguf")), read_container(tiny.path)
    assert list(cut.tensors) == list(full.tensors)
    for name, tensor in cut.tensors.items():
        expected = full.tensors[name].data
        np.testing.assert_array_equal(tensor.data, expected[kept] if name == "token_embd.weight" else expected)
    named = {key: one.value for key, one in cut.fields.items() if key.endswith("_token_id")}
    assert [cut.value("tokenizer.ggml.tokens")[number] for number in named.values()] == [
        full.value("tokenizer.ggml.tokens")[full.value(key)] for key in named
    ]


def test_an_untied_output_matrix_is_cut_too(tiny_gguf: Path, tmp_path: Path) -> None:
    """The other tiny model: a llama with its own output rows and a count of pieces in its metadata."""
    full = read_container(tiny_gguf)
    vocabulary = vocabulary_of(full)
    kept = choose(vocabulary, ["la cause de la joie"], min_word_count=1, min_piece_weight=1)
    cut = read_container(shrink_gguf(tiny_gguf, kept, tmp_path / "cut.gguf"))
    assert cut.tensors["output.weight"].shape[0] == len(kept) < len(vocabulary.tokens)
    assert cut.value("llama.vocab_size") == len(kept)
    (whole,), (ids,) = gguf_ids(tiny_gguf, ["la cause de la joie"]), gguf_ids(cut.path, ["la cause de la joie"])
    assert [kept[number] for number in ids] == whole
    np.testing.assert_allclose(logits_after(cut.path, ids), logits_after(tiny_gguf, whole)[kept], atol=1e-4)


def test_every_form_of_the_tokenizer_gives_the_same_ids(
    base: tuple[Path, Path], fewer: list[int], tmp_path: Path
) -> None:
    """Hugging Face's, SentencePiece's and llama.cpp's; and the texts chosen from are cut as before."""
    import sentencepiece
    from transformers import AutoTokenizer

    checkpoint, gguf = base
    assert choose(checkpoint_vocabulary(checkpoint), LINES[:5], min_word_count=1, min_piece_weight=1) == fewer
    folder, file = shrink_checkpoint(checkpoint, fewer, tmp_path / "cut"), shrink_gguf(gguf, fewer, tmp_path / "c.gguf")
    lines = [*LINES, *OTHERS]
    expected = gguf_ids(file, lines)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert checkpoint_ids(folder, lines) == expected
    assert [pieces.encode(line) for line in lines] == expected
    assert [tokenizer(line, add_special_tokens=False)["input_ids"] for line in lines] == expected
    assert len(tokenizer) == len(fewer)
    chat = [{"role": "user", "content": "Qui es-tu ?"}]
    rendered = tokenizer.apply_chat_template(chat, tokenize=False)
    with_marks = llama_cpp.Llama(str(file), vocab_only=True, verbose=False)
    ids = tokenizer(rendered, add_special_tokens=False)["input_ids"]
    assert ids == with_marks.tokenize(rendered.encode(), add_bos=False, special=True)
    with_marks.close()
    same = compare_tokens(gguf_ids(gguf, LINES[:5]), gguf_ids(file, LINES[:5]), fewer)
    assert (same.identical, same.overhead) == (1.0, 0.0)


def test_the_cut_checkpoint_says_what_its_gguf_says(base: tuple[Path, Path], fewer: list[int], tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    folder = shrink_checkpoint(base[0], fewer, tmp_path / "cut")
    gguf = shrink_gguf(base[1], fewer, tmp_path / "cut.gguf")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert (config["vocab_size"], config["eos_token_id"], config["bos_token_id"]) == (len(fewer), 1, 2)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    (ids,) = gguf_ids(gguf, LINES[:1])
    with torch.no_grad():
        expected = model(torch.tensor([[2, *ids]])).logits[0, -1].numpy()
    np.testing.assert_allclose(logits_after(gguf, [2, *ids]), expected, atol=2e-2)
    whole = logits_after(base[1], [2, *(fewer[number] for number in ids)])
    np.testing.assert_allclose(logits_after(gguf, [2, *ids]), whole[fewer], atol=2e-3)


@pytest.fixture(scope="module")
def unigram(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Unigram checkpoint as XLM-RoBERTa's: `<mask>` last, ids in a post-processor, SentencePiece in another order."""
    import io

    import sentencepiece
    import torch
    from sentencepiece import sentencepiece_model_pb2 as pb
    from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

    folder = tmp_path_factory.mktemp("unigram") / "model"
    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter([*LINES, STRAY] * 3), model_writer=trained,
                                             vocab_size=150, minloglevel=2)  # fmt: skip
    model = pb.ModelProto.FromString(trained.getvalue())
    rows = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    rows += [(one.piece, one.score) for one in model.pieces[3:]] + [("<mask>", 0.0)]
    tokenizer = Tokenizer(models.Unigram(rows, unk_id=3))
    tokenizer.normalizer = normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    tokenizer.add_special_tokens([AddedToken(rows[n][0], special=True) for n in (0, 1, 2, 3, len(rows) - 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>",
                                   unk_token="<unk>", mask_token="<mask>")  # fmt: skip
    fast.save_pretrained(folder)
    (folder / "sentencepiece.bpe.model").write_bytes(trained.getvalue())
    torch.manual_seed(0)
    config = XLMRobertaConfig(vocab_size=len(rows), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                              intermediate_size=64, max_position_embeddings=66)  # fmt: skip
    XLMRobertaModel(config).eval().save_pretrained(folder)
    return folder


def test_a_unigram_checkpoint(unigram: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    full = checkpoint_vocabulary(unigram)
    assert (full.method, full.leading_space) == ("unigram", True)
    kept = choose(full, LINES[:6], min_word_count=1, min_piece_weight=1)
    folder = shrink_checkpoint(unigram, kept, tmp_path / "cut")
    assert len(kept) < len(full.tokens)
    whole, cut = checkpoint_ids(unigram, LINES), checkpoint_ids(folder, LINES)
    assert compare_tokens(whole[:6], cut[:6], kept).identical == 1.0
    before, after = AutoTokenizer.from_pretrained(unigram), AutoTokenizer.from_pretrained(folder)
    a, b = before(LINES[0])["input_ids"], after(LINES[0])["input_ids"]
    assert a == [kept[number] for number in b]
    assert (b[0], b[-1]) == (0, 2)
    with torch.no_grad():
        old = AutoModel.from_pretrained(unigram)(torch.tensor([a])).last_hidden_state
        new = AutoModel.from_pretrained(folder)(torch.tensor([b])).last_hidden_state
    torch.testing.assert_close(old, new)
    import sentencepiece

    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "sentencepiece.bpe.model"))
    assert [[number + 1 for number in pieces.encode(line)] for line in LINES[:6]] == cut[:6]


def test_the_report_can_be_checked(tiny: Source, kept: list[int], tmp_path: Path) -> None:
    cut = shrink_gguf(tiny.path, kept, tmp_path / "cut.gguf")
    found = measure(tiny.path, cut, kept, [*LINES, STRAY], LINES[:3], threads=1)
    whole, fewer = gguf_ids(tiny.path, [*LINES, STRAY]), gguf_ids(cut, [*LINES, STRAY])
    assert found.pieces == Pair(len(tiny_vocabulary()[0]), len(kept))
    assert found.size_bytes == Pair(tiny.path.stat().st_size, cut.stat().st_size)
    assert found.tokens.tokens == Pair(sum(map(len, whole)), sum(map(len, fewer)))
    assert found.tokens.overhead > 0
    assert found.tokens.identical == sum([kept[n] for n in b] == a for a, b in zip(whole, fewer, strict=True)) / len(
        whole
    )
    assert found.perplexity is not None
    nats, n = 0.0, 0
    for ids in gguf_ids(cut, LINES[:3]):
        for at in range(len(ids)):
            logits = logits_after(cut, [2, *ids[:at]]).astype(np.float64)
            nats += float(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[ids[at]])
            n += 1
    assert found.perplexity.cut == pytest.approx(math.exp(nats / n), rel=2e-3)
    assert found.bits_per_byte is not None
    assert found.bits_per_byte.cut == pytest.approx(
        nats / math.log(2) / sum(len(x.encode()) for x in LINES[:3]), rel=2e-3
    )
    assert found.decode_tokens_s is not None
    assert min(found.decode_tokens_s.full, found.decode_tokens_s.cut) > 0
    assert found.to_dict()["tokens"]["overhead"] == found.tokens.overhead


def test_an_embedder_is_measured_by_its_vectors(tmp_path: Path) -> None:
    from conversion.assemble import cut_container, write_container
    from conversion.embedder import EmbedderParts, read_charsmap, read_source
    from tests.conversion.tiny_e5 import TOKENS, write_tiny_e5

    charsmap = read_charsmap(EmbedderParts(ROOT / "models" / "embedder").charsmap)
    source = read_source(write_tiny_e5(tmp_path / "e5.bin"), charsmap)
    full = write_container(cut_container(source, range(len(TOKENS))), tmp_path / "full.gguf")
    kept = choose(vocabulary_of(read_container(full)), ["la joie"], min_word_count=1, min_piece_weight=1)
    cut = shrink_gguf(full, kept, tmp_path / "cut.gguf")
    same = measure(full, cut, kept, ["la joie"], ["la joie", "joie la"])
    assert same.cosine == pytest.approx((1.0, 1.0))
    assert same.perplexity is None
    other = measure(full, cut, kept, ["la liberté"], ["la joie", "la liberté wide"])
    assert other.cosine is not None
    assert other.cosine[1] < 0.999
    assert other.tokens.identical == 0.0


def test_lines_are_taken_evenly() -> None:
    texts = [f"un texte assez long {number:03d}" for number in range(1000)]
    taken = sample_lines(texts, 100)
    assert 50 <= len(taken) <= 100
    assert taken[0] == texts[0]
    assert int(taken[-1][-3:]) > 900
    assert sample_lines(["court"], 10) == []


def test_one_run_writes_the_model_the_list_and_the_report(tiny: Source, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text(FRENCH, encoding="utf-8")
    steps: list[str] = []
    request = Request(tiny.path, tmp_path / "out" / "cut.gguf", texts=(tmp_path / "texts.txt",), min_word_count=1,
                      min_piece_weight=1, threads=1)  # fmt: skip
    found = shrink_model(request, lambda step, _: steps.append(step))
    assert list(dict.fromkeys(steps)) == ["reading", "sampling", "cutting", "measuring"] or "reading our own" in steps
    assert sorted(path.name for path in request.out.parent.iterdir()) == [
        "cut.gguf", "cut.gguf.kept_pieces.txt", "cut.gguf.shrink.json"
    ]  # fmt: skip
    assert json.loads((tmp_path / "out" / "cut.gguf.shrink.json").read_text(encoding="utf-8")) == json.loads(
        json.dumps(found.to_dict())
    )
    again = Request(tiny.path, tmp_path / "again.gguf", kept=tmp_path / "out" / "cut.gguf.kept_pieces.txt")
    shrink_model(again)
    assert (tmp_path / "again.gguf").read_bytes() == request.out.read_bytes()
    assert not (tmp_path / "again.gguf.kept_pieces.txt").exists()  # it was given: how it was chosen is said there


def test_the_command_needs_no_torch_for_a_gguf(tiny: Source, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text(FRENCH, encoding="utf-8")
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')\n", encoding="utf-8")
    arguments = ["shrink", "--model", tiny.path, "--texts", tmp_path / "texts.txt", "--out", tmp_path / "cut.gguf",
                 "--held-out", tmp_path / "texts.txt", "--threads", "1",
                 "--min-word-count", "1", "--min-piece-weight", "1", "--json"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "conversion", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True,
        check=False, env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["tokens"]["identical"] == 1.0
    assert said["perplexity"]["full"] > 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "one of both"),
        ({"kept": Path("a"), "texts": (Path("b"),)}, "one of both"),
        ({"model": Path("none.gguf"), "texts": (Path("b"),)}, "none.gguf is missing"),
        ({"out": ROOT, "texts": (Path("b"),)}, "never overwritten"),
    ],
)
def test_requests_that_cannot_be(given: dict[str, Any], said: str, tiny: Source, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=said):
        Request(**{"model": tiny.path, "out": tmp_path / "out", **given})


def test_a_list_that_does_not_fit(base: tuple[Path, Path], fewer: list[int], tiny: Source, tmp_path: Path) -> None:
    for wrong, said in (
        ([*fewer, 10**6], "piece 1000000"),
        (fewer[1:], "piece 0, which the settings name"),
        ([], "Make the list again"),
    ):
        with pytest.raises(ConversionError, match=said):
            shrink_checkpoint(base[0], wrong, tmp_path / "cut")
    with pytest.raises(ConversionError, match="Piece 1000000"):
        shrink_gguf(base[1], [*fewer, 10**6], tmp_path / "cut.gguf")
    with pytest.raises(ConversionError, match="Piece None"):
        shrink_gguf(base[1], [], tmp_path / "cut.gguf")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "tokenizer.json").unlink(), "tokenizer.json is missing"),
        (lambda f: (f / "tokenizer.json").write_text("{", encoding="utf-8"), "is no JSON"),
        (lambda f: (f / "tokenizer.model").unlink(), "has no tokenizer.model"),
        (lambda f: (f / "tokenizer.model").write_bytes(b"\xff\xff\xff"), "is no SentencePiece model"),
        (
            lambda f: (f / "tokenizer.json").write_text('{"model": {"type": "WordPiece"}}', encoding="utf-8"),
            "cannot be cut",
        ),
        (lambda f: (f / "model.safetensors").unlink(), "is no checkpoint"),
        (lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-9]), "in part"),
        (lambda f: (f / "config.json").write_text('{"vocab_size": 7}', encoding="utf-8"), "no embedding with 7 rows"),
    ],
)
def test_checkpoints_that_cannot_be_cut(
    base: tuple[Path, Path], fewer: list[int], tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    import shutil

    folder = shutil.copytree(base[0], tmp_path / "spoilt")
    spoil(folder)
    with pytest.raises(ConversionError, match=said):
        shrink_checkpoint(folder, fewer, tmp_path / "cut")
    assert [path.name for path in tmp_path.iterdir()] == ["spoilt"]


def test_other_vocabularies_and_parts_are_refused(tiny: Source, tmp_path: Path) -> None:
    from dataclasses import replace

    from gguf import GGUFValueType

    from conversion.assemble import write_container
    from conversion.container import Container, Field

    source = read_container(tiny.path)
    kind = source.fields["tokenizer.ggml.model"]
    other = {**source.fields, "tokenizer.ggml.model": replace(kind, value="gpt2")}
    write_container(Container(source.path, other, source.tensors), tmp_path / "gpt2.gguf")
    split = {**source.fields, "split.count": Field(2, GGUFValueType.UINT16)}
    write_container(Container(source.path, split, source.tensors), tmp_path / "split.gguf")
    (tmp_path / "texts.txt").write_text(FRENCH, encoding="utf-8")
    for name, said in (("gpt2", "has a 'gpt2' vocabulary"), ("split", "one of 2 parts")):
        with pytest.raises(ConversionError, match=said):
            shrink_model(Request(tmp_path / f"{name}.gguf", tmp_path / "o.gguf", texts=(tmp_path / "texts.txt",)))
