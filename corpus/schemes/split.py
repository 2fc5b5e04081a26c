"""Which items are trained on, which validate, which test. By base item: what is made of one goes where it goes."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal

Part = Literal["train", "validation", "test"]
VALIDATION_SHARE = 0.1  # of the base items of each scheme that are not for testing


def split_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Part]:
    """Return the part of each item, by id.

    A base item marked "test" stays a test item. Of the others of each scheme, a tenth validates, chosen by a hash of
    the base item's id, so that order and seed change nothing.

    Args:
        rows: Lines of the base and of the augmented file; an augmented line names its `base`.
    """
    schemes: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        schemes[row["scheme"]][row.get("base", row["id"])] = row["split"]
    parts: dict[str, Part] = {}
    for families in schemes.values():
        trained = sorted(
            (name for name, split in families.items() if split != "test"),
            key=lambda name: hashlib.sha256(name.encode()).digest(),
        )
        validating = set(trained[: round(VALIDATION_SHARE * len(trained))])
        for name, split in families.items():
            parts[name] = "test" if split == "test" else "validation" if name in validating else "train"
    return {row["id"]: parts[row.get("base", row["id"])] for row in rows}
