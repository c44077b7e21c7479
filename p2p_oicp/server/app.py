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

from p2p_oicp.client import IDENTITY_CONFIRMED_HEADER
from p2p_oicp.clock import IdGenerator
from p2p_oicp.crypto import SignedRequestParts, SignedResponseParts, VerifiedSignature, has_signature, split_target
from p2p_oicp.errors import Refusal, StoreError
from p2p_oicp.logs import PROCESS_ID
from p2p_oicp.oicp import InvalidMessage
from p2p_oicp.oicp.operations import api_root
from p2p_oicp.peering.evidence_recorder import ExchangeRecorder
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.authentication import InboundRequest, SignedResponse
from p2p_oicp.server.dispatcher import OperationDispatcher
from p2p_oicp.server.inbound import read_and_decode
from p2p_oicp.server.limits import OVERLOAD_STATUSES, AdmissionController, overloaded
from p2p_oicp.server.listener import OICP_HANDLER, OICP_PREFIX
from p2p_oicp.server.problems import HttpError, validation_error_response
from p2p_oicp.storage import Transaction

log = structlog.get_logger(__name__)

Handler: TypeAlias = Callable[[web.Request], Awaitable[OperationResponse]]
HelloEndpoint: TypeAlias = Callable[[InboundRequest], Awaitable[OperationResponse]]
SessionStatusEndpoint: TypeAlias = Callable[[web.Request, InboundRequest], Awaitable[OperationResponse]]
ResponseSigner: TypeAlias = Callable[[int, bytes, VerifiedSignature], Mapping[str, str]]
ReadinessProbe: TypeAlias = Callable[[], dict[str, object]]

INBOUND_REQUEST = web.RequestKey("arrival", InboundRequest)
_MIN_COMPRESSED_BYTES = 2048
_MIN_OFFLOADED_COMPRESSION_BYTES = 256 * 1024
_GZIP_LEVEL = 5
_MIN_SEPARATE_HEAD_BYTES = 64 * 1024
_MAX_PROCESS_ID_LENGTH = 100
_MAX_NODE_REQUEST_BYTES = 64 * 1024
SESSION_PATH = "/p2p/v1/sessions/{session_id}"
_SYSTEM_ERROR = "021"
_NOT_OFFERED = "320"
_UNAUTHORIZED = "017"


