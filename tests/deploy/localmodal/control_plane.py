"""The RPCs that `modal deploy`, `modal secret create` and `modal volume create` call, over state held in memory.

Knows what was asked of it; decides nothing about images, scheduling or money. Binds no port: see `server`.
"""
# ruff: noqa: N802 - the methods are Modal's RPCs, under Modal's names

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.empty_pb2 import Empty  # type: ignore[import-untyped]
from grpclib import GRPCError, Status
from modal_proto import api_pb2 as pb

from tests.deploy.localmodal import definitions
from tests.deploy.localmodal.rpc import ModalServicer, RpcStream, receive

TOKEN_ID, TOKEN_SECRET = "ak-local", "as-local"
IMAGE_BUILDER_VERSION = "2025.06"
_SUCCESS = pb.GenericResult(status=pb.GenericResult.GENERIC_STATUS_SUCCESS)


@dataclass(frozen=True)
class StoredSecret:
    """A secret of the workspace.

    Attributes:
        name: Name given by `modal secret create`; "" for a secret built in code from a dict.
        values: Environment variables that a container using the secret sees.
    """

    name: str
    values: Mapping[str, str] = field(repr=False)


class ControlPlane(ModalServicer):
    """One workspace with one environment.

    Attributes:
        calls: Number of times each served RPC was called.
        functions: Definition of each function by id, as the client sent it.
        images: Each image layer by id, as the client sent it.
        mounts: Each set of local files by id: file names and content hashes.
        files: Content of every uploaded file by SHA-256.
        volumes: Volume id by name.
        secrets: Secrets by id.
        published: Every deployment, oldest first.
    """

    def __init__(self, workspace: str = "ws", *, secrets: Mapping[str, Mapping[str, str]] | None = None) -> None:
        """Start with the given `secrets`, by name; a deployment that names another one is refused."""
        super().__init__()
        self.workspace = workspace
        self.calls: Counter[str] = Counter()
        self.functions: dict[str, pb.FunctionCreateRequest] = {}
        self.images: dict[str, pb.ImageGetOrCreateRequest] = {}
        self.mounts: dict[str, pb.MountGetOrCreateRequest] = {}
        self.files: dict[str, bytes] = {}
        self.volumes: dict[str, str] = {}
        self.secrets: dict[str, StoredSecret] = {}
        self.published: list[pb.AppPublishRequest] = []
        self._app_names: dict[str, str] = {}
        self._last_id = 0
        for name, values in (secrets or {}).items():
            self._store_secret(name, values)

    def app_layout(self, app_id: str) -> pb.AppLayout:
        """The functions and classes of the app's latest deployment; empty before the first one."""
        latest = next((each for each in reversed(self.published) if each.app_id == app_id), pb.AppPublishRequest())
        return pb.AppLayout(function_ids=latest.function_ids, class_ids=latest.class_ids)

    def handle_metadata(
        self, definition: pb.Function | pb.FunctionPrecreateRequest, function_id: str, app_id: str
    ) -> pb.FunctionHandleMetadata:
        """What a handle on the function knows."""
        app_name = self._app_names[app_id]
        return definitions.handle_metadata(definition, function_id, app_id, app_name, self.workspace)

    # Session and app

    async def EnvironmentGetOrCreate(self, stream: RpcStream) -> None:
        request = await self._receive(stream)
        settings = pb.EnvironmentSettings(image_builder_version=IMAGE_BUILDER_VERSION)
        metadata = pb.EnvironmentMetadata(name=request.deployment_name or "main", settings=settings)
        await stream.send_message(pb.EnvironmentGetOrCreateResponse(environment_id="en-1", metadata=metadata))

    async def AppGetByDeploymentName(self, stream: RpcStream) -> None:
        request = await self._receive(stream)
        app_id = next((each.app_id for each in reversed(self.published) if each.name == request.name), "")
        await stream.send_message(pb.AppGetByDeploymentNameResponse(app_id=app_id))

    async def AppCreate(self, stream: RpcStream) -> None:
        request = await self._receive(stream)
        app_id = self._new_id("ap")
        self._app_names[app_id] = request.description
        page = f"http://localhost/apps/{app_id}"
        await stream.send_message(pb.AppCreateResponse(app_id=app_id, app_page_url=page, app_logs_url=f"{page}/logs"))

    async def AppGetLayout(self, stream: RpcStream) -> None:
        request = await self._receive(stream)
        await stream.send_message(pb.AppGetLayoutResponse(app_layout=self.app_layout(request.app_id)))

    async def AppHeartbeat(self, stream: RpcStream) -> None:
        await self._receive(stream)
        await stream.send_message(Empty())

    async def AppClientDisconnect(self, stream: RpcStream) -> None:
        await self._receive(stream)
        await stream.send_message(Empty())

    async def AppPublish(self, stream: RpcStream) -> None:
        request = await self._receive(stream)
        self.published.append(request)
        url = f"http://localhost/apps/{request.name}"
        await stream.send_message(pb.AppPublishResponse(url=url, deployed_at=time.time()))

    # Volumes, secrets, local files, images

    async def VolumeGetOrCreate(self, stream: RpcStream) -> None:
        request = await self._receive(stream)
        name = request.deployment_name
        if name not in self.volumes:
            if request.object_creation_type == pb.OBJECT_CREATION_TYPE_UNSPECIFIED:
                raise GRPCError(Status.NOT_FOUND, f"Volume '{name}' not found")
            self.volumes[name] = self._new_id("vo")
        metadata = pb.VolumeMetadata(version=request.version, name=name)
        await stream.send_message(
            pb.VolumeGetOrCreateResponse(volume_id=self.volumes[name], version=request.version, metadata=metadata)
        )

    async def SecretGetOrCreate(self, stream: RpcStream) -> None:
        request = await self._receive(stream)
        if request.object_creation_type == pb.OBJECT_CREATION_TYPE_UNSPECIFIED:
            secret_id = self._find_secret(request.deployment_name, request.required_keys)
        else:
            secret_id = self._store_secret(request.deployment_name, request.env_dict)
        metadata = pb.SecretMetadata(name=request.deployment_name)
        await stream.send_message(pb.SecretGetOrCreateResponse(secret_id=secret_id, metadata=metadata))

    async def MountBatchedCheckExistence(self, stream: RpcStream) -> None:
        request = await self._receive(stream)
        missing = [sha256 for sha256 in request.sha256_hex_hashes if sha256 not in self.files]
        await stream.send_message(pb.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=missing))

    async def MountPutFile(self, stream: RpcStream) -> None:
        request = await self._receive(stream)
        if request.WhichOneof("data_oneof") == "data":
            self.files[request.sha256_hex] = request.data
        await stream.send_message(pb.MountPutFileResponse(exists=request.sha256_hex in self.files))

    async def MountGetOrCreate(self, stream: RpcStream) -> None:
        request = await self._receive(stream)
        mount_id = self._new_id("mo")
        self.mounts[mount_id] = request
        metadata = pb.MountHandleMetadata(content_checksum_sha256_hex="0" * 64)
        await stream.send_message(pb.MountGetOrCreateResponse(mount_id=mount_id, handle_metadata=metadata))

    async def ImageGetOrCreate(self, stream: RpcStream) -> None:
        request = await self._receive(stream)
        image_id = self._new_id("im")
        self.images[image_id] = request
        metadata = pb.ImageMetadata(image_builder_version=request.builder_version)
        # A result in the answer means "already built", so the client does not wait for a build.
        await stream.send_message(pb.ImageGetOrCreateResponse(image_id=image_id, result=_SUCCESS, metadata=metadata))

    # Functions and classes

    async def FunctionPrecreate(self, stream: RpcStream) -> None:
        request = await self._receive(stream)
        function_id = request.existing_function_id or self._new_id("fu")
        metadata = self.handle_metadata(request, function_id, request.app_id)
        await stream.send_message(pb.FunctionPrecreateResponse(function_id=function_id, handle_metadata=metadata))

    async def FunctionCreate(self, stream: RpcStream) -> None:
        request = await self._receive(stream)
        if unknown := definitions.unknown_gpus(request):
            raise GRPCError(Status.INVALID_ARGUMENT, f"Unknown GPU type {unknown[0]!r}")
        function_id = request.existing_function_id or self._new_id("fu")
        self.functions[function_id] = request
        function = definitions.variants(request)[0]
        metadata = self.handle_metadata(function, function_id, request.app_id)
        response = pb.FunctionCreateResponse(function_id=function_id, handle_metadata=metadata)
        # Client 1.6 needs both: it parses `function_data`, and prints addresses from `function`.
        response.function_data.CopyFrom(definitions.as_function_data(request))
        response.function.CopyFrom(function)
        self._add_urls(response, request.app_id)
        await stream.send_message(response)

    async def ClassCreate(self, stream: RpcStream) -> None:
        request = await self._receive(stream)
        class_id = request.existing_class_id or self._new_id("cs")
        await stream.send_message(pb.ClassCreateResponse(class_id=class_id, handle_metadata=pb.ClassHandleMetadata()))

    # Shared steps

    async def _receive(self, stream: RpcStream) -> Any:
        """The request, once the caller has proved that it holds the workspace token."""
        metadata: Mapping[str, Any] = stream.metadata or {}
        if (metadata.get("x-modal-token-id"), metadata.get("x-modal-token-secret")) != (TOKEN_ID, TOKEN_SECRET):
            raise GRPCError(Status.UNAUTHENTICATED, "the token is not the one of the local control plane")
        request = await receive(stream)
        self.calls[type(request).__name__.removesuffix("Request")] += 1
        return request

    def _new_id(self, prefix: str) -> str:
        self._last_id += 1
        return f"{prefix}-{self._last_id:06d}"

    def _store_secret(self, name: str, values: Mapping[str, str]) -> str:
        secret_id = self._new_id("st")
        self.secrets[secret_id] = StoredSecret(name, dict(values))
        return secret_id

    def _find_secret(self, name: str, required_keys: list[str]) -> str:
        """Id of the latest secret called `name`, which must hold every one of `required_keys`."""
        for secret_id, secret in reversed(self.secrets.items()):
            if secret.name == name:
                if missing := sorted(set(required_keys) - set(secret.values)):
                    raise GRPCError(Status.FAILED_PRECONDITION, f"Secret '{name}' lacks the keys {missing}")
                return secret_id
        raise GRPCError(Status.NOT_FOUND, f"Secret '{name}' not found")

    def _add_urls(self, response: pb.FunctionCreateResponse, app_id: str) -> None:
        servers = definitions.server_urls(self.workspace, self._app_names[app_id], response.function)
        response.handle_metadata._experimental_flash_urls.extend(servers)
        for definition in (response.function, response.function_data):
            definition.web_url = response.handle_metadata.web_url
            definition.flash_service_urls.extend(servers)
            for name, method in definition.method_definitions.items():
                method.web_url = response.handle_metadata.method_handle_metadata[name].web_url
