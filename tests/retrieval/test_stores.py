"""Both stores keep one contract: what was put is found, filters hold, a commit is all or nothing, faults are said."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from errors import RetrievalError
from retrieval import embedded_store
from retrieval.embedders import Embedder, LlamaEmbedder, unit
from retrieval.indexing import Given, Report, index_files
from retrieval.memory_store import MemoryStore
from retrieval.passages import EVERYTHING, Filter, Passage, query_tokens
from retrieval.ranking import COARSE_FROM, Legs, Lexical
from retrieval.rerank import SentenceReranker
from retrieval.store import FORMAT, Searcher, Store, open_builder, open_store

WEIGHT = 0.1  # the tiny embedder knows letters alone
ROOT = Path(__file__).parents[2]
TEXTS = {
    "E1": ("Spinoza", "Éthique", "Par cause de soi, j'entends ce dont l'essence enveloppe l'existence.", ("raison",)),
    "E3": ("Spinoza", "Éthique", "La joie est le passage de l'homme à une plus grande perfection.", ("bonheur",)),
    "B1": ("Bergson", "L’Évolution créatrice", "Je dois attendre que le sucre fonde.", ("temps",)),
    "B2": ("Bergson", "Matière et mémoire", "La durée que vit la conscience a son rythme.", ("temps", "conscience")),
    "K1": ("Kant", "Critique de la raison pure", "Toute notre connaissance commence avec l'expérience.", ("vérité",)),
}  # fmt: skip


def write_texts(path: Path, texts: Mapping[str, tuple[str, str, str, tuple[str, ...]]] = TEXTS) -> Path:
    lines = [
        json.dumps({"id": name, "author": author, "work": work, "text": text, "notions": notions}, ensure_ascii=False)
        for name, (author, work, text, notions) in texts.items()
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(params=["embedded", "lance"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "lance":
        pytest.importorskip("lancedb")
        return f"lancedb://{tmp_path}/db/texts"
    return str(tmp_path / "index")


def index(address: str, paths: Sequence[Path], embedder: Embedder | None) -> Report:
    return index_files(paths, open_builder(address, embedder.id if embedder else None), embedder)


def ids(address: str, question: str, embedder: Embedder | None = None, where: Filter = EVERYTHING) -> list[str]:
    searcher = Searcher(open_store(address), embedder, weight=WEIGHT)
    try:
        return [hit.passage.id for hit in searcher.search(question, 3, where=where).hits]
    finally:
        searcher.close()


def test_what_was_indexed_is_found(address: str, tmp_path: Path, embedder: LlamaEmbedder) -> None:
    report = index(address, [write_texts(tmp_path / "a.jsonl")], embedder)
    assert report.about.passages == 5
    assert ids(address, "pourquoi le sucre fond", embedder)[0] == "B1"
    assert ids(address, "DUREE RYTHME", embedder)[0] == "B2"
    store = open_store(address)
    (hit, *_) = Searcher(store, embedder, weight=WEIGHT).search("la joie", 1).hits
    assert hit.passage == Passage("E3", TEXTS["E3"][2], "Spinoza", "Éthique", notions=("bonheur",))
    assert hit.words == 1.0
    assert hit.cosine is not None
    store.close()


def test_both_stores_give_the_same_hits(tmp_path: Path, embedder: LlamaEmbedder) -> None:
    pytest.importorskip("lancedb")
    path = write_texts(tmp_path / "a.jsonl")
    addresses = [str(tmp_path / "index"), f"lancedb://{tmp_path}/db/texts"]
    for one in addresses:
        index(one, [path], embedder)
    for question in ("le sucre", "qu'est-ce que la joie ?", "connaissance et expérience", "zut"):
        first, second = (Searcher(open_store(one), embedder).search(question, 5).hits for one in addresses)
        assert [hit.passage for hit in first] == [hit.passage for hit in second]
        assert [hit.score for hit in first] == pytest.approx([hit.score for hit in second], abs=2e-2)


def test_words_alone_are_said_to_be_alone(address: str, tmp_path: Path, embedder: LlamaEmbedder) -> None:
    index(address, [write_texts(tmp_path / "a.jsonl")], None)
    found = Searcher(open_store(address), embedder).search("le sucre fond", 3)
    assert found.notices == ("lexical_only",)
    assert found.hits[0].passage.id == "B1"
    assert found.hits[0].cosine is None
    with pytest.raises(RetrievalError, match="words alone"):
        Searcher(open_store(address), embedder).search("le sucre", mode="dense")


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (Filter(author="bergson"), {"B1", "B2"}),
        (Filter(author="SPINOZA"), {"E1", "E3"}),
        (Filter(work="evolution creatrice"), {"B1"}),
        (Filter(notion="temps"), {"B1", "B2"}),
        (Filter(notion="temp"), set()),
        (Filter(author="bergson", notion="Conscience"), {"B2"}),
        (Filter(author="o'brien%_'; --"), set()),
    ],
)
def test_filters(address: str, tmp_path: Path, embedder: LlamaEmbedder, where: Filter, expected: set[str]) -> None:
    index(address, [write_texts(tmp_path / "a.jsonl")], embedder)
    assert set(ids(address, "la durée, le sucre, la cause, l'expérience et la joie", embedder, where)) == expected


@pytest.mark.parametrize(
    "question",
    [
        "", "   ", "le la les de", "😂🤔", "?!…", '" OR 1=1; DROP TABLE passages; --', "NEAR(joie sucre) AND *",
        "a" * 50_000, "joie " * 10_000, "\x00", "(joie:^2)~", "%_\\'\"",
    ],
)  # fmt: skip
def test_any_question_has_an_answer(address: str, tmp_path: Path, embedder: LlamaEmbedder, question: str) -> None:
    index(address, [write_texts(tmp_path / "a.jsonl")], embedder)
    for mode in ("hybrid", "lexical", "dense"):
        found = Searcher(open_store(address), embedder).search(question, 3, mode=mode)
        assert len(found.hits) <= 3
        if not any(c.isalnum() for c in question):
            assert found.hits == ()
            assert "nothing_asked" in found.notices


def test_decomposed_accents_find_the_same(address: str, tmp_path: Path, embedder: LlamaEmbedder) -> None:
    index(address, [write_texts(tmp_path / "a.jsonl")], embedder)
    composed, decomposed = "la durée vécue ", "la dure\u0301e ve\u0301cue"
    assert ids(address, composed, embedder) == ids(address, decomposed, embedder)


def test_only_what_changed_is_read_again(address: str, tmp_path: Path, embedder: LlamaEmbedder) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    first, second = write_texts(folder / "a.jsonl"), folder / "b.txt"
    second.write_text("Le marchand honnête par intérêt.", encoding="utf-8")
    assert len(index(address, [folder], embedder).added) == 2
    again = index(address, [folder], embedder)
    assert (again.added, again.unchanged) == ((), 2)
    second.write_text("La loi morale au fond de mon cœur.", encoding="utf-8")
    assert index(address, [folder], embedder).added == (str(second.resolve()),)
    assert "marchand" not in str(Searcher(open_store(address), embedder).search("marchand honnête", 5).hits)
    first.unlink()
    report = index(address, [folder], embedder)
    assert report.removed == (str(first.resolve()),)
    assert report.about.passages == 1


def test_a_bad_file_is_named_and_the_others_go_on(address: str, tmp_path: Path, embedder: LlamaEmbedder) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    write_texts(folder / "good.jsonl")
    (folder / "bad.pdf").write_bytes(b"%PDF-1.4 nothing of it")
    (folder / "bad.epub").write_bytes(b"no archive")
    (folder / "bad.jsonl").write_text('{"text": ', encoding="utf-8")
    (folder / "twice.jsonl").write_text('{"id": "z", "text": "Un."}\n{"id": "z", "text": "Deux."}', encoding="utf-8")
    (folder / "stolen.jsonl").write_text('{"id": "E1", "text": "Un autre."}', encoding="utf-8")
    (folder / os.fsdecode(b"caf\xe9.txt")).write_text("Un texte.", encoding="utf-8")
    with zipfile.ZipFile(folder / "empty.epub", "w") as archive:
        archive.writestr("META-INF/container.xml", "<container/>")
    report = index(address, [folder], embedder)
    assert {Path(name).name for name in report.failed} == {
        "bad.pdf",
        "bad.epub",
        "bad.jsonl",
        "twice.jsonl",
        "stolen.jsonl",
        "empty.epub",
        r"caf\udce9.txt",
    }
    assert report.about.passages == 5


def test_an_id_may_move_to_another_file(address: str, tmp_path: Path) -> None:
    """A file that is renamed, and two that change names."""
    folder = tmp_path / "texts"
    folder.mkdir()
    index(address, [write_texts(folder / "z.jsonl").parent], None)
    (folder / "z.jsonl").rename(folder / "a.jsonl")
    assert index(address, [folder], None).failed == {}
    write_texts(folder / "b.jsonl", {"Z": ("Kant", "Logique", "Un autre texte.", ())})
    index(address, [folder], None)
    for old, new in ("ax", "ba", "xb"):
        (folder / f"{old}.jsonl").rename(folder / f"{new}.jsonl")
    report = index(address, [folder], None)
    assert (report.about.passages, report.failed, len(report.added)) == (6, {}, 2)


def test_ids_of_xml_are_those_of_their_document(address: str, tmp_path: Path) -> None:
    for name in "ab":
        body = f'<body><p xml:id="p1">Le texte {name}.</p><p xml:id="p2">Sa suite.</p></body>'
        (tmp_path / f"{name}.xml").write_text(f'<TEI xmlns="http://www.tei-c.org/ns/1.0"><text>{body}</text></TEI>')
    report = index(address, [tmp_path / "a.xml", tmp_path / "b.xml"], None)
    assert (report.failed, report.about.passages) == ({}, 4)


def test_nothing_to_index_is_an_error(address: str, tmp_path: Path, embedder: LlamaEmbedder) -> None:
    with pytest.raises(RetrievalError, match="does not exist"):
        index(address, [tmp_path / "absent"], embedder)
    (tmp_path / "bad.txt").write_bytes(b"\0\0\0")
    with pytest.raises(RetrievalError, match="None of 1 files"):
        index(address, [tmp_path / "bad.txt"], embedder)
    with pytest.raises(RetrievalError, match="No index"):
        open_store(address)


def test_another_embedder_is_refused(
    address: str, tmp_path: Path, embedder: LlamaEmbedder, other_embedder: LlamaEmbedder
) -> None:
    index(address, [write_texts(tmp_path / "a.jsonl")], embedder)
    with pytest.raises(RetrievalError, match="made with the embedder tiny-e5"):
        Searcher(open_store(address), other_embedder)
    with pytest.raises(RetrievalError, match="was made with tiny-e5"):
        open_builder(address, other_embedder.id)
    with pytest.raises(RetrievalError, match="was made with tiny-e5"):
        open_builder(address, None)


def test_nothing_is_seen_before_the_commit(address: str, tmp_path: Path, embedder: LlamaEmbedder) -> None:
    index(address, [write_texts(tmp_path / "a.jsonl")], embedder)
    builder = open_builder(address, embedder.id)
    new = [Passage("N1", "Le sucre, le sucre, toujours le sucre.")]
    builder.put("new#1/1", "x", new, embedder.passages([new[0].text]))
    for document in list(builder.documents):
        if document != "new#1/1":
            builder.drop(document)
    assert "B1" in ids(address, "le sucre", embedder)
    builder.close()
    assert "B1" in ids(address, "le sucre", embedder)
    resumed = open_builder(address, embedder.id)
    assert set(resumed.documents) == {"new#1/1"}
    resumed.commit()
    resumed.close()
    assert ids(address, "le sucre", embedder) == ["N1"]


KILLED = """
    import sys, time
    from pathlib import Path
    from retrieval.embedders import LlamaEmbedder
    from retrieval.indexing import index_files
    from retrieval.store import open_builder
    class Slow(LlamaEmbedder):
        def passages(self, texts):
            print("embedding", flush=True)
            time.sleep(0.15)
            return super().passages(texts)
    embedder = Slow(Path(sys.argv[1]))
    index_files([Path(sys.argv[3])], open_builder(sys.argv[2], embedder.id), embedder)
    print("done", flush=True)
