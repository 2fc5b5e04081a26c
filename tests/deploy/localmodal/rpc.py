"""The whole of Modal's API, unimplemented. Knows the protocol of the installed `modal` wheel, no behaviour."""

from collections.abc import Awaitable, Callable
from typing import Any

from grpclib import GRPCError, Status
from grpclib.const import Handler
from grpclib.server import Stream
from modal_proto.api_grpc import ModalClientBase

RpcStream = Stream[Any, Any]


class ModalServicer:
    """Serves the RPCs that a subclass has a method for; every other one answers UNIMPLEMENTED.

    Attributes:
        unknown: Names of the RPCs that were called but are not served, in order of arrival.
    """

    def __init__(self) -> None:
        self.unknown: list[str] = []

    def __mapping__(self) -> dict[str, Handler]:
        """The table of RPCs, as grpclib asks for it.

        Modal's generated base class knows the table but declares nearly 300 abstract methods; a list of
        them would break at each upgrade, so each is filled in by name.
        """
        methods = {
            name: staticmethod(getattr(self, name, None) or self._unimplemented(name))
            for name in ModalClientBase.__abstractmethods__
        }
        mapping: dict[str, Handler] = type("Servicer", (ModalClientBase,), methods)().__mapping__()
        return mapping

    def _unimplemented(self, name: str) -> Callable[[RpcStream], Awaitable[None]]:
        async def handler(stream: RpcStream) -> None:
            await stream.recv_message()
            self.unknown.append(name)
            raise GRPCError(Status.UNIMPLEMENTED, f"the local control plane does not serve {name}")

        return handler


async def receive(stream: RpcStream) -> Any:
    """The request of a unary RPC."""
    request = await stream.recv_message()
    assert request is not None, "the client ended the call before it sent its request"
    return request
