"""Runs: asking, failures that are counted, resuming, the files, and what they refuse."""

import asyncio
import json
import lzma
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from engines.base import ChatMessage, Finished, SamplingParams, Token, Usage
from engines.testing import ScriptedEngine
from errors import EngineBusy, EngineError
from evaluation.runs import (
    PARTIAL,
    RESULTS,
    SAMPLES,
    Document,
    Run,
    Sample,
    SampleFile,
    hash_of,
    load_run,
    must_be_unique,
    results_of,
    rows_of,
    run_task,
    save_run,
    summary,
)

DOCUMENTS = [Document(f"d{n}", f"c{n // 2}", "kant", ("right",), {"due": "oui"}) for n in range(4)]
SAID = (Token("Oui. "), Finished("stop", Usage(prompt_tokens=9, completion_tokens=2)))
SAMPLE = Sample("d0", "c0", "kant", "h", "Oui.", {"right": 1.0}, 0.1, 0.5, 9, 2)
RUN = Run(
    "t",
    1,
    "gguf:m@prompt=plain",
    {"n": 2, "limit": None, "set": ["s.jsonl"], "sampling": {"temperature": 0}},
    (
        SAMPLE,
        replace(SAMPLE, id="d1", metrics={"right": 0.0}, response="", total_s=None, tokens_out=None, error="x: y"),
    ),
    {"date": "2026-01-01"},
)


def prompt(document: Document) -> tuple[list[ChatMessage], SamplingParams]:
    return [{"role": "user", "content": document.id}], SamplingParams(max_tokens=8)


def measure(document: Document, answer: str) -> Mapping[str, float]:
    return {"right": float(document.facts["due"] in answer.lower())}


def test_every_document_is_asked_and_measured() -> None:
    engine = ScriptedEngine(*SAID)
    seen: list[Sample] = []
    samples = asyncio.run(run_task(engine, DOCUMENTS, prompt, measure, deadline_s=5.0, on_sample=seen.append))
    assert seen == samples
    assert [sample.id for sample in samples] == ["d0", "d1", "d2", "d3"]
    assert (samples[2].cluster, samples[2].persona, samples[2].metrics) == ("c1", "kant", {"right": 1.0})
    assert (samples[0].tokens_in, samples[0].tokens_out, samples[0].error) == (9, 2, None)
    assert samples[0].prompt_hash == hash_of([{"role": "user", "content": "d0"}])
    assert engine.deadlines == [5.0] * 4


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        (ScriptedEngine(EngineBusy("full")), "engine_busy: full"),
        (ScriptedEngine(Token("Ou"), EngineError("power")), "engine_failed: power"),
        (ScriptedEngine(*SAID, pause_s=0.2), "engine_timeout: The deadline passed"),
        (ScriptedEngine(Token(" \n")), "answer_empty: "),
        (ScriptedEngine(), "answer_empty: "),
        (ScriptedEngine(failure="The worker died."), "engine_failed: The worker died."),
    ],
)
def test_an_engine_that_fails_is_counted_and_the_run_goes_on(engine: ScriptedEngine, said: str) -> None:
    samples = asyncio.run(run_task(engine, DOCUMENTS[:2], prompt, measure, deadline_s=0.02))
    assert [(s.metrics, s.response, s.total_s) for s in samples] == [({"right": 0.0}, "", None)] * 2
    assert all(sample.error is not None and sample.error.startswith(said) for sample in samples)
    assert len(engine.received) == 2


def test_a_broken_line_of_the_set_is_a_failure_and_never_asked() -> None:
    engine = ScriptedEngine(*SAID)
    broken = Document("set.jsonl:2", "set.jsonl:2", "", ("right",), broken="set.jsonl:2: no JSON")
    samples = asyncio.run(run_task(engine, [broken, DOCUMENTS[0]], prompt, measure))
    assert [sample.error for sample in samples] == ["set.jsonl:2: no JSON", None]
    assert len(engine.received) == 1


def test_a_measure_that_fails_is_a_fault_of_ours_and_stops_the_run() -> None:
    with pytest.raises(KeyError):
        asyncio.run(run_task(ScriptedEngine(*SAID), [replace(DOCUMENTS[0], facts={})], prompt, measure))


def test_what_was_answered_is_not_asked_again_and_what_failed_is(tmp_path: Path) -> None:
    identity = {"engine": "e"}
    first = SampleFile(tmp_path, identity)
    asyncio.run(run_task(ScriptedEngine(*SAID), DOCUMENTS[:2], prompt, measure, on_sample=first.add))
    asyncio.run(run_task(ScriptedEngine(EngineError("x")), DOCUMENTS[2:3], prompt, measure, on_sample=first.add))
    with first.path.open("a", encoding="utf-8") as file:
        file.write('{"id": "d3", "clus')  # a kill in the middle of a line
    again = SampleFile(tmp_path, identity)
    assert sorted(again.done) == ["d0", "d1", "d2"]
    engine = ScriptedEngine(*SAID)
    samples = asyncio.run(run_task(engine, DOCUMENTS, prompt, measure, on_sample=again.add, done=again.done))
    assert [messages[0]["content"] for messages in engine.received] == ["d2", "d3"]
    assert all(sample.error is None for sample in samples)
    assert {key: sample.error for key, sample in SampleFile(tmp_path, identity).done.items()} == dict.fromkeys(
        ("d0", "d1", "d2", "d3")
    )


