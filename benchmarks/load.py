"""`python -m benchmarks.load URL --model M.gguf --pupils 8`: pupils in a closed loop, the same for every server.

Each pupil talks with one of three personas for some turns: asks, reads the answer as it comes, asks on at once with
the server's own answers as history. Every eighth answer is left in its middle, as by a closed tab. Knows OpenAI's
streaming chat route and psutil; knows no server's inside.
"""

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import httpx
import numpy as np
import psutil
import typer

from benchmarks.texts import rows
from cli import run_commands
from errors import EngineError

PERSONA_TOKENS = (350, 750, 350)  # lengths of the system prompts; pupil i takes persona i mod 3
QUESTION_TOKENS = (15, 40)
ANSWER_TOKENS = (64, 120)  # in turn
CLOSED_EVERY = 8
TURNS = 3
SAMPLE_S = 1.0  # between two looks at the server's memory
FILLER = " et"  # one token in any French vocabulary: makes a text exactly as long as asked

MAX_FILLERS = 12
FEWEST = 20  # values of which one in twenty is late: of fewer the 95th of a hundred would be made up

Counter = Callable[[str], int]


@dataclass(frozen=True)
class Ask:
    """One question of a pupil.

    Attributes:
        text: What is asked.
        max_tokens: Length of the answer.
        closes: Whether the tab is closed in mid-answer.
        seed: Of the sampling.
    """

    text: str
    max_tokens: int
    closes: bool
    seed: int


@dataclass(frozen=True)
class Workload:
    """What all pupils will ask: the system prompt of each persona, and each pupil's questions in order."""

    personas: tuple[str, ...]
    pupils: tuple[tuple[Ask, ...], ...]


@dataclass
class Answered:
    """What became of one question; times in seconds on the clock of `time.monotonic`.

    Attributes:
        pupil: Who asked.
        turn: 0 for the pupil's first question.
        sent: When.
        first: When the first text came; None when none did.
        end: When the answer was over, left, or cut off by the time limit; None while it comes.
        tokens: As the server counts them, else the pieces of text that came.
        prompt_tokens: As the server counts them; None when it does not say.
        cached_tokens: How many of them were not read again; None when it does not say.
        closed: Left in mid-answer.
        cut: Cut off by the time limit.
        error: Why there is no whole answer.
        gaps: Seconds between two pieces of text.
        text: The answer.
    """

    pupil: int
    turn: int
    sent: float
    first: float | None = None
    end: float | None = None
    tokens: int = 0
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    closed: bool = False
    cut: bool = False
    error: str | None = None
    gaps: list[float] = field(default_factory=list, repr=False)
    text: str = field(default="", repr=False)


def token_counter(model: Path) -> Counter:
    """Return a function that counts the tokens of a text with a GGUF's own vocabulary; its weights are not loaded.

    Raises:
        EngineError: llama.cpp refuses the file.
    """
    import llama_cpp as lib

    from engines import llama_model  # noqa: F401 - sets the library's log and threads before its first use

    params = lib.llama_model_default_params()
    params.vocab_only = True
    loaded = lib.llama_model_load_from_file(str(model).encode(), params)
    if not loaded:
        raise EngineError(f"llama.cpp cannot read the vocabulary of {model}.")
    vocab = lib.llama_model_get_vocab(loaded)

    def count(text: str) -> int:
        raw = text.encode()
        out = (lib.llama_token * (len(raw) + 8))()
        return int(lib.llama_tokenize(vocab, raw, len(raw), out, len(out), False, False))

    return count


def exactly(words: Sequence[str], n_tokens: int, count: Counter) -> str:
    """Return the longest beginning of `words` that fits, brought to exactly `n_tokens`.

    Raises:
        EngineError: The words are too few, or the vocabulary knows no one-token filler.
    """
    low, high = 1, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count(" ".join(words[:middle])) <= n_tokens else (low, middle - 1)
    for n_words in range(low, 0, -1):
        text = " ".join(words[:n_words])
        missing = n_tokens - count(text)
        if missing > MAX_FILLERS:
            break
        text += FILLER * missing
        if count(text) == n_tokens:
            return text
    raise EngineError(f"No text of {n_tokens} tokens can be made of {len(words)} words with this vocabulary.")


