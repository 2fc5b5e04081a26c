"""An engine spec as it is typed, roles of `config.yaml` included. Knows settings and roles; for command modules."""

from collections.abc import Collection

from evaluation.specs import VARIANTS, EvaluationSpec, parse_spec
from roles import load_roles
from settings import load_settings


def read_spec(text: str, *, allowed: Collection[str] = VARIANTS) -> EvaluationSpec:
    """Divide a spec into engine and prompt; `role:NAME` becomes the engine that plays it.

    Raises:
        EngineError: There is no such engine or prompt.
        SettingsError: There is no such role, or config.yaml is wrong.
    """

    def role(name: str) -> str:
        settings = load_settings()
        return load_roles(settings.config).get(name).spec(settings.data_dir)

    return parse_spec(text, allowed=allowed, role=role)
