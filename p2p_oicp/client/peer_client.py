"""Calls other nodes: signs each request, verifies the response, and decides when a request may be sent again."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from enum import Enum, auto
from ssl import SSLContext
from typing import Protocol, assert_never

import msgspec
import structlog

from p2p_oicp.client.oicp_client import operation_url
from p2p_oicp.client.replies import (
    HttpResponse,
    OicpReply,
    UnknownSigningKey,
    authenticate_response,
    raise_for_status,
    read_reply,
)
from p2p_oicp.client.transport import HttpTransport, OutboundRequest, UnknownServerCertificate
from p2p_oicp.clock import Clock, IdGenerator
from p2p_oicp.crypto import RequestSigner, SignedRequestParts, split_target
from p2p_oicp.crypto.exchange import PreparedExchange, prepare_exchange
from p2p_oicp.errors import PeerError, PeerRejected, PeerUnauthorized, StoreError
from p2p_oicp.logs import PROCESS_ID
from p2p_oicp.oicp.operations import Operation, api_root
from p2p_oicp.peers import Peer
from p2p_oicp.tracing import new_trace_headers

log = structlog.get_logger(__name__)

#: Names parties of the peer that is called, so that a node which has taken over its address answers 421.
RECIPIENT_HEADER = "P2P-Recipient"
# A few parties of each role identify a peer well enough, and keep the header short.
_MAX_RECIPIENTS_PER_ROLE = 3
_NOT_FOUND = 404
_MIN_TIMEOUT_SECONDS = 0.01  # 0 would mean no timeout to aiohttp


class PeerClient(Protocol):
    """Calls OICP operations of peers: what roles and workers send by."""

    async def call(
        self,
        peer: Peer,
        operation: Operation,
        party: str | None,
        body: bytes,
        *,
        deadline: float,
        query: Mapping[str, str] | None = None,
    ) -> OicpReply:
        """Send one request and return the reply; ``Result: false`` and ``NotAuthorized`` are replies, not errors.

        Args:
            peer: who is called.
            operation: what is called.
            party: the sender's id, which stands in the path.
            body: the request as JSON.
            deadline: seconds for the whole exchange, a key refresh included.
            query: the query's parameters (pages of a pull).

        Raises:
            PeerError: there is no reply; its ``exchange`` is to be recorded like that of a reply.
        """


class KeyRefresher(Protocol):
    """Fetches the keys and certificates that a peer publishes (`peering.key_refresh`)."""

    async def refresh(self, name: str) -> bool:
        """Fetch those of the peer ``name``; return whether they were fetched, so that another attempt may succeed."""


class PeerTlsContexts(Protocol):
    """The TLS contexts in which peers are called (`peering.peer_tls`)."""

    def client_context_for(self, peer: Peer) -> SSLContext:
        """Return the context that accepts the peer's certificates."""


class CallObserver(Protocol):
    """Learns what became of each call of a peer."""

    def call_ended(self, peer: Peer, operation: str, seconds: float, error: PeerError | None) -> None:
        """Learn that a call has ended, with ``error`` if it has failed; ``operation`` may be of the node protocol."""

    def response_received(self, peer_name: str, response: HttpResponse) -> None:
        """Learn of a response, before it is verified."""


class _NoObserver:
    def call_ended(self, peer: Peer, operation: str, seconds: float, error: PeerError | None) -> None: ...

    def response_received(self, peer_name: str, response: HttpResponse) -> None: ...


class _Verdict(Enum):
    AUTHENTICATED = auto()
    UNKNOWN_RESPONSE_KEY = auto()
    UNKNOWN_SERVER_CERTIFICATE = auto()
    NOT_AUTHENTICATED = auto()


class _PeerRequest(msgspec.Struct, frozen=True):
    """A request before it is signed; ``timeout`` in seconds is for all attempts together."""

    peer: Peer
    method: str
    url: str
    body: bytes
    timeout: float
    headers: Mapping[str, str]
    is_slow: bool = False
    operation: str = ""


class _HttpExchange(msgspec.Struct, frozen=True):
    """A request as it was sent, credentials included, and the response."""

    request: OutboundRequest
    response: HttpResponse


