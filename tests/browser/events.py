"""Gradio's events asked directly over HTTP, by whoever is no page. Knows the page's widgets by their ids."""

import json
from typing import Any

import httpx

TALK = '{"kind": "talk", "question": "", "other": ""}'


class Events:
    """The two events behind a question: the one that sends it, and the one that answers.

    Args:
        url: Of the page.
    """

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=30, trust_env=False)
        config: dict[str, Any] = self._client.get("/config").json()
        ids = {part["props"].get("elem_id"): part["id"] for part in config["components"]}
        ours = [one for one in config["dependencies"] if one["backend_fn"]]
        [self._send] = [one["id"] for one in ours if [ids["box"], "submit"] in one["targets"]]
        [self._respond] = [
            one["id"] for one in ours if ids["chat"] in one["outputs"] and one["targets"][0][1] == "change"
        ]

    def close(self) -> None:
        self._client.close()

    def call(self, fn: int, data: list[Any], tab: str, headers: dict[str, str], **body: Any) -> str:
        """Join the queue and return all that comes back, as text."""
        asked = {"data": data, "fn_index": fn, "session_hash": tab, "event_data": None, **body}
        self._client.post("/gradio_api/queue/join", json=asked, headers=headers).raise_for_status()
        with self._client.stream(
            "GET", "/gradio_api/queue/data", params={"session_hash": tab}, headers=headers
        ) as lines:
            said = []
            for line in lines.iter_lines():
                message = json.loads(line.removeprefix("data: ")) if line else {}
                said.append(json.dumps(message.get("output"), ensure_ascii=False))
                if message.get("msg") in ("process_completed", "close_stream"):
                    assert message.get("success", True), line
                    return "\n".join(said)
        return "\n".join(said)

    def send(self, tab: str, headers: dict[str, str], text: str, **body: Any) -> str:
        """Put a question; `tab` is the session that Gradio knows."""
        return self.call(self._send, [text, None, [], "kant", "fr", TALK, "{}"], tab, headers, **body)

    def respond(self, tab: str, headers: dict[str, str], browser: str = "b", **body: Any) -> str:
        """Let the question under way be answered."""
        return self.call(self._respond, [None, "kant", "fr", TALK, "{}", browser], tab, headers, **body)
