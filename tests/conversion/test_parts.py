"""The parts of the embedded model that ship belong together."""

import json
from pathlib import Path

from conversion.base import sha256_of
from conversion.demo import Parts

FOLDER = Path(__file__).parents[2] / "models" / "demo"


def test_the_manifest_names_the_parts_that_are_here() -> None:
    """A part changed without its manifest would be assembled into an unproved model."""
    manifest = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["kept_sha256"] == sha256_of(FOLDER / "kept_pieces.txt.xz")
    assert manifest["adapter_sha256"] == Parts(FOLDER).adapter_sha256()


def test_the_licence_of_the_base_travels_with_the_parts() -> None:
    notice = (FOLDER / "NOTICE").read_text(encoding="utf-8")
    assert "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms" in notice
    assert "MODIFIED FILES" in notice
    assert "Gemma Terms of Use" in (FOLDER / "LICENSE-GEMMA.txt").read_text(encoding="utf-8")
