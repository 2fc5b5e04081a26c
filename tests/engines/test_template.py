"""Our layout against chat templates, token by token."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engines.base import ChatMessage
from engines.gguf_file import check_chat_model
from engines.llama_model import LlamaModel
from engines.prompt import PromptFormat
from engines.template import render, template_agrees, template_ids

OURS = (Path(__file__).parents[2] / "conversion" / "chat_template.jinja").read_text(encoding="utf-8")
# As Mistral's own of v0.2 lays a chat out: marks are text, a space on each side, the system text in the first turn.
V1 = (
    "{{ bos_token }}{% set s = messages[0].content ~ '\\n\\n' if messages[0].role == 'system' else '' %}"
    "{% for m in messages if m.role != 'system' %}{% if m.role == 'user' %}"
    "{{ ' [INST] ' ~ (s if loop.first else '') ~ m.content ~ ' [/INST]' }}"
    "{% else %}{{ ' ' ~ m.content ~ eos_token }}{% endif %}{% endfor %}"
)
# As v0.3's: control pieces, a space after each, the system text in the last turn.
LAST = (
    "{{ bos_token }}{% set s = messages[0].content ~ '\\n\\n' if messages[0].role == 'system' else '' %}"
    "{% for m in messages if m.role != 'system' %}{% if m.role == 'user' %}"
    "{{ '[INST] ' ~ (s if loop.last else '') ~ m.content ~ '[/INST]' }}"
    "{% else %}{{ ' ' ~ m.content ~ eos_token }}{% endif %}{% endfor %}"
)
FIRST = LAST.replace("loop.last", "loop.first")
CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
REFUSES = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}[INST]"


def chat(*texts: str, system: str | None = None) -> list[ChatMessage]:
    messages: list[ChatMessage] = [] if system is None else [{"role": "system", "content": system}]
    for number, text in enumerate(texts):
        messages.append({"role": "assistant" if number % 2 else "user", "content": text})
    return messages


@pytest.fixture(scope="module")
def layouts(tiny_gguf: Path, make_gguf: Callable[..., Path]) -> Iterator[dict[str, PromptFormat]]:
    paths = {
        "v3": tiny_gguf,
        "v3 without a space": make_gguf("template-no-space.gguf", add_space_prefix=False),
        "v1": make_gguf("template-v1.gguf", inst_is_control=False),
    }
    models = {name: LlamaModel(path, threads=1, n_cells=256, n_seq=1) for name, path in paths.items()}
    yield {name: PromptFormat(model) for name, model in models.items()}
    for model in models.values():
        model.close()


@pytest.mark.parametrize(
    ("layout", "template"), [("v3", OURS), ("v3", FIRST), ("v3 without a space", OURS), ("v1", V1)]
)
@pytest.mark.parametrize(
    "messages",
    [
        chat("Libre ?"),
        chat("Libre ?", system="Tu es Kant."),
        chat(
            "Je pense, donc je suis.", "Oui : « cogito ».", "Et la durée ?", system="Tu es Bergson.\n\nRéponds court."
        ),
        chat("a", "b", "c", "d", "e", system="Tu es Spinoza."),
    ],
    ids=["alone", "system", "two exchanges", "three exchanges"],
)
def test_same_tokens(layouts: dict[str, PromptFormat], layout: str, template: str, messages: list[ChatMessage]) -> None:
    ours = layouts[layout].render(messages).ids
    assert list(ours) == template_ids(render(template, messages), layouts[layout])


@pytest.mark.parametrize(
    ("layout", "template", "agrees", "reason"),
    [
        ("v3", OURS, True, "the same tokens"),
        ("v3", FIRST, True, "the same tokens"),
        ("v1", V1, True, "the same tokens"),
        ("v3", None, True, "no chat template"),
        ("v3", LAST, False, "in the last turn"),
        ("v3", CHATML, False, "another than Mistral's"),
        ("v3", REFUSES, False, "cannot be rendered with a system text"),
        ("v3", "{% for", False, "cannot be rendered"),
        ("v3", "{{ 1 / 0 }}", False, "ZeroDivisionError"),
        ("v3", V1, False, "differs from our layout at token"),
    ],
)
def test_agreement_and_its_reason(
    layouts: dict[str, PromptFormat], layout: str, template: str | None, agrees: bool, reason: str
) -> None:
    found = template_agrees(template, layouts[layout])
    assert found.agrees is agrees
    assert reason in found.reason


def test_the_template_of_a_file(layouts: dict[str, PromptFormat], tiny_gguf: Path) -> None:
    """The tiny model's template says nothing of system texts: the same tokens without one, a warning with one."""
    template = check_chat_model(tiny_gguf).chat_template
    assert template is not None
    messages = chat("Libre ?", "Oui.", "Et toi ?")
    assert list(layouts["v3"].render(messages).ids) == template_ids(render(template, messages), layouts["v3"])
    found = template_agrees(template, layouts["v3"])
    assert (found.agrees, found.reason) == (False, "its chat template drops the system text")


def test_a_template_reaches_nothing_outside() -> None:
    with pytest.raises(Exception, match="unsafe"):
        render("{{ ''.__class__.__mro__ }}", chat("a"))
