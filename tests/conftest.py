"""Small real models for every room: a two-layer llama that llama.cpp loads in milliseconds, and files that are none."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from benchmarks.machine import circumstances
from engines.llama_cpp import LlamaCppEngine

WIDTH, HEADS, KV_HEADS, FEED, LAYERS = 64, 4, 2, 128, 2
SPECIALS = ("<unk>", "<s>", "</s>", "[INST]", "[/INST]")
WORDS = ("la", "le", "les", "de", "des", "un", "une", "est", "et", "que", "qui", "je", "tu", "nous", "cause", "joie",
         "libre", "raison", "désir", "temps", "durée", "loi", "pense", "veut", "peut", "comme", "sans")  # fmt: skip
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZàâçéèêëîïôùûœ0123456789.,;:!?'’«»()[]<>/-_"
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST]{{ m.content }}[/INST]"
    "{% elif m.role == 'assistant' %}{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)

# A property holds however long an example takes: another job may share the processor.
# The same examples each time: what refuses a change is that change. `--hypothesis-profile=search` looks for others.
settings.register_profile("search", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("house", settings.get_profile("search"), derandomize=True)
settings.load_profile("house")
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost,::1"  # no test's server is behind a proxy


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks: else no test would be of any group
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Say which tests one worker runs one after the other (`--dist loadgroup`): a file, or all that open a browser."""
    for item in items:
        in_browser = item.get_closest_marker("browser")
        item.add_marker(pytest.mark.xdist_group("browser" if in_browser else item.nodeid.split("::")[0]))


def _vocabulary(inst_is_control: bool) -> tuple[list[str], list[float], list[int]]:
    """Pieces of a SentencePiece vocabulary, each word reachable by merging from its letters."""
    specials = SPECIALS if inst_is_control else SPECIALS[:3]
    types = [gguf.TokenType.UNKNOWN] + [gguf.TokenType.CONTROL] * (len(specials) - 1)
    pieces = list(specials) + [f"<0x{byte:02X}>" for byte in range(256)]
    types += [gguf.TokenType.BYTE] * 256
    plain = dict.fromkeys("▁" + LETTERS)
    for word in WORDS:
        plain |= dict.fromkeys(f"▁{word}"[:end] for end in range(2, len(word) + 2))
    pieces += plain
    types += [gguf.TokenType.NORMAL] * len(plain)
    # Longer pieces are merged first; single characters come last.
    scores = [0.0 if kind != gguf.TokenType.NORMAL else len(p) - 100.0 for p, kind in zip(pieces, types, strict=True)]
    return pieces, scores, [int(kind) for kind in types]


