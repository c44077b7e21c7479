"""The thin I/O part: one request out, one bounded answer in, within one deadline."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache, partial
from types import TracebackType
from typing import Self
from urllib.parse import urlencode

import aiohttp
import msgspec
import structlog
from yarl import URL

from p2p_oicp.clock import Clock, Mint, SystemClock
from p2p_oicp.errors import (
    NotProven,
    PeerRejected,
    PeerUnauthorized,
    PeerUnproven,
    PeerUnreachable,
    StoreError,
    UnknownKey,
)
from p2p_oicp.identity import JSON_UTF8, AnswerParts, InsecureSigner, RequestSigner, SignedParts, target_of
from p2p_oicp.logs import PROCESS_ID
from p2p_oicp.oicp import Operation
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.transport.answers import Answer, Reply, check_status, read_reply
from p2p_oicp.transport.bodies import OFFERED_CODINGS, BoundedBody
from p2p_oicp.transport.exchange import Endpoint, Exchange, Request
from p2p_oicp.transport.failures import BEFORE_SENDING, FOREIGN, typed
from p2p_oicp.transport.upload import Upload

log = structlog.get_logger(__name__)

# Below the 60 s and 75 s after which common servers close an idle connection: we rarely write into a closed one.
_KEEP_ALIVE = 45.0
_CHUNK = 64 * 1024
_MOST_CONNECTIONS = 1024
_MOST_CONNECTIONS_PER_PEER = 256
_SHORTEST_DEADLINE = 0.01  # 0 would be none to aiohttp

# Nobody's answer to our question, but what stands in its way: it decides nothing, so nobody has to prove it.
_TROUBLE = frozenset({401, 403, 408, 421, 429, *range(500, 600)})

# A node says with this header that it knows who we are: its 401 then is about what we say, not about who we are.
PROVEN = "P2P-Identity"
RECIPIENT = "P2P-Recipient"
_UNAUTHORIZED = frozenset({401, 403})
_UNAUTHORIZED_ACCESS = "017"

Keep = Callable[[str, str, SignedParts, AnswerParts, bytes], Awaitable[None]]
TlsFor = Callable[[str | None], ssl.SSLContext | None]
Refresh = Callable[[str], Awaitable[bool]]


# There are few different addresses, and an address is taken apart in 4 µs.
_as_url = lru_cache(maxsize=1024)(partial(URL, encoded=True))


@lru_cache(maxsize=4096)
def _url_of(operation_name: str, base: str, party: str | None) -> str:
    # By name: the hash of an operation, a row of 12 columns, costs as much as its URL.
    return OPERATION_BY_NAME[operation_name].url(base, party)


# There are a few deadlines; aiohttp's way to say one costs 2 µs.
_total = lru_cache(maxsize=64)(lambda seconds: aiohttp.ClientTimeout(total=seconds))


class _ByUnknownKey(PeerUnproven):
    """Fresh keys may help."""


class _ByUnknownCertificate(PeerUnreachable):
    """Nothing was sent: the server has shown another certificate. Fresh keys may help."""


class OicpClient:
    """Calls other OICP systems over kept-alive connections; an async context manager.

    Raises only PeerError and its subclasses. Redirects are not followed, cookies not kept. A message is sent a second
    time only where keys were the trouble, so that it was not accepted or did not go out, and fresh ones were fetched;
    a request without a body also where a kept connection was closed under it. ``max_body`` bounds every answer, in
    bytes after decompression.
    """

    def __init__(
        self,
        *,
        mint: Mint,
        signer: RequestSigner | None = None,
        user_agent: str,
        max_body: int,
        clock: Clock | None = None,
    ) -> None:
        self._mint = mint
        #: Returns the TLS context to call a peer with (https only), by its name; None: whom the system's CAs vouch for.
        self.tls: TlsFor | None = None
        #: Keeps signed exchanges: operation, peer, request, answer, and the answer's text. Never raises.
        self.keep: Keep | None = None
        #: Fetches a peer's keys anew, by its name, and says whether it may help to try again.
        self.refresh: Refresh | None = None
        self._clock = clock or SystemClock()
        self._signer = signer or InsecureSigner()
        self._max_body = max_body
        self._fixed_headers = {
            "Content-Type": JSON_UTF8,
            "Accept": JSON_UTF8,
            "Accept-Encoding": OFFERED_CODINGS,
            "User-Agent": user_agent,
        }
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=_MOST_CONNECTIONS, limit_per_host=_MOST_CONNECTIONS_PER_PEER, keepalive_timeout=_KEEP_ALIVE
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers=self._fixed_headers,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

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
    ) -> Reply:
        """Send one OICP request; ``deadline`` is in seconds, for the whole exchange, fresh keys included.

        ``party`` is the sender's id for the path. Without a Process-ID, that of the request being served goes along, so
        that the logs of both nodes can be read together; else one is minted. An answer with ``Result: false`` or
        ``NotAuthorized`` is a Reply, not an error.
        """
        url = _url_of(operation.name, endpoint.url, party)
        if query:
            url = f"{url}?{urlencode(query)}"
        headers = {"Process-ID": process_id or PROCESS_ID.get() or self._mint.process_id()}
        if endpoint.recipient:
            headers[RECIPIENT] = endpoint.recipient
        to = endpoint.name if endpoint.is_peer else None
        request = Request("POST", url, body, deadline, endpoint.name, to, self._signer, headers)
        exchange = await self._ask(request)
        if self.keep is not None and "Signature" in exchange.sent:
            parts = SignedParts("POST", *target_of(url), headers=exchange.sent, body=body)
            await self.keep(operation.name, endpoint.name, parts, exchange.parts(), exchange.answer.body)
        return read_reply(exchange.answer, operation, now=self._clock.time())

    async def post_json(
        self, url: str, payload: bytes, *, deadline: float, peer: str | None = None
    ) -> tuple[int, bytes]:
        """Send JSON that is not OICP; return the 2xx status and the body as UTF-8; any other status raises."""
        return await self.request_json("POST", url, payload, deadline=deadline, peer=peer)

    async def get_json(self, url: str, *, deadline: float, peer: str | None = None) -> tuple[int, bytes]:
        """Ask for JSON that is not OICP; as ``post_json``."""
        return await self.request_json("GET", url, deadline=deadline, peer=peer)

    async def request_json(
        self,
        method: str,
        url: str,
        payload: bytes = b"",
        *,
        deadline: float,
        peer: str | None = None,
        signer: RequestSigner | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> tuple[int, bytes]:
        """As ``post_json``, with any method; ``signer`` and ``tls`` are for this once; no ``peer``: nobody signs."""
        request = Request(method, url, payload, deadline, peer or url, peer, signer or self._signer, tls=tls)
        answer = (await self._ask(request)).answer
        check_status(answer, now=self._clock.time(), is_oicp=False)
        return answer.status, answer.text()

    async def _ask(self, request: Request) -> Exchange:
        """Exchange one request for one answer that is proven, where somebody has to prove himself.

        Once, if keys are the trouble, fresh keys are fetched: (1) an answer by an unknown key is looked at again, (2) a
        request that was not accepted, or did not go out to a server with another certificate, is sent again. All of it
        within the deadline.
        """
        exchange, time = None, asyncio.get_running_loop().time
        end = time() + request.deadline
        try:
            exchange = await self._exchange(request)
            return self._proven(exchange)
        except (_ByUnknownKey, _ByUnknownCertificate, PeerUnauthorized) as problem:
            if request.to is None or not await self._has_fresh_keys(request.to, end):
                raise
            if exchange is None or isinstance(problem, PeerUnauthorized):
                left = max(end - time(), _SHORTEST_DEADLINE)
                exchange = await self._exchange(msgspec.structs.replace(request, deadline=left))  # (2)
            return self._proven(exchange)  # (1)

    async def _has_fresh_keys(self, peer: str, end: float) -> bool:
        """Fetch a peer's keys anew; say whether that was done in time, and whether it may help to try again."""
        if self.refresh is None:
            return False
        try:
            async with asyncio.timeout_at(end):
                return await self.refresh(peer)
        except (TimeoutError, StoreError) as error:
            log.warning("peers.no_fresh_keys", peer=peer, reason=str(error) or "not within the deadline")
            return False

    def _proven(self, exchange: Exchange) -> Exchange:
        """Return the answer; raise PeerUnproven, or what its status stands for.

        Trouble on the way (a proxy's 502, an overload, our own identity refused) need not be proven: it is no answer.
        A proven refusal of our identity is one: the peer knows who we are, and that this is not ours to say.
        """
        answer, request = exchange.answer, exchange.request
        try:
            request.signer.check(to=request.to, sent=exchange.sent, answer=exchange.parts())
        except NotProven as exc:
            if answer.status in _TROUBLE:
                check_status(answer, now=self._clock.time())
            form = _ByUnknownKey if isinstance(exc, UnknownKey) else PeerUnproven
            raise form(answer.peer, f"its answer (HTTP {answer.status}) is not proven: {exc}") from exc
        if answer.status in _UNAUTHORIZED and answer.headers.get(PROVEN) == "proven":
            reason = f"HTTP {answer.status}: {answer.explanation()}"
            raise PeerRejected(answer.peer, reason, http_status=answer.status, code=_UNAUTHORIZED_ACCESS)
        return exchange

    async def _exchange(self, request: Request) -> Exchange:
        """Exchange one request for one answer; the only place where aiohttp's exceptions are met."""
        if self._session is None:
            raise RuntimeError("OicpClient is used outside its async with block")
        signed = request.signer.sign(to=request.to, method=request.method, url=request.url, body=request.body)
        sent, upload = {**request.headers, **signed}, Upload(request.body)
        try:
            async with self._session.request(
                request.method,
                _as_url(request.url),
                data=upload if request.method == "POST" else None,
                headers=sent,
                allow_redirects=False,
                timeout=_total(request.deadline),
                ssl=self._tls_of(request),
            ) as response:
                raw, content = await self._read(request.name, response)
                return Exchange(request, Answer(request.name, response.status, response.headers, content), raw, sent)
        except FOREIGN as exc:
            is_sent = upload.begun or (request.method != "POST" and not isinstance(exc, BEFORE_SENDING))
            error = typed(request.name, exc, sent=is_sent)
            if isinstance(exc, (aiohttp.ClientSSLError, ssl.SSLError)) and not is_sent:
                raise _ByUnknownCertificate(error.peer, error.reason) from exc
            raise error from exc

    def _tls_of(self, request: Request) -> ssl.SSLContext | bool:
        if not request.url.startswith("https:"):
            return True
        return request.tls or (self.tls(request.to) if self.tls is not None else None) or True

    async def _read(self, peer: str, response: aiohttp.ClientResponse) -> tuple[bytes, bytes]:
        """Return the body as it was on the wire, and decoded."""
        coding = response.headers.get("Content-Encoding", "")
        if not coding and response.content_length is not None and response.content_length <= self._max_body:
            body = await response.read()
            return body, body
        decoded = BoundedBody(peer, limit=self._max_body, coding=coding)
        chunks = []
        async for chunk in response.content.iter_chunked(_CHUNK):
            decoded.add(chunk)
            chunks.append(chunk)
        return b"".join(chunks), decoded.finish()
