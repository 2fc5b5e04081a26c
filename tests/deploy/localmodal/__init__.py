"""A local stand-in for Modal: deploy with the real CLI, run what was deployed, no account, no network.

Layers, each importing only the ones above it:

    loop           an asyncio loop in a thread, so that tests stay synchronous
    rpc            every RPC of Modal's API, answering UNIMPLEMENTED and recorded
    definitions    one function definition in the shapes that the client and the container expect
    control_plane  the RPCs that `modal deploy` calls
    deployment     questions to ask about what was deployed
    server         the control plane on a port or a unix socket, and `modal` commands run against it
    container      the RPCs that Modal's container runtime calls
    front          the HTTP edge: proxy authentication, HTTP to ASGI messages or to a port
    worker         one deployed function executed in Modal's container runtime
"""

from tests.deploy.localmodal.control_plane import ControlPlane
from tests.deploy.localmodal.deployment import Deployment
from tests.deploy.localmodal.front import ProxyToken
from tests.deploy.localmodal.server import ControlPlaneServer
from tests.deploy.localmodal.worker import ContainerFailed, Worker

__all__ = ["ContainerFailed", "ControlPlane", "ControlPlaneServer", "Deployment", "ProxyToken", "Worker"]
