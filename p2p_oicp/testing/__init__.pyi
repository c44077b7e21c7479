from p2p_oicp.testing import samples as samples
from p2p_oicp.testing.fakes import FakeBackend, FakeCsms, FakeEmp
from p2p_oicp.testing.hubs import RunningHub, open_hub
from p2p_oicp.testing.nodes import RunningCluster, RunningNode, open_cluster, open_node, wait_until_listening
from p2p_oicp.testing.requests import RecordedRequest, Reply

__all__ = [
    "FakeBackend",
    "FakeCsms",
    "FakeEmp",
    "RecordedRequest",
    "Reply",
    "RunningCluster",
    "RunningHub",
    "RunningNode",
    "open_cluster",
    "open_hub",
    "open_node",
    "wait_until_listening",
]