class RequestPipeline:
    """What both applications do with any request: token, Process-ID, answer or problem, compression, signature.

    ``public_url`` is the base URL that peers know, also behind a proxy: what they sign is compared with it.
    """

    def __init__(
        self,
        dispatcher: OperationDispatcher,
        ids: IdGenerator,
        *,
        admission: AdmissionController,
        token: str | None = None,
        public_url: str | None = None,
        signer: ResponseSigner | None = None,
        recorder: ExchangeRecorder | None = None,
    ) -> None:
        self._recorder = recorder
        self._dispatcher = dispatcher
        self._ids = ids
        self._token = token
        self._authority, self._prefix = _split_public_url(public_url) if public_url else ("", "")
        self._signer = signer
        self._admission = admission
        self.max_body = admission.max_body

    def wrap(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """Wrap ``serve``: whatever goes wrong becomes an answer with a StatusCode, never a stack trace."""

        async def handle(request: web.Request) -> web.StreamResponse:
            process_id = _process_id(request) or self._ids.process_id()
            PROCESS_ID.set(process_id)
            headers = {"Process-ID": process_id}
            try:
                if self._token is not None:
                    _check_token(request, self._token)
                response = await handler(request)
            except Exception as error:  # noqa: BLE001 - the edge of the program
                response = error_response(error, request, headers)
            headers["Content-Type"] = f"{response.content_type}; charset=utf-8"
            body = response.body
            if len(body) >= _MIN_COMPRESSED_BYTES and "gzip" in request.headers.get("Accept-Encoding", ""):
                headers["Content-Encoding"] = "gzip"
                body = await _gzip_compress(body)
            inbound = request.get(INBOUND_REQUEST)
            signed = inbound.signed_response if inbound is not None else None
            if signed is not None and signed.response is response:
                headers |= signed.headers
            elif inbound is not None and (inbound.is_authenticated or inbound.signature is not None):
                headers |= self._signature_headers(inbound, response.http_status, body)
                await self._record_exchange(
                    inbound, SignedResponseParts(response.http_status, headers, body), response.body
                )
            response_type = web.Response if len(body) < _MIN_SEPARATE_HEAD_BYTES else _StreamingHeadResponse
            return response_type(body=body, status=response.http_status, headers=headers)

        return handle

    def _sign_in_transaction(self, inbound: InboundRequest, tx: Transaction, response: OperationResponse) -> None:
        """Sign an answer, and keep it as evidence, in the transaction that decides it (``Seal``)."""
        operation, peer = inbound.operation, inbound.peer
        will_be_compressed = len(response.body) >= _MIN_COMPRESSED_BYTES  # and what is compressed is signed so
        if self._recorder is None or inbound.signature is None or not operation or not peer or will_be_compressed:
            return
        headers = self._signature_headers(inbound, response.http_status, response.body)
        parts = SignedResponseParts(response.http_status, headers, response.body)
        record_exchange = self._recorder.prepare(operation, peer, inbound.signed_parts, parts, response.body)
        if record_exchange is not None:
            record_exchange(tx)
            inbound.signed_response = SignedResponse(response, headers)

    async def _record_exchange(
        self, inbound: InboundRequest, response_parts: SignedResponseParts, decoded_body: bytes
    ) -> None:
        """Keep a signed exchange before it is answered."""
        if self._recorder is None or inbound.signature is None or inbound.operation is None or inbound.peer is None:
            return
        await self._recorder.record(inbound.operation, inbound.peer, inbound.signed_parts, response_parts, decoded_body)

    def _signature_headers(self, inbound: InboundRequest, status: int, body: bytes) -> dict[str, str]:
        """Return the headers that tell a caller that it has proved who it is, and prove who answers."""
        headers = {IDENTITY_CONFIRMED_HEADER: "proven"} if inbound.is_authenticated else {}
        if self._signer is None or inbound.signature is None:
            return headers
        return {**headers, **self._signer(status, body, inbound.signature)}

    async def read_request(
        self, request: web.Request, max_bytes: int | None = None, reserve_bytes: Callable[[int], None] | None = None
    ) -> InboundRequest:
        """Read a request, ``most`` bytes of it, as ``read_whole`` does; raises HttpProblem, InvalidMessage."""
        raw_path, _, query = request.raw_path.partition("?")
        wire_body, decoded_body = await read_and_decode(
            request, self.max_body if max_bytes is None else max_bytes, reserve_bytes
        )
        parts = SignedRequestParts(
            method=request.method,
            authority=self._authority or request.headers.get("Host", ""),
            path=self._prefix + raw_path,
            query=query,
            headers=request.headers,
            body=wire_body,
            certificate=_client_certificate(request),
        )
        inbound = request[INBOUND_REQUEST] = InboundRequest(parts, decoded_body, request.remote)
        if self._recorder is not None and has_signature(request.headers):
            inbound.sign_in_transaction = partial(self._sign_in_transaction, inbound)
        return inbound

    async def handle_oicp(self, request: web.Request) -> OperationResponse:
        """Serve ``POST /api/oicp/...``."""
        if request.method != "POST":
            raise HttpError(405, _NOT_OFFERED, f"{request.method} is not served here; send POST", {"Allow": "POST"})
        path = request.raw_path.partition("?")[0][len(OICP_PREFIX) :]
        slot = self._admission.acquire(path, request.remote)
        try:
            if slot.is_bulk:
                await self._admission.wait_for_bulk_slot(slot)
            length = request.content_length
            self._admission.reserve_bytes(slot, length)
            reserve_bytes = partial(self._admission.reserve_bytes, slot) if length is None else None
            return await self._dispatcher.dispatch(path, await self.read_request(request, reserve_bytes=reserve_bytes))
        finally:
            self._admission.release(slot)


class _StreamingHeadResponse(web.Response):
    """Sends its head by itself: joined with it, as usual, a page of some megabytes would be copied once more."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the head."""
        writer = await super().prepare(request)
        if writer is not None:
            writer.send_headers()
        return writer


def error_response(error: Exception, request: web.Request, headers: dict[str, str]) -> OperationResponse:
    """Return what is answered instead; it may add ``headers``."""
    match error:
        case HttpError():
            if (
                error.http_status not in OVERLOAD_STATUSES
            ):  # counted, not told: a storm shall not become one of the log, too
                log.info("http.request_rejected", status=error.http_status, reason=error.info, path=request.path)
            headers |= error.headers
            return error.to_response()
        case InvalidMessage():
            return validation_error_response(error, as_wwcp=False)
        case Refusal():
            return HttpError(error.http_status, error.code, error.info).to_response()
        case StoreError():
            log.error("http.store_error", path=request.path, reason=str(error), exc_info=error)
            return error_response(overloaded("this node cannot use its disk now"), request, headers)
    log.error("http.internal_error", path=request.path, exc_info=error)
    return HttpError(500, _SYSTEM_ERROR, "this node failed; its log has the details").to_response()


def _check_token(request: web.Request, token: str) -> None:
    presented_token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if not hmac.compare_digest(presented_token.encode(), token.encode()):
        info = "the backend API wants its token: Authorization: Bearer TOKEN"
        raise HttpError(401, _UNAUTHORIZED, info, {"WWW-Authenticate": "Bearer"})


async def _gzip_compress(body: bytes) -> bytes:
    """Return the body as gzip; a large one is compressed beside the event loop, which goes on serving."""
    if len(body) < _MIN_OFFLOADED_COMPRESSION_BYTES:
        return gzip.compress(body, compresslevel=_GZIP_LEVEL, mtime=0)
    return await asyncio.to_thread(gzip.compress, body, compresslevel=_GZIP_LEVEL, mtime=0)


def _client_certificate(request: web.Request) -> bytes | None:
    """Return the client certificate of the connection (DER)."""
    connection = request.transport.get_extra_info("ssl_object") if request.transport is not None else None
    certificate: bytes | None = connection.getpeercert(binary_form=True) if connection is not None else None
    return certificate


def _split_public_url(url: str) -> tuple[str, str]:
    """Return authority and path prefix of the URL that peers know."""
    authority, path, _ = split_target(url)
    return authority, api_root(path)


def _process_id(request: web.Request) -> str | None:
    """Return the caller's Process-ID, if it can be echoed."""
    process_id = request.headers.get("Process-ID", "")
    return (
        process_id
        if process_id.isascii() and process_id.isprintable() and len(process_id) <= _MAX_PROCESS_ID_LENGTH
        else None
    )


def peer_app(
    pipeline: RequestPipeline,
    *,
    hello: HelloEndpoint,
    sessions: SessionStatusEndpoint,
    extra_routes: Sequence[web.RouteDef] = (),
) -> web.Application:
    """Return the public application: OICP from peers, and what nodes say among themselves (DESIGN section 4)."""

    async def handle_hello(request: web.Request) -> OperationResponse:
        return await hello(await pipeline.read_request(request, _MAX_NODE_REQUEST_BYTES))

    async def handle_session_status(request: web.Request) -> OperationResponse:
        return await sessions(request, await pipeline.read_request(request, _MAX_NODE_REQUEST_BYTES))

    routes = [
        web.post("/p2p/v1/hello", pipeline.wrap(handle_hello)),
        web.get(SESSION_PATH, pipeline.wrap(handle_session_status)),
        *extra_routes,
    ]
    return _create_app(pipeline, routes)


def backend_app(
    pipeline: RequestPipeline,
    *,
    readiness: ReadinessProbe,
    metrics: Callable[[], Awaitable[OperationResponse]],
    admin: Sequence[web.RouteDef] = (),
) -> web.Application:
    """Return the application for our own backend."""

    async def handle_readiness(_request: web.Request) -> OperationResponse:
        return OperationResponse(orjson.dumps(readiness()))

    async def handle_metrics(_request: web.Request) -> OperationResponse:
        return await metrics()

    routes = [web.get("/readyz", pipeline.wrap(handle_readiness)), web.get("/metrics", pipeline.wrap(handle_metrics))]
    return _create_app(pipeline, [*routes, *admin])


def _create_app(pipeline: RequestPipeline, routes: list[web.RouteDef]) -> web.Application:
    async def handle_liveness(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def handle_not_found(request: web.Request) -> OperationResponse:
        raise HttpError(404, _NOT_OFFERED, f"{request.path} is not served here; OICP is below {OICP_PREFIX}")

    app = web.Application(client_max_size=pipeline.max_body)
    app[OICP_HANDLER] = oicp_handler = pipeline.wrap(pipeline.handle_oicp)
    app.router.add_routes(
        [
            web.route("*", OICP_PREFIX + "{path:.*}", oicp_handler),
            web.get("/healthz", handle_liveness),
            *routes,
            web.route("*", "/{path:.*}", pipeline.wrap(handle_not_found)),
        ]
    )
    return app
