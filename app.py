"""The entry: settings, tier, page, one port. Builds and joins; decides nothing. Run it with `python app.py`."""

import atexit
import logging
import os
import signal
import sys
from functools import partial

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before Gradio is imported: it counts visits from then on

import gradio as gr
from fastapi.routing import APIRoute

from errors import ChatError, PersonaError
from roles import load_roles
from service.health import closed_routes, routes
from settings import Settings, load_settings
from ui.closed import build_closed_page
from ui.refused import login_handlers
from ui.theme import launch_options

log = logging.getLogger("app")


def assemble(settings: Settings) -> tuple[gr.Blocks, list[APIRoute]]:
    """Return the page and the routes beside it; the page opens before the model has loaded.

    Personas are read when they are first imported: here, so that a broken file becomes a sentence on the page.
    """
    try:
        from service.counting import open_counted
        from service.dialogue_api import dialogue_routes
        from service.keys import behind_keys
        from service.metrics import metrics_routes
        from service.openai_api import openai_routes, visitor
        from tiers.allowance import Allowance, LimitedTier
        from tiers.base import AnswerOptions
        from tiers.free import open_free_tier
        from tiers.opening import LedgerChoice, PremiumChoice
        from tiers.supply import ModelChoice
        from ui.page import build_page
    except PersonaError as error:
        log.error("Nobody can talk: %s", error)
        return build_closed_page(error.code), closed_routes(error.code)
    plays = load_roles(settings.config).get("philosopher")
    choice = ModelChoice(**{**settings.model_options, "model": settings.free_model or plays.page_model})
    usual = AnswerOptions(temperature=plays.temperature, max_tokens=plays.max_tokens)
    free = open_free_tier(choice, deadline_s=settings.answer_deadline_s, usual=usual)
    premium = PremiumChoice(**settings.premium_options) if settings.premium_options else None
    allowed = Allowance(settings.session_tokens or None, settings.day_tokens or None, settings.address_tokens or None)
    opened, metrics = open_counted(
        LimitedTier(free, allowed), LedgerChoice(**settings.ledger_options), premium, lambda: free.load
    )
    atexit.register(free.close)
    atexit.register(opened.close)  # runs first: a model that is being opened may take seconds to let go
    tier, token = opened.router, settings.metrics_token.get_secret_value() if settings.metrics_token else None
    who = partial(visitor, proxies=settings.proxies)
    asked = [*openai_routes(tier, who=who), *dialogue_routes(tier, who=who)]
    beside = [*routes(tier), *behind_keys(asked, settings.api_key_list), *metrics_routes(metrics, token)]
    return build_page(tier, on_feedback=metrics.told, load=lambda: free.load, standing=tier.standing,
                      address=lambda r: who(r, None).address, login=bool(premium and not premium.everybody),
                      redeem=tier.redeem, mcp=settings.mcp), beside  # fmt: skip


def main() -> int:
    """Serve until interrupted; return the exit status."""
    talk = logging.StreamHandler(sys.stderr)
    talk.setLevel(logging.INFO)  # on the handler: a library that sets its own logger to DEBUG stays quiet too
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", handlers=[talk])
    logging.getLogger("httpx").setLevel(logging.WARNING)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # how a host says goodbye: the ledger's last copy is taken
    try:
        settings = load_settings()
        page, beside = assemble(settings)
        page.launch(
            server_name=settings.host,
            server_port=settings.port,
            prevent_thread_lock=True,
            quiet=True,
            app_kwargs={"routes": beside, "exception_handlers": login_handlers()},
            mcp_server=settings.mcp,
            **launch_options(),
        )
    except ChatError as error:
        print(f"Bergson and Friends cannot start: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"Bergson and Friends cannot start: {error} Set BAF_PORT to a free port.", file=sys.stderr)
        return 1
    print(f"Bergson and Friends: http://{settings.host}:{settings.port}", flush=True)
    page.block_thread()
    return 0


if __name__ == "__main__":
    sys.exit(main())
