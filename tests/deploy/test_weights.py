"""The weights' Volume: fetched once, put by hand, half there, cut, of another revision."""

import json
import shutil
from pathlib import Path

import pytest

from errors import ChatError, EngineError, ModelUnfit, SourceError
from modal_deploy.config import Config, Weights
from modal_deploy.vllm_server import COMPLETE
from modal_deploy.weights import as_lines, check, fill
from tests.deploy.conftest import write_adapter, write_checkpoint, write_safetensors

REVISION = "539535859b135b0244c91f3e59816150c8056698"


class Shelf:
    """A place that gives a prepared checkpoint, and counts how often it is asked."""

    def __init__(self, source: Path) -> None:
        self.source, self.asked = source, 0
        self.breaks = False

    def __call__(self, weights: Weights, target: Path) -> None:
        self.asked += 1
        assert weights.repo
        shutil.copytree(self.source, target, dirs_exist_ok=True)
        if self.breaks:
            (target / "model.safetensors").unlink()
            raise SourceError("The line broke.")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(write_checkpoint(tmp_path / "source"))


@pytest.fixture
def with_base(config: Config) -> Config:
    data = config.model_dump(mode="json")
    data["model"]["adapter"] = "none"
    return Config.model_validate(data)


def test_fetched_once_then_there(with_base: Config, shelf: Shelf, tmp_path: Path) -> None:
    root = tmp_path / "volume"
    root.mkdir()
    first = fill(with_base, root, fetch=shelf)
    second = fill(with_base, root, fetch=shelf)
    assert [one.made for one in (*first, *second)] == ["fetched", "there"]
    assert shelf.asked == 1
    mark = json.loads((root / with_base.model.base.folder / COMPLETE).read_text())
    assert (mark["revision"], set(mark["files"])) == (
        REVISION, {"config.json", "tokenizer_config.json", "model.safetensors"},
    )  # fmt: skip
    assert json.loads(as_lines(second))["size_bytes"] == sum(mark["files"].values())


def test_a_broken_fetch_leaves_no_folder_and_goes_on(with_base: Config, shelf: Shelf, tmp_path: Path) -> None:
    shelf.breaks = True
    with pytest.raises(SourceError):
        fill(with_base, tmp_path, fetch=shelf)
    assert not (tmp_path / with_base.model.base.folder).exists()
    shelf.breaks = False
    assert fill(with_base, tmp_path, fetch=shelf)[0].made == "fetched"


def test_what_is_put_by_hand_is_checked(config: Config, shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="modal volume put") as refused:
        fill(config, tmp_path, fetch=shelf)
    assert refused.value.code == "model_missing"
    write_checkpoint(tmp_path / config.model.merged.folder)
    assert fill(config, tmp_path, fetch=shelf)[0].made == "checked"
    assert shelf.asked == 0


def test_another_revision_wants_another_folder(with_base: Config, shelf: Shelf, tmp_path: Path) -> None:
    fill(with_base, tmp_path, fetch=shelf)
    data = with_base.model_dump(mode="json")
    data["model"]["base"]["revision"] = "0" * 40
    with pytest.raises(ModelUnfit, match="name another folder"):
        fill(Config.model_validate(data), tmp_path, fetch=shelf)


def test_an_adapter_of_another_rank(config: Config, shelf: Shelf, tmp_path: Path) -> None:
    data = config.model_dump(mode="json")
    data["model"]["adapter"] = "live"
    live = Config.model_validate(data)
    write_adapter(tmp_path / live.model.lora.folder, rank=32)
    with pytest.raises(ModelUnfit, match="has the rank 32, the settings say 16"):
        fill(live, tmp_path, fetch=shelf)


def _cut(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])


def _spoil(folder: Path, how: str) -> None:
    shard, config_file = folder / "model.safetensors", folder / "config.json"
    match how:
        case "cut":
            _cut(shard, -1)
        case "no-header":
            _cut(shard, 4)
        case "wild-header":
            shard.write_bytes(b"\xff" * 8 + shard.read_bytes())
        case "no-json-header":
            shard.write_bytes((4).to_bytes(8, "little") + b"{{{{")
        case "no-shard":
            shard.unlink()
        case "shard-of-index":
            (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "b.safetensors"}}))
        case "16-bits":
            config_file.write_text("{}")
        case "no-config":
            config_file.unlink()
        case "no-object":
            config_file.write_text("[]")
        case "no-template":
            (folder / "tokenizer_config.json").write_text("{}")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("cut", "was cut"),
        ("no-header", "no safetensors file, or was cut"),
        ("wild-header", "no safetensors file, or was cut"),
        ("no-json-header", "a header that cannot be read"),
        ("no-shard", "model.safetensors is missing"),
        ("shard-of-index", "b.safetensors is missing"),
        ("16-bits", "is not in 4 bits"),
        ("no-config", "config.json is missing"),
        ("no-object", "config.json is no JSON object"),
        ("no-template", "has no chat template"),
    ],
)
def test_what_is_damaged_is_named(how: str, said: str, config: Config, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / config.model.merged.folder)
    _spoil(folder, how)
    with pytest.raises(ChatError, match=said):
        fill(config, tmp_path)
    assert not (folder / COMPLETE).exists()


def test_shards_are_those_of_the_index(config: Config, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "w")
    (folder / "model.safetensors").unlink()
    names = ["model-1.safetensors", "model-2.safetensors"]
    for name in names:
        write_safetensors(folder / name)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": dict(zip("ab", names, strict=True))})
    )
    assert set(names) < set(check(config.model.merged, folder))
