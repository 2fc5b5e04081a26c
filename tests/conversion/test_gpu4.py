"""Four bits for the GPU: refused early where it cannot run, judged by its own words, made in an environment apart."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from conversion.embedder import EMBEDDER_FILE
from conversion.environments import environment_folder, is_made, make_environment, run_worker
from conversion.gpu4 import (
    ATTENTION,
    DOWN,
    TOOLS,
    Gpu4Request,
    Scored,
    has_gpu,
    judge,
    quantise_for_gpu,
    similarity,
)
from conversion.report import read_report
from errors import ConversionError, SourceError
from settings import load_settings
from tests.conversion.tiny import FRENCH, use_index

ROOT = Path(__file__).parents[2]
DATA = load_settings().data_dir
TOOL = TOOLS["compressed-tensors"]
MADE = is_made(environment_folder(DATA, TOOL.name, TOOL.requirements))
pytestmark = pytest.mark.filterwarnings("default")  # torch and transformers warn of their own affairs


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    """A folder that looks like a checkpoint, and two files of texts."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}", encoding="utf-8")
    for name in ("calibration", "held"):
        (tmp_path / f"{name}.txt").write_text(FRENCH, encoding="utf-8")
    return {"model": tmp_path / "model", "out": tmp_path / "out", "method": "gptq",
            "calibration": (tmp_path / "calibration.txt",), "held_out": (tmp_path / "held.txt",)}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": "rtn"}, "No method 'rtn'"),
        ({"layout": "exl2"}, "No layout 'exl2'"),
        ({"model": Path("none")}, "is no checkpoint"),
        ({"out": ROOT}, "never overwritten"),
        ({"held_out": None}, "calibrated on and judged by"),
    ],
)
def test_requests_that_cannot_be(files: dict[str, Any], given: dict[str, Any], said: str) -> None:
    if "held_out" in given:
        given = {"held_out": files["calibration"]}
    with pytest.raises(ConversionError, match=said):
        Gpu4Request(**{**files, **given})


