"""The limits of the process, of which each connection needs a file descriptor; and what a service manager hears."""

import asyncio
import socket
import sys
from types import SimpleNamespace

import pytest
import structlog

from p2p_oicp import runner
from p2p_oicp.config import Settings

UNLIMITED = -1
LIMITS = {
    "a low soft limit is raised": ((256, 100_000), 13_200, []),
    "without a hard limit it is raised too": ((256, UNLIMITED), 13_200, []),
    "a high one stays": ((65_536, 100_000), None, []),
    "no limit stays": ((UNLIMITED, UNLIMITED), None, []),
    "a low hard limit is reached and reported": ((256, 1024), 1024, ["fd_limit.too_low"]),
    "a low hard limit is reported where it is reached": ((1024, 1024), None, ["fd_limit.too_low"]),
}


@pytest.mark.parametrize(("limits", "raised_to", "reported"), LIMITS.values(), ids=LIMITS)
def test_file_descriptors(monkeypatch, limits, raised_to, reported):
    changed = []
    fake = SimpleNamespace(
        RLIMIT_NOFILE=7,
        RLIM_INFINITY=UNLIMITED,
        getrlimit=lambda _which: limits,
        setrlimit=lambda _which, new: changed.append(new),
    )
    monkeypatch.setitem(sys.modules, "resource", fake)
    with structlog.testing.capture_logs() as logs:
        settings = runner._fit_to_fd_limit(Settings(node={"name": "a", "operators": ["DE*ABC"]}))
    assert changed == ([] if raised_to is None else [(raised_to, limits[1])])
    assert [entry["event"] for entry in logs] == reported
    assert settings.limits.connections == (69 if reported else 1000)


@pytest.fixture(params=["a file", "an abstract name"])
def manager(request, tmp_path):
    """The socket of a service manager, and the environment that it gives to the process."""
    name = str(tmp_path / "notify") if request.param == "a file" else f"@{tmp_path}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(name if request.param == "a file" else f"\0{name[1:]}")
        receiver.setblocking(False)  # noqa: FBT003 - the standard library's own form
        yield receiver, {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "2000"}


async def test_a_service_manager_hears_of_the_state_and_gets_signs_of_life(manager):
    receiver, environment = manager
    notified = runner.ServiceManager.from_environment(environment)
    notified.send("READY=1")
    assert receiver.recv(100) == b"READY=1"
    assert notified.watchdog_interval == 0.001
    signs = asyncio.ensure_future(notified.send_signs_of_life())
    loop = asyncio.get_running_loop()
    assert [await asyncio.wait_for(loop.sock_recv(receiver, 100), 10) for _ in range(3)] == [b"WATCHDOG=1"] * 3
    signs.cancel()


@pytest.mark.parametrize("environment", [{}, {"WATCHDOG_USEC": "2000"}, {"NOTIFY_SOCKET": "/nowhere"}])
async def test_without_a_service_manager_nothing_is_sent_and_nothing_fails(environment):
    notified = runner.ServiceManager.from_environment(environment)
    notified.send("READY=1")
    assert notified.watchdog_interval is None
