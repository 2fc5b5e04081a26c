"""Requirement documents as chats: a concept is asked, its requirements are answered in YAML. Knows no tokenizer."""

from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from errors import TrainingError

INSTRUCTION = (
    "You are a business analyst. Write the requirements of this project as YAML with the keys title, description, "
    "functional_requirements, non_functional_requirements and constraints; each list holds items with id, "
    "description and priority (high, medium or low).\n\nConcept: {concept}"
)


class Requirement(BaseModel):
    """One line of a list, e.g. FR-1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(min_length=1)
    description: str = Field(min_length=1)
    priority: str = Field(pattern="^(high|medium|low)$")


class Requirements(BaseModel):
    """What a project must do, how well, and within which bounds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str = Field(min_length=1)
    description: str = Field(min_length=1)
    functional_requirements: tuple[Requirement, ...] = Field(min_length=1)
    non_functional_requirements: tuple[Requirement, ...] = Field(min_length=1)
    constraints: tuple[Requirement, ...] = Field(min_length=1)


class Document(BaseModel):
    """A line of data/business_analyst: an idea in a sentence or two, and its requirements."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    concept: str = Field(min_length=1)
    requirements: Requirements


def document_chat(row: Mapping[str, Any], where: str) -> tuple[dict[str, str], ...]:
    """Return a requirement document as one question and one answer.

    Raises:
        TrainingError: A key is missing or wrong; the message names file, line and key.
    """
    try:
        document = Document.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        raise TrainingError(f"{where}: {key}: {first['msg'][:1].lower()}{first['msg'][1:]}.") from None
    answer = yaml.safe_dump(
        document.requirements.model_dump(mode="json"), allow_unicode=True, sort_keys=False, width=100
    )
    return (
        {"role": "user", "content": INSTRUCTION.format(concept=document.concept)},
        {"role": "assistant", "content": answer.strip()},
    )
