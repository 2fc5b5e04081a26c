"""Runs llama.cpp's converter with one more way to recognise a BPE pre-tokenizer. A script of its own; imports no room.

The converter knows a pre-tokenizer by the ids that a fixed text gives, so a vocabulary that was cut, grown or trained
anew is "not recognised" although it splits text exactly as its family does. Here the splitting rule itself decides,
where the ids do not: it is written in `tokenizer.json`. Started as `python -P pre_tokenizer.py convert_hf_to_gguf.py …`
with llama.cpp's own folders on the path, where the name `conversion` means its package and not this room.

Source of the rules: llama.cpp, src/llama-vocab.cpp, whose regular expressions these must equal.
"""

import importlib
import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
RULES = {
    f"{_CONTRACTIONS}|{_LETTERS}|\\p{{N}}|{_REST}": "qwen2",
    f"{_CONTRACTIONS}|{_LETTERS}|\\p{{N}}{{1,3}}|{_REST}": "llama-bpe",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+": "tekken",
}


def rule_of(tokenizer: dict[str, Any]) -> str | None:
    """Return llama.cpp's name of the pre-tokenizer in a `tokenizer.json`, None where we know none.

    >>> rule_of({"pre_tokenizer": {"type": "ByteLevel", "use_regex": True}})
    'gpt-2'
    """
    part = tokenizer.get("pre_tokenizer") or {}
    parts = part.get("pretokenizers", [part])
    for one in parts:
        if one.get("type") == "Split" and one.get("behavior") == "Isolated" and not one.get("invert"):
            return RULES.get((one.get("pattern") or {}).get("Regex", ""))
        if one.get("type") == "ByteLevel" and one.get("use_regex", True):
            return "gpt-2"
    return None


def with_rules(known: Callable[[Any, Any], str]) -> Callable[[Any, Any], str]:
    """Return the converter's way to recognise a pre-tokenizer, and ours where it gives up."""

    def recognised(model: Any, tokenizer: Any) -> str:
        try:
            return known(model, tokenizer)
        except NotImplementedError:
            file = Path(model.dir_model) / "tokenizer.json"
            found = rule_of(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None
            if found is None:
                raise
            return found

    return recognised


def main() -> None:
    """Run the script that the first argument names, with the others."""
    _, script, *arguments = sys.argv
    base = importlib.import_module("conversion.base")
    base.TextModel.get_vocab_base_pre = with_rules(base.TextModel.get_vocab_base_pre)
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
