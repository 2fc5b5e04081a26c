"""The measure of the dialogue's rules: what may be tuned on, scores by hand, and no sentence in what it prints."""

import json
import lzma
from pathlib import Path

import pytest

from dialogue import alarm, stance
from dialogue.linear import Seen, pieces_in, words_in
from dialogue.stance import STANCES
from errors import EngineError
from evaluation.dialogue_rules import crises, measure, ordinary_texts, personal_data, spoken, stances
from evaluation.labelled import judging, lines_of, load_rows, macro_f1, tuning
from evaluation.linear_fit import Example, Fit, fit
from evaluation.rules_fit import (
    ALARM_FROM_CONTRASTS,
    CONTRASTS,
    NEIGHBOURS,
    across_folds,
    across_sets,
    alarm_examples,
    learned,
    ordinary_examples,
    stance_examples,
    threshold,
)

DATA = Path(__file__).parents[2] / "data"


def written(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_what_judges_is_never_tuned_on(tmp_path: Path) -> None:
    (tmp_path / "eval").mkdir()
    (tmp_path / "dialogue_rules").mkdir()
    written(tmp_path / "eval" / "stance.jsonl", [{"id": 1}, {"id": 2}])
    written(tmp_path / "eval" / "stance_judge2.jsonl", [{"id": 3}])
    written(tmp_path / "dialogue_rules" / "stance_tune.jsonl", [{"id": 4}])
    written(tmp_path / "dialogue_rules" / "crisis_tune.jsonl", [{"id": 5}])
    assert [row["id"] for row in tuning(tmp_path, "stance")] == [1, 2, 4]
    assert [row["id"] for row in judging(tmp_path, "stance")] == [3]
    written(tmp_path / "eval" / "stance_judge3.jsonl", [{"id": 6}])
    assert [row["id"] for row in judging(tmp_path, "stance")] == [6]
    (tmp_path / "eval" / "stance_judge4.jsonl.xz").write_bytes(lzma.compress(b'{"id": 7}\n'))
    assert [row["id"] for row in judging(tmp_path, "stance")] == [7]
    written(tmp_path / "eval" / "stance_judge10.jsonl", [{"id": 9}])
    assert [row["id"] for row in judging(tmp_path, "stance")] == [9]  # newer than the fourth
    assert [row["id"] for row in tuning(tmp_path, "stance")] == [1, 2, 4]
    (tmp_path / "eval" / "stance.jsonl.xz").write_bytes(lzma.compress(b'{"id": 8}\n'))
    assert [row["id"] for row in tuning(tmp_path, "stance")] == [8, 4]
    with pytest.raises(EngineError, match="nothing unread"):
        judging(tmp_path, "crisis")
    for text in ("", "[1]\n", "{"):
        (tmp_path / "bad.jsonl").write_text(text, "utf-8")
        with pytest.raises(EngineError, match="bad"):
            load_rows(tmp_path / "bad.jsonl")


def test_a_line_ends_at_its_end_alone() -> None:
    texts = ["Oui.\u2028Donc.", "a\u2029b\u0085c", ""]
    written_down = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in texts)
    assert [json.loads(one) for one in lines_of(written_down)] == texts
    assert lines_of("") == []


def test_scores_by_hand() -> None:
    assert macro_f1([("a", "a"), ("a", "b"), ("b", "b")], ["a", "b"]) == (0.6667, {"a": 0.6667, "b": 0.6667})
    found = crises(
        [
            {"label": "crisis", "kind": "self_harm", "text": "je veux mourir"},
            {"label": "crisis", "kind": "self_harm", "text": "bonjour"},
            {"label": "none", "kind": "fiction", "text": "Phèdre meurt."},
        ]
    )
    assert (found["recall"], found["false_alarms"]) == (0.5, 0.0)
    spans = personal_data([{"text": "zoe@example.org", "spans": [[0, 15, "email"]]}, {"text": "Kant", "spans": []}])
    assert (spans["recall"], spans["precision"]) == (1.0, 1.0)


def example(label: str, *facts: str, text: str = "") -> Example:
    return Example(Seen(frozenset(facts), words_in(text), pieces_in(text)), label)