@pytest.mark.skipif(has_gpu(), reason="this machine has a GPU: nothing is refused")
@pytest.mark.parametrize(("method", "layout"), [("awq", "compressed-tensors"), ("awq", "classic"), ("gptq", "classic")])
def test_what_needs_a_gpu_says_so_before_anything_is_installed(
    files: dict[str, Any], tmp_path: Path, method: str, layout: str
) -> None:
    request = Gpu4Request(**{**files, "method": method, "layout": layout})
    with pytest.raises(ConversionError, match=rf"{method} by .* needs an NVIDIA GPU .* --method gptq"):
        quantise_for_gpu(request, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_each_attempt_keeps_more(files: dict[str, Any]) -> None:
    from conversion.gpu4 import _attempts

    assert _attempts(Gpu4Request(**files)) == [
        ("lm_head",), ("lm_head", ATTENTION), ("lm_head", ATTENTION, DOWN)
    ]  # fmt: skip
    kept = Gpu4Request(**files, keep=("re:.*o_proj.*", ATTENTION))
    assert _attempts(kept) == [("lm_head", "re:.*o_proj.*", ATTENTION), ("lm_head", "re:.*o_proj.*", ATTENTION, DOWN)]


def test_texts_and_embedder_are_there_before_anything_is_installed(files: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="python -m conversion embedder"):
        quantise_for_gpu(Gpu4Request(**files), tmp_path / "data")
    (tmp_path / "held.txt").write_text("", encoding="utf-8")
    with pytest.raises(ConversionError, match="holds no chat and no text"):
        quantise_for_gpu(Gpu4Request(**files), tmp_path / "data")
    assert not (tmp_path / "data").exists()


def wheel(folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}-1.0.0-py3-none-any.whl", "w") as packed:
        packed.writestr(f"{name}.py", "ANSWER = 42\n")
        packed.writestr(f"{name}-1.0.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0.0\n")
        packed.writestr(
            f"{name}-1.0.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        packed.writestr(f"{name}-1.0.0.dist-info/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    wheel(tmp_path / "index", "tinytool")
    use_index(monkeypatch, tmp_path / "index")
    return tmp_path / "index"


def test_an_environment_is_made_once(index: Path, tmp_path: Path) -> None:
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("tinytool==1.0.0\n", encoding="utf-8")
    steps: list[str] = []
    pythons: list[Path] = []

    def one() -> None:
        pythons.append(make_environment(tmp_path / "data", "tiny", wanted, lambda step, _: steps.append(step)))

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pythons[0] == pythons[1]
    assert steps == ["installing"]
    done = subprocess.run(
        [pythons[0], "-c", "import tinytool; print(tinytool.ANSWER)"], capture_output=True, check=True
    )
    assert done.stdout == b"42\n"
    assert subprocess.run([pythons[0], "-c", "import numpy"], capture_output=True, check=False).returncode
    wanted.write_text("tinytool==1.0.0  # another pin would come here\n", encoding="utf-8")
    assert environment_folder(tmp_path / "data", "tiny", wanted) != pythons[0].parents[1]


def test_an_environment_that_cannot_be_made_leaves_nothing(index: Path, tmp_path: Path) -> None:
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("tinytool==9.9.9\n", encoding="utf-8")
    with pytest.raises(SourceError, match=r"The environment of tiny cannot be made: .*tinytool==9\.9\.9"):
        make_environment(tmp_path / "data", "tiny", wanted)
    assert [path.name for path in (tmp_path / "data" / "envs").iterdir()] == [".tiny.lock"]


def test_what_a_killed_installation_left_is_made_again(index: Path, tmp_path: Path) -> None:
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("tinytool==1.0.0\n", encoding="utf-8")
    folder = environment_folder(tmp_path / "data", "tiny", wanted)
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").write_text("half", encoding="utf-8")
    assert not is_made(folder)
    python = make_environment(tmp_path / "data", "tiny", wanted)
    assert subprocess.run([python, "-c", "import tinytool"], check=False).returncode == 0


def run_script(tmp_path: Path, script: str, request: dict[str, Any], steps: list[str] | None = None) -> dict[str, Any]:
    worker = tmp_path / "worker.py"
    worker.write_text(script, encoding="utf-8")
    told = [] if steps is None else steps
    return run_worker(Path(sys.executable), worker, request, tmp_path, lambda step, _: told.append(step))


GOOD = """
import json, sys, os
request = json.load(open(sys.argv[1]))
print("a library prints this")
print(json.dumps({"step": "working", "progress": 0.5}))
json.dump({"twice": 2 * request["number"], "path": os.environ["PYTHONPATH"]}, open(sys.argv[2], "w"))
"""


def test_a_worker_answers_and_tells_its_steps(tmp_path: Path) -> None:
    steps: list[str] = []
    assert run_script(tmp_path, GOOD, {"number": 21}, steps) == {"twice": 42, "path": ""}
    assert steps == ["working"]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("raise ValueError('the model is odd')", "worker.py failed: .*ValueError: the model is odd"),
        ("pass", "it ended with 0"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "it ended with -9"),
    ],
)
def test_a_worker_that_fails_is_told(tmp_path: Path, script: str, said: str) -> None:
    (tmp_path / "result.json").write_text("{}", encoding="utf-8")  # of an earlier run
    with pytest.raises(ConversionError, match=said):
        run_script(tmp_path, script, {})


STARTER = """
import signal
import sys
from pathlib import Path
from conversion.environments import run_worker
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would have it ignored
run_worker(Path(sys.executable), Path(sys.argv[1]) / "w.py", {}, Path(sys.argv[1]))
"""


