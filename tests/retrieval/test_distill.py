"""A static model from a teacher: masks, frames, weights, a vocabulary that still cuts every text, files, failures."""

import base64
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("model2vec")
pytest.importorskip("skeletoken")

from conversion.embedder import read_charsmap
from errors import RetrievalError
from retrieval.distill import (
    LOG,
    METADATA,
    Recipe,
    basis_of,
    cut_tokenizer,
    distil,
    folder_in_work,
    piece_vectors,
    stored,
    weights_of,
    write_static,
)
from retrieval.distill_teacher import Teacher, open_teacher
from retrieval.distill_texts import (
    corpora_sources,
    count_pieces,
    make_targets,
    read_strings,
    read_targets,
    sentences,
)
from retrieval.distill_train import Lesson, contrast, message_pairs, note_pairs, read_pairs, teach
from retrieval.distill_trim import trim
from retrieval.embedders import LlamaEmbedder, StaticEmbedder, unit
from retrieval.embedding_eval import PUBLIC
from retrieval.notes import NoteIndex
from tests.retrieval.conftest import write_tiny_bert
from tests.retrieval.teachers import TEXTS, write_bert, write_qwen

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    return open_teacher(write_qwen(tmp_path_factory.mktemp("teachers") / "qwen"))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Teacher:
    return open_teacher(write_bert(tmp_path_factory.mktemp("teachers") / "bert"))


@pytest.fixture(scope="module")
def counts(qwen: Teacher) -> Counter[int]:
    return count_pieces(qwen.tokenizer, TEXTS)


def test_what_a_teacher_is(qwen: Teacher, bert: Teacher) -> None:
    assert (qwen.decoder, bert.decoder) == (True, False)
    assert qwen.frame() == ([], [])
    assert bert.frame() == ([2], [3])
    assert (qwen.width, bert.width) == (48, 32)


@pytest.mark.parametrize("name", ["qwen", "bert"])
def test_a_text_is_the_same_alone_and_among_longer_ones(name: str, request: pytest.FixtureRequest) -> None:
    teacher: Teacher = request.getfixturevalue(name)
    together = teacher.passages([*TEXTS, "", TEXTS[0] * 5])
    assert np.allclose(together[0], teacher.query(TEXTS[0]), atol=1e-5)
    assert np.allclose(np.linalg.norm(together[:6], axis=1), 1, atol=1e-5)
    assert not together[6].any()
    assert np.isfinite(together).all()


def test_a_prompt_moves_a_piece_from_the_first_position(qwen: Teacher) -> None:
    ids = list(range(100, 110))
    alone = piece_vectors(qwen, ids, "")
    after = piece_vectors(qwen, ids, "Le mot")
    assert alone.shape == after.shape == (10, 48)
    assert not np.allclose(alone, after)


def test_layers_are_averaged(qwen: Teacher, tmp_path: Path) -> None:
    folder = write_qwen(tmp_path / "qwen")
    two = open_teacher(folder, layers=2)
    assert not np.allclose(two.query(TEXTS[0]), qwen.query(TEXTS[0]))
    assert two.id.digest != qwen.id.digest
    with pytest.raises(RetrievalError, match="has 2 layers; 3"):
        open_teacher(folder, layers=3)


