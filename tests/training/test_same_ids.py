"""What training reads is, token for token, what the engine sends: two layouts, one result."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from engines.prompt import PromptFormat
from settings import load_settings
from training.examples import IGNORED, build_example
from training.rows import to_row

CHATS = [
    [
        {"role": "system", "content": "Tu es Kant."},
        {"role": "user", "content": "Question posée : Es-tu libre ?\n\nIdée : une loi.\nImage : un pont.\n\nbof, non"},
        {"role": "assistant", "content": "Prends ce pont. Que vois-tu ?"},
        {"role": "user", "content": "rien… « rien » du tout !"},
        {"role": "assistant", "content": "L'œil cherche encore. Où regardes-tu ?"},
    ],
    [{"role": "user", "content": "ok"}, {"role": "assistant", "content": "Et après ?"}],
]


class HubVocabulary:
    """A Hugging Face tokenizer as `engines.prompt.Vocabulary`."""

    adds_space = False
    spaced = False

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.bos: int = tokenizer.bos_token_id
        self.eos: int = tokenizer.eos_token_id

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def control(self, piece: str) -> int | None:
        ids = self.encode(piece)
        return ids[0] if len(ids) == 1 else None

    def is_control(self, token: int) -> bool:
        return token in self.tokenizer.all_special_ids


def differences(tokenizer: Any, chats: list[list[dict[str, str]]]) -> list[int]:
    """Numbers of the chats whose last prompt, as the engine lays it out, does not begin the training example."""
    layout = PromptFormat(HubVocabulary(tokenizer))
    found = []
    for number, chat in enumerate(chats):
        example = build_example(tokenizer, to_row({"messages": chat}, f"chat:{number}"), 4096)
        prompt = layout.render(chat[:-1]).ids  # type: ignore[arg-type]
        answer = example.ids[len(prompt) :]
        if example.ids[: len(prompt)] != prompt or IGNORED in example.labels[len(prompt) :] or not answer:
            found.append(number)
    return found


def test_on_a_small_base(base: Path) -> None:
    assert differences(AutoTokenizer.from_pretrained(base), CHATS) == []


@pytest.mark.model
def test_on_the_embedded_models_base_and_our_training_file() -> None:
    data = load_settings().data_dir
    base, held_out = data / "checkpoints" / "demo-base", data / "training" / "demo.eval.jsonl"
    if not (base.is_dir() and held_out.is_file()):
        pytest.skip(f"{base.name} or {held_out.name} is not made here: `python -m conversion checkpoint`, `corpus mix`")
    rows = [json.loads(line) for line in held_out.read_text(encoding="utf-8").splitlines()]
    assert differences(AutoTokenizer.from_pretrained(base), [*CHATS, *(row["messages"] for row in rows)]) == []