def test_ctrl_c_ends_the_worker_too(tmp_path: Path) -> None:
    script = "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(60)\n"
    (tmp_path / "w.py").write_text(script, encoding="utf-8")
    process = subprocess.Popen([sys.executable, "-c", STARTER, str(tmp_path)], cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text(encoding="utf-8"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.wait(30)
    worker = int((tmp_path / "pid").read_text(encoding="utf-8"))
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)


def test_the_gates(tmp_path: Path) -> None:
    answers = tuple(f"réponse {number}" for number in range(20))
    missing = tmp_path / "none.gguf"
    first, second = judge(Scored(20.0, answers), Scored(20.9, answers), missing)
    assert (first.verdict, first.value, second.verdict) == ("pass", 1.045, "pass")
    worse, _ = judge(Scored(20.0, answers), Scored(21.1, answers), missing)
    assert (worse.verdict, worse.threshold) == ("fail", 1.05)
    assert "--keep" in worse.remedy


@pytest.mark.model
def test_answers_are_compared_by_their_meaning() -> None:
    embedder = DATA / "models" / EMBEDDER_FILE
    if not embedder.is_file():
        pytest.skip("the embedder has not been assembled: python -m conversion embedder")
    said = ["La liberté est la connaissance de la nécessité.", "Le désir est l'essence de l'homme.", ""]
    assert similarity(said, said, embedder) == 1.0
    near = similarity(said[:1], ["Être libre, c'est connaître la nécessité."], embedder)
    far = similarity(said[:1], ["Il faut deux œufs et du beurre."], embedder)
    assert 0.9 < near < 1.0
    assert far < near - 0.05
    assert similarity(["x", "texte"], ["x", ""], embedder) == 0.5
    twenty = tuple(f"La liberté, {number} fois." for number in range(20))
    garbled = tuple("le le le de de" for _ in twenty)
    _, alike = judge(Scored(20.0, twenty), Scored(20.0, twenty), embedder)
    _, other = judge(Scored(20.0, twenty), Scored(20.0, garbled), embedder)
    _, few = judge(Scored(20.0, twenty[:3]), Scored(20.0, twenty[:3]), embedder)
    assert (alike.verdict, alike.details["same"], other.verdict, few.verdict) == ("pass", 20, "fail", "warn")


def write_tiny_checkpoint(folder: Path) -> Path:
    """A two-layer llama whose rows fill whole groups of 128, with a tokenizer of words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = sorted(set(FRENCH.split()))
    vocabulary = {word: number for number, word in enumerate(["<unk>", "<s>", "</s>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>",
                                   pad_token="</s>")  # fmt: skip
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(vocab_size=len(vocabulary), hidden_size=128, intermediate_size=256, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
                         bos_token_id=1, eos_token_id=2, tie_word_embeddings=False)  # fmt: skip
    model = LlamaForCausalLM(config)
    ids = torch.tensor([fast(FRENCH)["input_ids"]])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(40):  # a model that has learnt something has something to lose
        optimizer.zero_grad()
        model(ids, labels=ids).loss.backward()
        optimizer.step()
    model.to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.mark.proof
@pytest.mark.skipif(not MADE, reason="llm-compressor's environment is not there: make gpu-env")
def test_gptq_on_a_cpu(tmp_path: Path) -> None:
    """The real tool on a small model: the result loads, says nearly the same, and carries its report."""
    model = write_tiny_checkpoint(tmp_path / "model")
    (tmp_path / "calibration.txt").write_text(FRENCH, encoding="utf-8")
    (tmp_path / "held.txt").write_text("\n".join(reversed(FRENCH.splitlines())), encoding="utf-8")
    request = Gpu4Request(model, tmp_path / "out", "gptq", (tmp_path / "calibration.txt",), (tmp_path / "held.txt",),
                          max_length=64, threads=1)  # fmt: skip
    steps: list[str] = []
    found = quantise_for_gpu(request, DATA, lambda step, _: steps.append(step))
    assert {"scoring", "quantising", "saving"} <= set(steps)
    assert found.gate("perplexity").verdict == "pass"
    assert read_report(tmp_path / "out" / "verify.json").to_dict() == found.to_dict()
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))["quantization_config"]
    assert config["quant_method"] == "compressed-tensors"
    assert config["config_groups"]["group_0"]["weights"]["num_bits"] == 4
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (model / "tokenizer.json").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["calibration.txt", "held.txt", "model", "out"]


@pytest.mark.proof
@pytest.mark.skipif(not MADE, reason="llm-compressor's environment is not there: make gpu-env")
def test_a_result_that_loses_too_much_is_refused(tmp_path: Path) -> None:
    """A bar that cannot be cleared: nothing is kept, the figures stay. One attempt: each takes half a minute."""
    model = write_tiny_checkpoint(tmp_path / "model")
    (tmp_path / "calibration.txt").write_text(FRENCH, encoding="utf-8")
    (tmp_path / "held.txt").write_text(FRENCH + "\n", encoding="utf-8")
    request = Gpu4Request(model, tmp_path / "out", "gptq", (tmp_path / "calibration.txt",), (tmp_path / "held.txt",),
                          max_length=64, threads=1, max_loss=0.5, keep=(ATTENTION, DOWN))  # fmt: skip
    with pytest.raises(ConversionError, match=r"No attempt is good enough \(perplexity"):
        quantise_for_gpu(request, DATA)
    assert not request.out.exists()
    refused = read_report(tmp_path / "out.refused.json")
    assert [one["kept"] for one in refused.about["attempts"]] == [["lm_head", ATTENTION, DOWN]]
    assert not refused.passed
