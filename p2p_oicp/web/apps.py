"""The aiohttp applications of the two listeners."""

from __future__ import annotations

import asyncio
import gzip
import hmac
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import orjson
import structlog
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from p2p_oicp.clock import Mint
from p2p_oicp.errors import Refusal, StoreError
from p2p_oicp.identity import AnswerParts, SignedParts, VerifiedSignature, has_signature, target_of
from p2p_oicp.logs import PROCESS_ID
from p2p_oicp.oicp import InvalidMessage
from p2p_oicp.oicp.operation import root_of
from p2p_oicp.roles.context import Answer
from p2p_oicp.storage import Transaction
from p2p_oicp.transport import PROVEN
from p2p_oicp.trust.evidence import Witness
from p2p_oicp.web.bodies import read_whole
from p2p_oicp.web.gate import Arrival, Sealed
from p2p_oicp.web.limits import BUSY, Doorkeeper, busy
from p2p_oicp.web.listening import OICP, OICP_PREFIX
from p2p_oicp.web.problems import HttpProblem, invalid
from p2p_oicp.web.reports import SESSION_PATH
from p2p_oicp.web.service import Api

log = structlog.get_logger(__name__)

Serve: TypeAlias = Callable[[web.Request], Awaitable[Answer]]
Hello: TypeAlias = Callable[[Arrival], Awaitable[Answer]]
Enquire: TypeAlias = Callable[[web.Request, Arrival], Awaitable[Answer]]
AnswerSigner: TypeAlias = Callable[[int, bytes, VerifiedSignature], Mapping[str, str]]
Status: TypeAlias = Callable[[], dict[str, object]]

ARRIVAL = web.RequestKey("arrival", Arrival)
_COMPRESS_FROM_BYTES = 2048
_COMPRESS_ASIDE_FROM_BYTES = 256 * 1024
_COMPRESSION = 5
_LARGE_BYTES = 64 * 1024
_LONGEST_PROCESS_ID = 100
_MOST_HELLO_BYTES = 64 * 1024
_SYSTEM_ERROR = "021"
_NOT_OFFERED = "320"
_UNAUTHORIZED = "017"


