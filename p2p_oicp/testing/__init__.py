"""The test kit: real nodes and scripted backends for the tests of a backend, in any language, by URL.

Overview
    `open_node` and `open_cluster` run real nodes as processes, `open_hub` a clearing house for tests. `FakeCsms` and
    `FakeEmp` are backends of a company that answer by a script and record what they were sent. ``samples`` has messages
    of every operation and whole fleets. The pytest plugin (``plugin``, found by pytest itself) has all as fixtures.

Use
    All is synchronous, and lives in threads and processes of its own: it can be used without an event loop, and from a
    test with one, where ``send_async`` and ``wait_for_async`` do not block it. Messages are JSON objects, as on the
    wire.

Invariants
    Nothing is loaded before it is used: a test run that uses no fixture pays nothing for the plugin. What was opened is
    stopped at the end of its block.

Where to read next
    ``plugin.py`` for the fixtures, then ``fakes.py``.
"""

from importlib import import_module

_HOMES = {
    "FakeBackend": "p2p_oicp.testing.fakes",
    "FakeCsms": "p2p_oicp.testing.fakes",
    "FakeEmp": "p2p_oicp.testing.fakes",
    "RecordedRequest": "p2p_oicp.testing.requests",
    "Reply": "p2p_oicp.testing.requests",
    "RunningCluster": "p2p_oicp.testing.nodes",
    "RunningHub": "p2p_oicp.testing.hubs",
    "RunningNode": "p2p_oicp.testing.nodes",
    "open_cluster": "p2p_oicp.testing.nodes",
    "open_hub": "p2p_oicp.testing.hubs",
    "open_node": "p2p_oicp.testing.nodes",
    "wait_until_listening": "p2p_oicp.testing.nodes",
}

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


def __getattr__(name: str) -> object:
    """Load a public name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(_HOMES[name]), name)
