"""Listens to the events of a node (``GET /events``), and comes back where it was when the connection is lost."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

import aiohttp
import orjson

from p2p_oicp.client.transport import TRANSPORT_EXCEPTIONS, map_exception
from p2p_oicp.errors import PeerError, PeerProtocolError, PeerRejected, PeerUnauthorized

# Three signs of life of the node are missing.
_READ_TIMEOUT_SECONDS = 45.0
_CONNECT_TIMEOUT_SECONDS = 10.0
_RETRY_SECONDS = 2.0
# The largest line: an event with a long text.
_MAX_LINE_BYTES = 1024 * 1024


class ReceivedEvent(NamedTuple):
    """One event: its id, empty for one that is not of the log, and its JSON object as received and as read."""

    id: str
    body: bytes
    members: dict[str, Any]


class EventListener:
    """Reads the events of a node one after the other.

    Args:
        url: the base URL of its backend API.
        token: the bearer token of the administration.
        tls: the context for ``https``; None accepts certificates of the machine's CAs.
        retry_seconds: between two attempts to connect.
        on_lost: is called with the reason when the connection is lost, before it tries again.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
        retry_seconds: float = _RETRY_SECONDS,
        on_lost: Callable[[PeerError], None] = lambda _error: None,
    ) -> None:
        self._url = url
        self._headers = {"Accept": "text/event-stream"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"
        self._tls = tls
        self._retry_seconds = retry_seconds
        self._on_lost = on_lost
        self._last_id = ""

    def __repr__(self) -> str:
        return f"<EventListener {self._url} last={self._last_id}>"

    async def listen(
        self, selection: Mapping[str, Sequence[str]], after: str | None = None
    ) -> AsyncIterator[ReceivedEvent]:
        """Return the events that are selected, without end.

        Args:
            selection: values of ``type``, ``peer``, ``party``, ``evse`` and ``session``.
            after: the id of the last event that is known; ``0``: everything that is kept; None: what happens next.

        Raises:
            PeerUnauthorized: the token is missing or wrong.
            PeerRejected: the selection is refused.
        """
        self._last_id = after or ""
        query = [(name, value) for name, values in selection.items() for value in values]
        timeout = aiohttp.ClientTimeout(sock_connect=_CONNECT_TIMEOUT_SECONDS, sock_read=_READ_TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout, read_bufsize=_MAX_LINE_BYTES) as session:
            while True:
                try:
                    async for event in self._listen_once(session, query):
                        yield event
                    self._on_lost(PeerProtocolError(self._url, "the node has ended the stream"))
                except TRANSPORT_EXCEPTIONS as exc:
                    self._on_lost(map_exception(self._url, exc, is_sent=False))
                await asyncio.sleep(self._retry_seconds)

    async def _listen_once(
        self, session: aiohttp.ClientSession, query: Sequence[tuple[str, str]]
    ) -> AsyncIterator[ReceivedEvent]:
        headers = {**self._headers, **({"Last-Event-ID": self._last_id} if self._last_id else {})}
        async with session.get(
            f"{self._url}/events", params=query, headers=headers, ssl=self._tls or True, allow_redirects=False
        ) as response:
            if response.status != HTTPStatus.OK:
                await self._raise_for(response)
            fields: dict[str, str] = {}
            async for line in response.content:
                if text := line.decode().rstrip("\r\n"):
                    name, _, value = text.partition(":")
                    fields[name] = value.removeprefix(" ")
                    continue
                # The id counts even without data: nothing before it is of interest.
                self._last_id = fields.get("id", self._last_id)
                if "data" in fields:
                    body = fields["data"].encode()
                    yield ReceivedEvent(fields.get("id", ""), body, orjson.loads(body))
                fields = {}

    async def _raise_for(self, response: aiohttp.ClientResponse) -> None:
        try:
            status = orjson.loads(await response.read())["StatusCode"]
            reason = str(status.get("AdditionalInfo") or status)
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            reason = f"HTTP {response.status}: this is no node that has events"
        if response.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise PeerUnauthorized(self._url, reason)
        if response.status < HTTPStatus.INTERNAL_SERVER_ERROR and response.status != HTTPStatus.TOO_MANY_REQUESTS:
            raise PeerRejected(self._url, reason, http_status=response.status)
        raise aiohttp.ClientConnectionError(reason)
