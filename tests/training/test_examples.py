"""Labels are exactly what the assistant says; wrong lines are named."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from errors import TrainingError
from training.examples import IGNORED, build_example, load_examples

CHAT = [
    {"role": "system", "content": "Tu es Kant."},
    {"role": "user", "content": "Puis-je mentir ?"},
    {"role": "assistant", "content": "Non, car ta maxime se détruit."},
    {"role": "user", "content": "ok"},
    {"role": "assistant", "content": "Pourquoi ?"},
]


@pytest.fixture(scope="module")
def tokenizer(base: Path) -> Any:
    return AutoTokenizer.from_pretrained(base)


def test_trained_tokens_are_the_assistants_turns_and_their_eos(tokenizer: Any) -> None:
    example = build_example(tokenizer, {"messages": CHAT}, "here:1", 512)
    first = "<bos>[INST]Tu es Kant.\n\nPuis-je mentir ?[/INST]Non, car ta maxime se détruit.<eos>"
    whole = first + "[INST]ok[/INST]Pourquoi ?<eos>"
    assert tokenizer.decode(example.ids) == whole
    assert list(example.ids) == tokenizer(whole, add_special_tokens=False)["input_ids"]
    trained = [label for label in example.labels if label != IGNORED]
    assert tokenizer.decode(trained) == "Non, car ta maxime se détruit.<eos>Pourquoi ?<eos>"
    assert all(label in (IGNORED, token) for token, label in zip(example.ids, example.labels, strict=True))
    assert example.trained == len(trained)


def test_prose_is_trained_whole_without_eos(tokenizer: Any) -> None:
    example = build_example(tokenizer, {"text": "La conscience dure.", "kind": "prose"}, "here:1", 512)
    assert tokenizer.decode(example.ids) == "<bos>La conscience dure."
    assert example.labels == (IGNORED, *example.ids[1:])
    assert example.kind == "prose"


def test_an_empty_system_message_leaves_no_blank_line(tokenizer: Any) -> None:
    example = build_example(tokenizer, {"messages": [{"role": "system", "content": ""}, *CHAT[1:3]]}, "here:1", 512)
    assert tokenizer.decode(example.ids).startswith("<bos>[INST]Puis-je")


def test_a_control_token_in_a_text_is_one_bos_too_many(tokenizer: Any) -> None:
    with pytest.raises(TrainingError, match="here:7: 2 BOS tokens"):
        build_example(tokenizer, {"text": "a <bos> b"}, "here:7", 512)


def test_a_long_row_is_named_not_cut(tokenizer: Any) -> None:
    with pytest.raises(TrainingError, match=r"here:3: .* tokens, at most 10"):
        build_example(tokenizer, {"messages": CHAT}, "here:3", 10)


COUNTING = "{{ bos_token }}{{ messages | length }}{% for m in messages %}{{ m['content'] }}{{ eos_token }}{% endfor %}"
ENDLESS = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}"


@pytest.mark.parametrize(("template", "complaint"), [(COUNTING, "prefix-stable"), (ENDLESS, "EOS")])
def test_an_unfit_template_is_refused(base: Path, template: str, complaint: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = template
    with pytest.raises(TrainingError, match=complaint):
        build_example(tokenizer, {"messages": CHAT}, "here:1", 512)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "no JSON"),
        ("[1]", "expected"),
        ('{"prompt": "a"}', "expected"),
        ('{"text": " "}', "not empty"),
        ('{"messages": []}', "not empty"),
        (json.dumps({"messages": CHAT[2:3]}), "message 1 has role 'assistant'; expected system or user"),
        (json.dumps({"messages": CHAT[:2]}), "the last message is the user's"),
        (json.dumps({"messages": [CHAT[1], CHAT[1]]}), "message 2 has role 'user'; expected assistant"),
        (json.dumps({"messages": [CHAT[1], {"role": "assistant", "content": ""}]}), "message 2: content"),
        (json.dumps({"messages": ["a"]}), "role None"),
    ],
)
def test_a_wrong_line_is_named(tokenizer: Any, tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "Bonjour."}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(TrainingError, match=r"data\.jsonl:2: ") as raised:
        load_examples(path, tokenizer, 512)
    assert complaint in str(raised.value)
    assert len(load_examples(path, tokenizer, 512, limit=1)) == 1  # the wrong line is not read


def test_a_missing_and_an_empty_file(tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot be read"):
        load_examples(tmp_path / "none.jsonl", tokenizer, 512)
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(TrainingError, match="holds no line"):
        load_examples(tmp_path / "empty.jsonl", tokenizer, 512)
