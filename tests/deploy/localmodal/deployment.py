"""Questions to ask about what was deployed. Reads the control plane's state and changes nothing."""

from modal_proto import api_pb2 as pb

from tests.deploy.localmodal import definitions
from tests.deploy.localmodal.control_plane import ControlPlane


class Deployment:
    """The latest deployment of a control plane. Functions are named as in Modal: "gateway", "Engine", "Engine.*".

    A class deployed with `@app.cls` is named "Engine.*", one deployed with `@app.server` is named "Engine".
    """

    def __init__(self, plane: ControlPlane) -> None:
        if not plane.published:
            raise LookupError("Nothing was deployed.")
        self._plane = plane
        self.request: pb.AppPublishRequest = plane.published[-1]

    @property
    def function_names(self) -> list[str]:
        return sorted(self.request.function_ids)

    def function_id(self, name: str) -> str:
        if name not in self.request.function_ids:
            raise LookupError(f"No function {name!r}. Deployed: {', '.join(self.function_names)}.")
        return str(self.request.function_ids[name])

    def function(self, name: str) -> pb.Function:
        """The definition as sent; with several acceptable GPUs, the one of the preferred GPU."""
        return definitions.variants(self._plane.functions[self.function_id(name)])[0]

    def volumes(self, name: str) -> dict[str, tuple[str, bool]]:
        """Mount path -> (volume name, read-only)."""
        names = {volume_id: volume for volume, volume_id in self._plane.volumes.items()}
        return {m.mount_path: (names[m.volume_id], m.read_only) for m in self.function(name).volume_mounts}

    def secrets(self, name: str) -> list[str]:
        """Names of the secrets that the function's containers see."""
        return [self._plane.secrets[secret_id].name for secret_id in self.function(name).secret_ids]

    def image_commands(self, name: str) -> list[str]:
        """Every Dockerfile line of the function's image, base layer first."""
        commands: list[str] = []
        image_id = self.function(name).image_id
        while image_id:
            image = self._plane.images[image_id].image
            commands[:0] = image.dockerfile_commands
            image_id = image.base_images[0].image_id if image.base_images else ""
        return commands

    def files(self, name: str) -> dict[str, bytes]:
        """Path in the container -> content, for the local files that the function's containers see."""
        mounts = [self._plane.mounts[mount_id] for mount_id in self.function(name).mount_ids]
        return {file.filename: self._plane.files[file.sha256_hex] for mount in mounts for file in mount.files}

    def uploaded_paths(self) -> list[str]:
        """Path in the container of every local file that any function of any deployment was given."""
        return sorted({file.filename for mount in self._plane.mounts.values() for file in mount.files})
