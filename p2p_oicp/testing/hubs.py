"""A clearing house for tests, in a thread of the test: what ``p2p-oicp hub`` is, without a process."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from p2p_oicp.config.hub import HubSettings
from p2p_oicp.hub import Hub
from p2p_oicp.testing.background import BackgroundLoop
from p2p_oicp.testing.fakes import FakeBackend, FakeCsms
from p2p_oicp.testing.requests import Json, Reply

_TIMEOUT_SECONDS = 10
_LONGEST_CALL_SECONDS = 70


class RunningHub:
    """A hub; its partners are companies that speak to it, or that it was told of.

    Attributes:
        url: its base URL, in the place of the clearing house's.
    """

    def __init__(self, loop: BackgroundLoop, session: aiohttp.ClientSession, url: str) -> None:
        self.url = url
        self._loop = loop
        self._session = session

    def add(self, backend: FakeBackend, **members: object) -> None:
        """Make a fake backend a partner, and let it speak to the hub; ``members`` as of a partner in ``hub.toml``."""
        key = "operators" if isinstance(backend, FakeCsms) else "providers"
        self.add_partner(**{key: [backend.party], "url": backend.url, **members})
        backend.connect(self.url)

    def add_partner(self, **members: object) -> None:
        """Tell the hub of a partner: ``operators`` or ``providers``, ``url``, ``push``, …, as in ``hub.toml``."""
        self._call("POST", "partners", members)

    def set_script(self, *rules: Json) -> None:
        """Replace its script by these rules, each with the keys of ``[[rules]]``."""
        self._call("PUT", "script", {"rules": list(rules)})

    def exchanges(self, *, wait: int = 0, **filters: str) -> list[Json]:
        """Return what was said, the oldest first.

        Args:
            wait: seconds until there is one; at most 60.
            filters: operation, partner, direction (in, out), session, evse_id, uid, code.
        """
        exchanges: list[Json] = self._call("GET", "exchanges", None, {**filters, "wait": str(wait)}).body["exchanges"]
        return exchanges

    def wait_for(self, operation: str, *, timeout: int = _TIMEOUT_SECONDS, **filters: str) -> Json:
        """Return the newest exchange of an operation; raise AssertionError if there is none in ``timeout`` seconds."""
        matches = self.exchanges(wait=timeout, operation=operation, **filters)
        if not matches:
            every = [f"{each['direction']} {each['operation']} {each['code']}" for each in self.exchanges()]
            raise AssertionError(f"hub: no {operation} {filters} within {timeout} s; there were: {', '.join(every)}")
        return matches[-1]

    def clear(self) -> None:
        """Forget all exchanges and the script; the partners stay."""
        self._call("DELETE", "exchanges")
        self._call("DELETE", "script")

    def _call(self, method: str, path: str, body: Json | None = None, query: dict[str, str] | None = None) -> Reply:
        reply = self._loop.run(self._request(method, path, body, query or {}))
        if not reply.is_positive:
            raise ValueError(f"/hub/v1/{path}: {reply.body}")
        return reply

    async def _request(self, method: str, path: str, body: Json | None, query: dict[str, str]) -> Reply:
        url, timeout = f"{self.url}/hub/v1/{path}", aiohttp.ClientTimeout(total=_LONGEST_CALL_SECONDS)
        async with self._session.request(method, url, json=body, params=query, timeout=timeout) as response:
            return Reply(response.status, response.headers, await response.json())


@contextmanager
def open_hub(*backends: FakeBackend, directory: Path | None = None, **settings: Any) -> Iterator[RunningHub]:  # noqa: ANN401 - tables of hub.toml
    """Run a clearing house for tests on a free port.

    Args:
        backends: fake backends that are partners from the start.
        directory: for its database; by default one that is deleted at the end.
        settings: tables of ``hub.toml``, such as ``cdr={"implausible": "report"}``.
    """
    with ExitStack() as stack:
        if directory is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="p2p-oicp-hub-")))
        loop = stack.enter_context(BackgroundLoop("hub"))
        session, url = loop.enter(_serving(settings, directory))
        hub = RunningHub(loop, session, url)
        for backend in backends:
            hub.add(backend)
        yield hub


@asynccontextmanager
async def _serving(settings: dict[str, Any], directory: Path) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    tables = {**settings, "hub": {"port": 0, **settings.get("hub", {})}}
    async with Hub(HubSettings.model_validate(tables), directory) as hub, aiohttp.ClientSession() as session:
        yield session, hub.url
