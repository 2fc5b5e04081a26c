"""What the gates found, as data: `verify.json`. Knows numbers, thresholds and hashes; measures nothing itself."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, get_args

from conversion.base import sha256_of
from errors import ConversionError

Verdict = Literal["pass", "warn", "fail", "skipped"]
VERDICTS: tuple[str, ...] = get_args(Verdict)
REPORT_FILE = "verify.json"
SHA256_LENGTH = 64
# What a file that we make, and what is said of it, depends on besides our own code.
PACKAGES = (
    "llama-cpp-python", "gguf", "torch", "transformers", "tokenizers", "sentencepiece", "peft", "bitsandbytes", "numpy"
)  # fmt: skip


@dataclass(frozen=True)
class Gate:
    """One gate: a number beside its threshold, and what to do when it does not hold.

    Attributes:
        name: Short and unique in a report, e.g. "tokens" or "kl Q4_K_M".
        value: What was found; a text where it is no number, None where nothing was measured.
        threshold: What it had to be.
        verdict: "warn" lets the model be published, "fail" does not, "skipped" says in `remedy` what was missing.
        remedy: What to do next; empty when it passed.
        details: Further figures, e.g. {"Q5_K_M": 0.011}.
    """

    name: str
    value: float | str | None
    threshold: float | str | None
    verdict: Verdict
    remedy: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise ConversionError(f"Gate {self.name!r} has the verdict {self.verdict!r}; known: {', '.join(VERDICTS)}.")
        if self.verdict != "pass" and not self.remedy:
            raise ConversionError(f"Gate {self.name!r} says {self.verdict!r} without a remedy.")


@dataclass(frozen=True)
class FileFacts:
    """A file that was verified.

    Attributes:
        sha256: In hexadecimal.
        bytes: Its size.
    """

    sha256: str
    bytes: int

    def __post_init__(self) -> None:
        if len(self.sha256) != SHA256_LENGTH or self.bytes < 0:
            raise ConversionError(f"{self.sha256!r} of {self.bytes} bytes is no hash of a file.")


@dataclass(frozen=True)
class VerifyReport:
    """Every gate of one verification, and the files it speaks of.

    Attributes:
        gates: In the order in which they ran.
        files: Path relative to the verified folder, with "/" → hash and size.
        about: What was verified with what: base, adapter, merged, versions, arguments, texts.
    """

    gates: tuple[Gate, ...]
    files: Mapping[str, FileFacts]
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [gate.name for gate in self.gates]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConversionError(f"The report has two gates called {twice[0]!r}.")

    @property
    def passed(self) -> bool:
        """True when something was measured and no gate fails; a warning is no failure."""
        verdicts = {gate.verdict for gate in self.gates}
        return "fail" not in verdicts and bool(verdicts & {"pass", "warn"})

    @property
    def praise(self) -> str:
        """What may be said of a report that passed."""
        counts = Counter(gate.verdict for gate in self.gates)
        if counts["pass"] == len(self.gates):
            return "All gates passed."
        return f"No gate fails (warnings: {counts['warn']}, skipped: {counts['skipped']})."

    def gate(self, name: str) -> Gate:
        """Return the gate called `name`.

        Raises:
            ConversionError: There is none.
        """
        for gate in self.gates:
            if gate.name == name:
                return gate
        raise ConversionError(f"No gate {name!r}. Known: {', '.join(gate.name for gate in self.gates)}.")

    def to_dict(self) -> dict[str, Any]:
        """Return the report as `verify.json` holds it."""
        return {
            "passed": self.passed,
            "gates": [asdict(gate) for gate in self.gates],
            "files": {name: asdict(facts) for name, facts in self.files.items()},
            "about": dict(self.about),
        }

    @classmethod
    def from_dict(cls, read: Any) -> "VerifyReport":
        """Return the report that `to_dict` gave.

        Raises:
            ConversionError: Keys are missing or unknown, or "passed" contradicts the gates.
        """
        try:
            gates = tuple(Gate(**gate) for gate in read["gates"])
            files = {str(name): FileFacts(**facts) for name, facts in read["files"].items()}
            report = cls(gates, files, dict(read.get("about", {})))
            claimed = read["passed"]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ConversionError(f"This is no report of `python -m conversion verify`: {error!r}.") from error
        if claimed is not report.passed:
            raise ConversionError(f"The report says passed={claimed}, its gates say {report.passed}. Verify again.")
        return report


def versions() -> dict[str, str]:
    """Return the versions of `PACKAGES`, of those that are installed."""
    found: dict[str, str] = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def file_facts(path: Path) -> FileFacts:
    """Return a file's hash and size as they are now."""
    return FileFacts(sha256_of(path), path.stat().st_size)


def folder_facts(folder: Path, names: Iterable[str]) -> dict[str, FileFacts]:
    """Return the facts of some files of a folder, by their relative path.

    Raises:
        ConversionError: One is missing.
    """
    facts = {}
    for name in names:
        if not (folder / name).is_file():
            raise ConversionError(f"{folder / name} is missing.")
        facts[name] = file_facts(folder / name)
    return facts


def write_report(report: VerifyReport, path: Path) -> Path:
    """Write `verify.json`; an earlier one is replaced whole, because it speaks of earlier files."""
    partial = path.with_name(path.name + ".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial.write_text(json.dumps(report.to_dict(), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
    return path


def read_report(path: Path) -> VerifyReport:
    """Read `verify.json`.

    Raises:
        ConversionError: It is missing or is no report.
    """
    if not path.is_file():
        raise ConversionError(f"{path} is missing. Make it with `python -m conversion verify`.")
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ConversionError(f"{path} is no JSON: {error}.") from error
    return VerifyReport.from_dict(read)