def test_samples_of_another_engine_are_set_aside(tmp_path: Path) -> None:
    SampleFile(tmp_path, {"engine": "e"}).add(SAMPLE)
    assert SampleFile(tmp_path, {"engine": "f"}).done == {}
    assert "d0" in (tmp_path / f"{PARTIAL}.other").read_text(encoding="utf-8")


def test_a_run_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    SampleFile(tmp_path, {}).add(SAMPLE)
    assert save_run(RUN, tmp_path) == tmp_path
    assert load_run(tmp_path) == RUN
    assert sorted(path.name for path in tmp_path.iterdir()) == [RESULTS, SAMPLES]
    with pytest.raises(EngineError, match="never overwritten"):
        save_run(RUN, tmp_path)
    assert load_run(save_run(replace(RUN, samples=RUN.samples[:1]), tmp_path, force=True)).samples == (SAMPLE,)


def test_results_have_the_harness_keys() -> None:
    found = results_of(RUN)
    assert found["results"] == {"t": {"alias": "t", "right,none": 0.5}}
    assert (found["versions"], found["n-shot"]) == ({"t": 1}, {"t": 0})
    assert found["n-samples"] == {"t": {"original": 2, "effective": 2}}
    assert found["configs"]["t"]["metric_list"][0]["metric"] == "right"
    assert found["errors"] == {"d1": "x: y"}
    assert found["by_persona"] == {"kant": {"right": 0.5}}
    assert len(found["task_hashes"]["t"]) == 64


def test_the_summary() -> None:
    assert summary(RUN) == {
        "right": 0.5, "right_n": 2, "n": 2, "failures": 1, "latency_median_s": 0.5, "latency_p95_s": 0.5,
        "first_token_median_s": 0.1, "first_token_p95_s": 0.1, "tokens_in": 9, "tokens_out": 2, "tokens_per_s": 4.0,
    }  # fmt: skip
    nothing = summary(replace(RUN, samples=RUN.samples[1:]))
    assert (nothing["failures"], nothing["right"]) == (1, 0.0)
    assert summary(replace(RUN, samples=())) == {"n": 0, "failures": 0, "tokens_in": 0, "tokens_out": 0}


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (RESULTS, "{", "has no run"),
        (RESULTS, "{}", "has no run"),
        (RESULTS, "[]", "has no run"),
        (SAMPLES, "{", r"samples\.jsonl:1: no JSON"),
        (SAMPLES, '{"id": "a"}', r"samples\.jsonl:1: no sample"),
        (SAMPLES, '{"id": "a", "x": 1}', r"samples\.jsonl:1: no sample"),
        (SAMPLES, json.dumps({**SAMPLE.__dict__, "metrics": {"a": "b"}}), "metrics are numbers"),
        (SAMPLES, "", "is empty"),
    ],
)
def test_a_damaged_run_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    save_run(RUN, tmp_path)
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(EngineError, match=said):
        load_run(tmp_path)


def test_an_answer_with_a_line_of_its_own_is_read_back(tmp_path: Path) -> None:
    """Byte-level vocabularies sample U+2028, where `str.splitlines` would end the line."""
    odd = replace(SAMPLE, response="Oui.\u2028Donc.\u0085Fin.")
    SampleFile(tmp_path, {}).add(odd)
    assert SampleFile(tmp_path, {}).done == {"d0": odd}
    assert load_run(save_run(replace(RUN, samples=(odd,)), tmp_path)).samples == (odd,)


def test_a_run_that_was_never_finished_is_none(tmp_path: Path) -> None:
    SampleFile(tmp_path, {}).add(SAMPLE)
    with pytest.raises(EngineError, match="has no run"):
        load_run(tmp_path)


def test_lines_of_a_set(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text('{"a": 1}\n\n{\n[1]\n"x"\n', encoding="utf-8")
    found = dict(rows_of(path))
    assert found[1] == {"a": 1}
    assert str(found[3]).startswith("no JSON")
    assert found[4] == "no object but list"
    packed = tmp_path / "s.jsonl.xz"
    packed.write_bytes(lzma.compress(path.read_bytes()))
    assert dict(rows_of(packed)) == found
    with pytest.raises(EngineError, match="cannot be read"):
        rows_of(tmp_path / "none")
    path.write_bytes(b"\xff")
    with pytest.raises(EngineError, match="cannot be read"):
        rows_of(path)


def test_two_documents_of_one_name_are_refused() -> None:
    with pytest.raises(EngineError, match="called 'd0'"):
        must_be_unique([DOCUMENTS[0], DOCUMENTS[0]], "s.jsonl")
