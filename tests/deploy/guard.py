"""What a deployment must never become: costly by accident, or open to strangers. Reads what Modal gets."""

from collections.abc import Mapping

from modal_proto import api_pb2 as pb

from modal_deploy.config import Config


def faults(functions: Mapping[str, pb.Function], config: Config) -> list[str]:
    """Return what is wrong with a deployment's functions, by name; an empty list when nothing is."""
    found = []
    for name, function in functions.items():
        scaling = function.autoscaler_settings
        if scaling.min_containers or scaling.buffer_containers:
            found.append(f"{name} is always on")
        if not 0 < scaling.scaledown_window <= 120:
            found.append(f"{name} idles for {scaling.scaledown_window} s")
        if not 0 < scaling.max_containers <= 1:
            found.append(f"{name} may run {scaling.max_containers} times")
        if function.scheduler_placement.regions:
            found.append(f"{name} is pinned to a region, which costs 1.5 to 1.75 times as much")
        if function.resources.gpu_config.count > (name == "Engine"):
            found.append(f"{name} has {function.resources.gpu_config.count} GPUs")
        if function.webhook_config.type and not function.webhook_config.requires_proxy_auth:
            found.append(f"{name} is open to everybody")
        if function.is_server and function.http_config.unauthenticated:
            found.append(f"{name} is open to everybody")
    engine, gateway = functions["Engine"], functions["gateway"]
    if engine.resources.gpu_config.gpu_type != config.engine.gpu:
        found.append(f"Engine runs on {engine.resources.gpu_config.gpu_type}")
    if gateway.timeout_secs > 150:
        found.append(f"gateway may take {gateway.timeout_secs} s")
    if not all(mount.read_only for mount in engine.volume_mounts if mount.mount_path == "/weights"):
        found.append("Engine may write its weights")
    return found