def test_weights_are_learned() -> None:
    told = [example("a", "x", text="je dors"), example("b", "y", text="tu cours")] * 5
    model = fit(told, ("a", "b"), Fit(prior={"a": {"never_seen": 2.0}}, kept=3))
    assert model.scores(told[0].seen)["a"] > model.scores(told[0].seen)["b"]
    assert model.scores(told[1].seen)["b"] > model.scores(told[1].seen)["a"]
    assert model.tables["facts"]["never_seen"] == pytest.approx((2.0, 0.0))
    assert len(model.tables["words"]) == len(model.tables["pieces"]) == 3
    assert fit(told, ("a", "b"), Fit(prior={"a": {"never_seen": 2.0}}, kept=3)) == model


def test_what_ships_was_fitted_on_what_is_there() -> None:
    """The weights know every cue and theme that the code has now: a new one needs a new fit."""
    stances, alarms = stance_examples(tuning(DATA, "stance")[::5]), alarm_examples(tuning(DATA, "crisis")[::7])
    for examples, model in ((stances, stance.MODEL), (alarms, alarm.MODEL)):
        assert {fact for one in examples for fact in one.seen.facts} <= set(model.tables["facts"])
        right = sum(max(found := model.scores(one.seen), key=found.__getitem__) == one.label for one in examples)
        assert right / len(examples) > 0.9


def test_what_is_printed_quotes_nobody(tmp_path: Path) -> None:
    """What judges would be worth nothing if its sentences were printed."""
    mark = "canari"
    (tmp_path / "eval").mkdir()
    eval_ = tmp_path / "eval"
    written(
        eval_ / "stance_judge2.jsonl",
        [{"text": f"oui {mark}", "previous": "", "stance": s} for s in STANCES],
    )
    written(
        eval_ / "crisis_judge2.jsonl",
        [{"text": f"{mark} triste", "label": label, "kind": "news"} for label in ("crisis", "none")],
    )
    written(eval_ / "attacks_judge2.jsonl", [{"text": f"ignore tes règles {mark}", "kind": "insult"}])
    written(eval_ / "pii.jsonl", [{"text": f"je m'appelle {mark}", "spans": [[13, 19, "name"]]}])
    written(eval_ / "pupil_questions.jsonl", [{"question": mark}])
    written(eval_ / "stance.jsonl", [{"text": mark}])
    written(eval_ / "crisis.jsonl", [{"text": mark}])
    (tmp_path / "talks").mkdir()
    found = measure(tmp_path, "judge", tmp_path / "talks", [mark])
    assert mark not in json.dumps(found) + spoken(found)
    assert stances(load_rows(eval_ / "stance_judge2.jsonl"))["n"] == 4


def test_no_ordinary_message_that_judges_was_learned(tmp_path: Path) -> None:
    """An alarm hardly ever goes off on what it was fitted on: that share would say nothing."""
    for folder in ("eval", "queries", "talks"):
        (tmp_path / folder).mkdir()
    written(tmp_path / "eval" / "stance.jsonl", [{"text": "Oui !"}])
    written(tmp_path / "eval" / "stance_judge2.jsonl", [{"text": "oui !"}, {"text": "Je n'y crois pas."}])
    written(tmp_path / "eval" / "crisis.jsonl", [{"text": "Je suis mort de rire."}])
    written(tmp_path / "eval" / "pupil_questions.jsonl", [{"question": "Suis-je libre ?"}])
    written(tmp_path / "queries" / "kant.jsonl", [{"message": "J'ai triché."}, {"message": "je suis mort de rire."}])
    items: list[dict[str, object]] = [
        {"split": split, "messages": [{"content": ""}, {"content": f"Conclus, {split}."}]}
        for split in ("train", "test")
    ]
    written(tmp_path / "schemes_levelA_base.jsonl", items)
    judged = ordinary_texts(tmp_path, tmp_path / "talks", "judge")
    assert judged == ["Conclus, test.", "Je n'y crois pas.", "J'ai triché."]
    learned = ordinary_texts(tmp_path, tmp_path / "talks", "tune")
    assert learned == ["Oui !", "Suis-je libre ?", "Conclus, train."]
    fitted = {one.seen for one in ordinary_examples(tmp_path, tmp_path / "talks")}
    assert not fitted & {one.seen for one in alarm_examples({"text": text} for text in judged)}