@cache
def persona_texts(count: Counter) -> tuple[str, ...]:
    """Return the system prompts: sentences of our reading notes, the same at every call."""
    rng = random.Random(0)  # noqa: S311 - nothing secret
    sentences = [f"{row['idea']} {row['image']}" for row in rows("notes")]
    texts = []
    for n_tokens in PERSONA_TOKENS:
        rng.shuffle(sentences)
        texts.append(exactly(" ".join(sentences[:100]).split(), n_tokens, count))
    return tuple(texts)


def make_workload(count: Counter, pupils: int, *, turns: int = TURNS, seed: int = 0) -> Workload:
    """Return what `pupils` will ask; the same arguments give the same questions."""
    rng = random.Random(seed)  # noqa: S311
    asked = [row["message"] for row in rows("queries")]
    everyone = []
    for pupil in range(pupils):
        mine = []
        for turn in range(turns):
            words = " ".join(rng.sample(asked, 12)).split()
            text = exactly(words, rng.randint(*QUESTION_TOKENS), count)
            number = pupil * turns + turn
            closes = number % CLOSED_EVERY == CLOSED_EVERY - 1
            mine.append(Ask(text, ANSWER_TOKENS[(pupil + turn) % 2], closes, rng.getrandbits(31)))
        everyone.append(tuple(mine))
    return Workload(persona_texts(count), tuple(everyone))


def persona_key(number: int) -> str:
    """Name under which our server knows a persona of the workload."""
    return f"bench{number}"


def body_of(messages: list[dict[str, str]], pupil: int, workload: Workload, ask: Ask, *, ours: bool) -> dict[str, Any]:
    """Return the request: ours names the persona, every other server is sent its system prompt."""
    persona = pupil % len(workload.personas)
    body: dict[str, Any] = {"model": "default", "messages": messages, "max_tokens": ask.max_tokens, "seed": ask.seed,
                            "user": f"pupil {pupil}", "temperature": 0.7, "stream": True,
                            "stream_options": {"include_usage": True}}  # fmt: skip
    if ours:
        return body | {"persona": persona_key(persona)}
    system = {"role": "system", "content": workload.personas[persona]}
    return body | {"messages": [system, *messages]}


async def read_answer(
    client: httpx.AsyncClient, url: str, body: dict[str, Any], answered: Answered, *, closes: bool
) -> None:
    """Ask, and write what comes into `answered`; a refusal or a broken connection becomes its `error`."""
    last = 0.0
    try:
        async with client.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
            if response.status_code != httpx.codes.OK:
                answered.error = f"{response.status_code}: {(await response.aread())[:200].decode(errors='replace')}"
                return
            async for line in response.aiter_lines():
                if not line.startswith("data:") or line.endswith("[DONE]"):
                    continue
                text = _take(json.loads(line[5:]), answered)
                if not text:
                    continue
                now = time.monotonic()
                if answered.first is None:
                    answered.first = now
                else:
                    answered.gaps.append(now - last)
                last = now
                answered.text += text
                if closes and len(answered.gaps) >= body["max_tokens"] // 2:
                    answered.closed = True
                    return  # leaving the block closes the connection
    except httpx.TransportError as error:
        answered.error = f"{type(error).__name__}: {error}"
    except asyncio.CancelledError:
        answered.cut = True
        raise
    finally:
        answered.end = time.monotonic()
        if answered.first is not None and not answered.tokens:
            answered.tokens = len(answered.gaps) + 1


def _take(chunk: dict[str, Any], answered: Answered) -> str:
    """Note what one event says of usage and errors; return its text."""
    if "error" in chunk:
        answered.error = json.dumps(chunk["error"], ensure_ascii=False)[:200]
    if usage := chunk.get("usage"):
        answered.tokens = usage["completion_tokens"]
        answered.prompt_tokens = usage["prompt_tokens"]
        answered.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    if answered.cached_tokens is None and "cache_n" in (timings := chunk.get("timings") or {}):
        answered.cached_tokens = timings["cache_n"]
    choices = chunk.get("choices") or [{}]
    return (choices[0].get("delta") or {}).get("content") or ""


