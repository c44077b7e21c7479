"""The pytest plugin: the test kit as fixtures. pytest finds it where p2p-oicp is installed.

Nothing of p2p-oicp is imported before a fixture is used.

- ``fake_csms`` and ``fake_emp``: a backend of each side, `FakeCsms` and `FakeEmp`.
- ``oicp_node``: a function that runs a node, with the arguments of `open_node`, and returns it.
- ``oicp_cluster``: a function that runs a cluster, with the arguments of `open_cluster`, and returns it.
- ``oicp_hub``: a function that runs a clearing house, with the arguments of `open_hub`, and returns it.

What a test has started ends with it. Fixtures of another scope are made of the same parts::

    @pytest.fixture(scope="session")
    def cluster():
        with open_cluster(cpo=2, emp=3) as cluster:
            yield cluster
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import pytest


@pytest.fixture
def fake_csms() -> Iterator[object]:
    """Provide a charge point operator's backend that answers by a script and records what it was sent."""
    from p2p_oicp.testing.fakes import FakeCsms  # noqa: PLC0415 - as the module says

    with FakeCsms() as fake:
        yield fake


@pytest.fixture
def fake_emp() -> Iterator[object]:
    """Provide a mobility provider's backend that answers by a script and records what it was sent."""
    from p2p_oicp.testing.fakes import FakeEmp  # noqa: PLC0415 - as the module says

    with FakeEmp() as fake:
        yield fake


@pytest.fixture
def oicp_node() -> Iterator[Callable[..., object]]:
    """Provide a function that runs a node until the end of the test."""
    from p2p_oicp.testing.nodes import open_node  # noqa: PLC0415 - as the module says

    with _opener(open_node) as run:
        yield run


@pytest.fixture
def oicp_cluster() -> Iterator[Callable[..., object]]:
    """Provide a function that runs a cluster until the end of the test."""
    from p2p_oicp.testing.nodes import open_cluster  # noqa: PLC0415 - as the module says

    with _opener(open_cluster) as run:
        yield run


@pytest.fixture
def oicp_hub() -> Iterator[Callable[..., object]]:
    """Provide a function that runs a clearing house for tests until the end of the test."""
    from p2p_oicp.testing.hubs import open_hub  # noqa: PLC0415 - as the module says

    with _opener(open_hub) as run:
        yield run


@contextmanager
def _opener(open_: Callable[..., AbstractContextManager[Any]]) -> Iterator[Callable[..., Any]]:
    """Give a function that opens something, which is closed at the end, the last one first."""
    with ExitStack() as stack:
        yield lambda *arguments, **options: stack.enter_context(open_(*arguments, **options))
