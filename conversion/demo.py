"""The embedded model, assembled from our parts and a pinned base. Knows files and hashes; needs no torch.

`models/demo/` holds what we made (adapter, kept pieces, manifest); the base is fetched by its hash. The result is
deterministic, so its hash is known beforehand. Where another linear algebra library rounds a last bit otherwise, the
logits on a fixed prompt decide instead.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from conversion.base import GEMMA_3_270M, Base, check_space, fetch_base, sha256_of
from conversion.workshop import is_ready, put_in_place, workshop
from errors import ConversionError

if TYPE_CHECKING:  # a model that is there already is found without waiting for numpy
    import numpy as np
    import numpy.typing as npt

log = logging.getLogger(__name__)

Step = Literal["downloading", "assembling", "checking", "done"]
Report = Callable[[Step, float], None]

DEMO_FILE = "bergson-and-friends-demo.gguf"
DEMO_NAME = "Bergson and Friends, embedded model"
WAIT_S = 900.0  # for another process that assembles: a slow download and the assembly
FINGERPRINT_TEXT = "Qu'est-ce qu'être libre ?"
TOP_IDS = 32  # logits compared
# Logits of the same file differ by up to 0.1 between processors; without the adapter they differ by several units.
TOLERANCE = 0.5


@dataclass(frozen=True)
class Fingerprint:
    """What the model says of one prompt.

    Attributes:
        prompt_ids: The prompt.
        top_ids: The likeliest next pieces, likeliest first.
        logits: Theirs, less their mean.
    """

    prompt_ids: tuple[int, ...]
    top_ids: tuple[int, ...]
    logits: tuple[float, ...]


@dataclass(frozen=True)
class Manifest:
    """What the assembly starts from and must give; every hash is a SHA-256 in hexadecimal.

    Attributes:
        base_sha256: Of the base GGUF.
        kept_sha256: Of `kept_pieces.txt.xz`.
        adapter_sha256: Of `adapter_config.json` and `adapter_model.safetensors`, one after the other.
        gguf_sha256: Of the result.
        gguf_bytes: Its size.
        fingerprint: Decides when the hash differs.
    """

    base_sha256: str
    kept_sha256: str
    adapter_sha256: str
    gguf_sha256: str
    gguf_bytes: int
    fingerprint: Fingerprint


@dataclass(frozen=True)
class Parts:
    """Where the files of `models/demo/` are."""

    folder: Path

    @property
    def kept(self) -> Path:
        """The list of kept pieces."""
        return self.folder / "kept_pieces.txt.xz"

    @property
    def adapter(self) -> Path:
        """The PEFT folder."""
        return self.folder / "adapter"

    @property
    def manifest(self) -> Path:
        """What the assembly must give."""
        return self.folder / "manifest.json"

    def adapter_sha256(self) -> str:
        """Hash of the adapter's two files.

        Raises:
            ConversionError: One is missing.
        """
        digest = hashlib.sha256()
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            path = self.adapter / name
            if not path.is_file():
                raise ConversionError(f"{path} is missing. Train the adapter with `make demo-model`.")
            digest.update(path.read_bytes())
        return digest.hexdigest()


def read_manifest(path: Path) -> Manifest:
    """Read `manifest.json`.

    Raises:
        ConversionError: The file is missing or has other keys.
    """
    if not path.is_file():
        raise ConversionError(f"{path} is missing. Write it with `python -m conversion manifest` after training.")
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        marks = {key: tuple(values) for key, values in read.pop("fingerprint").items()}
        return Manifest(**read, fingerprint=Fingerprint(**marks))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConversionError(f"{path} is no manifest: {error}. Write it again.") from error


def logits_after(gguf: Path, prompt_ids: Sequence[int]) -> "npt.NDArray[np.float32]":
    """Return the logits of the next piece after a prompt, computed by llama.cpp. Shape (n_vocab,).

    Raises:
        ConversionError: llama.cpp cannot load the file or run it.
    """
    import llama_cpp
    import numpy as np

    llama_cpp.llama_backend_init()
    settings = llama_cpp.llama_model_default_params()
    settings.n_gpu_layers = 0
    model = llama_cpp.llama_model_load_from_file(str(gguf).encode(), settings)
    if not model:
        raise ConversionError(f"llama.cpp cannot load {gguf.name}.")
    try:
        wanted = llama_cpp.llama_context_default_params()
        wanted.n_ctx = wanted.n_batch = wanted.n_ubatch = max(64, len(prompt_ids))
        context = llama_cpp.llama_init_from_model(model, wanted)
        if not context:
            raise ConversionError(f"llama.cpp gives no context for {gguf.name}.")
        try:
            ids = (llama_cpp.llama_token * len(prompt_ids))(*prompt_ids)
            if llama_cpp.llama_decode(context, llama_cpp.llama_batch_get_one(ids, len(prompt_ids))):
                raise ConversionError(f"llama.cpp cannot run {gguf.name}.")
            size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
            return np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, -1), shape=(size,)).copy()
        finally:
            llama_cpp.llama_free(context)
    finally:
        llama_cpp.llama_model_free(model)


def _chat_ids(gguf: Path, text: str) -> tuple[int, ...]:
    """Return the ids of `<bos>[INST]text[/INST]`."""
    import llama_cpp

    settings = llama_cpp.llama_model_default_params()
    settings.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(gguf).encode(), settings)
    if not model:
        raise ConversionError(f"llama.cpp cannot load {gguf.name}.")
    try:
        raw = f"[INST]{text}[/INST]".encode()
        ids = (llama_cpp.llama_token * (len(raw) + 1))()
        vocabulary = llama_cpp.llama_model_get_vocab(model)
        count = llama_cpp.llama_tokenize(vocabulary, raw, len(raw), ids, len(ids), True, True)
        return tuple(ids[:count])
    finally:
        llama_cpp.llama_model_free(model)


def take_fingerprint(gguf: Path) -> Fingerprint:
    """Return what a model says of the fixed prompt."""
    import numpy as np

    prompt_ids = _chat_ids(gguf, FINGERPRINT_TEXT)
    logits = logits_after(gguf, prompt_ids)
    top = np.argsort(-logits, kind="stable")[:TOP_IDS]
    centred = logits[top] - logits[top].mean()
    return Fingerprint(prompt_ids, tuple(map(int, top)), tuple(round(float(x), 4) for x in centred))


def fingerprint_distance(gguf: Path, expected: Fingerprint) -> float:
    """Return the greatest difference between a model's logits on the prompt and the expected ones."""
    import numpy as np

    found = logits_after(gguf, expected.prompt_ids)
    if max(expected.top_ids) >= found.size:
        return float("inf")
    picked = found[list(expected.top_ids)]
    return float(np.abs((picked - picked.mean()) - np.asarray(expected.logits)).max())


