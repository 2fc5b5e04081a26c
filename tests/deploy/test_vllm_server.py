"""vLLM's command line, asserted through a stub of that name; start, sleep, waking up wrong, ends."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from errors import EngineError
from modal_deploy.config import Config
from modal_deploy.vllm_server import Server, command
from tests.deploy.conftest import STUB_BIN, noted, write_adapter, write_checkpoint

KEY = "a-key-that-is-nobody-else-s-0123456789"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home for the stub, which comes first in PATH."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{STUB_BIN}{os.pathsep}{os.environ['PATH']}")
    return tmp_path


@pytest.fixture
def served(config: Config, free_port: Callable[[], int], tmp_path: Path) -> Callable[..., Server]:
    """`served(adapter="live")`: a server over weights of a few bytes."""

    def make(adapter: str = "merged", **engine: Any) -> Server:
        changed = changed_config(config, adapter, port=free_port(), **engine)
        for weights in changed.model.needed:
            write = write_adapter if weights is changed.model.lora else write_checkpoint
            write(tmp_path / "weights" / weights.folder, complete=True)
        return Server(changed, KEY, str(tmp_path / "weights"))

    return make


def changed_config(config: Config, adapter: str, **engine: Any) -> Config:
    data = config.model_dump(mode="json")
    data["model"]["adapter"] = adapter
    data["engine"] |= engine
    return Config.model_validate(data)


def value(line: list[str], option: str) -> str:
    return line[line.index(option) + 1]


def test_the_merged_model_is_a_plain_checkpoint(config: Config) -> None:
    line = command(config)
    assert line[:3] == ["vllm", "serve", "/weights/qwen2.5-14b-snb-w4a16"]
    assert value(line, "--served-model-name") == "snb"
    assert value(line, "--max-model-len") == "8192"
    assert value(line, "--max-num-seqs") == "8"
    assert value(line, "--gpu-memory-utilization") == "0.90"
    assert value(line, "--compilation-config") == '{"cudagraph_capture_sizes": [1, 2, 4, 8]}'
    assert value(line, "--structured-outputs-config") == '{"backend": "xgrammar"}'
    assert {"--enable-prefix-caching", "--enable-sleep-mode", "--no-enable-log-requests"} <= set(line)
    assert not {"--enable-lora", "--enforce-eager"} & set(line)


def test_the_live_adapter_stands_beside_its_base(config: Config) -> None:
    line = command(changed_config(config, "live"))
    assert line[2] == "/weights/qwen2.5-14b-instruct-awq"
    assert value(line, "--served-model-name") == "snb-base"
    assert value(line, "--lora-modules") == "snb=/weights/snb-lora"
    assert (value(line, "--max-loras"), value(line, "--max-lora-rank")) == ("1", "16")


def test_the_base_alone(config: Config) -> None:
    line = command(changed_config(config, "none"))
    assert (line[2], value(line, "--served-model-name")) == ("/weights/qwen2.5-14b-instruct-awq", "snb")
    assert "--enable-lora" not in line


def test_graphs_are_captured_for_every_number_of_answers_up_to_the_bound(config: Config) -> None:
    line = command(changed_config(config, "merged", max_seqs=12))
    assert value(line, "--compilation-config") == '{"cudagraph_capture_sizes": [1, 2, 4, 8, 12]}'


def test_no_snapshot_needs_no_sleep(config: Config) -> None:
    assert "--enable-sleep-mode" not in command(changed_config(config, "merged", snapshot=False))


def test_it_sleeps_and_wakes_as_the_same_model(home: Path, served: Callable[..., Server]) -> None:
    server = served()
    server.start()
    server.sleep()
    server.wake()
    server.stop()
    events = noted(home)
    assert events[0]["argv"][0] == "serve"
    assert KEY not in str(events[0]), "anybody may list the arguments of a process"
    assert [event["route"] for event in events if "route" in event] == ["/sleep?level=1", "/wake_up"]
    assert events[-1] == {"signal": "SIGTERM"}


@pytest.mark.parametrize("fault", ["forgets", "no-wake"])
def test_a_model_that_wakes_up_wrong_is_started_anew(
    fault: str, home: Path, served: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The adapter that silently stops applying after a sleep, and a waking that fails."""
    monkeypatch.setenv("STUB_FAULT", fault)
    server = served("live")
    server.start()
    server.sleep()
    server.wake()
    server.stop()
    assert sum("argv" in event for event in noted(home)) == 2


def test_an_adapter_that_is_never_applied_starts_nothing(
    home: Path, served: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB_FAULT", "no-adapter")
    server = served("live")
    with pytest.raises(EngineError, match="The adapter changes nothing"):
        server.start()
    server.stop()
    assert noted(home)[-1] == {"signal": "SIGTERM"}


def test_an_end_before_the_first_answer_is_said(
    home: Path, served: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB_FAULT", "dies")
    with pytest.raises(EngineError, match="ended with exit code 3"):
        served().start()


def test_missing_weights_start_nothing(home: Path, config: Config, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="fill it with `modal run") as refused:
        Server(config, KEY, str(tmp_path)).start()
    assert refused.value.code == "model_missing"
    assert noted(home) == []


def test_half_a_download_starts_nothing(home: Path, config: Config, tmp_path: Path) -> None:
    write_checkpoint(tmp_path / config.model.merged.folder)
    with pytest.raises(EngineError, match="missing or incomplete"):
        Server(config, KEY, str(tmp_path)).start()


def test_without_a_key_nothing_is_served(config: Config) -> None:
    with pytest.raises(EngineError, match="key is empty"):
        Server(config, "")