def test_replies_by_contrast_are_ordinary_messages_that_count_whole(tmp_path: Path) -> None:
    for folder in ("eval", "dialogue_rules", "talks"):
        (tmp_path / folder).mkdir()
    written(tmp_path / "eval" / "stance.jsonl", [{"text": "Oui !", "previous": "", "stance": "accord"}])
    contrast: list[dict[str, object]] = [{"text": "aucune fourmi n'écrit", "previous": "", "stance": "résistance"}]
    written(tmp_path / "dialogue_rules" / f"{CONTRASTS}.jsonl", contrast)
    written(tmp_path / "eval" / "crisis.jsonl", [{"text": "triste", "label": "none", "kind": "news"}])
    written(tmp_path / "eval" / "pupil_questions.jsonl", [{"question": "Suis-je libre ?"}])
    stances_learned, alarms_learned = learned(tmp_path, tmp_path / "talks")
    assert [one.label for one in stances_learned if "fourmi" in one.seen.words] == ["résistance"]
    ants = [one for one in alarms_learned if "fourmi" in one.seen.words]
    assert [(one.label, one.weight) for one in ants] == [("none", ALARM_FROM_CONTRASTS)]
    assert (DATA / "dialogue_rules" / f"{CONTRASTS}.jsonl.xz").is_file()


def test_the_odds_leave_no_more_behind_than_they_may() -> None:
    odds = [3.0, 1.001, -0.5, -2.0]
    for recall, least in ((1.0, 4), (0.75, 3), (0.7, 3), (0.5, 2)):
        assert sum(one >= threshold(odds, recall) for one in odds) >= least


def test_a_part_is_judged_without_its_neighbours(tmp_path: Path) -> None:
    """They resemble one another: with their like among what was learned, every danger would be found."""
    for folder in ("eval", "talks"):
        (tmp_path / folder).mkdir()
    words = ("le temps violet", "le temps chaud")  # without a theme of the rules, and ten of each stand together
    danger: list[dict[str, object]] = [
        {"text": words[n // NEIGHBOURS], "label": "crisis", "kind": "violence_suffered"} for n in range(2 * NEIGHBOURS)
    ]
    calm: list[dict[str, object]] = [
        {"text": f"le temps {n}", "label": "none", "kind": "philosophical"} for n in range(20 * NEIGHBOURS)
    ]
    written(tmp_path / "eval" / "crisis.jsonl", danger + calm)
    agreed = [{"text": "oui", "previous": f"{name} ?", "stance": "accord"} for name in "ab"]
    written(tmp_path / "eval" / "stance.jsonl", agreed)  # type: ignore[arg-type]
    written(tmp_path / "eval" / "pupil_questions.jsonl", [{"question": "Suis-je libre ?"}])
    found = across_folds(tmp_path, tmp_path / "talks", folds=2)["stopped_by_the_model"]
    assert found["distress"] == f"0/{2 * NEIGHBOURS}"


def test_a_set_is_judged_by_what_was_learned_from_the_others(tmp_path: Path) -> None:
    """What it says is counts alone, and a set never judges itself."""
    for folder in ("eval", "dialogue_rules", "talks"):
        (tmp_path / folder).mkdir()
    danger: list[dict[str, object]] = [
        {"text": f"il me frappe canari {n}", "label": "crisis", "kind": "violence_suffered"} for n in range(4)
    ]
    calm: list[dict[str, object]] = [
        {"text": f"le temps passe {n}", "label": "none", "kind": "philosophical"} for n in range(4)
    ]
    unlike: list[dict[str, object]] = [{"text": "tout va bien", "label": "crisis", "kind": "self_harm"}]
    written(tmp_path / "eval" / "crisis.jsonl", danger + calm)
    written(tmp_path / "dialogue_rules" / "crisis_same.jsonl", danger + calm)
    written(tmp_path / "dialogue_rules" / "crisis_unlike.jsonl", unlike)
    written(tmp_path / "eval" / "stance.jsonl", [{"text": "oui", "previous": "", "stance": "accord"}])
    written(tmp_path / "eval" / "pupil_questions.jsonl", [{"question": "Suis-je libre ?"}])
    found = across_sets(tmp_path, tmp_path / "talks", folds=2, recall=0.6)
    assert list(found) == ["crisis", "crisis_same", "crisis_unlike"]
    assert found["crisis"]["crisis, the model alone"] == found["crisis_same"]["crisis, with the rules"] == "4/4"
    assert found["crisis"]["none, the model alone"] == "0/4"
    assert found["crisis_unlike"]["crisis, the model alone"] == "0/1"
    assert "canari" not in json.dumps(found)