class Listener:
    """What both applications do with any request: token, Process-ID, answer or problem, compression, signature.

    ``public_url`` is the base URL that peers know, also behind a proxy: what they sign is compared with it.
    """

    def __init__(
        self,
        api: Api,
        mint: Mint,
        *,
        doorkeeper: Doorkeeper,
        token: str | None = None,
        public_url: str | None = None,
        signer: AnswerSigner | None = None,
        witness: Witness | None = None,
    ) -> None:
        self._witness = witness
        self._api = api
        self._mint = mint
        self._token = token
        self._authority, self._prefix = _public(public_url) if public_url else ("", "")
        self._signer = signer
        self._doorkeeper = doorkeeper
        self.max_body = doorkeeper.max_body

    def handler(self, serve: Serve) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Wrap ``serve``: whatever goes wrong becomes an answer with a StatusCode, never a stack trace."""

        async def handle(request: web.Request) -> web.StreamResponse:
            process_id = _process_id(request) or self._mint.process_id()
            PROCESS_ID.set(process_id)
            headers = {"Process-ID": process_id}
            try:
                if self._token is not None:
                    _check_token(request, self._token)
                answer = await serve(request)
            except Exception as error:  # noqa: BLE001 - the edge of the program
                answer = _told(error, request, headers)
            headers["Content-Type"] = f"{answer.content_type}; charset=utf-8"
            body = answer.body
            if len(body) >= _COMPRESS_FROM_BYTES and "gzip" in request.headers.get("Accept-Encoding", ""):
                headers["Content-Encoding"] = "gzip"
                body = await _compressed(body)
            arrival = request.get(ARRIVAL)
            if arrival is not None and arrival.sealed is not None and arrival.sealed.answer is answer:
                headers |= arrival.sealed.headers
            elif arrival is not None and (arrival.is_proven or arrival.signature is not None):
                headers |= self._proof(arrival, answer.http_status, body)
                await self._kept(arrival, AnswerParts(answer.http_status, headers, body), answer.body)
            kind = web.Response if len(body) < _LARGE_BYTES else _LargeResponse
            return kind(body=body, status=answer.http_status, headers=headers)

        return handle

    def _seal(self, arrival: Arrival, tx: Transaction, answer: Answer) -> None:
        """Sign an answer, and keep it as evidence, in the transaction that decides it (``Seal``)."""
        operation, peer = arrival.operation, arrival.peer
        will_be_compressed = len(answer.body) >= _COMPRESS_FROM_BYTES  # and what is compressed is signed so
        if self._witness is None or arrival.signature is None or not operation or not peer or will_be_compressed:
            return
        headers = self._proof(arrival, answer.http_status, answer.body)
        parts = AnswerParts(answer.http_status, headers, answer.body)
        keep = self._witness.keeping(operation, peer, arrival.parts, parts, answer.body)
        if keep is not None:
            keep(tx)
            arrival.sealed = Sealed(answer, headers)

    async def _kept(self, arrival: Arrival, answer: AnswerParts, text: bytes) -> None:
        """Keep a signed exchange before it is answered."""
        if self._witness is None or arrival.signature is None or arrival.operation is None or arrival.peer is None:
            return
        await self._witness.keep(arrival.operation, arrival.peer, arrival.parts, answer, text)

    def _proof(self, arrival: Arrival, status: int, body: bytes) -> dict[str, str]:
        """Return the headers that tell a caller that it has proved who it is, and prove who answers."""
        said = {PROVEN: "proven"} if arrival.is_proven else {}
        if self._signer is None or arrival.signature is None:
            return said
        return {**said, **self._signer(status, body, arrival.signature)}

    async def arrive(
        self, request: web.Request, most: int | None = None, make_room: Callable[[int], None] | None = None
    ) -> Arrival:
        """Read a request, ``most`` bytes of it, as ``read_whole`` does; raises HttpProblem, InvalidMessage."""
        raw_path, _, query = request.raw_path.partition("?")
        on_the_wire, text = await read_whole(request, self.max_body if most is None else most, make_room)
        parts = SignedParts(
            method=request.method,
            authority=self._authority or request.headers.get("Host", ""),
            path=self._prefix + raw_path,
            query=query,
            headers=request.headers,
            body=on_the_wire,
            certificate=_certificate(request),
        )
        arrival = request[ARRIVAL] = Arrival(parts, text, request.remote)
        if self._witness is not None and has_signature(request.headers):
            arrival.seal = partial(self._seal, arrival)
        return arrival

    async def oicp(self, request: web.Request) -> Answer:
        """Serve ``POST /api/oicp/...``."""
        if request.method != "POST":
            raise HttpProblem(405, _NOT_OFFERED, f"{request.method} is not served here; send POST", {"Allow": "POST"})
        path = request.raw_path.partition("?")[0][len(OICP_PREFIX) :]
        place = self._doorkeeper.enter(path, request.remote)
        try:
            if place.takes_turns:
                await self._doorkeeper.wait_for_turn(place)
            length = request.content_length
            self._doorkeeper.make_room(place, length)
            grow = partial(self._doorkeeper.make_room, place) if length is None else None
            return await self._api.serve(path, await self.arrive(request, make_room=grow))
        finally:
            self._doorkeeper.leave(place)


class _LargeResponse(web.Response):
    """Sends its head by itself: joined with it, as usual, a page of some megabytes would be copied once more."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the head."""
        writer = await super().prepare(request)
        if writer is not None:
            writer.send_headers()
        return writer


