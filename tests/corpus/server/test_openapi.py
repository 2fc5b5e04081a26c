"""What the OpenAPI document says is what the routes do, whatever they are sent."""

from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from corpus.server.domain import load_domain
from corpus.server.routes import build_app
from corpus.server.workshop import Workshop

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
HERE = {"host": "127.0.0.1"}
EXAMPLES = 6  # for each route, right ones and as many wrong ones


def test_every_answer_is_one_that_the_document_names(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, load_domain("schemes"), total=30, seed=1)
    document = schemathesis.openapi.from_asgi("/openapi.json", build_app(workshop), headers=HERE)
    operations: list[Any] = [found.ok() for found in document.get_all_operations()]  # type: ignore[union-attr]
    assert len(operations) == 12
    bounded = settings(
        max_examples=EXAMPLES, database=None, derandomize=True, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    for operation in operations:
        for mode in GenerationMode:
            if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query):
                continue  # nothing of it can be wrong

            @bounded
            @given(case=operation.as_strategy(generation_mode=mode))
            def holds(case: Any) -> None:
                case.call_and_validate(headers=HERE, checks=CHECKS)

            holds()
    workshop.close()
