"""The philosophers and their schemes as tools of an MCP server. Knows a tier, personas and schemes; knows no page.

Gradio serves what is added here at `/gradio_api/mcp/`, when the page is launched with `mcp_server=True`; a program's
names and descriptions of the tools are the functions' own. Every message goes the pupil's way: the same tier, the same
queue, the same card in a crisis, and what its address may still use.
"""

import json
from contextlib import aclosing

import gradio as gr

from dialogue.conversation import Conversation, Turn, clean_message
from dialogue.moves import choose_move
from errors import ChatError
from personas import SCHEMES, get_persona
from tiers.base import Card, Tier, Token, User
from ui.account import Addresses


def add_tools(tier: Tier, address: Addresses) -> None:
    """Add the tools to the page that is being built; none of them keeps anything.

    A name of its own would cost a program nothing, so who asks is told by `address` alone, as on the routes.
    """

    async def ask_philosopher(question: str, philosopher: str = "spinoza", request: gr.Request | None = None) -> str:
        """Ask Spinoza, Bergson or Kant a question in French; the answer has a few sentences and ends by asking back.

        The answer comes from a program that imitates the philosopher: it may be wrong, and is no source to quote.

        Args:
            question: What a pupil would say or ask, in French, at most 4000 characters.
            philosopher: "spinoza", "bergson" or "kant".
            request: Given by the server, not by the program.
        """
        try:
            persona = get_persona(philosopher.strip().lower())
            key = address(request) if request else ""
            conversation = Conversation(persona, (Turn("user", clean_message(question)),))
            said = ""
            async with aclosing(tier.stream(conversation, User(key, address=key))) as events:
                async for event in events:
                    if isinstance(event, Card):
                        return event.text
                    if isinstance(event, Token):
                        said += event.text
        except ChatError as error:
            raise gr.Error(str(error), print_exception=False) from None
        return said

    def find_scheme(message: str, philosopher: str = "spinoza") -> str:
        """Find the logical scheme that a philosopher would answer a pupil's message with, and its card.

        A JSON object: the scheme's French name, its form, an example, the fallacy that it is mistaken for, whether its
        conclusion is certain ("valide"), probable or a move on meanings ("conceptuel"), and why it was chosen: the
        pupil's stance and what the philosopher does about it. Where the message sets out premises, "follows" says
        in French what follows from them and what does not; else it is null. No model is asked.

        Args:
            message: What the pupil says, in French, at most 4000 characters.
            philosopher: "spinoza", "bergson" or "kant": each has favourite schemes.
        """
        try:
            move = choose_move(clean_message(message), get_persona(philosopher.strip().lower()))
        except ChatError as error:
            raise gr.Error(str(error), print_exception=False) from None
        scheme = SCHEMES[move.scheme]
        found = {
            "id": scheme.id, "name": scheme.name, "form": scheme.form, "example": scheme.example,
            "fallacy": scheme.fallacy, "validity": scheme.validity, "stance": move.stance, "move": move.name,
            "follows": move.inference.line if move.inference else None,
        }  # fmt: skip
        return json.dumps(found, ensure_ascii=False)

    # Unqueued, a tool is called with the program's own request; Gradio's queue is joined by the server itself.
    gr.api(ask_philosopher, api_name="ask_philosopher", queue=False, concurrency_limit=None)
    gr.api(find_scheme, api_name="find_scheme")
