"""Slices of general French, so that training on dialogues does not wear the language out. Knows text files alone."""

import lzma
import random
import re
from pathlib import Path

from errors import CorpusError

SLICE_CHARS = 480  # about 120 tokens of French
HELD_OUT_SHARE = 0.02  # the end of each file, never trained on: perplexity is measured there
READ_CHARS = 4_000_000  # of each file: more adds nothing to a few hundred slices


def read_french(folder: Path) -> dict[str, str]:
    """Return the beginning of each `french/*.txt.xz` under `folder`, by file name.

    Raises:
        CorpusError: There is no such file, or one is damaged.
    """
    paths = sorted((folder / "french").glob("*.txt.xz"))
    if not paths:
        raise CorpusError(f"No french/*.txt.xz in {folder}; set BAF_CORPORA_DIR, or pass --prose 0.")
    texts = {}
    for path in paths:
        try:
            with lzma.open(path, "rt", encoding="utf-8") as file:
                texts[path.name] = file.read(READ_CHARS)
        except (lzma.LZMAError, UnicodeDecodeError, EOFError) as error:
            raise CorpusError(f"{path} is damaged: {error}. Fetch it again.") from None
    return texts


def _whole_sentences(text: str, start: int) -> str | None:
    """Return about `SLICE_CHARS` characters from the first sentence that begins after `start`."""
    begin = re.compile(r"[.!?…»]\s+(?=[A-ZÀÂÇÉÈÊÎÔŒ])").search(text, start)
    if begin is None:
        return None
    piece = text[begin.end() : begin.end() + SLICE_CHARS]
    ends = [match.end() for match in re.finditer(r"[.!?…»](?=\s)", piece)]
    return piece[: ends[-1]].strip() if ends and ends[-1] > SLICE_CHARS // 2 else None


def draw_slices(texts: dict[str, str], count: int, seed: int, *, held_out: bool = False) -> list[str]:
    """Return `count` different slices of whole sentences, repaired, the files in turn.

    Args:
        texts: From `read_french`.
        count: How many.
        seed: Another one draws other slices.
        held_out: Draw from the ends of the files, which are never trained on.

    Raises:
        CorpusError: The texts are too short for so many.
    """
    import ftfy

    chance = random.Random(f"{seed}-{held_out}")  # noqa: S311  a choice, not a secret
    names = sorted(texts)
    slices: dict[str, None] = {}
    for attempt in range(50 * count):
        if len(slices) == count:
            break
        text = texts[names[attempt % len(names)]]
        border = int(len(text) * (1 - HELD_OUT_SHARE))
        start = chance.randrange(border, len(text)) if held_out else chance.randrange(max(1, border - SLICE_CHARS * 3))
        piece = _whole_sentences(text[:border] if not held_out else text, start)
        if piece:
            slices[" ".join(ftfy.fix_text(piece, uncurl_quotes=True).split())] = None
    if len(slices) < count:
        raise CorpusError(f"Only {len(slices)} of {count} slices of prose found; give more text, or ask for fewer.")
    return list(slices)