def _check_parts(parts: Parts, manifest: Manifest, base: Base) -> None:
    """Raise ConversionError unless our files are those that the manifest was written for."""
    found = {
        "base_sha256": base.sha256,
        "kept_sha256": sha256_of(parts.kept) if parts.kept.is_file() else "none",
        "adapter_sha256": parts.adapter_sha256(),
    }
    for key, value in found.items():
        if getattr(manifest, key) != value:
            raise ConversionError(
                f"{parts.manifest} was written for {key} {getattr(manifest, key)[:12]}…, but {value[:12]}… is there. "
                "Restore the files, or write it again with `python -m conversion manifest`."
            )


def _check_result(gguf: Path, manifest: Manifest, report: Report) -> None:
    """Raise ConversionError unless the assembled file has the expected bytes, or else the expected logits."""
    report("checking", 0.0)
    found = sha256_of(gguf)
    report("checking", 0.5)
    if found == manifest.gguf_sha256:
        return
    distance = fingerprint_distance(gguf, manifest.fingerprint)
    if distance > TOLERANCE:
        raise ConversionError(
            f"The assembled model has sha256 {found}, expected {manifest.gguf_sha256}, and its logits differ by "
            f"{distance:.2f} (at most {TOLERANCE}). Start again with an empty data folder."
        )
    log.info("hash differs, logits agree: sha256=%s distance=%.4f", found, distance)


