"""`python -m tests.browser.login_app PORT FOLDER GATEWAY PROVIDER`: the page with its login, as a Space has it.

A small model that follows a script, premium behind a gateway, rights in `FOLDER/page.sqlite`. The clock of the rights
is ahead of the machine's by the seconds that `FOLDER/ahead` holds. What a Space sets in the environment is set outside.
"""

import sys
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from service.openai_api import openai_routes
from tests.browser.provider import ORGANISATION
from tests.browser.pupil import words
from tests.service.premium import MUCH, PRICE, SEAL, SECRET
from tiers import entitlements
from tiers.account import LedgerAccount
from tiers.budget import utc_now
from tiers.entitlements import Entitlements, ask_hub
from tiers.ledger import Ledger, Quota
from tiers.premium import Patience, PremiumTier
from tiers.router import LoginPlans, PremiumSide, Router
from tiers.store import Store
from tiers.testing import ScriptedTier
from ui.page import build_page
from ui.refused import login_handlers
from ui.theme import launch_options

SMALL = "Réponse du petit modèle."


def main(port: int, folder: Path, gateway: str, provider: str) -> None:
    """Serve until killed."""

    def clock() -> datetime:
        return utc_now() + timedelta(seconds=float((folder / "ahead").read_text() or 0))

    store = Store(f"sqlite:///{folder}/page.sqlite")
    ask = partial(ask_hub, url=f"{provider}/oauth/userinfo")
    rights = Entitlements(store, SECRET, organisations=frozenset({ORGANISATION}), ask=ask, clock=clock)
    plans = LoginPlans(rights, clock=lambda: clock().timestamp())
    account = LedgerAccount(Ledger(store, MUCH, {"premium": Quota(live=1)}), store, MUCH)
    entitlements.HUB_TIMEOUT_S = 60.0  # a busy machine is neither a Hub nor a gateway that is down
    patience = Patience(connect_s=30.0, wait_s=50.0, silence_s=50.0, total_s=200.0)
    side = PremiumSide(PremiumTier(gateway, SEAL, patience=patience), plans, PRICE, held_s=240.0)
    router = Router(ScriptedTier(*words(SMALL)), account, side, secret=SECRET)
    page = build_page(router, standing=router.standing, login=True, redeem=router.redeem)
    beside = {"routes": [*openai_routes(router)], "exception_handlers": login_handlers()}
    page.launch(server_name="127.0.0.1", server_port=port, quiet=True, app_kwargs=beside, **launch_options())


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4])
