"""The stand-in itself: what it does not serve is refused and remembered, so a client that calls more is noticed."""

from tests.deploy.conftest import ROOT
from tests.deploy.localmodal import ControlPlane, ControlPlaneServer


def test_a_call_that_is_not_served_is_remembered() -> None:
    plane = ControlPlane()
    with ControlPlaneServer(plane) as server:
        assert server.modal("app", "list", cwd=ROOT).returncode == 1
    assert plane.unknown == ["AppList"]
