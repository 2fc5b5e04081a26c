"""The RPCs that Modal's container runtime calls. Hands it web requests and takes its ASGI messages back."""
# ruff: noqa: N802 - the methods are Modal's RPCs, under Modal's names

import asyncio
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.empty_pb2 import Empty  # type: ignore[import-untyped]
from modal._serialization import deserialize_data_format, serialize_data_format
from modal_proto import api_pb2 as pb

from tests.deploy.localmodal.rpc import ModalServicer, RpcStream, receive

LONG_POLL_S = 5.0


@dataclass(frozen=True)
class Failure:
    """The call, or the whole container, failed. `error` is the exception as the runtime reported it."""

    error: str


class Finished:
    """The container sends nothing more for this call."""


@dataclass
class WebCall:
    """One web request inside the container.

    Attributes:
        call_id: Identifies the call and its only input.
        to_app: Serialised ASGI messages for the app.
        from_app: What comes back: ASGI messages, then `Finished` or `Failure`.
    """

    call_id: str
    to_app: asyncio.Queue[pb.DataChunk] = field(default_factory=asyncio.Queue)
    from_app: asyncio.Queue[dict[str, Any] | Finished | Failure] = field(default_factory=asyncio.Queue)
    _sent: int = 0

    def send(self, message: dict[str, Any]) -> None:
        """Queue one ASGI message for the app."""
        self._sent += 1
        data = serialize_data_format(message, pb.DATA_FORMAT_ASGI)
        self.to_app.put_nowait(pb.DataChunk(data_format=pb.DATA_FORMAT_ASGI, index=self._sent, data=data))


class ContainerRpcs(ModalServicer):
    """The worker's side of one running container.

    Attributes:
        ready: Set when every enter hook has run and the container takes requests.
        lifecycle: What happened outside of requests, in order: "ready", "checkpoint", "commit <volume id>", "reload …".
        failures: Exceptions that ended the container while it started.
    """

    def __init__(self, restore_file: Path) -> None:
        """`restore_file` is what a container waits for after a checkpoint; it is written as soon as it asks for one."""
        super().__init__()
        self.ready = asyncio.Event()
        self.lifecycle: list[str] = []
        self.failures: list[str] = []
        self._restore_file = restore_file
        self._inputs: asyncio.Queue[pb.FunctionGetInputsItem] = asyncio.Queue()
        self._calls: dict[str, WebCall] = {}
        self._ended: Failure | None = None

    def open_call(self, scope: dict[str, Any], method: str) -> WebCall:
        """Hand the container a request; `method` names the method of a class, "" for a function."""
        call = WebCall(uuid.uuid4().hex)
        self._calls[call.call_id] = call
        if self._ended:
            call.from_app.put_nowait(self._ended)
        arguments = serialize_data_format(((scope,), {}), pb.DATA_FORMAT_PICKLE)
        function_input = pb.FunctionInput(args=arguments, data_format=pb.DATA_FORMAT_PICKLE, method_name=method)
        self._inputs.put_nowait(
            pb.FunctionGetInputsItem(input_id=call.call_id, function_call_id=call.call_id, input=function_input)
        )
        return call

    def stop_container(self) -> None:
        """Ask the container to finish its calls, run its exit hooks and leave."""
        self._inputs.put_nowait(pb.FunctionGetInputsItem(kill_switch=True))

    def container_ended(self, error: str) -> None:
        """Fail the calls that wait for the container, and those to come."""
        self._ended = Failure(error)
        for call in self._calls.values():
            call.from_app.put_nowait(self._ended)

    # Life of the container

    async def ContainerHello(self, stream: RpcStream) -> None:
        await receive(stream)
        await stream.send_message(Empty())

    async def ContainerHeartbeat(self, stream: RpcStream) -> None:
        await receive(stream)
        await stream.send_message(pb.ContainerHeartbeatResponse())

    async def ContainerServerLifecycleReady(self, stream: RpcStream) -> None:
        await receive(stream)
        self._mark_ready()
        await stream.send_message(Empty())

    async def ContainerCheckpoint(self, stream: RpcStream) -> None:
        await receive(stream)
        self.lifecycle.append("checkpoint")
        await stream.send_message(Empty())
        self._restore_file.write_text("{}")

    async def VolumeCommit(self, stream: RpcStream) -> None:
        request = await receive(stream)
        self.lifecycle.append(f"commit {request.volume_id}")
        await stream.send_message(pb.VolumeCommitResponse())

    async def VolumeReload(self, stream: RpcStream) -> None:
        request = await receive(stream)
        self.lifecycle.append(f"reload {request.volume_id}")
        await stream.send_message(Empty())

    async def TaskResult(self, stream: RpcStream) -> None:
        request = await receive(stream)
        self.failures.append(request.result.exception)
        await stream.send_message(Empty())

    # Calls

    async def FunctionGetDynamicConcurrency(self, stream: RpcStream) -> None:
        request = await receive(stream)
        await stream.send_message(pb.FunctionGetDynamicConcurrencyResponse(concurrency=request.max_concurrency or 1))

    async def FunctionGetInputs(self, stream: RpcStream) -> None:
        await receive(stream)
        self._mark_ready()
        try:
            inputs = [await asyncio.wait_for(self._inputs.get(), LONG_POLL_S)]
        except TimeoutError:
            inputs = []
        await stream.send_message(pb.FunctionGetInputsResponse(inputs=inputs))

    async def FunctionCallGetDataIn(self, stream: RpcStream) -> None:
        """Stream the request's ASGI messages; the runtime ends the stream when the app is done."""
        request = await receive(stream)
        call = self._calls[request.function_call_id]
        while True:
            await stream.send_message(await call.to_app.get())

    async def FunctionCallPutDataOut(self, stream: RpcStream) -> None:
        request = await receive(stream)
        call = self._calls[request.function_call_id]
        for chunk in request.data_chunks:
            call.from_app.put_nowait(deserialize_data_format(chunk.data, chunk.data_format, None))
        await stream.send_message(Empty())

    async def FunctionPutOutputs(self, stream: RpcStream) -> None:
        request = await receive(stream)
        for output in request.outputs:
            call = self._calls.pop(output.input_id)
            succeeded = output.result.status == pb.GenericResult.GENERIC_STATUS_SUCCESS
            call.from_app.put_nowait(Finished() if succeeded else Failure(output.result.exception))
        await stream.send_message(Empty())

    def _mark_ready(self) -> None:
        if not self.ready.is_set():
            self.lifecycle.append("ready")
            self.ready.set()
