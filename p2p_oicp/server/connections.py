"""The connections of a listener: how long they may take, and which of them have to give way.

The first head must be whole 10 s after the accept. A connection with a client certificate ends with its validity.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Protocol

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from p2p_oicp.crypto.tls import Certificate
from p2p_oicp.server.inbound import HttpConnection
from p2p_oicp.server.problems import SERVER

log = structlog.get_logger(__name__)

# After the accept, the handshake included.
FIRST_HEAD_TIMEOUT_SECONDS = 10.0
# A connection on which no further request comes to its head's end is closed; a peer's client keeps idle ones for 45 s.
KEEPALIVE_TIMEOUT_SECONDS = 60.0
# The rest of a refused body is read for so long: a client that is cut off while it sends does not read the response.
BODY_LINGER_SECONDS = 2.0
_MAX_REASON_LENGTH = 100


class ConnectionCounter(Protocol):
    """What counts the connections (`listener.ConnectionLimiter`)."""

    def forget(self, connection: Connection) -> None:
        """Count a connection no more."""

    def end(self, connection: Connection) -> None:
        """Close a connection: at once if it is idle, otherwise after its response."""


class Connection(HttpConnection):
    """One connection, from its accept on.

    Attributes:
        accepted_from: the address that it counted for when it was accepted.
        opened_at: by the event loop's clock.
    """

    def __init__(self, counter: ConnectionCounter, server: web.Server, address: str, now: Callable[[], float]) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]
            logger=_ServerLogAdapter(logging.getLogger("aiohttp.server"), {}),  # type: ignore[arg-type]
            auto_decompress=False,  # a body stays as it was on the wire, since that is what is signed
            keepalive_timeout=KEEPALIVE_TIMEOUT_SECONDS,
            lingering_time=BODY_LINGER_SECONDS,
        )
        self.address = self.accepted_from = address
        self.opened_at = asyncio.get_running_loop().time()
        self._counter = counter
        self._now = now
        self._timers: list[asyncio.TimerHandle] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        call_later = asyncio.get_running_loop().call_later
        self._timers = [call_later(FIRST_HEAD_TIMEOUT_SECONDS, self._abort_without_head)]
        tls = transport.get_extra_info("ssl_object")
        self.certificate = der = tls.getpeercert(binary_form=True) if tls is not None else None
        if der is not None:
            remaining = Certificate(der).expires_at - self._now()
            if remaining <= 0:  # a resumed session: its handshake does not look at the certificate again
                self.abort()
            self._timers.append(call_later(remaining, self._counter.end, self))

    def connection_lost(self, exc: BaseException | None) -> None:
        for timer in self._timers:
            timer.cancel()
        self._counter.forget(self)
        super().connection_lost(exc)

    def _abort_without_head(self) -> None:
        if not self._request_count:
            self.abort()

    def abort(self) -> None:
        """Close at once, whatever is going on."""
        if self.transport is not None:
            self.transport.abort()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what is no HTTP as aiohttp does, but without its name and version."""
        response = super().handle_error(request, status, exc, message)
        response.headers["Server"] = SERVER
        return response


def oldest_of_largest(connections: Iterable[Connection], count: int = 1) -> list[Connection]:
    """Return the first ``count`` connections of the address that has most of them; there is at least one."""
    connections = list(connections)
    ((address, _),) = Counter(connection.address for connection in connections).most_common(1)
    return list(islice((connection for connection in connections if connection.address == address), count))


class AddressCounts:
    """How many connections each address has, and which address has most of them: both in constant time."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._addresses: dict[int, dict[str, None]] = {}  # by their count; the one that has had it longest first
        self._most = 0
        self._total = 0

    def __len__(self) -> int:
        return self._total

    def __repr__(self) -> str:
        return f"<AddressCounts total={self._total} most={self._most}>"

    @property
    def largest(self) -> str:
        """The address that has most connections; there is at least one."""
        return next(iter(self._addresses[self._most]))

    def add(self, address: str) -> None:
        """Count one more connection of an address."""
        self._change(address, 1)
        self._most = max(self._most, self._counts[address])

    def remove(self, address: str) -> None:
        """Count one connection less of an address that has one."""
        self._change(address, -1)
        if self._most and self._most not in self._addresses:
            self._most -= 1  # which is what this address has now

    def _change(self, address: str, difference: int) -> None:
        before = self._counts.pop(address, 0)
        if before:
            del self._addresses[before][address]
            if not self._addresses[before]:
                del self._addresses[before]
        if after := before + difference:
            self._counts[address] = after
            self._addresses.setdefault(after, {})[address] = None
        self._total += difference


class _ServerLogAdapter(logging.LoggerAdapter[logging.Logger]):
    """The log of aiohttp's server, with one short line instead of a stack for what any client can cause."""

    def exception(self, msg: object, *args: object, exc_info: object = True, **kwargs: object) -> None:
        """Log a bug with its stack, a request that is not HTTP without."""
        if isinstance(exc_info, HttpProcessingError):
            reason = exc_info.message.partition("\n")[0][:_MAX_REASON_LENGTH]
            log.info("http.malformed", address=args[0] if args else None, reason=reason)
            return
        self.error(msg, *args, exc_info=exc_info, **kwargs)  # type: ignore[arg-type]