def test_what_is_no_teacher_is_said(tmp_path: Path, tiny_bert: Path) -> None:
    with pytest.raises(RetrievalError, match="is no teacher"):
        open_teacher(tmp_path)
    (tmp_path / "config.json").write_text("{", encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(RetrievalError, match="cannot be read as a teacher"):
        open_teacher(tmp_path)
    with pytest.raises(RetrievalError, match="Unigram"):  # its vocabulary is another kind
        open_teacher(tiny_bert)


def test_a_gguf_unpacked_says_what_llama_cpp_says(tmp_path: Path) -> None:
    path = write_tiny_bert(tmp_path / "tiny-e5.gguf", unigram=True)
    teacher, other = open_teacher(path), LlamaEmbedder(path)
    assert teacher.frame() == ([2], [3])
    texts = ["la duree est une melodie.", "combien d'employeurs en 1987 ?"]
    assert ((teacher.passages(texts) * other.passages(texts)).sum(axis=1) > 0.9999).all()
    assert teacher.query(texts[0]) @ other.query(texts[0]) > 0.9999  # the prefixes are those of its name
    other.close()


@pytest.mark.parametrize(
    "given",
    [{"dimensions": 0}, {"removed": -1}, {"sif": 1.0}, {"sif": 0.0}, {"french_vocabulary": 0}],
)
def test_a_recipe_that_makes_nothing_is_refused(given: dict[str, int]) -> None:
    with pytest.raises(RetrievalError):
        Recipe(**given)  # type: ignore[arg-type]


def test_a_basis_keeps_the_strongest_axes_and_can_leave_the_first_out() -> None:
    rng = np.random.default_rng(1)
    rows = rng.standard_normal((500, 6)) * [10, 5, 1, 1, 1, 0.1] + 3
    found = basis_of(rows, 2)
    assert np.allclose(found.axes.T @ found.axes, np.eye(2))
    assert abs(found.axes[0, 0]) > 0.99
    assert found.kept > 0.9
    assert abs(basis_of(rows, 2, removed=1).axes[1, 0]) > 0.99
    assert np.allclose(found.turn(rows).mean(axis=0), 0, atol=1e-4)


def test_weights_follow_counts_and_without_them_the_place() -> None:
    seen = weights_of({7: 1000, 8: 1}, [7, 8, 9], 1e-3)
    assert seen[0] < seen[1] < seen[2] <= 1
    placed = weights_of({}, [7, 8, 9], 1e-3)
    assert (np.diff(placed) > 0).all()
    assert (weights_of({}, [7, 8], None) == 1).all()


@pytest.mark.parametrize("name", ["qwen", "bert"])
def test_a_cut_vocabulary_still_cuts_every_text(name: str, request: pytest.FixtureRequest) -> None:
    teacher: Teacher = request.getfixturevalue(name)
    counted = count_pieces(teacher.tokenizer, TEXTS[:2])
    cut, ids = cut_tokenizer(teacher.tokenizer, counted, 30)
    assert cut.get_vocab_size() == len(ids) < len(teacher.tokenizer)
    back = {place: teacher.tokenizer.convert_ids_to_tokens(one) for place, one in enumerate(ids)}
    for text in TEXTS:
        encoded = cut.encode(text, add_special_tokens=False)
        assert encoded.ids
        assert [back[one] for one in encoded.ids] == encoded.tokens  # each row is the piece it was made of
    common = TEXTS[0]
    kept = cut.encode(common, add_special_tokens=False).tokens
    whole = teacher.tokenizer.convert_ids_to_tokens(teacher.tokenizer(common, add_special_tokens=False)["input_ids"])
    assert len(kept) <= 2 * len(whole)


def test_a_vocabulary_is_not_chosen_without_counts(qwen: Teacher) -> None:
    with pytest.raises(RetrievalError, match="chosen by counts"):
        cut_tokenizer(qwen.tokenizer, {}, 30)


@pytest.mark.parametrize(("int8", "number"), [(False, "float16"), (True, "int8")])
def test_a_folder_is_written_whole_and_read_again(
    qwen: Teacher, counts: Counter[int], tmp_path: Path, int8: bool, number: str
) -> None:
    recipe = Recipe(dimensions=16, int8=int8, prompt="Le mot")
    out = tmp_path / "static"
    with folder_in_work(out) as work:
        model, basis = distil(qwen, recipe, counts)
        said = write_static(model, recipe, qwen.id, work, {"note": "x"})
    assert 0 < basis.kept <= 1
    assert sorted(path.name for path in out.iterdir() if path.is_file()) == sorted(
        ["config.json", LOG, METADATA, "model.safetensors", "modules.json", "tokenizer.json"]
    )
    assert json.loads((out / METADATA).read_text(encoding="utf-8")) == said
    assert (said["number"], said["dimensions"], said["note"]) == (number, 16, "x")
    assert json.loads((out / "config.json").read_text(encoding="utf-8"))["hidden_dim"] == 16
    assert "distilled pieces=" in (out / LOG).read_text(encoding="utf-8")
    assert [path for path in tmp_path.iterdir() if path != out] == []
    opened = StaticEmbedder(out)
    exact = unit(np.asarray(model.encode(TEXTS), np.float32))
    assert ((opened.passages(TEXTS) * exact).sum(axis=1) > 0.995).all()
    turned = " ".join(reversed(TEXTS[2].rstrip(".").split()))
    assert opened.query(turned) @ opened.query(TEXTS[2].rstrip(".")) > 0.8  # only the first word's space differs


def test_more_dimensions_than_the_teacher_has_are_not_made_up(qwen: Teacher) -> None:
    model, _ = distil(qwen, Recipe(dimensions=1024), {})
    assert model.dim == 48
    with pytest.raises(RetrievalError, match="48 directions less leave nothing"):
        distil(qwen, Recipe(removed=48), {})


def test_1024_dimensions_of_a_wider_teacher(tmp_path: Path) -> None:
    wide = open_teacher(write_qwen(tmp_path / "wide", width=1088, pieces=300))
    model, _ = distil(wide, Recipe(int8=True), {})
    assert stored(model, Recipe(int8=True), wide.id).embedding.shape == (model.embedding.shape[0], 1024)


def test_a_failure_leaves_no_folder_and_a_name_is_never_taken_twice(tmp_path: Path) -> None:
    out = tmp_path / "static"
    with pytest.raises(RuntimeError), folder_in_work(out):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    out.mkdir()
    with pytest.raises(RetrievalError, match="never overwritten"), folder_in_work(out):
        pass


def test_a_model_learns_where_the_teacher_points(bert: Teacher) -> None:
    texts = [f"{one.rstrip('.')} {other.lower()}" for one in TEXTS for other in TEXTS] * 2
    vectors = bert.questions(texts)
    model, basis = distil(bert, Recipe(dimensions=16), {}, sentence_vectors=vectors)
    wanted = unit(basis.turn(vectors))
    before = float((unit(np.asarray(model.encode(texts), np.float32)) * wanted).sum(axis=1).mean())
    taught = teach(model, texts, vectors, basis, Lesson(epochs=15, rate=1e-2, batch=16))
    after = float((unit(np.asarray(taught.encode(texts), np.float32)) * wanted).sum(axis=1).mean())
    # Its vocabulary is not the same twice (ties), nor is where it begins (.77 to .89): what is left is what counts.
    assert 1 - after < (1 - before) / 2
    with pytest.raises(RetrievalError, match="cannot teach"):
        teach(model, texts[:5], vectors[:5], basis, Lesson())


def test_a_model_learns_which_texts_belong_together(bert: Teacher) -> None:
    model, _ = distil(bert, Recipe(dimensions=16), {})
    pairs = [(TEXTS[i], TEXTS[i + 3]) for i in range(3)] * 20
    taught = contrast(model, pairs, Lesson(epochs=10, rate=1e-2, batch=8))

    def gap(one: object) -> float:
        rows = unit(np.asarray(one.encode(TEXTS), np.float32))  # type: ignore[attr-defined]
        cosines = rows[:3] @ rows[3:].T
        return float(np.diagonal(cosines).mean() - cosines.mean())

    assert gap(taught) > gap(model) + 0.1
    with pytest.raises(RetrievalError, match="cannot teach"):
        contrast(model, pairs[:4], Lesson())
    with pytest.raises(RetrievalError, match="cannot be taught"):
        Lesson(batch=1)


def test_targets_go_on_where_they_stopped(bert: Teacher, qwen: Teacher, tmp_path: Path) -> None:
    texts = [f"{one} {number}" for number in range(200) for one in TEXTS][:1100]
    folder = tmp_path / "targets"
    assert make_targets(bert, texts[:512], folder) == 512
    first = (folder / "part-00000.npz").stat().st_mtime_ns
    assert make_targets(bert, texts, folder, minutes=0) == 512  # no time: nothing begun, nothing half-made
    assert make_targets(bert, texts[:600], folder) == 600
    assert make_targets(bert, texts, folder) == 1100  # the part that was not full is made again
    assert make_targets(bert, texts[:600], folder) == 600
    assert (folder / "part-00000.npz").stat().st_mtime_ns == first
    read, vectors = read_targets(folder, bert.id)
    assert read == texts
    assert vectors.shape == (1100, 32)
    assert (vectors[600] @ bert.questions(texts[600:601])[0]) == pytest.approx(1, abs=1e-3)
    with pytest.raises(RetrievalError, match="of another teacher"):
        make_targets(qwen, texts, folder)
    with pytest.raises(RetrievalError, match="of another teacher"):
        read_targets(folder, qwen.id)
    with pytest.raises(RetrievalError, match="of other sentences"):
        make_targets(bert, texts[::-1], folder)
    path = folder / "part-00001.npz"
    for damaged in (b"half", b"", path.read_bytes()[:-40]):
        path.write_bytes(damaged)
        with pytest.raises(RetrievalError, match="damaged"):
            read_targets(folder, bert.id)
        with pytest.raises(RetrievalError, match="damaged"):
            make_targets(bert, texts, folder)
    with pytest.raises(RetrievalError, match=r"no teacher.*distill-targets"):
        read_targets(tmp_path, bert.id)


def test_sentences_come_from_every_source_in_turn(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Un deux trois. Quatre cinq six ! Court.\nSept huit neuf dix\n", encoding="utf-8")
    rows = [{"message": "Le premier des messages", "split": "tune"}, {"message": "Celui qui mesure", "split": "test"}]
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (tmp_path / "c.csv").write_text('"Un homme, ici, marche","Une femme court vite",2.5\n', encoding="utf-8")
    sources = [[tmp_path / "a.txt"], [tmp_path / "b.jsonl"], [tmp_path / "c.csv"]]
    found = sentences(sources, 10)
    assert sorted(found) == sorted(
        ["Un deux trois.", "Quatre cinq six !", "Sept huit neuf dix", "Le premier des messages",
         "Un homme, ici, marche", "Une femme court vite"]
    )  # fmt: skip
    assert found[1] == "Le premier des messages"
    assert sentences(sources, 3) == found[:3]
    (tmp_path / "d.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(RetrievalError, match=r"d\.jsonl cannot be read"):
        list(read_strings(tmp_path / "d.jsonl"))


def test_nothing_is_taught_on_what_an_axis_measures_on(tmp_path: Path) -> None:
    train = PUBLIC["similarity"].with_name("stsb-fr-train.csv")
    taught = [Path("french/a.txt.xz"), Path("works/kant/b.jsonl"), train]
    measured = [path if path.suffix else path / "queries.jsonl" for path in PUBLIC.values()]
    for path in [*taught, *measured]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    drawn = [path.relative_to(tmp_path) for source in corpora_sources(tmp_path) for path in source]
    assert sorted(drawn) == sorted(taught)
    assert not any(path.is_relative_to(place) for path in drawn for place in PUBLIC.values())


def test_pairs_that_ship_and_pairs_of_ones_own(tmp_path: Path) -> None:
    of_notes = note_pairs(ROOT / "data" / "notes")
    assert len(of_notes) > 3 * 450
    said = message_pairs(ROOT / "data" / "notes", [ROOT / "data" / "queries"])
    tests = {
        one["message"]
        for path in (ROOT / "data" / "queries").glob("*.jsonl")
        for one in map(json.loads, path.read_text(encoding="utf-8").splitlines())
        if one["split"] == "test"
    }
    assert said
    assert not {message for message, _ in said} & tests
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"a": "Quoi ?", "b": "Cela."}\n', encoding="utf-8")
    assert read_pairs(path) == [("Quoi ?", "Cela.")]
    for wrong in ('{"a": "Quoi ?"}', "[]", "{", '{"a": " ", "b": "x"}'):
        path.write_text(wrong, encoding="utf-8")
        with pytest.raises(RetrievalError, match="pairs"):
            read_pairs(path)


def test_a_static_embedder_needs_no_vectors_beside_the_notes() -> None:
    folder = ROOT / "models" / "static"
    if not (folder / "model.safetensors").is_file():
        pytest.skip("no static model ships")
    index = NoteIndex.load(ROOT / "data" / "notes", StaticEmbedder(folder))
    assert index.by_meaning
    found = index.nearest("bergson", "pourquoi le temps passe lentement quand je m'ennuie en cours ?")
    assert found is not None
    assert found.id.startswith("bergson-")


def test_a_trimmed_model_cuts_rare_words_and_keeps_the_rest(tmp_path: Path) -> None:
    import model2vec

    model = ROOT / "models" / "static"
    before = model2vec.StaticModel.from_pretrained(model)
    made = trim(model, tmp_path / "small", len(before.tokens) - 500)
    after = model2vec.StaticModel.from_pretrained(tmp_path / "small")
    assert made["pieces"] == len(after.tokens) == len(before.tokens) - 500
    assert made["bytes"] < sum(path.stat().st_size for path in model.iterdir())
    common = "La joie augmente la puissance d'agir."
    assert np.dot(*after.encode([common, common])) == pytest.approx(1, abs=1e-5)
    assert np.dot(before.encode(common), after.encode(common)) == pytest.approx(1, abs=1e-3)
    gone = sorted(set(before.tokens) - set(after.tokens), key=len)[-1].replace("▁", "")
    assert np.isfinite(after.encode(gone)).all()
    assert np.linalg.norm(after.encode(gone)) > 0.9, "a word that lost its piece is still spelt"


def test_a_trimmed_model_reads_texts_as_with_the_table_that_left(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    shipped, big = ROOT / "models" / "static", tmp_path / "big"
    shutil.copytree(shipped, big)
    content = json.loads((big / "tokenizer.json").read_text(encoding="utf-8"))
    table = read_charsmap(ROOT / "models" / "embedder" / "nmt_nfkc.charsmap.xz")
    steps = content["normalizer"]["normalizers"]
    steps[:2] = [
        {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()},
        {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
    ]
    (big / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    made = trim(big, tmp_path / "small", 17_000)
    before, after = (Tokenizer.from_file(str(one / "tokenizer.json")) for one in (big, tmp_path / "small"))
    text = " L’ﬁn du cœur\u00a0:\n\tun e\u0301tat… n°\u202f2 «\u202fÉmile\u00a0»  ½ "
    assert before.normalizer.normalize_str(text) == after.normalizer.normalize_str(text)
    assert (
        made["bytes"] < (big / "tokenizer.json").stat().st_size + (big / "model.safetensors").stat().st_size - 300_000
    )


@pytest.mark.parametrize("pieces", [0, 10**6])
def test_what_cannot_be_trimmed_is_said(pieces: int, tmp_path: Path) -> None:
    with pytest.raises(RetrievalError, match="cannot become"):
        trim(ROOT / "models" / "static", tmp_path / "small", pieces)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "taken").mkdir()
    with pytest.raises(RetrievalError, match="exists"):
        trim(ROOT / "models" / "static", tmp_path / "taken", 100)
    with pytest.raises(RetrievalError, match="cannot be read"):
        trim(tmp_path / "taken", tmp_path / "small", 100)
