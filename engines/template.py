"""Does a model's own chat template lay a chat out as we do? Knows Jinja and `engines.prompt`; knows no model."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engines.base import ChatMessage
from engines.prompt import CLOSE, OPEN, PromptFormat

BOS, EOS = "<s>", "</s>"  # as templates that do not use the variables write them
PROBE: tuple[ChatMessage, ...] = (
    {"role": "system", "content": "Tu es Kant."},
    {"role": "user", "content": "Suis-je libre ?"},
    {"role": "assistant", "content": "Oui, par la raison."},
    {"role": "user", "content": "Pourquoi ?"},
)


@dataclass(frozen=True)
class Agreement:
    """Whether two layouts are the same, token by token, and the reason for the log."""

    agrees: bool
    reason: str


def template_agrees(template: str | None, layout: PromptFormat) -> Agreement:
    """Compare a chat template with our layout on a chat of two exchanges, as transformers would render it.

    Where it does not agree, ours is used all the same: the system text stays first, so that its cache is shared. The
    answers of a model that was trained otherwise may be poorer; the caller warns.

    Args:
        template: Jinja source, as a GGUF or a tokenizer holds it; None where there is none.
        layout: Of the model's vocabulary.
    """
    if template is None:
        return Agreement(True, "there is no chat template to compare with")
    try:
        text = render(template, PROBE)
    except (
        Exception
    ) as error:  # a template is a program: it may raise whatever it likes, a refusal of the system text too
        return Agreement(False, f"its chat template cannot be rendered with a system text ({type(error).__name__})")
    system, question = PROBE[0]["content"], PROBE[1]["content"]
    if OPEN not in text:
        return Agreement(False, "its chat format is another than Mistral's")
    if system not in text:
        return Agreement(False, "its chat template drops the system text")
    if text.index(system) > text.index(question):
        return Agreement(False, "its chat template puts the system text in the last turn, ours in the first")
    ours, theirs = list(layout.render(PROBE).ids), template_ids(text, layout)
    if ours != theirs:
        same = next(
            (n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(map(len, (ours, theirs)))
        )
        return Agreement(False, f"its chat template differs from our layout at token {same} of {len(theirs)}")
    return Agreement(True, "its chat template gives the same tokens")


def render(template: str, messages: Sequence[ChatMessage]) -> str:
    """Return what a chat template makes of a chat that waits for an answer, with transformers' settings.

    Raises:
        jinja2.TemplateError: The template is wrong, or refuses these messages.
    """

    def refuse(message: str) -> NoReturn:
        raise jinja2.TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = refuse
    return environment.from_string(template).render(
        messages=list(messages), bos_token=BOS, eos_token=EOS, add_generation_prompt=True, tools=None, documents=None
    )


def template_ids(text: str, layout: PromptFormat) -> list[int]:
    """Return the ids of a rendered template: control pieces by id, each text between them by itself.

    A vocabulary that puts a space before a text puts exactly one, whether the template wrote it or not.
    """
    vocabulary = layout.vocabulary
    control = {BOS: vocabulary.bos, EOS: vocabulary.eos}
    if layout.version == "v3":
        control |= {OPEN: vocabulary.control(OPEN), CLOSE: vocabulary.control(CLOSE)}
    ids: list[int] = []
    for part in re.split(f"({'|'.join(map(re.escape, control))})", text):
        if part in control:
            token = control[part]
            ids += [] if token is None else [token]
        elif part:
            bare = part.removeprefix(" ")
            ids += vocabulary.encode(bare if vocabulary.adds_space else f" {bare}" if layout.version == "v1" else part)
    return ids
