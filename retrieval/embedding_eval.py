"""Six things asked of an embedder, one score, and what the score decides. Knows embedders and sets; no command.

| axis | set | whose | measure |
|---|---|---|---|
| similarity | STS benchmark in French, test | public | Spearman's rank correlation with people's scores |
| topics | PIAF, 20 articles, their paragraphs' first 60 words | public | V-measure of 20 clusters |
| alignment | Tatoeba, French and English | public | share whose translation is nearest, both ways |
| instructions | `data/eval/embeddings.json` | ours | share of triplets where the same request is nearer than another |
| conversation | OpenAssistant, French: request and first reply | public | mean reciprocal rank of the reply |
| code | `data/eval/embeddings.json` | ours | mean reciprocal rank, words to code and back |
"""

import csv
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from errors import RetrievalError
from retrieval.embedders import Embedder, EmbedderId, unit
from retrieval.french import search_tokens
from retrieval.scoring import circumstances, read_piaf

WEIGHTS = {"similarity": 0.14, "topics": 0.14, "alignment": 0.14, "instructions": 0.30, "conversation": 0.14,
           "code": 0.14}  # fmt: skip
BY_SCORE = ((0.70, "excellent: deploy"), (0.65, "good: deploy after staging"), (0.60, "fair: test further"),
            (0.0, "poor: optimise"))  # fmt: skip
# Score, instruction score, what follows.
BY_BOTH = ((0.75, 0.65, "deploy"), (0.70, 0.60, "deploy after staging"), (0.65, 0.55, "deploy and monitor"),
           (0.60, 0.50, "evaluate use cases"))  # fmt: skip
NO = "abandon or optimise"
TOPICS, TOPIC_WORDS, TOPIC_TEXTS = 20, 60, 8  # clusters; words of a paragraph; paragraphs of an article
REPLY_WORDS = 80
STARTS = 10  # of the clustering; the tightest result counts
TIMED = 1_000  # texts whose vectors are timed
STEMS = 16_384  # dimensions of the baseline that only compares words
# Under BAF_CORPORA_DIR, what each public axis measures on: no model may be taught on it.
PUBLIC = {
    "similarity": Path("retrieval_eval/sts_fr/stsb-fr-test.csv"),
    "topics": Path("retrieval_eval/piaf"),  # read by `read_piaf`
    "alignment": Path("retrieval_eval/bitext_fra_eng"),
    "conversation": Path("instruct/oasst_fr_top1.jsonl"),
}


@dataclass(frozen=True)
class Axis:
    """One of the six.

    Attributes:
        value: From 0 to 1, higher is better.
        items: How many pairs, triplets or texts.
        set: What was asked.
        public: Whether others can ask the same.
        parts: Figures behind the value.
    """

    value: float
    items: int
    set: str
    public: bool
    parts: Mapping[str, float] = field(default_factory=dict)


class Words:
    """A baseline without any learning: the stems of a text, each a dimension. Two texts are as near as they share."""

    id = EmbedderId("words", "words", STEMS)

    def query(self, text: str) -> np.ndarray:
        """See `Embedder.query`."""
        row: np.ndarray = self.passages([text])[0]
        return row

    def passages(self, texts: Sequence[str]) -> np.ndarray:
        """See `Embedder.passages`."""
        from zlib import crc32

        rows = np.zeros((len(texts), STEMS), np.float32)
        for row, text in enumerate(texts):
            for stem, count in Counter(search_tokens(text)).items():
                rows[row, crc32(stem.encode()) % STEMS] += np.sqrt(count)
        return unit(rows)

    def close(self) -> None:
        """Nothing is held."""


def spearman(found: np.ndarray, wanted: np.ndarray) -> float:
    """Return the rank correlation; equal values share their mean rank.

    >>> round(spearman(np.array([0.1, 0.5, 0.9]), np.array([1, 2, 5])), 3)
    1.0
    """
    from scipy.stats import spearmanr

    correlation = float(spearmanr(found, wanted).statistic)
    return 0.0 if np.isnan(correlation) else correlation