"""


def test_a_killed_indexing_leaves_the_old_index_and_goes_on(
    address: str, tmp_path: Path, tiny_bert: Path, embedder: LlamaEmbedder
) -> None:
    index(address, [write_texts(tmp_path / "a.jsonl")], embedder)
    more = {f"M{i}": ("Kant", "Logique", f"Phrase numéro {i} sur le jugement.", ()) for i in range(64 * 6)}
    write_texts(tmp_path / "b.jsonl", more)
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tiny_bert), address, str(tmp_path / "b.jsonl")]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ})
    assert child.stdout
    for _ in range(3):
        assert child.stdout.readline() == "embedding\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert ids(address, "le sucre fond", embedder)[0] == "B1"
    assert open_store(address).about.passages == 5
    texts: list[int] = []

    class Counting:
        id = embedder.id
        query = staticmethod(embedder.query)
        close = staticmethod(embedder.close)

        @staticmethod
        def passages(batch: Sequence[str]) -> np.ndarray:
            texts.append(len(batch))
            return embedder.passages(batch)

    report = index(address, [tmp_path / "b.jsonl"], Counting())
    assert report.about.passages == 5 + len(more)
    assert sum(texts) <= 64 * 4
    assert ids(address, "phrase numéro 200 sur le jugement", embedder)[0] == "M200"


def test_a_damaged_file_is_named(tmp_path: Path, embedder: LlamaEmbedder) -> None:
    folder = tmp_path / "index"
    index(str(folder), [write_texts(tmp_path / "a.jsonl")], embedder)
    version = folder / (folder / "current").read_text()
    for path in [one for one in version.rglob("*") if one.is_file()]:
        whole = path.read_bytes()
        for damaged in (whole[: len(whole) // 2], bytes([whole[0] ^ 1]) + whole[1:], b""):
            path.write_bytes(damaged)
            with pytest.raises(RetrievalError, match="index"):
                open_store(folder)
        path.write_bytes(whole)
    (folder / "current").write_text("v999999")
    with pytest.raises(RetrievalError, match="damaged"):
        open_store(folder)


@pytest.mark.parametrize("damage", ["file", "version", "format"])
def test_to_index_again_mends_a_damaged_index(damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder, path = tmp_path / "index", write_texts(tmp_path / "a.jsonl")
    index(str(folder), [path], None)
    version = folder / (folder / "current").read_text()
    about = version / "about.json"
    if damage == "file":
        (version / "passages.sqlite").write_bytes(b"")
    elif damage == "version":
        (folder / "current").write_text("v000007")
    else:
        about.write_text(about.read_text().replace(f'"format": {FORMAT}', '"format": 1'))
    open_builder(folder, None).close()
    assert damage == "version" or about.is_file()  # nothing goes before the new one is whole
    caplog.clear()
    assert index(str(folder), [path], None).about.passages == 5
    assert "begun anew" in caplog.text
    assert ids(str(folder), "le sucre fond") == ["B1"]
    assert len(list(folder.glob("v*"))) == 1


def test_to_index_again_mends_a_description_in_lance(tmp_path: Path, embedder: LlamaEmbedder) -> None:
    lancedb, pyarrow = pytest.importorskip("lancedb"), pytest.importorskip("pyarrow")
    address, path = f"lancedb://{tmp_path}/db/texts", write_texts(tmp_path / "a.jsonl")
    index(address, [path], embedder)
    damaged = pyarrow.table({"about": ["{"]})
    lancedb.connect(tmp_path / "db").create_table("texts__about", data=damaged, mode="overwrite")
    assert index(address, [path], embedder).about.passages == 5
    assert ids(address, "le sucre fond", embedder)[0] == "B1"


def test_a_folder_of_other_files_is_no_index_and_stays_as_it_is(tmp_path: Path) -> None:
    kept = [tmp_path / name / "cours.txt" for name in ("vérité", "vie", "next", "v1")]
    for path in kept:
        path.parent.mkdir()
        path.write_text("Un cours.", encoding="utf-8")
    with pytest.raises(RetrievalError, match="holds other files"):
        open_builder(tmp_path, None)
    put_one(tmp_path / "index", "a")
    (tmp_path / "index" / "vie.txt").touch()  # of whoever keeps something beside an index
    put_one(tmp_path / "index", "b")
    assert all(path.is_file() for path in (*kept, tmp_path / "index" / "vie.txt"))


def test_where_nothing_can_be_written_one_line_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    for place in (tmp_path / "a.txt", Path("/proc/none")):
        with pytest.raises(RetrievalError, match="cannot be written"):
            open_builder(place, None)
    builder = open_builder(tmp_path / "index", None)
    (tmp_path / "index" / "v000001.partial").touch()  # in the way of the commit
    builder.put("a", "digest", [Passage("a", "Un texte.")], None)
    with pytest.raises(RetrievalError, match="cannot be written"):
        builder.commit()
    builder.close()


def test_an_index_of_another_version_is_refused(tmp_path: Path, embedder: LlamaEmbedder) -> None:
    folder = tmp_path / "index"
    index(str(folder), [write_texts(tmp_path / "a.jsonl")], embedder)
    about = folder / (folder / "current").read_text() / "about.json"
    about.write_text(about.read_text().replace(f'"format": {FORMAT}', '"format": 99'))
    with pytest.raises(RetrievalError, match="format 99"):
        open_store(folder)


def test_a_commit_that_was_killed_leaves_the_old_index_and_no_rubbish(tmp_path: Path, embedder: LlamaEmbedder) -> None:
    """Before `current` is replaced the new version is not seen; after it, what is left behind is cleared."""
    folder, path = tmp_path / "index", write_texts(tmp_path / "a.jsonl")
    index(str(folder), [path], embedder)
    for left in ("v000002.partial", "v000002", "v000000"):
        (folder / left).mkdir()
        (folder / left / "about.json").write_text("{}", encoding="utf-8")
    (folder / "current.partial").write_text("v0000", encoding="utf-8")
    assert open_store(folder).about.passages == 5
    (tmp_path / "b.txt").write_text("Un autre texte.", encoding="utf-8")
    assert index(str(folder), [tmp_path / "b.txt"], embedder).about.passages == 6
    assert sorted(one.name for one in folder.iterdir()) == [".lock", "current", "v000002"]


def put_one(folder: Path, name: str) -> int:
    builder = open_builder(folder, None)
    builder.put(name, "digest", [Passage(name, f"Le texte de {name}.")], None)
    return builder.commit().passages


def test_an_opening_that_a_commit_overtakes_opens_the_new_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_one(tmp_path, "a")

    def overtaken(version: Path, hashes: dict[str, str]) -> None:
        monkeypatch.undo()
        put_one(tmp_path, "b")
        assert not version.exists()
        embedded_store.check_files(version, hashes)

    monkeypatch.setattr(embedded_store, "check_files", overtaken)
    assert open_store(tmp_path).about.passages == 2


def test_what_was_begun_and_torn_is_begun_anew(tmp_path: Path) -> None:
    put_one(tmp_path, "a")
    for torn in ("", '{"base": "v0000', "\x00" * 40):
        open_builder(tmp_path, None).close()
        (tmp_path / "next" / "base.json").write_text(torn, encoding="utf-8")
        builder = open_builder(tmp_path, None)
        assert builder.documents == {"a": "digest"}
        builder.close()
    assert put_one(tmp_path, "b") == 2


def test_lance_removes_no_version_before_the_next_one_is_named(
    tmp_path: Path, embedder: LlamaEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if every version were older than the limit after which LanceDB removes it."""
    pytest.importorskip("lancedb")
    from retrieval import lance_store

    class Killed(lance_store.LanceBuilder):
        def _mean(self) -> list[float] | None:  # the last step before the new version is named
            raise KeyboardInterrupt

    monkeypatch.setattr(lance_store, "KEPT", timedelta(milliseconds=1))
    address = f"lancedb://{tmp_path}/db/texts"
    index(address, [write_texts(tmp_path / "a.jsonl")], embedder)
    path = write_texts(tmp_path / "b.jsonl", {"Z": ("Kant", "Logique", "Un autre texte.", ())})
    with pytest.raises(KeyboardInterrupt):
        index_files([path], Killed(address, embedder.id), embedder)
    assert ids(address, "le sucre fond", embedder)[0] == "B1"
    assert index(address, [path], embedder).about.passages == 6
    assert ids(address, "autre texte", embedder)[0] == "Z"


