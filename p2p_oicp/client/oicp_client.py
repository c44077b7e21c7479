"""Calls OICP systems that are not peers: our own backends, and the nodes and backends of the simulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from ssl import SSLContext
from typing import Protocol
from urllib.parse import urlencode

from p2p_oicp.client.replies import OicpReply, authenticate_response, read_reply
from p2p_oicp.client.transport import HttpTransport, OutboundRequest
from p2p_oicp.clock import Clock, IdGenerator
from p2p_oicp.crypto import NoOpSigner, RequestSigner
from p2p_oicp.crypto.tls import client_context
from p2p_oicp.logs import PROCESS_ID
from p2p_oicp.oicp import Operation
from p2p_oicp.oicp.operations import BASE_PATH, OPERATION_BY_NAME
from p2p_oicp.tracing import new_trace_headers


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an OICP system is: its ``name`` for people, its base ``url``, and the ``path`` before those of OICP.

    ``own_paths``: by the name of an operation, what stands in place of the path that the documents give it.
    """

    name: str
    url: str
    path: str = BASE_PATH
    own_paths: Mapping[str, str] = field(default_factory=dict)


class OicpClient:
    """Calls OICP operations at endpoints that need no more than fixed credentials.

    Over https, the certificate identifies the endpoint.

    Args:
        transport: sends the requests.
        ids: makes a Process-ID where none is given.
        clock: tells the time for ``Retry-After`` and signatures.
        credentials: adds the headers that identify us, and verifies the responses; none by default.
        tls: the context for https; None: one that accepts what the system's CAs vouch for.
    """

    def __init__(
        self,
        transport: HttpTransport,
        *,
        ids: IdGenerator,
        clock: Clock,
        credentials: RequestSigner | None = None,
        tls: SSLContext | None = None,
    ) -> None:
        self._transport = transport
        self._ids = ids
        self._clock = clock
        self._credentials = credentials or NoOpSigner()
        self._tls_context = tls

    async def call(
        self,
        endpoint: Endpoint,
        operation: Operation,
        party: str | None,
        body: bytes,
        *,
        deadline: float,
        query: Mapping[str, str] | None = None,
        process_id: str | None = None,
    ) -> OicpReply:
        """Send one request and return the reply; see `PeerClient.call`. ``process_id``: its ``Process-ID`` header."""
        url = operation_url(operation, endpoint, party, query, path=endpoint.own_paths.get(operation.name))
        process_id = process_id or PROCESS_ID.get()
        headers = (
            {"Process-ID": process_id} if process_id else {"Process-ID": self._ids.process_id(), **new_trace_headers()}
        )
        headers |= self._credentials.sign(to=endpoint.name, method="POST", url=url, body=body)
        tls = self._tls() if url.startswith("https:") else None
        response = await self._transport.send(
            OutboundRequest(
                "POST", url, body, deadline, endpoint.name, headers, tls, operation.is_remote, operation.name
            )
        )
        now = self._clock.time()
        authenticate_response(response, self._credentials, to=endpoint.name, request_headers=headers, now=now)
        return read_reply(response, operation, now=now)

    def _tls(self) -> SSLContext:
        # Made when it is first needed: loading the system's CAs takes some 20 ms, and most backends speak plain http.
        if self._tls_context is None:
            self._tls_context = client_context()
        return self._tls_context


class System(Protocol):
    """A peer or an endpoint, as `operation_url` needs it."""

    @property
    def url(self) -> str:
        """Return its base URL."""

    @property
    def path(self) -> str:
        """Return what stands between the base URL and the paths of OICP."""


def operation_url(
    operation: Operation,
    system: System,
    party: str | None,
    query: Mapping[str, str] | None,
    *,
    path: str | None = None,
) -> str:
    """Return the URL of an operation at a system.

    Args:
        operation: What is called.
        system: Where.
        party: The sender's id.
        query: The query's parameters.
        path: In place of the operation's path in the documents.
    """
    url = _operation_url(operation.name, system.url, party, system.path, path)
    return f"{url}?{urlencode(query)}" if query else url


@lru_cache(maxsize=4096)
def _operation_url(operation_name: str, base: str, party: str | None, prefix: str, path: str | None) -> str:
    # By name: the hash of an operation, a row of 12 columns, costs as much as its URL.
    return OPERATION_BY_NAME[operation_name].url(base, party, prefix=prefix, path=path)
