"""The real `modal deploy` of the house as it stands, against the local control plane: what Modal was told."""

import ast
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from modal_proto import api_pb2 as pb
from packaging.requirements import Requirement

from modal_deploy.config import Config
from modal_deploy.images import GATEWAY_PACKAGES, MORE_PACKAGES, pinned
from tests.deploy.conftest import APP, ROOT, SECRETS, Deployed
from tests.deploy.guard import faults
from tests.deploy.localmodal import ControlPlane, ControlPlaneServer, Deployment


def functions_of(deployment: Deployment) -> dict[str, pb.Function]:
    return {name: deployment.function(name) for name in deployment.function_names}


def test_the_cli_prints_two_closed_addresses(deployed: Deployed) -> None:
    assert "https://ws--bergson-premium-gateway.modal.run 🔑" in deployed.said
    assert "https://ws--bergson-premium-engine.us-east.modal.direct 🔑" in deployed.said
    assert deployed.plane.unknown == []


def test_what_is_deployed(deployment: Deployment) -> None:
    assert deployment.function_names == ["Engine", "download", "gateway"]
    assert (deployment.request.deployment_tag, dict(deployment.request.tags)) == ("v2", {"tier": "premium"})


def test_engine(deployment: Deployment, config: Config) -> None:
    engine = deployment.function("Engine")
    assert (engine.resources.gpu_config.gpu_type, engine.resources.gpu_config.count) == ("A10", 1)
    assert (engine.resources.milli_cpu, engine.resources.memory_mb) == (4000, 24 * 1024)
    scaling = engine.autoscaler_settings
    assert (scaling.min_containers, scaling.max_containers, scaling.scaledown_window) == (0, 1, 120)
    assert scaling.target_concurrency_float == config.engine.max_seqs
    assert engine.startup_timeout_secs == 600
    assert engine.checkpointing_enabled
    assert dict(engine.experimental_options) == {"enable_gpu_snapshot": "True"}
    assert (engine.http_config.port, engine.http_config.unauthenticated) == (8000, False)


def test_gateway(deployment: Deployment) -> None:
    gateway = deployment.function("gateway")
    assert gateway.resources.gpu_config.count == 0
    assert (gateway.resources.milli_cpu, gateway.resources.memory_mb) == (250, 1024)
    assert gateway.webhook_config.type == pb.WEBHOOK_TYPE_ASGI_APP
    assert gateway.webhook_config.requires_proxy_auth
    assert (gateway.max_concurrent_inputs, gateway.timeout_secs) == (50, 150)
    scaling = gateway.autoscaler_settings
    assert (scaling.min_containers, scaling.max_containers, scaling.scaledown_window) == (0, 1, 60)
    assert not gateway.checkpointing_enabled


def test_volumes_are_read_only_where_they_are_read(deployment: Deployment) -> None:
    assert deployment.volumes("Engine") == {
        "/weights": ("bergson-premium-weights", True),
        "/root/.cache/vllm": ("bergson-premium-compiled", False),
    }
    assert deployment.volumes("gateway") == {
        "/weights": ("bergson-premium-weights", True),
        "/ledger": ("bergson-premium-ledger", False),
    }
    assert deployment.volumes("download") == {"/weights": ("bergson-premium-weights", False)}


def test_each_container_sees_its_own_secrets(deployment: Deployment) -> None:
    assert deployment.secrets("Engine") == ["bergson-premium-engine"]
    assert sorted(deployment.secrets("gateway")) == ["bergson-premium-engine", "bergson-premium-gateway"]
    assert deployment.secrets("download") == ["huggingface-secret"]


def test_layers_of_the_engine(deployment: Deployment) -> None:
    said = "\n".join(deployment.image_commands("Engine"))
    for part in ("FROM nvidia/cuda:12.9.1-devel-ubuntu22.04", "ENTRYPOINT []", "vllm==0.33.0", "HF_HUB_OFFLINE=1",
                 "VLLM_SERVER_DEV_MODE=1", "VLLM_NO_USAGE_STATS=1"):  # fmt: skip
        assert part in said, part
    assert "gradio" not in said


def test_layers_of_the_gateway(deployment: Deployment) -> None:
    said = "\n".join(deployment.image_commands("gateway"))
    for package in (*pinned(GATEWAY_PACKAGES), *MORE_PACKAGES):
        assert package in said, package
    assert "GGML_NATIVE=OFF" in said
    for absent in ("torch", "gradio", "vllm", "transformers"):
        assert absent not in said, absent


def test_files_of_each_container(deployment: Deployment) -> None:
    gateway, engine = set(deployment.files("gateway")), set(deployment.files("Engine"))
    for path in ("app.py", "errors.py", "settings.py", "requirements.txt", "modal_deploy/premium.toml",
                 "service/gateway.py", "personas/spinoza.toml", "data/notes/kant.jsonl", "data/notes/vectors.json",
                 "data/safety/crisis_numbers.toml", "dialogue/stance_weights.json.xz"):  # fmt: skip
        assert f"/root/{path}" in gateway, path
    assert "/root/modal_deploy/vllm_server.py" in engine
    assert {path.split("/")[2] for path in engine} == {
        "app.py", "errors.py", "settings.py", "requirements.txt", "modal_deploy",
    }  # fmt: skip