def test_lance_keeps_a_version_that_is_read_for_a_while_after_it_was_replaced(
    tmp_path: Path, embedder: LlamaEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However old it is: what counts is since when there is another."""
    lancedb = pytest.importorskip("lancedb")
    from retrieval import lance_store

    def numbers() -> list[int]:
        table = lancedb.connect(tmp_path / "db").open_table("texts")
        return [one["version"] for one in table.list_versions()]

    address, path = f"lancedb://{tmp_path}/db/texts", write_texts(tmp_path / "a.jsonl")
    monkeypatch.setattr(lance_store, "KEPT", timedelta(seconds=0.5))
    index(address, [path], embedder)
    first, opened = numbers(), Searcher(open_store(address), embedder)
    time.sleep(0.6)
    write_texts(path, {"Z": ("Kant", "Logique", "Un autre texte.", ())})
    index(address, [path], embedder)
    assert opened.search("le sucre fond", 1).hits[0].passage.id == "B1"
    monkeypatch.setattr(lance_store, "TIDYING", timedelta(0))
    time.sleep(0.6)
    write_texts(path)
    index(address, [path], embedder)
    assert min(numbers()) > max(first)


def test_a_passage_found_by_words_has_its_own_cosine(address: str, tmp_path: Path, embedder: LlamaEmbedder) -> None:
    index(address, [write_texts(tmp_path / "a.jsonl")], embedder)
    store = open_store(address)
    vector = embedder.passages([TEXTS["E3"][2]])[0]
    found = store.candidates(query_tokens("le sucre"), vector, pool=1)
    passages = store.fetch(found.rows.tolist())
    assert {one.id for one in passages} == {"B1", "E3"}
    exact = embedder.passages([one.embedded_text for one in passages]) @ vector
    assert found.dense == pytest.approx(exact, abs=2e-3)
    store.close()


def test_two_writers_do_not_meet(tmp_path: Path, embedder: LlamaEmbedder) -> None:
    first = open_builder(tmp_path / "index", embedder.id)
    with pytest.raises(RetrievalError, match="Another process"):
        open_builder(tmp_path / "index", embedder.id)
    first.close()
    open_builder(tmp_path / "index", embedder.id).close()


def test_many_search_at_once_while_one_writes(address: str, tmp_path: Path, embedder: LlamaEmbedder) -> None:
    index(address, [write_texts(tmp_path / "a.jsonl")], embedder)
    searcher = Searcher(open_store(address), embedder, weight=WEIGHT)
    write_texts(tmp_path / "b.jsonl", {"Z": ("Kant", "Logique", "Un autre texte.", ())})
    writer = threading.Thread(target=index, args=(address, [tmp_path / "b.jsonl"], embedder))
    writer.start()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: searcher.search("le sucre fond", 1).hits[0].passage.id, range(40)))
    writer.join()
    assert set(found) == {"B1"}
    assert open_store(address).about.passages == 6


@pytest.mark.parametrize("address", ["lancedb://name", "s3://bucket", "lancedb://"])
def test_a_wrong_address_is_said(address: str) -> None:
    pytest.importorskip("lancedb")
    with pytest.raises(RetrievalError, match="expected lancedb"):
        open_store(address)


def test_near_copies_are_found_once(embedder: LlamaEmbedder) -> None:
    text = TEXTS["B1"][2]
    passages = [Passage("a", text), Passage("b", text + "."), Passage("c", text.upper()), Passage("d", TEXTS["E3"][2])]
    store = MemoryStore("copies", passages, embedder.passages([one.embedded_text for one in passages]), embedder.id)
    found = [hit.passage.id for hit in Searcher(store, embedder).search("le sucre", 4).hits]
    assert len(found) == 3
    assert ("a" in found) != ("b" in found)


@pytest.mark.parametrize("kind", ["memory", "embedded"])
def test_two_neighbours_are_a_word_of_their_own(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both passages hold both words; one holds them side by side. Above the limit the pairs are left out."""
    texts = {"apart": "Un arbitre siffle, le joueur est libre.", "together": "Un joueur siffle le libre arbitre."}
    passages = [Passage(name, text) for name, text in texts.items()]

    def scores(folder: Path) -> dict[str, float]:
        if kind == "memory":
            store: Store = MemoryStore("two", passages)
        else:
            builder = open_builder(folder, None)
            builder.put("two", "digest", passages, None)
            builder.commit()
            store = open_store(folder)
        found = store.candidates(query_tokens("le libre arbitre"), None)
        return dict(zip(texts, found.lexical[np.argsort(found.rows)].tolist(), strict=True))

    paired = scores(tmp_path / "paired")
    assert paired["together"] > 1.2 * paired["apart"] > 0
    monkeypatch.setattr(f"retrieval.{kind}_store.PAIRED_UP_TO", 1)
    single = scores(tmp_path / "single")
    assert single["together"] == pytest.approx(single["apart"], rel=0.1)


def test_what_is_looked_at_again_comes_before_the_rest(embedder: LlamaEmbedder) -> None:
    passages = [Passage(str(n), f"{'le sucre fond ' * (n + 1)}{'xyz zyx '[: n % 9]}") for n in range(8)]
    store = MemoryStore("many", passages, embedder.passages([one.text for one in passages]), embedder.id)
    second = SentenceReranker(embedder)
    hits = Searcher(store, embedder, reranker=second, reranked=3).search("le sucre fond", 8).hits
    scores = [hit.score for hit in hits]
    assert len(scores) > 3
    assert scores == sorted(scores, reverse=True)


def test_the_author_and_the_work_of_a_file_can_be_given(tmp_path: Path) -> None:
    (tmp_path / "lettre.txt").write_text("Une pierre lancée croit voler librement.", encoding="utf-8")
    builder = open_builder(tmp_path / "index", None)
    index_files([tmp_path / "lettre.txt"], builder, None, given=Given("Spinoza", "Lettres"))
    (passage,) = open_store(tmp_path / "index").fetch([0])
    assert (passage.author, passage.work) == ("Spinoza", "Lettres")


def test_a_coarse_look_finds_what_an_exact_one_finds() -> None:
    """At 50,000 vectors the first look is coarse; nine of ten nearest neighbours and more come through it."""
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((500, 192), np.float32)
    noise = rng.standard_normal((COARSE_FROM, 192), np.float32)
    rows = unit(centres[rng.integers(500, size=COARSE_FROM)] + 0.7 * noise)
    words = Lexical.build([f"w{number % 997}"] for number in range(len(rows)))
    legs = Legs(words, rows.astype(np.float16))
    odd = np.arange(len(rows)) % 2 == 1
    few = np.arange(len(rows)) < 200
    for allowed, least in ((None, 0.9), (odd, 0.9), (few, 1.0)):
        near = []
        for place in range(0, 2000, 100):
            vector = unit(rows[place] + 0.02 * rng.standard_normal(192, np.float32))
            found = legs.candidates(["w5"], vector, allowed, pool=10)
            assert found.dense is not None
            assert allowed is None or allowed[found.rows].all()
            cosines = rows @ vector if allowed is None else np.where(allowed, rows @ vector, -1)
            near.append(len(set(found.rows.tolist()) & set(np.argsort(-cosines)[:10].tolist())) / 10)
            assert found.dense == pytest.approx(cosines[found.rows], abs=1e-3)
        assert np.mean(near) >= least


def test_no_row_may_be_found() -> None:
    legs = Legs(Lexical.build([["a"], ["b"]]), np.eye(2, dtype=np.float32))
    found = legs.candidates(["a"], np.array([1.0, 0.0], np.float32), np.zeros(2, bool))
    assert len(found.rows) == 0
