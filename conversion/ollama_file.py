"""The Modelfile of Ollama for one of our GGUFs. Knows how a chat template reads; knows no model.

Ollama renders prompts by a template of its own language, so ours is read like a stranger's: rendered on marked
messages, cut at the marks, and written anew from the pieces. That works for every template whose turns look the same.
"""

import json
from dataclasses import dataclass
from typing import Any

from errors import ConversionError

SYSTEM, FIRST, ANSWER, SECOND = "⟦système⟧", "⟦première⟧", "⟦réponse⟧", "⟦seconde⟧"
NUM_CTX = 4096  # tokens: Ollama's own default is smaller than a talk with its persona


@dataclass(frozen=True)
class Layout:
    """What stands around the messages of a chat.

    Attributes:
        opening: Before the first message when there is no system text.
        system_opening: Before the system text.
        system_closing: Between the system text and the first message.
        waiting: After a message, where the answer begins.
        turn: After an answer, up to the next message.
    """

    opening: str
    system_opening: str
    system_closing: str
    waiting: str
    turn: str

    def example(self) -> str:
        """Return how a chat looks, with the messages' names in their places."""
        return f"{self.system_opening}SYSTEM{self.system_closing}QUESTION{self.waiting}ANSWER{self.turn}QUESTION…"


def _render(template: str, messages: list[tuple[str, str]], bos: str, eos: str) -> str:
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def refuse(message: str) -> None:
        raise ConversionError(f"The chat template refuses a plain chat: {message}")

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    listed: list[dict[str, Any]] = [{"role": role, "content": content} for role, content in messages]
    try:
        return environment.from_string(template).render(
            messages=listed, bos_token=bos, eos_token=eos, add_generation_prompt=messages[-1][0] == "user",
            raise_exception=refuse,
        )  # fmt: skip
    except TemplateError as error:
        raise ConversionError(f"The chat template cannot be rendered: {error}") from error


def _between(text: str, *marks: str) -> list[str]:
    """Split a text at marks that must stand in it once, in this order."""
    pieces, rest = [], text
    for mark in marks:
        before, found, rest = rest.partition(mark)
        if not found or mark in rest:
            raise ConversionError(f"The chat template does not show every message once: {text!r}.")
        pieces.append(before)
    return [*pieces, rest]


def read_layout(template: str, *, bos: str, eos: str) -> Layout:
    """Find what a chat template puts around messages. The text that begins every prompt is left to llama.cpp.

    Raises:
        ConversionError: It shows a message twice or not at all, moves the system text, or changes earlier turns: no
            fixed pieces can say the same.
    """

    def shown(*messages: tuple[str, str]) -> str:
        return _render(template, list(messages), bos, eos).removeprefix(bos)

    opening, waiting = _between(shown(("user", FIRST)), FIRST)
    system_opening, system_closing, after = _between(shown(("system", SYSTEM), ("user", FIRST)), SYSTEM, FIRST)
    talk = [("user", FIRST), ("assistant", ANSWER), ("user", SECOND)]
    first, middle, turn, last = _between(shown(*talk), FIRST, ANSWER, SECOND)
    with_system = shown(("system", SYSTEM), *talk)
    expected = f"{system_opening}{SYSTEM}{system_closing}{FIRST}{waiting}{ANSWER}{turn}{SECOND}{waiting}"
    if (first, middle, last, after) != (opening, waiting, waiting, waiting) or with_system != expected:
        raise ConversionError(
            "The chat template changes earlier turns; Ollama's cannot say the same. Write it by hand."
        )
    return Layout(opening, system_opening, system_closing, waiting, turn)


def _literal(text: str) -> str:
    """Write a text so that Ollama's template language keeps every space and line break."""
    return "{{ " + json.dumps(text, ensure_ascii=False) + " }}" if text else ""


def go_template(layout: Layout) -> str:
    """Return the layout in Ollama's template language (Go's text/template)."""
    opening = (
        f"{{{{ if $.System }}}}{_literal(layout.system_opening)}{{{{ $.System }}}}{_literal(layout.system_closing)}"
        f"{{{{ else }}}}{_literal(layout.opening)}{{{{ end }}}}"
    )
    user = (
        f'{{{{ if eq $m.Role "user" }}}}{{{{ if le $i 1 }}}}{opening}{{{{ else }}}}{_literal(layout.turn)}{{{{ end }}}}'
        f"{{{{ $m.Content }}}}{_literal(layout.waiting)}{{{{ end }}}}"
    )
    answer = '{{ if eq $m.Role "assistant" }}{{ $m.Content }}{{ end }}'
    return f"{{{{ range $i, $m := .Messages }}}}{user}{answer}{{{{ end }}}}"


def modelfile(gguf_name: str, layout: Layout, *, eos: str, num_ctx: int = NUM_CTX, temperature: float = 0.7) -> str:
    """Return a Modelfile: `ollama create NAME -f Modelfile`.

    Args:
        gguf_name: The model's file, beside the Modelfile.
        layout: What `read_layout` found.
        eos: The piece that ends an answer.
        num_ctx: Context in tokens.
        temperature: Of sampling.
    """
    mark = layout.turn.removeprefix(eos).strip()
    stops = [eos, *([mark] if mark else [])]
    lines = [
        f"FROM ./{gguf_name}",
        f'TEMPLATE """{go_template(layout)}"""',
        *(f"PARAMETER stop {json.dumps(stop, ensure_ascii=False)}" for stop in stops),
        f"PARAMETER num_ctx {num_ctx}",
        f"PARAMETER temperature {temperature}",
    ]
    return "\n".join(lines) + "\n"