class _Attempt(msgspec.Struct, frozen=True):
    """What became of sending a request once; an exchange that is not `AUTHENTICATED` has its error beside it."""

    verdict: _Verdict
    exchange: _HttpExchange | None = None
    error: PeerError | None = None

    def result(self) -> _HttpExchange:
        if self.error is None and self.exchange is not None:
            return self.exchange
        raise self.error or RuntimeError("an attempt has neither an exchange nor an error")


class AuthenticatedPeerClient:
    """The `PeerClient` of a node: peers over HTTP, and this node's own company in the same process.

    **Resend policy.** A request is sent a second time only if (a) the peer rejected our credentials, or (b) its TLS
    certificate is unknown, so that in both cases the request was not processed, and if the key refresh found new keys;
    or (c) it has no body, and a kept-alive connection was closed before any response (`HttpTransport`). A response by
    an unknown key means that the request was processed: only the response is verified again, with the new keys.
    Whether to try again after other errors is up to the caller (``delivery``, ``roles``).

    Args:
        transport: sends HTTP requests.
        signer: signs requests and verifies responses, for the peers that require it.
        tls: the contexts for ``https``.
        key_refresher: fetches a peer's keys when they seem to have changed.
        ids: makes a Process-ID where no request is being served, whose Process-ID would be passed on.
        clock: deadlines, and the times of recorded exchanges.
        local: serves the requests of this node to itself.
        observer: learns what became of each call.
    """

    def __init__(
        self,
        transport: HttpTransport,
        *,
        signer: RequestSigner,
        tls: PeerTlsContexts,
        key_refresher: KeyRefresher,
        ids: IdGenerator,
        clock: Clock,
        local: PeerClient,
        observer: CallObserver | None = None,
    ) -> None:
        self._observer = observer or _NoObserver()
        self._transport = transport
        self._signer = signer
        self._tls = tls
        self._key_refresher = key_refresher
        self._ids = ids
        self._clock = clock
        self._local = local
        self._recipients: dict[str, tuple[Peer, str]] = {}

    def __repr__(self) -> str:
        return f"<AuthenticatedPeerClient {self._transport!r} peers={len(self._recipients)}>"

    async def call(
        self,
        peer: Peer,
        operation: Operation,
        party: str | None,
        body: bytes,
        *,
        deadline: float,
        query: Mapping[str, str] | None = None,
    ) -> OicpReply:
        if peer.is_self:
            return await self._local.call(peer, operation, party, body, deadline=deadline, query=query)
        started = self._clock.monotonic()
        try:
            reply = await self._call(peer, operation, party, body, deadline, query)
        except PeerError as error:
            self._observer.call_ended(peer, operation.name, self._clock.monotonic() - started, error)
            raise
        self._observer.call_ended(peer, operation.name, self._clock.monotonic() - started, None)
        return reply

    async def _call(
        self,
        peer: Peer,
        operation: Operation,
        party: str | None,
        body: bytes,
        deadline: float,
        query: Mapping[str, str] | None,
    ) -> OicpReply:
        # The Process-ID of the request being served goes along, so that the logs of both nodes can be read together.
        # What a worker sends is nobody's request, and has ids of its own.
        process_id = PROCESS_ID.get()
        headers = (
            {"Process-ID": process_id} if process_id else {"Process-ID": self._ids.process_id(), **new_trace_headers()}
        )
        if recipient := self._recipient(peer):
            headers[RECIPIENT_HEADER] = recipient
        url = operation_url(operation, peer, party, query, path=peer.traits.paths.get(operation.name))
        request = _PeerRequest(peer, "POST", url, body, deadline, headers, operation.is_remote, operation.name)
        exchange = await self._send_authenticated(request)
        prepared = self._prepare_exchange(operation, exchange)
        try:
            return read_reply(exchange.response, operation, now=self._clock.time(), exchange=prepared)
        except PeerError as error:
            # A refusal that the peer has signed is evidence, too.
            error.with_exchange(prepared)
            raise

    async def request(
        self,
        peer: Peer,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        deadline: float,
        expected_statuses: Collection[int] = (),
    ) -> tuple[int, bytes]:
        """Send a request of the node protocol; return the status, 2xx or an expected one, and the body as UTF-8.

        Args:
            peer: who is called.
            method: the HTTP method; only ``POST`` has a body.
            path: below the root of the peer's API, with its query.
            body: JSON.
            deadline: seconds for the whole exchange, a key refresh included.
            expected_statuses: further statuses that are no error.

        Raises:
            PeerError: there is no response, or its status is another.
            PeerRejected: the peer is no node, and was not called (RULES L20).
        """
        if not peer.is_node:
            raise PeerRejected(peer.name, "it is no node: nothing below /p2p is sent to it", http_status=_NOT_FOUND)
        request = _PeerRequest(peer, method, api_root(peer.url) + path, body, deadline, {})
        response = (await self._send_authenticated(request)).response
        if response.status not in expected_statuses:
            raise_for_status(response, now=self._clock.time(), is_oicp=False)
        return response.status, response.body_as_utf8()

    async def _send_authenticated(self, request: _PeerRequest) -> _HttpExchange:
        deadline = self._clock.monotonic() + request.timeout
        attempt = await self._attempt(request, request.timeout)
        match attempt.verdict:
            case _Verdict.AUTHENTICATED:
                return attempt.result()
            case _Verdict.UNKNOWN_RESPONSE_KEY:
                resend = False  # The peer has processed it: only the response is verified again.
            case _Verdict.UNKNOWN_SERVER_CERTIFICATE | _Verdict.NOT_AUTHENTICATED:
                resend = True  # The peer has not processed it.
            case _:
                assert_never(attempt.verdict)
        if await self._refresh_keys(request.peer, deadline):
            if resend:
                attempt = await self._attempt(request, max(deadline - self._clock.monotonic(), _MIN_TIMEOUT_SECONDS))
            elif attempt.exchange is not None:
                attempt = self._verify(attempt.exchange)
        return attempt.result()

    async def _attempt(self, request: _PeerRequest, seconds: float) -> _Attempt:
        """Send a request once, with a signature and a nonce of its own; raise what fresh keys cannot mend."""
        peer, method, url, body = request.peer, request.method, request.url, request.body
        signature = self._signer.sign(to=peer.name, method=method, url=url, body=body)
        tls = self._tls.client_context_for(peer) if url.startswith("https:") else None
        headers = {**request.headers, **signature}
        sent = OutboundRequest(method, url, body, seconds, peer.name, headers, tls, request.is_slow, request.operation)
        try:
            response = await self._transport.send(sent)
        except UnknownServerCertificate as error:
            return _Attempt(_Verdict.UNKNOWN_SERVER_CERTIFICATE, error=error)
        return self._verify(_HttpExchange(sent, response))

    def _verify(self, exchange: _HttpExchange) -> _Attempt:
        request, response = exchange.request, exchange.response
        self._observer.response_received(request.target, response)
        try:
            authenticate_response(
                response, self._signer, to=request.target, request_headers=request.headers, now=self._clock.time()
            )
        except UnknownSigningKey as error:
            return _Attempt(_Verdict.UNKNOWN_RESPONSE_KEY, exchange, error)
        except PeerUnauthorized as error:
            return _Attempt(_Verdict.NOT_AUTHENTICATED, exchange, error)
        return _Attempt(_Verdict.AUTHENTICATED, exchange)

    async def _refresh_keys(self, peer: Peer, deadline: float) -> bool:
        """Fetch a peer's keys; return whether that succeeded before the deadline."""
        try:
            # The refresher has a timeout of its own, which may be longer than what is left.
            async with asyncio.timeout(deadline - self._clock.monotonic()):
                return await self._key_refresher.refresh(peer.name)
        except (TimeoutError, StoreError) as error:
            log.warning("peer.key_refresh_failed", peer=peer.name, reason=str(error) or "not within the deadline")
            return False

    def _prepare_exchange(self, operation: Operation, exchange: _HttpExchange) -> PreparedExchange | None:
        request, response = exchange.request, exchange.response
        if "Signature" not in request.headers:
            return None
        return prepare_exchange(
            operation.name,
            request.target,
            SignedRequestParts("POST", *split_target(request.url), headers=request.headers, body=request.body),
            response.signed_parts(),
            response.body,
            sent_by_us=True,
            now=self._clock.time(),
        )

    def _recipient(self, peer: Peer) -> str:
        # Joined once per entry: an entry that changes is a new object.
        cached = self._recipients.get(peer.name)
        if cached is None or cached[0] is not peer:
            parties = (*peer.operators[:_MAX_RECIPIENTS_PER_ROLE], *peer.providers[:_MAX_RECIPIENTS_PER_ROLE])
            cached = self._recipients[peer.name] = (peer, ", ".join(party.text for party in parties))
        return cached[1]