def _told(error: Exception, request: web.Request, headers: dict[str, str]) -> Answer:
    """Return what is answered instead; it may add ``headers``."""
    match error:
        case HttpProblem():
            if error.http_status not in BUSY:  # counted, not told: a storm shall not become one of the log, too
                log.info("http.problem", status=error.http_status, reason=error.info, path=request.path)
            headers |= error.headers
            return error.answer()
        case InvalidMessage():
            return invalid(error, as_wwcp=False)
        case Refusal():
            return HttpProblem(error.http_status, error.code, error.info).answer()
        case StoreError():
            log.error("http.store_failed", path=request.path, reason=str(error), exc_info=error)
            return _told(busy("this node cannot use its disk now"), request, headers)
    log.error("http.bug", path=request.path, exc_info=error)
    return HttpProblem(500, _SYSTEM_ERROR, "this node failed; its log has the details").answer()


def _check_token(request: web.Request, token: str) -> None:
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if not hmac.compare_digest(given.encode(), token.encode()):
        info = "the backend API wants its token: Authorization: Bearer TOKEN"
        raise HttpProblem(401, _UNAUTHORIZED, info, {"WWW-Authenticate": "Bearer"})


async def _compressed(body: bytes) -> bytes:
    """Return the body as gzip; a large one is compressed beside the event loop, which goes on serving."""
    if len(body) < _COMPRESS_ASIDE_FROM_BYTES:
        return gzip.compress(body, compresslevel=_COMPRESSION, mtime=0)
    return await asyncio.to_thread(gzip.compress, body, compresslevel=_COMPRESSION, mtime=0)


def _certificate(request: web.Request) -> bytes | None:
    """Return the client certificate of the connection (DER)."""
    connection = request.transport.get_extra_info("ssl_object") if request.transport is not None else None
    shown: bytes | None = connection.getpeercert(binary_form=True) if connection is not None else None
    return shown


def _public(url: str) -> tuple[str, str]:
    """Return authority and path prefix of the URL that peers know."""
    authority, path, _ = target_of(url)
    return authority, root_of(path)


def _process_id(request: web.Request) -> str | None:
    """Return the caller's Process-ID, if it can be echoed."""
    given = request.headers.get("Process-ID", "")
    return given if given.isascii() and given.isprintable() and len(given) <= _LONGEST_PROCESS_ID else None


def peer_app(
    listener: Listener, *, hello: Hello, sessions: Enquire, also: Sequence[web.RouteDef] = ()
) -> web.Application:
    """Return the public application: OICP from peers, and what nodes say among themselves (DESIGN section 4)."""

    async def say_hello(request: web.Request) -> Answer:
        return await hello(await listener.arrive(request, _MOST_HELLO_BYTES))

    async def enquire(request: web.Request) -> Answer:
        return await sessions(request, await listener.arrive(request, _MOST_HELLO_BYTES))

    routes = [
        web.post("/p2p/v1/hello", listener.handler(say_hello)),
        web.get(SESSION_PATH, listener.handler(enquire)),
        *also,
    ]
    return _app(listener, routes)


def backend_app(
    listener: Listener,
    *,
    readiness: Status,
    metrics: Callable[[], Awaitable[Answer]],
    admin: Sequence[web.RouteDef] = (),
) -> web.Application:
    """Return the application for our own backend."""

    async def ready(_request: web.Request) -> Answer:
        return Answer(orjson.dumps(readiness()))

    async def show(_request: web.Request) -> Answer:
        return await metrics()

    routes = [web.get("/readyz", listener.handler(ready)), web.get("/metrics", listener.handler(show))]
    return _app(listener, [*routes, *admin])


def _app(listener: Listener, routes: list[web.RouteDef]) -> web.Application:
    async def healthy(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def unknown(request: web.Request) -> Answer:
        raise HttpProblem(404, _NOT_OFFERED, f"{request.path} is not served here; OICP is below {OICP_PREFIX}")

    app = web.Application(client_max_size=listener.max_body)
    app[OICP] = oicp = listener.handler(listener.oicp)
    app.router.add_routes(
        [
            web.route("*", OICP_PREFIX + "{path:.*}", oicp),
            web.get("/healthz", healthy),
            *routes,
            web.route("*", "/{path:.*}", listener.handler(unknown)),
        ]
    )
    return app