async def _pupil(
    client: httpx.AsyncClient, url: str, workload: Workload, pupil: int, done: list[Answered], *, ours: bool
) -> None:
    history: list[dict[str, str]] = []
    for turn, ask in enumerate(workload.pupils[pupil]):
        question = {"role": "user", "content": ask.text}
        answered = Answered(pupil, turn, time.monotonic())
        done.append(answered)
        body = body_of([*history, question], pupil, workload, ask, ours=ours)
        await read_answer(client, url, body, answered, closes=ask.closes)
        if answered.text.strip():
            history += [question, {"role": "assistant", "content": answered.text.strip()}]


def new_client() -> httpx.AsyncClient:
    """A client that waits as long as an answer takes; every request has a connection of its own.

    A connection that is kept may be closed by a server in the moment in which it is used again.
    """
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    return httpx.AsyncClient(timeout=httpx.Timeout(None, connect=10), limits=limits)


async def run_pupils(url: str, workload: Workload, *, ours: bool, limit_s: float) -> tuple[list[Answered], bool]:
    """Let all pupils talk at once; return every answer, and whether the time limit cut some off."""
    done: list[Answered] = []
    async with new_client() as client:
        talks = [
            asyncio.create_task(_pupil(client, url, workload, pupil, done, ours=ours))
            for pupil in range(len(workload.pupils))
        ]
        finished, pending = await asyncio.wait(talks, timeout=limit_s)
        for talk in pending:
            talk.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
    for talk in finished:
        talk.result()  # raises what a bug raised
    return done, bool(pending)


async def warm(url: str, workload: Workload, *, ours: bool) -> None:
    """Send each persona once, so that the server may keep it.

    Raises:
        EngineError: The server refused.
    """
    async with new_client() as client:
        for persona in range(len(workload.personas)):
            answered = Answered(-1, 0, time.monotonic())
            ask = Ask("Bonjour à toi.", 2, closes=False, seed=1)
            messages = [{"role": "user", "content": ask.text}]
            body = body_of(messages, persona, workload, ask, ours=ours)
            await read_answer(client, url, body, answered, closes=False)
            if answered.error:
                raise EngineError(f"The server refused persona {persona}: {answered.error}")


