"""The limits of the process: each connection needs a file descriptor."""

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