def _weights(pieces: list[str], eos_bias: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Random weights whose first dimension is the same for every token, so that it acts as a bias on each piece."""

    def small(*shape: int) -> np.ndarray:
        return rng.normal(0, 0.15, shape).astype(np.float32)

    tensors = {"token_embd.weight": rng.normal(0, 1, (len(pieces), WIDTH)).astype(np.float32)}
    tensors["token_embd.weight"][:, 0] = 8.0
    bias = np.where([p.lstrip("▁") in WORDS for p in pieces], 0.6, -1.0)
    bias[[p in {".", "!", "?"} for p in pieces]] = 1.4
    bias[[p.startswith("<0x") or p in SPECIALS for p in pieces]] = -30.0
    bias[pieces.index("</s>")] = eos_bias
    tensors["output.weight"] = rng.normal(0, 0.25, (len(pieces), WIDTH)).astype(np.float32)
    tensors["output.weight"][:, 0] = bias
    tensors["output_norm.weight"] = np.ones(WIDTH, np.float32)
    for i in range(LAYERS):
        shapes = {"attn_q": (WIDTH, WIDTH), "attn_k": (WIDTH * KV_HEADS // HEADS, WIDTH),
                  "attn_v": (WIDTH * KV_HEADS // HEADS, WIDTH), "attn_output": (WIDTH, WIDTH),
                  "ffn_gate": (FEED, WIDTH), "ffn_up": (FEED, WIDTH), "ffn_down": (WIDTH, FEED)}  # fmt: skip
        tensors |= {f"blk.{i}.{name}.weight": small(*shape) for name, shape in shapes.items()}
        for name in ("attn_output", "ffn_down"):
            tensors[f"blk.{i}.{name}.weight"][0] = 0  # no layer writes into the first dimension
        tensors |= {f"blk.{i}.{name}.weight": np.ones(WIDTH, np.float32) for name in ("attn_norm", "ffn_norm")}
    return tensors


def write_tiny_llama(
    path: Path,
    *,
    eos_bias: float = -30.0,
    inst_is_control: bool = True,
    add_space_prefix: bool = True,
    tensors: bool = True,
    n_ctx: int = 8192,
    chat_template: bool = True,
    arch: str = "llama",
) -> Path:
    """Write a two-layer Mistral-shaped model with random weights that says French words.

    Args:
        path: Where.
        eos_bias: How likely an answer ends by itself: -30 never does, 2 soon does.
        inst_is_control: Whether `[INST]` is one control piece (v0.3) or plain text (V1).
        add_space_prefix: Whether a text gains a space, as Mistral's do.
        tensors: False writes the vocabulary alone.
        n_ctx: Context length that it announces.
        chat_template: Whether it holds one.
        arch: "jamba" has the same layers and counts as hybrid.
    """
    pieces, scores, types = _vocabulary(inst_is_control)
    writer = gguf.GGUFWriter(path, arch)
    if arch == "jamba":
        writer.add_ssm_inner_size(2 * WIDTH)
        for add in (writer.add_ssm_conv_kernel, writer.add_ssm_state_size, writer.add_ssm_time_step_rank):
            add(1)
    writer.add_name("tiny")
    writer.add_context_length(n_ctx)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(pieces))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(pieces)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_space_prefix(add_space_prefix)
    if chat_template:
        writer.add_chat_template(TEMPLATE)
    if tensors:
        for name, tensor in _weights(pieces, eos_bias, np.random.default_rng(7)).items():
            writer.add_tensor(name, tensor)
    _write(writer)
    return path


def write_tiny_gemma(path: Path, *, window: int = 32, seed: int = 3, head: int = 16) -> Path:
    """Write a Gemma 3 of six layers with random weights: five see the last `window` tokens, the sixth sees all."""
    pieces, scores, types = _vocabulary(inst_is_control=True)
    layers = 6
    writer = gguf.GGUFWriter(path, "gemma3")
    writer.add_name("tiny-gemma")
    writer.add_context_length(4096)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(FEED)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(1)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_sliding_window(window)
    writer.add_vocab_size(len(pieces))
    writer.add_tokenizer_model("llama")
    writer.add_token_list(pieces)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(TEMPLATE)
    rng = np.random.default_rng(seed)
    embedding = rng.normal(0, 1, (len(pieces), WIDTH)).astype(np.float32)
    embedding[[p.startswith("<0x") or p in SPECIALS for p in pieces]] *= 0.01  # tied: so they are never drawn
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for i in range(layers):
        shapes = {"attn_q": (HEADS * head, WIDTH), "attn_k": (head, WIDTH), "attn_v": (head, WIDTH),
                  "attn_output": (WIDTH, HEADS * head), "ffn_gate": (FEED, WIDTH), "ffn_up": (FEED, WIDTH),
                  "ffn_down": (WIDTH, FEED)}  # fmt: skip
        for name, shape in shapes.items():
            writer.add_tensor(f"blk.{i}.{name}.weight", rng.normal(0, 0.3, shape).astype(np.float32))
        for name in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"):
            writer.add_tensor(f"blk.{i}.{name}.weight", np.ones(WIDTH, np.float32))
        for name in ("attn_q_norm", "attn_k_norm"):
            writer.add_tensor(f"blk.{i}.{name}.weight", np.ones(head, np.float32))
    _write(writer)
    return path


def _write(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def make_gguf(models: Path) -> Callable[..., Path]:
    """`write_tiny_llama` into a folder of the session: `make_gguf("name.gguf", eos_bias=0.0)`."""

    def make(name: str, **changes: object) -> Path:
        return write_tiny_llama(models / name, **changes)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def tiny_gguf(make_gguf: Callable[..., Path]) -> Path:
    """A chat model with random weights that says French words until its tokens are spent."""
    return make_gguf("tiny.gguf")


@pytest.fixture(scope="session")
def gemma_gguf(models: Path) -> Path:
    """A chat model with a sliding window of 32 tokens and random weights."""
    return write_tiny_gemma(models / "gemma.gguf")


@pytest.fixture(scope="session")
def vocab_gguf(make_gguf: Callable[..., Path]) -> Path:
    """A vocabulary without a model."""
    return make_gguf("vocab.gguf", tensors=False)


@pytest.fixture(scope="session")
def embedder_gguf(models: Path) -> Path:
    """A model that turns a text into a vector."""
    path = models / "embedder.gguf"
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_context_length(512)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    writer.add_tokenizer_model("bert")
    writer.add_token_list(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    writer.add_tensor("token_embd.weight", np.zeros((4, 32), np.float32))
    _write(writer)
    return path


@pytest.fixture(scope="session")
def truncated_gguf(tiny_gguf: Path, models: Path) -> Path:
    """The first three quarters of a model."""
    path = models / "truncated.gguf"
    data = tiny_gguf.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])
    return path


@pytest.fixture(scope="session")
def garbage_gguf(models: Path) -> Path:
    """Bytes that are no model."""
    path = models / "garbage.gguf"
    path.write_bytes(bytes(range(256)) * 64)
    return path


@pytest.fixture
def tiny_engine(tiny_gguf: Path) -> Iterator[LlamaCppEngine]:
    """The real engine on the tiny model."""
    engine = LlamaCppEngine(tiny_gguf, threads=1, n_ctx=1024)
    yield engine
    engine.close()


@pytest.fixture(scope="session", autouse=True)
def circumstances_of_the_run(request: pytest.FixtureRequest) -> None:
    """Let a result file say on which machine it was made, when and by which command; see `make proofs`."""
    if request.config.getoption("xmlpath"):
        keep = request.getfixturevalue("record_testsuite_property")
        for name, value in {**circumstances(), "command": "make proofs"}.items():
            keep(name, json.dumps(value))