def v_measure(found: Sequence[int], wanted: Sequence[int]) -> float:
    """Return the harmonic mean of homogeneity and completeness of a clustering.

    Source: Rosenberg and Hirschberg, EMNLP 2007.

    >>> v_measure([1, 1, 0, 0], [5, 5, 7, 7]), v_measure([0, 0, 0, 0], [5, 5, 7, 7])
    (1.0, 0.0)
    """
    table = np.zeros((len(set(found)), len(set(wanted))))
    np.add.at(table, (np.unique(found, return_inverse=True)[1], np.unique(wanted, return_inverse=True)[1]), 1)
    joint = table / table.sum()

    def entropy(shares: np.ndarray) -> float:
        some = shares[shares > 0]
        return float(-(some * np.log(some)).sum())

    own, other, both = entropy(joint.sum(axis=1)), entropy(joint.sum(axis=0)), entropy(joint.ravel())
    shared = own + other - both
    return float(2 * shared / (own + other)) if own + other > 0 else 1.0


def _ranks(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return for each row how many columns are at least as near as its own, itself included; a tie is no success."""
    cosines = rows @ columns.T
    own = np.diagonal(cosines)
    ranks: np.ndarray = (cosines >= own[:, None]).sum(axis=1)
    return ranks


def similarity(embedder: Embedder, corpora: Path, limit: int | None) -> Axis:
    """Two sentences and how alike people find them."""
    path = corpora / PUBLIC["similarity"]
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[:limit]
    first, second = (embedder.passages([row[side] for row in rows]) for side in (0, 1))
    value = spearman((first * second).sum(axis=1), np.array([float(row[2]) for row in rows]))
    return Axis(max(value, 0.0), len(rows), "STS benchmark in French, test", True)


def topics(embedder: Embedder, corpora: Path, limit: int | None) -> Axis | None:
    """Paragraphs of twenty articles, put into twenty heaps by nearness alone; None where a limit leaves one article."""
    from scipy.cluster.vq import kmeans2

    passages = read_piaf(corpora).passages
    sizes = Counter(one.title for one in passages)
    chosen = [title for title, _ in sizes.most_common(TOPICS)]
    of_one = TOPIC_TEXTS if limit is None else min(TOPIC_TEXTS, max(2, limit // TOPICS))
    texts, wanted = [], []
    for number, title in enumerate(chosen):
        own = [one.text for one in passages if one.title == title][:of_one]
        texts += [" ".join(text.split()[:TOPIC_WORDS]) for text in own]
        wanted += [number] * len(own)
    texts, wanted = texts[:limit], wanted[:limit]
    heaps = len(set(wanted))
    if heaps < 2:
        return None
    vectors = embedder.passages(texts).astype(np.float64)
    best: tuple[float, float] = (np.inf, 0.0)
    for start in range(STARTS):
        centres, labels = kmeans2(vectors, heaps, minit="++", rng=np.random.default_rng(start), missing="warn")
        spread = float(((vectors - centres[labels]) ** 2).sum())
        best = min(best, (spread, v_measure(labels.tolist(), wanted)))
    return Axis(best[1], len(texts), f"PIAF, paragraphs of {heaps} articles", True)


def alignment(embedder: Embedder, corpora: Path, limit: int | None) -> Axis:
    """French and English sentences that say the same."""
    folder = corpora / PUBLIC["alignment"]
    sides = [(folder / f"tatoeba.fra-eng.{one}").read_text(encoding="utf-8").splitlines() for one in ("fra", "eng")]
    french, english = (embedder.passages(lines[:limit]) for lines in sides)
    parts = {
        "French to English": float((_ranks(french, english) == 1).mean()),
        "English to French": float((_ranks(english, french) == 1).mean()),
    }
    return Axis(float(np.mean(list(parts.values()))), len(french), "Tatoeba, French and English", True, parts)


def instructions(embedder: Embedder, own: Mapping[str, Any], limit: int | None) -> Axis:
    """Requests, each beside the same one in other words and beside another one in nearly the same words.

    The value is the mean over the kinds, so that each kind of difference weighs the same.
    """
    triplets = own["instructions"][:limit]
    asked, same, other = (embedder.passages([one[key] for one in triplets]) for key in ("asked", "same", "other"))
    near, far = (asked * same).sum(axis=1), (asked * other).sum(axis=1)
    right = np.where(np.abs(near - far) < 1e-6, 0.5, near > far)
    kinds = np.array([one["kind"] for one in triplets])
    parts = {kind: float(right[kinds == kind].mean()) for kind in dict.fromkeys(kinds.tolist())}
    return Axis(float(np.mean(list(parts.values()))), len(triplets), "data/eval/embeddings.json", False, parts)


def conversation(embedder: Embedder, corpora: Path, limit: int | None) -> Axis:
    """Requests to an assistant and the first reply to each."""
    asked, said = [], []
    path = corpora / PUBLIC["conversation"]
    for line in filter(None, path.read_text(encoding="utf-8").split("\n")):  # JSON may hold U+2028
        turns = json.loads(line)["messages"]
        if [turn["role"] for turn in turns[:2]] == ["user", "assistant"]:
            asked.append(turns[0]["content"])
            said.append(" ".join(turns[1]["content"].split()[:REPLY_WORDS]))
    questions = np.stack([embedder.query(text) for text in asked[:limit]])
    value = float((1 / _ranks(questions, embedder.passages(said[:limit]))).mean())
    return Axis(value, len(questions), "OpenAssistant, French", True)


def code(embedder: Embedder, own: Mapping[str, Any], limit: int | None) -> Axis:
    """What a piece of Python does, in French, and the piece."""
    pairs = own["code"][:limit]
    said, written = (embedder.passages([one[key] for one in pairs]) for key in ("said", "code"))
    parts = {
        "words to code": float((1 / _ranks(said, written)).mean()),
        "code to words": float((1 / _ranks(written, said)).mean()),
    }
    return Axis(float(np.mean(list(parts.values()))), len(pairs), "data/eval/embeddings.json", False, parts)


def unknowable(embedder: Embedder, own: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a mean of vectors cannot know, with the evidence from this embedder.

    The same words backwards are the test: where their cosine is 1, order is not in the vector, nor anything that order
    says (who does what to whom, what comes first); and a small « ne » moves the vector less than a synonym does.
    """
    texts = [one["asked"].rstrip(".").lower().split() for one in own["instructions"]]
    # Between dashes, so that no word stands first: some tokenizers give the first word another piece.
    plain, turned = (embedder.passages([" ".join(["–", *words[::step], "–"]) for words in texts]) for step in (1, -1))
    backwards = (plain * turned).sum(axis=1)
    denied = [one for one in own["instructions"] if one["kind"] == "negation"]
    asked, same, other = (embedder.passages([one[key] for one in denied]) for key in ("asked", "same", "other"))
    evidence = {
        "cosine with the same words backwards, mean": float(backwards.mean()),
        "cosine with the same words backwards, least": float(backwards.min()),
        "cosine with the opposite request": float((asked * other).sum(axis=1).mean()),
        "cosine with the same request in other words": float((asked * same).sum(axis=1).mean()),
    }
    blind = bool(backwards.min() > 0.9999)
    said = (
        "A mean of vectors: word order is not in it, so « Explique Spinoza à l'aide de Bergson » and its converse are "
        "one point; a negation is one small word among others; a word has one vector in all its senses. On "
        "instructions it can only measure which words are shared."
        if blind
        else "Word order changes the vector: what follows from order and context can be in it."
    )
    return {"order is lost": blind, "says": said, "evidence": evidence}


def score_of(axes: Mapping[str, Axis | None]) -> float | None:
    """Return the weighted mean of the six; None when one was not measured."""
    measured = {name: axis for name, axis in axes.items() if axis is not None}
    if set(measured) != set(WEIGHTS):
        return None
    return sum(WEIGHTS[name] * axis.value for name, axis in measured.items())


def decide(score: float | None, instruction: float | None) -> dict[str, str]:
    """Return what follows from the score, and from the score together with that of the instructions.

    >>> decide(0.68, 0.58)
    {'by score': 'good: deploy after staging', 'with instructions': 'deploy and monitor'}
    """
    if score is None or instruction is None:
        return {"by score": "not measured", "with instructions": "not measured"}
    by_score = next(said for least, said in BY_SCORE if score >= least)
    both = next((said for least, own, said in BY_BOTH if score >= least and instruction >= own), NO)
    return {"by score": by_score, "with instructions": both}


def read_own(path: Path) -> dict[str, Any]:
    """Read our own small sets.

    Raises:
        RetrievalError: The file is missing or has other keys.
    """
    try:
        own = json.loads(path.read_text(encoding="utf-8"))
        _ = [one[key] for one in own["instructions"] for key in ("kind", "asked", "same", "other")]
        _ = [one[key] for one in own["code"] for key in ("said", "code")]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RetrievalError(f"{path} is no set of requests and of code ({type(error).__name__}: {error}).") from None
    return dict(own)


def speed(embedder: Embedder, texts: Sequence[str]) -> float:
    """Return texts a second, all of them handed over at once."""
    some = list(texts)[:TIMED]
    embedder.passages(some[:10])
    began = time.perf_counter()
    embedder.passages(some)
    return len(some) / (time.perf_counter() - began)


def evaluate_embedder(
    embedder: Embedder,
    own: Mapping[str, Any],
    corpora: Path | None,
    *,
    n_bytes: int | None,
    limit: int | None = None,
    progress: Callable[[float], None] = lambda _: None,
) -> dict[str, Any]:
    """Return what the report says of one embedder, as JSON can hold it.

    Args:
        embedder: Which.
        own: What `read_own` read.
        corpora: Folder of the public sets; without it their axes are not measured, and there is no score.
        n_bytes: Size on disk, where it is known.
        limit: Only the first items of each axis; said in the result.
        progress: Called with the share done.

    Raises:
        RetrievalError: A public set is missing or wrong.
    """
    public = {"similarity": similarity, "topics": topics, "alignment": alignment, "conversation": conversation}
    ours = {"instructions": instructions, "code": code}
    axes: dict[str, Axis | None] = {}
    for number, name in enumerate(WEIGHTS):
        progress(number / len(WEIGHTS))
        try:
            if name in ours:
                axes[name] = ours[name](embedder, own, limit)
            else:
                axes[name] = public[name](embedder, corpora, limit) if corpora else None
        except (OSError, ValueError, KeyError, IndexError) as error:
            raise RetrievalError(f"The set of {name!r} cannot be read ({type(error).__name__}: {error}).") from error
    score = score_of(axes)
    asked = axes["instructions"]
    per_second = speed(embedder, [one["asked"] for one in own["instructions"]] * 20)
    megabytes = n_bytes / 1e6 if n_bytes else None
    missing = "the limit leaves one article" if corpora else "BAF_CORPORA_DIR"
    return {
        "model": embedder.id.to_data(),
        "score": score,
        "decision": decide(score, asked.value if asked else None),
        "axes": {name: asdict(axis) if axis else f"not measured: {missing}" for name, axis in axes.items()},
        "weights": WEIGHTS,
        "megabytes": megabytes,
        "texts_per_s": per_second,
        "quality_per_mb": score / megabytes if score is not None and megabytes else None,
        "cannot_know": unknowable(embedder, own),
        "limit": limit,
        **circumstances(),
    }


def draw(results: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write a PNG: a group of bars for each axis, a bar for each model, the limits of the decision as lines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    names = [*WEIGHTS, "score"]
    width = 0.8 / len(results)
    for number, result in enumerate(results):
        values = [axis["value"] if isinstance(axis := result["axes"].get(name), Mapping) else 0.0 for name in WEIGHTS]
        places = np.arange(len(names)) + (number - (len(results) - 1) / 2) * width
        axes.bar(places, [*values, result["score"] or 0.0], width, label=result["model"]["name"])
    for least, said in BY_SCORE[:-1]:
        axes.axhline(least, color="#9a3324", linewidth=0.8, linestyle=":")
        axes.text(len(names) - 0.4, least, said.split(":")[0], fontsize=7, va="bottom", ha="right", color="#9a3324")
    axes.set_xticks(range(len(names)), names)
    axes.set(ylim=(0, 1), ylabel="0 to 1, higher is better", title="Six axes of an embedder")
    axes.legend(fontsize=8)
    axes.grid(axis="y", alpha=0.3)
    partial = path.with_name(path.name + ".partial")
    figure.savefig(partial, format="png", dpi=120)
    partial.replace(path)