def test_nothing_else_leaves_the_project(deployment: Deployment) -> None:
    kinds = {path.rsplit(".", 1)[-1] for path in deployment.uploaded_paths()}
    assert kinds <= {"py", "toml", "txt", "jsonl", "npy", "json", "xz"}
    assert not [path for path in deployment.uploaded_paths() if "/." in path or "eval" in path.split("/")]


def test_redeploying_keeps_the_ids(deployed: Deployed) -> None:
    assert deployed.ids[0] == deployed.ids[1]
    assert set(deployed.plane.volumes) == {f"bergson-premium-{name}" for name in ("weights", "compiled", "ledger")}


def test_a_secret_without_its_key_refuses_the_deployment() -> None:
    plane = ControlPlane(secrets=SECRETS | {"bergson-premium-engine": {"OTHER": "x"}})
    with ControlPlaneServer(plane) as server:
        result = server.modal("deploy", APP, cwd=ROOT)
    assert result.returncode == 1
    assert "lacks the keys ['BAF_ENGINE_KEY']" in " ".join((result.stdout + result.stderr).split())
    assert plane.published == []


def test_the_deployment_is_within_bounds(deployment: Deployment, config: Config) -> None:
    assert faults(functions_of(deployment), config) == []


def _scale(name: str, **values: int) -> Callable[[dict[str, pb.Function]], None]:
    def change(functions: dict[str, pb.Function]) -> None:
        for key, value in values.items():
            setattr(functions[name].autoscaler_settings, key, value)

    return change


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (_scale("Engine", min_containers=1), "Engine is always on"),
        (_scale("gateway", buffer_containers=1), "gateway is always on"),
        (_scale("Engine", scaledown_window=1200), "Engine idles for 1200 s"),
        (_scale("Engine", scaledown_window=0), "Engine idles for 0 s"),
        (_scale("Engine", max_containers=9), "Engine may run 9 times"),
        (_scale("gateway", max_containers=0), "gateway may run 0 times"),
        (lambda all_: all_["Engine"].scheduler_placement.regions.append("us-east"), "pinned to a region"),
        (lambda all_: setattr(all_["Engine"].resources.gpu_config, "gpu_type", "H100"), "Engine runs on H100"),
        (lambda all_: setattr(all_["Engine"].resources.gpu_config, "count", 2), "Engine has 2 GPUs"),
        (lambda all_: setattr(all_["gateway"].resources.gpu_config, "count", 1), "gateway has 1 GPUs"),
        (lambda all_: setattr(all_["Engine"].http_config, "unauthenticated", True), "Engine is open"),
        (lambda all_: setattr(all_["gateway"].webhook_config, "requires_proxy_auth", False), "gateway is open"),
        (lambda all_: setattr(all_["gateway"], "timeout_secs", 3000), "gateway may take 3000 s"),
        (lambda all_: setattr(all_["Engine"].volume_mounts[0], "read_only", False), "may write its weights"),
    ],
)
def test_each_mistake_is_caught(
    mistake: Callable[[dict[str, pb.Function]], None], said: str, deployment: Deployment, config: Config
) -> None:
    functions = {}
    for name, function in functions_of(deployment).items():
        functions[name] = pb.Function()
        functions[name].CopyFrom(function)
    functions["Engine"].volume_mounts.sort(key=lambda mount: mount.mount_path, reverse=True)
    mistake(functions)
    assert any(said in fault for fault in faults(functions, config)), faults(functions, config)


def test_the_gateway_imports_only_what_its_image_has() -> None:
    """Every package that the gateway's modules import when they are loaded is installed by name, or by one that is."""
    installed = packages_distributions()
    packages = _imported_from("modal_deploy/gateway.py") - set(sys.stdlib_module_names)
    needed = {_name(distribution) for package in packages for distribution in installed[package]}
    named = {_name(line) for line in (*pinned(GATEWAY_PACKAGES), *MORE_PACKAGES)}
    assert {"fastapi", "httpx", "sqlalchemy", "pyjwt"} < needed
    assert needed <= _closure(named)


def _imported_from(start: str) -> set[str]:
    """Foreign packages that a module of ours imports, and those that ours import which it imports."""
    todo, seen, foreign = [ROOT / start], set[Path](), set[str]()
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            for name in _names_in(node):
                top = name.split(".")[0]
                if (ROOT / top).is_dir() or (ROOT / f"{top}.py").is_file():
                    module = ROOT / name.replace(".", "/")
                    found = [module.with_suffix(".py"), module / "__init__.py"]
                    todo += [file for file in found if file.is_file()]
                else:
                    foreign.add(top)
    return foreign


def _names_in(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def _name(requirement: str) -> str:
    return Requirement(requirement).name.lower().replace("_", "-").replace(".", "-")


def _closure(names: set[str]) -> set[str]:
    """`names` and all that they require on this machine."""
    found: set[str] = set()
    todo = set(names)
    while todo:
        name = todo.pop()
        found.add(name)
        try:
            lines = requires(name) or []
        except PackageNotFoundError:
            continue
        for requirement in map(Requirement, lines):
            if (requirement.marker is None or requirement.marker.evaluate({"extra": ""})) and (
                (other := _name(requirement.name)) not in found
            ):
                todo.add(other)
    return found


def test_pins_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    stated = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    for extra in project["optional-dependencies"].values():
        stated += extra
    pins = {_name(line): line for line in stated if line and not line.startswith("#")}
    assert [line for line in MORE_PACKAGES if pins.get(_name(line), line) != line] == []
