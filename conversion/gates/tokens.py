"""Does the GGUF cut text and lay chats out as the checkpoint does? Knows tokenizers and templates; no weights."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from conversion.container import Container
from conversion.gates.judge import at_most, skipped
from conversion.reference import encode, render
from conversion.report import Gate
from conversion.vocabulary import own_files, read_texts
from engines.base import ChatMessage
from engines.prompt import OPEN, PromptFormat
from engines.scoring import ScoringModel
from errors import ConversionError

MIN_LINES = 2000
MAX_LINES = 2500
MAX_SHOWN = 3  # differences that the report shows
_SENTENCE = re.compile(r"(?<=[.!?…])\s+|\n+")
# What breaks tokenizers: accents both ways, ligatures, quotes, dashes, narrow spaces, emoji, tabs, runs of spaces.
HARD = (
    "À l'œuvre, l'âme naïve conçoit : « Où êtes-vous ? » — ’tis l’été…", "cœur, sœur, bœuf, œil, æquo, Œdipe, Ægide",
    "« guillemets » “anglais” ‘simples’ ‹fins› „bas‟", "tiret – cadratin — trait d'union - moins −",
    "fine insécable\u202f!", "\u00a0insécable", "  deux  espaces   puis trois ", "\ttabulation\tau milieu",
    "ligne\nsuivante\n\nparagraphe\n\n\nfin", "😀👩🏽‍🚀🇫🇷 émoji", "ÉCRIT EN MAJUSCULES ACCENTUÉES : ÇA, ÎLE, OÙ",
    "1 234 567,89 € à 3,5 % — n° 5, 2ᵉ, 1er, xviiiᵉ siècle", "a", " ", "…",
    "l'homme qu'aujourd'hui jusqu'ici lorsqu'il c'est-à-dire", "http://exemple.fr/?q=être&lang=fr#début",
    "x² + y³ ≠ √z", "Ἀριστοτέλης, Спиноза, 中文, العربية", "<s> [INST] </s> n'est que du texte ici",
    "<|im_end|> non plus",
)  # fmt: skip


def french_lines(root: Path, extra: Sequence[Path] = ()) -> list[str]:
    """Return at least 2,000 French lines: those of our own data, of further files, and the hard ones.

    Raises:
        ConversionError: There are fewer.
    """
    found: dict[str, None] = dict.fromkeys(HARD)
    for path in (*extra, *own_files(root)):
        for text in read_texts(path):
            for line in _SENTENCE.split(text):
                if len(line.split()) > 1:
                    found.setdefault(line)
        if len(found) >= MAX_LINES:
            break
    if len(found) < MIN_LINES:
        raise ConversionError(f"Only {len(found)} French lines were found, {MIN_LINES} are needed; pass --lines FILE.")
    return list(found)[:MAX_LINES]


def plain_ids(tokenizer: Any, lines: Iterable[str]) -> list[list[int]]:
    """Return the checkpoint's ids of texts in which special pieces are harmless characters."""
    given = list(lines)
    read = tokenizer(given, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return [list(ids) for ids in read]


def space_before(tokenizer: Any, line: str) -> bool:
    """Whether the checkpoint's tokenizer puts a space before a line; some leave a line alone that begins with one."""
    bare, spaced = plain_ids(tokenizer, ["a", " a"])
    first: str = tokenizer.convert_ids_to_tokens(bare[:1])[0]
    return first.startswith("▁") and not (line.startswith(" ") and bare == spaced)


def same_ids(
    label: str, lines: Sequence[str], expected: Sequence[list[int]], tokenizer: Any, model: ScoringModel
) -> Gate:
    """Count lines that the GGUF cuts otherwise.

    A GGUF converted with `add_prefix_space` false leaves the space before a raw text to the caller, who gives it here.
    """
    inside, outside = (
        " " if space_before(tokenizer, start) and not model.adds_space else "" for start in ("a", " a")
    )  # fmt: skip
    different = [
        {"line": line[:80], "hf": ids[:12], "gguf": found[:12]}
        for line, ids in zip(lines, expected, strict=True)
        if (found := model.encode((outside if line.startswith(" ") else inside) + line)) != ids
    ]
    remedy = (
        "The vocabulary was converted wrongly: copy tokenizer.model and added_tokens_decoder of the base into the "
        "folder (`merge` does) and convert again."
    )
    details = {"lines": len(lines), "examples": different[:MAX_SHOWN]}
    return at_most(f"tokens {label}", len(different), 0, remedy=remedy, details=details)


def same_specials(label: str, tokenizer: Any, model: ScoringModel, container: Container) -> Gate:
    """Count pieces, special pieces and roles (bos, eos, unk, pad) that differ between checkpoint and GGUF."""
    problems = [*_pieces(tokenizer, container), *_specials(tokenizer, model), *_roles(tokenizer, container)]
    remedy = f"Restore the base's tokenizer files and convert again: {'; '.join(problems[:MAX_SHOWN])}."
    return at_most(
        f"special tokens {label}", len(problems), 0, remedy=remedy, details={"problems": problems[: 4 * MAX_SHOWN]}
    )


def _pieces(tokenizer: Any, container: Container) -> list[str]:
    pieces: list[str] = container.value("tokenizer.ggml.tokens")
    rows = container.tensors["token_embd.weight"].shape[0] if "token_embd.weight" in container.tensors else len(pieces)
    problems = [] if len(pieces) == rows else [f"{len(pieces)} pieces for {rows} rows of the embedding"]
    for piece, number in tokenizer.get_vocab().items():
        if number >= len(pieces):
            problems.append(f"piece {number} {piece!r} is not in the GGUF")
        elif pieces[number].replace("▁", " ") != piece.replace("▁", " "):
            problems.append(f"piece {number} is {pieces[number]!r}, in the checkpoint {piece!r}")
    return problems


def _specials(tokenizer: Any, model: ScoringModel) -> list[str]:
    problems = []
    for number, token in sorted(tokenizer.added_tokens_decoder.items()):
        if (found := model.encode(token.content, special=True)) != [number]:
            problems.append(f"{token.content!r} gives {found[:6]}, in the checkpoint [{number}]")
        elif token.special and not model.is_control(number) and number != tokenizer.unk_token_id:
            problems.append(f"{token.content!r} is no control piece in the GGUF: it would be shown")
    return problems


def _roles(tokenizer: Any, container: Container) -> list[str]:
    problems = []
    for role, key in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        expected = getattr(tokenizer, f"{role}_token_id")
        field = container.fields.get(f"tokenizer.ggml.{key}_token_id")
        if expected is not None and field is not None and field.value != expected:
            problems.append(f"{role} is {field.value}, in the checkpoint {expected}")
        elif expected is not None and field is None and role == "eos":
            problems.append("the GGUF names no eos")
    return problems


def template(
    label: str, tokenizer: Any, model: ScoringModel, container: Container, chats: Sequence[Sequence[ChatMessage]]
) -> Gate:
    """Count chats whose text or ids differ, whose beginning is not one BOS, or whose answers have no end.

    Without a chat the templates themselves are compared.
    """
    name = f"template {label}"
    field = container.fields.get("tokenizer.chat_template")
    if not tokenizer.chat_template:
        return skipped(name, "The checkpoint has no chat template; add chat_template.jinja if it is to chat.")
    if field is None:
        return at_most(
            name, max(1, len(chats)), 0, remedy="The GGUF has no chat template: convert again from the whole folder."
        )
    problems: list[str] = []
    if not chats and field.value != tokenizer.chat_template:
        problems.append("the texts of the templates differ")
    for number, chat in enumerate(chats):
        problems += [f"chat {number}: {problem}" for problem in _chat_problems(tokenizer, model, field.value, chat)]
    remedy = f"One of the two templates was edited, or says BOS twice: {'; '.join(problems[:MAX_SHOWN])}."
    details = {"chats": len(chats), "problems": problems[: 4 * MAX_SHOWN]}
    return at_most(name, len(problems), 0, remedy=remedy, details=details)


def _chat_problems(tokenizer: Any, model: ScoringModel, gguf_template: str, chat: Sequence[ChatMessage]) -> list[str]:
    asking = chat[-1]["role"] != "assistant"
    ours = render(tokenizer, chat, asking=asking)
    theirs = render(tokenizer, chat, asking=asking, template=gguf_template)
    problems = [] if ours == theirs else ["the texts differ"]
    ids = encode(tokenizer, ours)
    if model.encode(theirs, special=True) != ids:
        problems.append("the ids differ")
    bos = tokenizer.bos_token_id
    if bos is not None and (count := ids.count(bos)) != 1 and (count > 1 or tokenizer.bos_token in gguf_template):
        problems.append(f"{count} BOS instead of one")
    if not asking and not any(model.ends(token) for token in ids[-3:]):
        problems.append("the last answer has no end")
    return problems


def layout(label: str, tokenizer: Any, model: ScoringModel, chats: Sequence[Sequence[ChatMessage]]) -> Gate:
    """Count chats that our engine lays out otherwise than the checkpoint's template."""
    name = f"engine layout {label}"
    if OPEN not in (tokenizer.chat_template or ""):
        return skipped(
            name, "Our engine writes Mistral's format; serve this model through an engine with its template."
        )
    if not chats:
        return skipped(name, "Give held-out chats: their prompts are compared.")
    ours = PromptFormat(model)
    different = [
        number
        for number, chat in enumerate(chats)
        if list(ours.render(asked(chat)).ids) != encode(tokenizer, render(tokenizer, asked(chat), asking=True))
    ]
    remedy = (
        "The template puts spaces or the system text elsewhere than engines/prompt.py; ship a template that keeps the "
        "system text in the first turn, and train with it."
    )
    details = {"chats": len(chats), "different": different[:MAX_SHOWN]}
    return at_most(name, len(different), 0, remedy=remedy, details=details)


def asked(chat: Sequence[ChatMessage]) -> list[ChatMessage]:
    """Return a chat up to its last question."""
    last = max(number for number, message in enumerate(chat) if message["role"] == "user")
    return list(chat[: last + 1])