def _workshop(data_dir: Path, wait_s: float) -> AbstractContextManager[Path]:
    """Give the folder in which the embedded model is made."""
    return workshop(data_dir / "models", lock=".demo.lock", work=".assembling", wait_s=wait_s)


def _make(source: Path, parts: Parts, work: Path, report: Report) -> Path:
    """Cut, merge and quantise into the work folder."""
    from conversion.assemble import cut_gguf
    from conversion.vocabulary import read_kept

    return cut_gguf(
        source, read_kept(parts.kept), work / DEMO_FILE, adapter=parts.adapter, outtype="q8_0", name=DEMO_NAME,
        on_progress=lambda done: report("assembling", done),
    )  # fmt: skip


def assemble_demo(
    models_dir: Path,
    data_dir: Path,
    *,
    base_path: Path | None = None,
    base: Base = GEMMA_3_270M,
    endpoint: str | None = None,
    report: Report = lambda _step, _progress: None,
    wait_s: float = WAIT_S,
) -> Path:
    """Return the embedded model, assembled first if need be: base → cut, adapter merged, Q8_0 → checked → named.

    A model that an older manifest gave is replaced, last of all. Killed at any point, nothing half-made has the
    final name, and the next run starts from the downloads that are there.

    Args:
        models_dir: Our parts, `models/demo` of the repository.
        data_dir: Where downloads and the result live.
        base_path: The base as a local file; None downloads it.
        base: Which base.
        endpoint: Address of the Hub; None takes `HF_ENDPOINT`, else the public one.
        report: Called with each step and its share done.
        wait_s: Seconds to wait for another process that assembles.

    Raises:
        SourceError: The base cannot be had, or the disk is full.
        ConversionError: Our parts do not fit, or the result is not the expected one.
    """
    parts = Parts(models_dir)
    manifest = read_manifest(parts.manifest)
    mark = sha256_of(parts.manifest)
    out = data_dir / "models" / DEMO_FILE
    if is_ready(out, mark):
        return out
    _check_parts(parts, manifest, base)
    with _workshop(data_dir, wait_s) as work:
        if is_ready(out, mark):  # another process has just made it
            return out
        report("downloading", 0.0)
        source = fetch_base(data_dir, base_path, lambda done: report("downloading", done), base=base, endpoint=endpoint)
        check_space(work, manifest.gguf_bytes)
        made = _make(source, parts, work, report)
        _check_result(made, manifest, report)
        put_in_place(made, out, mark)
    log.info("embedded model assembled bytes=%d", out.stat().st_size)
    return out


def write_manifest(
    models_dir: Path, data_dir: Path, *, base_path: Path | None = None, base: Base = GEMMA_3_270M
) -> Manifest:
    """Assemble once on the maker's side and write `manifest.json` from what came out; replaces an earlier one.

    Raises:
        SourceError, ConversionError: As in `assemble_demo`.
    """
    parts = Parts(models_dir)
    with _workshop(data_dir, WAIT_S) as work:
        source = fetch_base(data_dir, base_path, base=base)
        made = _make(source, parts, work, lambda _step, _progress: None)
        manifest = Manifest(
            base_sha256=base.sha256,
            kept_sha256=sha256_of(parts.kept),
            adapter_sha256=parts.adapter_sha256(),
            gguf_sha256=sha256_of(made),
            gguf_bytes=made.stat().st_size,
            fingerprint=take_fingerprint(made),
        )
    partial = parts.manifest.with_suffix(".partial")
    partial.write_text(_as_json(manifest), encoding="utf-8")
    partial.replace(parts.manifest)
    return manifest


def _as_json(manifest: Manifest) -> str:
    """Render a manifest, one key a line, the fingerprint's lists on a line each."""
    values: dict[str, Any] = asdict(manifest)
    marks = ",\n".join(f'    "{key}": {json.dumps(value)}' for key, value in values.pop("fingerprint").items())
    rest = "".join(f'  "{key}": {json.dumps(value)},\n' for key, value in values.items())
    return f'{{\n{rest}  "fingerprint": {{\n{marks}\n  }}\n}}\n'
