"""`python -m tests.browser.scripted_app PORT TEXT PAUSE_S`: the page over a scripted tier, a process to be killed."""

import sys

from tests.browser.pupil import words
from tiers.testing import ScriptedTier
from ui.page import build_page
from ui.theme import launch_options

if __name__ == "__main__":
    port, text, pause_s = sys.argv[1:]
    tier = ScriptedTier(*words(text), pause_s=float(pause_s))
    build_page(tier).launch(server_name="127.0.0.1", server_port=int(port), quiet=True, **launch_options())
