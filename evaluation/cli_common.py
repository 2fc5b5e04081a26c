"""What the commands of this room have alike: options, the progress bar, giving a result out. Knows Typer and Rich.

Settings are read by the room's entry alone; what they say travels in Typer's context, see `FromSettings`.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from evaluation.result import as_json, sha256_of, weight_files, write_text
from evaluation.specs import VARIANTS, EvaluationSpec, parse_spec

talk = Console(stderr=True)

Spec = Annotated[str, typer.Option("--engine", help="Which engine answers, e.g. gguf:.data/models/demo.gguf.")]
Out = Annotated[Path | None, typer.Option(help="Result file (JSON).")]
Force = Annotated[bool, typer.Option("--force", help="Replace a result that exists.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first N; recorded in the result.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads; unset, what the machine grants.")]


@dataclass(frozen=True)
class FromSettings:
    """What a command needs of the settings; nothing is read before it is asked for.

    Attributes:
        data_dir: Where models lie and results go that nobody named a place for.
        role: From the name of a role in config.yaml to the spec of the engine that plays it.
    """

    data_dir: Callable[[], Path]
    role: Callable[[str], str]

    def read_spec(self, text: str, *, allowed: Collection[str] = VARIANTS) -> EvaluationSpec:
        """Divide a spec into engine and prompt; `role:NAME` becomes the engine that plays it.

        Raises:
            EngineError: There is no such engine or prompt.
            SettingsError: There is no such role, or config.yaml is wrong.
        """
        return parse_spec(text, allowed=allowed, role=self.role)


def settled(ctx: typer.Context) -> FromSettings:
    """Return what the room's entry put into the context."""
    found = ctx.find_object(FromSettings)
    assert found is not None, "the entry's callback puts it there"  # noqa: S101
    return found


@contextmanager
def bar(label: str, total: int) -> Iterator[tuple[Progress, TaskID]]:
    """Show a progress bar on stderr."""
    with Progress(console=talk, transient=True) as progress:
        yield progress, progress.add_task(label, total=total)


def model_of(spec: str) -> dict[str, Any]:
    """Say which model a spec names: by the hash of its file, or of a checkpoint's weights with those of its adapter.

    The hash is None where the weights are not on this machine.
    """
    scheme, _, address = spec.partition(":")
    two = scheme == "hf" and not Path(address).is_dir()  # a folder's own name may hold a plus
    base, _, adapter = address.rpartition("+") if two else ("", "", address)
    hashes = [sha256_of(file) for part in (base, adapter) if part for file in weight_files(Path(part))]
    whole = hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
    return {"name": Path(address).name, "sha256": whole if hashes else None}


def deliver(result: dict[str, Any], out: Path | None, as_data: bool, summary: str) -> None:
    """Write the result where it was asked for, and say on stderr what it comes to."""
    if out is not None:
        write_text(out, as_json(result))
    if as_data:
        print(json.dumps(result, ensure_ascii=False))
    typer.echo(summary, err=True)
