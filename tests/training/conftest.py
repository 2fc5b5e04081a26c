"""A base to train in seconds: two layers, a few hundred pieces, our chat template."""

import json
from pathlib import Path

import pytest

from training.recipe import Recipe

LINES = [
    "Tu te crois libre parce que tu connais tes désirs sans en connaître les causes.",
    "La conscience dure : elle garde son passé et le porte vers ce qui n'est pas encore.",
    "Agis seulement d'après une maxime que tu peux vouloir comme loi pour tous.",
    "Peux-tu citer un choix dont tu ignores la cause ?",
]


def chat(question: str, *more: str) -> list[dict[str, str]]:
    """Return a chat: system, then user and assistant in turn."""
    roles = ["user", "assistant"] * len(more)
    turns = [{"role": role, "content": text} for role, text in zip(roles, (question, *more), strict=False)]
    return [{"role": "system", "content": "Tu es Spinoza."}, *turns]


def make_base(folder: Path) -> Path:
    """Write a two-layer Mistral with a byte-level BPE tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast, set_seed

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<pad>", "<eos>", "<bos>", "<unk>", "[INST]", "[/INST]"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", unk_token="<unk>",
        additional_special_tokens=["[INST]", "[/INST]"],
    )  # fmt: skip
    template = Path(__file__).parents[2] / "conversion" / "chat_template.jinja"
    fast.chat_template = template.read_text(encoding="utf-8")
    set_seed(0)
    config = MistralConfig(
        vocab_size=len(fast), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=512, pad_token_id=0, eos_token_id=1, bos_token_id=2,
        tie_word_embeddings=True,
    )  # fmt: skip
    MistralForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "tiny-base")


def write_jsonl(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def recipe(base: Path, tmp_path: Path) -> Recipe:
    """Six chats and two slices of prose, three steps an epoch, two epochs."""
    rows: list[dict[str, object]] = [
        {"messages": chat(f"Question {n} ?", LINES[n % 4], "Pourquoi ?", LINES[(n + 1) % 4]), "kind": "dialogue"}
        for n in range(4)
    ]
    rows += [{"messages": chat(f"Applique {n}.", LINES[n]), "kind": "exercise"} for n in range(2)]
    train = rows + [dict[str, object](text=line, kind="prose") for line in LINES[:2]]
    return Recipe(
        name="tiny",
        base_model=str(base),
        train_file=(write_jsonl(tmp_path / "train.jsonl", train),),
        eval_file=(write_jsonl(tmp_path / "eval.jsonl", rows[:2]),),
        output_dir=tmp_path / "out",
        per_device_batch_size=3,
        learning_rate=5e-3,
        logging_steps=1,
        threads=1,
    )
