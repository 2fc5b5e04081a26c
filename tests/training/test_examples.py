"""Labels are exactly what the assistant says, in every vocabulary; wrong lines are named."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import AutoTokenizer

from errors import TrainingError
from tests.conversion.families import V3_TEMPLATE, spm_tokenizer
from training.examples import IGNORED, Example, build_example, build_examples, spans
from training.rows import read_rows, to_row

CHAT = [
    {"role": "system", "content": "Tu es Kant."},
    {"role": "user", "content": "Puis-je mentir ?"},
    {"role": "assistant", "content": "Non, car ta maxime se détruit."},
    {"role": "user", "content": "ok"},
    {"role": "assistant", "content": "Pourquoi ?"},
]
V1_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ ' [INST] ' + m.content + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}"
)
DOCUMENT: dict[str, Any] = {
    "concept": "A bell that rings in the hall when the bakery's oven is done.",
    "requirements": {
        "title": "Oven bell",
        "description": "Says in the hall what the oven says in the back room.",
        "functional_requirements": [{"id": "FR-1", "description": "Ring within 2 seconds.", "priority": "high"}],
        "non_functional_requirements": [{"id": "NFR-1", "description": "Work at 45 °C.", "priority": "medium"}],
        "constraints": [{"id": "C-1", "description": "No cable through the wall.", "priority": "low"}],
    },
}
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tokenizer(base: Path) -> Any:
    return AutoTokenizer.from_pretrained(base)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A SentencePiece vocabulary as Mistral's, which puts a space in front of a text."""
    folder = tmp_path_factory.mktemp("spm")
    spm_tokenizer(folder).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


def example_of(tokenizer: Any, row: dict[str, Any], where: str = "here:1", max_length: int = 512) -> Example:
    return build_example(tokenizer, to_row(row, where), max_length)


def trained_text(tokenizer: Any, example: Example) -> str:
    return str(tokenizer.decode([label for label in example.labels if label != IGNORED]))


def test_trained_tokens_are_the_assistants_turns_and_their_eos(tokenizer: Any) -> None:
    example = example_of(tokenizer, {"messages": CHAT})
    first = "<bos>[INST]Tu es Kant.\n\nPuis-je mentir ?[/INST]Non, car ta maxime se détruit.<eos>"
    whole = first + "[INST]ok[/INST]Pourquoi ?<eos>"
    assert tokenizer.decode(example.ids) == whole
    assert list(example.ids) == tokenizer(whole, add_special_tokens=False)["input_ids"]
    assert trained_text(tokenizer, example) == "Non, car ta maxime se détruit.<eos>Pourquoi ?<eos>"
    assert all(label in (IGNORED, token) for token, label in zip(example.ids, example.labels, strict=True))
    assert spans(tokenizer, example) == [
        ("<bos>[INST]Tu es Kant.\n\nPuis-je mentir ?[/INST]", False),
        ("Non, car ta maxime se détruit.<eos>", True),
        ("[INST]ok[/INST]", False),
        ("Pourquoi ?<eos>", True),
    ]


@pytest.mark.parametrize("template", [V3_TEMPLATE, V1_TEMPLATE], ids=["V3", "V1"])
def test_a_sentencepiece_chat_is_cut_as_one_text(pieces: Any, template: str) -> None:
    """Cut turn by turn, each would gain a space that the model never meets; V1's marks are plain text."""
    pieces.chat_template = template
    chat = CHAT[1:] if template == V1_TEMPLATE else CHAT
    example = example_of(pieces, {"messages": chat})
    rendered = pieces.apply_chat_template(chat, tokenize=False)
    assert list(example.ids) == pieces(rendered, add_special_tokens=False)["input_ids"]
    assert example.labels.count(pieces.eos_token_id) == 2
    said = "".join(text for text, trained in spans(pieces, example) if trained)
    assert said.replace(" ", "") == "Non,cartamaximesedétruit.</s>Pourquoi?</s>"


def test_our_v3_template_spaces_as_mistrals(pieces: Any) -> None:
    ours = (ROOT / "training" / "templates" / "mistral_v3.jinja").read_text(encoding="utf-8")
    for chat in (CHAT, CHAT[1:], CHAT[1:3]):
        rendered = [pieces.apply_chat_template(chat, tokenize=False, chat_template=t) for t in (ours, V3_TEMPLATE)]
        assert rendered[0] == rendered[1]
        assert rendered[0].startswith("<s>[INST] ")