class Meter:
    """Memory and processor time of a process and all that it started."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.peak_bytes = 0
        self.cpu_s = 0.0

    def look(self) -> None:
        """Take the sum over the tree; when one of them ends meanwhile, the next look counts."""
        memory, cpu = 0, 0.0
        with suppress(psutil.NoSuchProcess):
            for process in (self._process, *self._process.children(recursive=True)):
                memory += process.memory_info().rss
                times = process.cpu_times()
                cpu += times.user + times.system
        self.peak_bytes, self.cpu_s = max(self.peak_bytes, memory), max(self.cpu_s, cpu)

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(SAMPLE_S)


def summary(done: Sequence[Answered], *, cut: bool) -> dict[str, Any]:
    """Return the numbers of one run: rates per second, times in seconds.

    An answer that the time limit cut is no whole one, and says nothing of the speed of one; its tokens came all the
    same. `waiting` counts those that had no text yet: they are missing among the waits for the first text.
    """
    end = max((a.end or a.sent for a in done), default=0.0)
    window = end - min((a.sent for a in done), default=0.0)
    answered = [a for a in done if a.first is not None]
    firsts = [a for a in answered if a.turn == 0]
    known = [a for a in answered if a.prompt_tokens is not None and a.cached_tokens is not None]
    whole = [a for a in answered if a.end and not a.closed and not a.cut and not a.error]
    tokens = sum(a.tokens for a in done)
    new = [(a.prompt_tokens or 0) - (a.cached_tokens or 0) for a in known]
    return {
        "seconds": round(window, 2),
        "tokens": tokens,
        "tokens_per_s": round(tokens / window, 3) if window else 0.0,
        "decode_tokens_per_s": _rate(whole),
        "answers": len(whole),
        "closed": sum(a.closed for a in done),
        "errors": sorted({a.error for a in done if a.error}),
        "n_errors": sum(a.error is not None for a in done),
        "cut_by_limit": cut,
        "cut": sum(a.cut for a in done),
        "waiting": sum(a.cut and a.first is None for a in done),
        "ttft_s": _spread([a.first - a.sent for a in answered if a.first is not None]),
        "ttft_first_turn_s": _spread([a.first - a.sent for a in firsts if a.first is not None]),
        "gap_s": _spread([gap for a in answered for gap in a.gaps]),
        "prompt_tokens": sum(a.prompt_tokens or 0 for a in known) if known else None,
        "cached_tokens": sum(a.cached_tokens or 0 for a in known) if known else None,
        "new_tokens_median": float(np.median(new)) if new else None,
        "new_tokens_first_turn": [n for n, a in zip(new, known, strict=True) if a.turn == 0][:4],
    }


def _spread(values: Sequence[float]) -> dict[str, float | None] | None:
    if not values:
        return None
    p50, p95 = np.percentile(values, [50, 95])
    late = round(float(p95), 4) if len(values) >= FEWEST else None
    return {"p50": round(float(p50), 4), "p95": late, "max": round(max(values), 4)}


def _rate(answers: Iterable[Answered]) -> float | None:
    """Tokens a second of one answer once it has begun, over all answers."""
    timed = [(a.tokens - 1, a.end - a.first) for a in answers if a.end and a.first and a.end > a.first]
    return round(sum(n for n, _ in timed) / sum(s for _, s in timed), 3) if timed else None


async def measure(url: str, workload: Workload, pid: int, *, ours: bool, limit_s: float) -> dict[str, Any]:
    """Run the pupils against a server whose process is `pid`; return `summary` with its memory and processor time."""
    meter = Meter(pid)
    meter.look()
    cpu_before, own_before = meter.cpu_s, time.process_time()
    watching = asyncio.create_task(meter.watch())
    try:
        done, cut = await run_pupils(url, workload, ours=ours, limit_s=limit_s)
    finally:
        watching.cancel()
    meter.look()
    found = summary(done, cut=cut)
    found |= {"rss_peak_gb": round(meter.peak_bytes / 1e9, 3), "cpu_s": round(meter.cpu_s - cpu_before, 2),
              "client_cpu_s": round(time.process_time() - own_before, 2)}  # fmt: skip
    rows = [{k: v for k, v in asdict(a).items() if k not in {"gaps", "text"}} for a in done]
    begin = min((a.sent for a in done), default=0.0)
    for row, one in zip(rows, done, strict=True):
        row |= {k: round(row[k] - begin, 3) for k in ("sent", "first", "end") if row[k] is not None}
        row["longest_gap"] = round(max(one.gaps, default=0.0), 3)
    return {**found, "requests": rows}


def talk(
    url: Annotated[str, typer.Argument(help="The server, e.g. http://127.0.0.1:8080.")],
    model: Annotated[Path, typer.Option(help="The GGUF it serves: texts are measured with its vocabulary.")],
    pupils: Annotated[int, typer.Option(min=1, help="How many talk at once.")] = 4,
    turns: Annotated[int, typer.Option(min=1, help="Questions of each.")] = TURNS,
    seed: Annotated[int, typer.Option(help="Of the questions.")] = 0,
    ours: Annotated[bool, typer.Option(help="The server is benchmarks.serve, which has the personas.")] = False,
    limit_s: Annotated[float, typer.Option(help="Seconds after which the rest is cut off.")] = 900.0,
) -> None:
    """Let pupils talk with a server, and print what they waited, as JSON."""
    workload = make_workload(token_counter(model), pupils, turns=turns, seed=seed)
    done, cut = asyncio.run(run_pupils(url.rstrip("/"), workload, ours=ours, limit_s=limit_s))
    print(json.dumps(summary(done, cut=cut), ensure_ascii=False, indent=1))


def main() -> None:
    """Run the command line; an error of ours becomes one line on stderr and exit status 1."""
    run_commands(talk)


if __name__ == "__main__":
    main()
