"""Fresh secrets as files that `modal secret create --from-dotenv` takes. Knows the settings' names; keeps nothing.

Secrets are made here and written where their owner alone can read: none is printed, none stands in a command line.
"""

import secrets
from dataclasses import dataclass
from pathlib import Path

from errors import SettingsError
from modal_deploy.config import Config
from modal_deploy.gateway import price_of

REGION = "us-east"  # through which Modal routes requests to a server that names no region


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        commands: To run next, in this order.
        page: Names of the settings that the page needs.
    """

    commands: tuple[str, ...]
    page: tuple[str, ...]


def engine_url(config: Config, workspace: str) -> str:
    """Return the address that the engine will have."""
    return f"https://{workspace}--{_label(config.app)}-engine.{REGION}.modal.direct"


def gateway_url(config: Config, workspace: str) -> str:
    """Return the address that the gateway will have."""
    return f"https://{workspace}--{_label(config.app)}-gateway.modal.run"


def _label(app: str) -> str:
    return app.replace(".", "-").replace("_", "-")


def write_secrets(config: Config, workspace: str, folder: Path) -> Written:
    """Write `engine.env`, `gateway.env` and `page.env` into a new folder, and say what to run.

    Raises:
        SettingsError: The folder exists: its secrets may be in use.
    """
    engine_key, page_secret = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    metrics_token = secrets.token_urlsafe(32)
    page = {
        "BAF_PREMIUM_URL": gateway_url(config, workspace),
        "BAF_PREMIUM_SECRET": page_secret,
        "BAF_PREMIUM_PROXY_KEY": "",
        "BAF_PREMIUM_PROXY_SECRET": "",
        "BAF_BUDGET_DAY_USD": str(config.budget.day_usd),
        "BAF_BUDGET_MONTH_USD": str(config.budget.month_usd),
        "BAF_GPU_USD_PER_HOUR": f"{price_of(config).usd_per_hour:.2f}",
    }
    files = {
        "engine.env": {"BAF_ENGINE_KEY": engine_key},
        "gateway.env": {
            "BAF_PREMIUM_SECRET": page_secret,
            "BAF_METRICS_TOKEN": metrics_token,
            "BAF_ENGINE_URL": engine_url(config, workspace),
            "BAF_ENGINE_PROXY_KEY": "",
            "BAF_ENGINE_PROXY_SECRET": "",
        },
        "page.env": page,
    }
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
    except FileExistsError:
        raise SettingsError(f"{folder} exists and may hold secrets in use; move it, or pass another --out.") from None
    for name, values in files.items():
        path = folder / name
        path.touch(mode=0o600)
        path.write_text("".join(f"{key}={value}\n" for key, value in values.items()), encoding="utf-8")
    commands = (
        "modal workspace proxy-tokens create --name engine   # its id and secret into gateway.env",
        f"modal secret create {config.app}-engine --from-dotenv {folder}/engine.env",
        f"modal secret create {config.app}-gateway --from-dotenv {folder}/gateway.env",
        "modal workspace proxy-tokens create --name page     # its id and secret into page.env",
        "modal deploy modal_deploy/app.py",
    )
    return Written(commands, tuple(page))