def test_a_template_that_glues_an_answer_to_its_question_is_refused(pieces: Any) -> None:
    pieces.chat_template = (
        "{{ bos_token }}{% for m in messages %}{{ m.content }}"
        "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    )
    with pytest.raises(TrainingError, match="one token holds the end of a question"):
        example_of(pieces, {"prompt": "Voici l", "response": "a joie."})


def test_prose_is_trained_whole_without_eos(tokenizer: Any) -> None:
    example = example_of(tokenizer, {"text": "La conscience dure.", "kind": "prose"})
    assert tokenizer.decode(example.ids) == "<bos>La conscience dure."
    assert example.labels == (IGNORED, *example.ids[1:])
    assert example.kind == "prose"
    rendered = example_of(tokenizer, {"text": "<bos>La conscience dure."})
    assert rendered.ids == example.ids  # a text that was rendered with its BOS has one, not two


def test_an_empty_system_message_leaves_no_blank_line(tokenizer: Any) -> None:
    example = example_of(tokenizer, {"messages": [{"role": "system", "content": ""}, *CHAT[1:3]]})
    assert tokenizer.decode(example.ids).startswith("<bos>[INST]Puis-je")


def test_a_control_token_in_a_text_is_one_bos_too_many(tokenizer: Any) -> None:
    with pytest.raises(TrainingError, match="here:7: 2 BOS tokens"):
        example_of(tokenizer, {"text": "<bos>a <bos> b"}, "here:7")


def test_a_long_row_is_named_not_cut(tokenizer: Any) -> None:
    with pytest.raises(TrainingError, match=r"here:3: .* tokens, at most 10"):
        example_of(tokenizer, {"messages": CHAT}, "here:3", 10)


COUNTING = "{{ bos_token }}{{ messages | length }}{% for m in messages %}{{ m['content'] }}{{ eos_token }}{% endfor %}"
ENDLESS = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "complaint"), [(COUNTING, "prefix-stable"), (ENDLESS, "EOS"), (None, "no chat template")]
)
def test_an_unfit_template_is_refused(base: Path, template: str | None, complaint: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = template
    with pytest.raises(TrainingError, match=complaint):
        example_of(tokenizer, {"messages": CHAT})
    assert example_of(tokenizer, {"text": "La conscience dure."}).trained  # prose needs no template


def test_four_shapes_in_one_file(tokenizer: Any, tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    rows = [{"text": "Bonjour."}, {"prompt": "Qui ?", "response": "Moi."}, {"messages": CHAT}, DOCUMENT]
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n", encoding="utf-8")
    examples = build_examples(tokenizer, read_rows([path, path]), 2048)
    assert [one.kind for one in examples] == ["text", "chat", "chat", "requirements"] * 2
    assert trained_text(tokenizer, examples[1]) == "Moi.<eos>"
    answer = trained_text(tokenizer, examples[3]).removesuffix("<eos>")
    assert yaml.safe_load(answer) == DOCUMENT["requirements"]
    assert DOCUMENT["concept"] in tokenizer.decode(examples[3].ids)
    assert DOCUMENT["concept"] not in answer


def test_rows_of_one_split(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    rows = [{"text": f"{n}", "split": "test" if n % 2 else "train"} for n in range(6)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert [row.text for row in read_rows([path], split="test", limit=2)] == ["1", "3"]
    with pytest.raises(TrainingError, match="no line whose split is 'validation'; it has test, train"):
        read_rows([path], split="validation")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "no JSON"),
        ("[1]", "expected"),
        ("{}", "expected"),
        ('{"prompt": "a"}', "response: expected a text"),
        ('{"prompt": "", "response": "b"}', "prompt: expected a text"),
        ('{"prompt": "a", "response": "b", "text": "c"}', "only one of them"),
        ('{"text": " "}', "not empty"),
        ('{"concept": "a"}', "requirements: field required"),
        (json.dumps(DOCUMENT | {"concept": 3}), "concept: input should be a valid string"),
        (json.dumps(DOCUMENT).replace("high", "urgent"), "functional_requirements.0.priority"),
        (json.dumps(DOCUMENT).replace('"constraints"', '"limits"'), "constraints: field required"),
        ('{"messages": []}', "not empty"),
        (json.dumps({"messages": CHAT[2:3]}), "message 1 has role 'assistant'; expected system or user"),
        (json.dumps({"messages": CHAT[:2]}), "the last message is the user's"),
        (json.dumps({"messages": [CHAT[1], CHAT[1]]}), "message 2 has role 'user'; expected assistant"),
        (json.dumps({"messages": [CHAT[1], {"role": "assistant", "content": ""}]}), "message 2: content"),
        (json.dumps({"messages": ["a"]}), "role None"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "Bonjour."}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(TrainingError, match=r"data\.jsonl:2: ") as raised:
        read_rows([path])
    assert complaint in str(raised.value)
    with pytest.raises(TrainingError, match=r"data\.jsonl:2: "):
        read_rows([path], limit=1)  # a line that the limit leaves out is checked too


def test_a_missing_and_an_empty_file(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot be read"):
        read_rows([tmp_path / "none.jsonl"])
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(TrainingError, match="holds no line"):
        read_rows([tmp_path / "empty.jsonl"])
    (tmp_path / "full.jsonl").write_text('{"text": "a"}\n', encoding="utf-8")
    with pytest.raises(TrainingError, match=r"empty\.jsonl holds no line"):
        read_rows([tmp_path / "full.jsonl", tmp_path / "empty.jsonl"])
    with pytest.raises(TrainingError, match=r"none\.jsonl cannot be read"):
        read_rows([tmp_path / "full.jsonl", tmp_path / "none.jsonl"], limit=1)


def test_a_byte_that_is_no_utf8_is_named_with_its_line(tmp_path: Path) -> None:
    """By its path: a folder for training and one for evaluation may hold files of one name."""
    path = tmp_path / "latin.jsonl"
    path.write_bytes(b'{"text": "a"}\n' + '{"text": "é"}'.encode("latin-1"))
    with pytest.raises(TrainingError) as raised:
        read_rows([path])
    assert str(raised.value) == f"{path}:2: byte 11 is no UTF-8; save the file in UTF-8."


@pytest.mark.parametrize("name", ["train", "validation"])
def test_our_requirement_documents(name: str) -> None:
    """Every line is read, no concept comes twice, and no id twice in a document."""
    path = ROOT / "data" / "business_analyst" / f"{name}.jsonl"
    rows = read_rows([path])
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert {row.kind for row in rows} == {"requirements"}
    assert len({line["concept"] for line in lines}) == len(lines) == len({x["requirements"]["title"] for x in lines})
    for line in lines:
        lists = [value for value in line["requirements"].values() if isinstance(value, list)]
        ids = [item["id"] for items in lists for item in items]
        assert len(set(ids)) == len(ids)
