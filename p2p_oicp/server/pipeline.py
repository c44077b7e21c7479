"""The path of every request of a listener, from its head to its signed response.

`RequestPipeline` holds what the requests of one listener share; a `RequestContext` is one request being served, and an
`OicpRequestContext` one of OICP. A handler of another path (``/p2p/v1``, ``/admin/v1``) gets the context and calls
``authenticate`` and ``read_body`` in the order that its path needs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Protocol, TypeAlias, cast

from aiohttp import web
from msgspec.structs import replace

from p2p_oicp.client import IDENTITY_CONFIRMED_HEADER
from p2p_oicp.clock import IdGenerator
from p2p_oicp.crypto import SignedRequestParts, SignedResponseParts, VerifiedSignature
from p2p_oicp.errors import Refusal, Unauthorized
from p2p_oicp.logs import PROCESS_ID
from p2p_oicp.oicp import InvalidMessage, StatusCodeValue
from p2p_oicp.oicp.operations import Operation, Route
from p2p_oicp.peering.evidence_recorder import ExchangeRecorder
from p2p_oicp.peers.models import PartyID
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.authentication import ANONYMOUS, Authenticator, Principal
from p2p_oicp.server.client_certificate import forwarded_certificate
from p2p_oicp.server.dispatcher import OperationDispatcher, claimed_party
from p2p_oicp.server.http_responses import gzip_compress, http_response
from p2p_oicp.server.inbound import (
    HttpConnection,
    InboundRequest,
    PublicAddress,
    check_encoding,
    check_head,
    client_address,
    collapse_slashes,
    decode_text,
    decompress,
    node_operation,
    origin_form,
    process_id_of,
    receive_body,
    split_public_url,
)
from p2p_oicp.server.limits import AdmissionController, AdmissionTicket, address_block
from p2p_oicp.server.problems import SERVER, HttpError, error_response
from p2p_oicp.storage import Transaction
from p2p_oicp.tracing import TRACE, begin_trace

OICP_PREFIX = "/api/oicp/"
#: What the router has found in the path of a request.
PATH_PARAMETERS: web.RequestKey[Mapping[str, str]] = web.RequestKey("path parameters", Mapping)

Handler: TypeAlias = "Callable[[RequestContext], Awaitable[OperationResponse]]"
HttpHandler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
ContextFactory: TypeAlias = "Callable[[RequestPipeline, web.BaseRequest], RequestContext]"
OicpContextFactory: TypeAlias = "Callable[[RequestPipeline, web.BaseRequest], OicpRequestContext]"
ResponseSigner: TypeAlias = Callable[[int, bytes, VerifiedSignature], Mapping[str, str]]

_MIN_COMPRESSED_BYTES = 2048
_NODE_PREFIX = "/p2p/v1/"


class AccessRules(Protocol):
    """Who may use a listener at all (``app.BackendAccess``)."""

    oicp_needs_token: bool

    def check(self, head: InboundRequest, *, needs_token: bool) -> None:
        """Raise HttpError for a request that may not be served."""

    def has_token(self, headers: Mapping[str, str]) -> bool:
        """Whether a request carries the token; true for all where there is none."""


class RequestPipeline:
    """What the requests of one listener share.

    Args:
        dispatcher: serves OICP.
        authenticator: the listener's.
        ids: mints a Process-ID where the client has sent none.
        admission: the listener's; its ``max_body`` bounds the body of an OICP request.
        access: the rules of the backend listener; None on the peer API.
        public: how peers reach the listener; None for our own systems.
        signer: signs the responses to signed requests.
        recorder: records signed exchanges as evidence.
    """

    def __init__(
        self,
        dispatcher: OperationDispatcher,
        authenticator: Authenticator,
        ids: IdGenerator,
        *,
        admission: AdmissionController,
        access: AccessRules | None = None,
        public: PublicAddress | None = None,
        signer: ResponseSigner | None = None,
        recorder: ExchangeRecorder | None = None,
    ) -> None:
        self.dispatcher = dispatcher
        self.authenticator = authenticator
        self.ids = ids
        self.admission = admission
        self.signer, self.recorder, self.access = signer, recorder, access
        self._contexts: tuple[ContextFactory, OicpContextFactory] = (RequestContext, OicpRequestContext)
        self._oicp_needs_token = access is not None and access.oicp_needs_token
        self.is_public = public is not None
        self._trusted_proxies = public.trusted_proxies if public else ()
        self._authority, self._prefix = split_public_url(public.url) if public else ("", "")
        self.oicp_prefix_length = len(self._prefix + OICP_PREFIX)

    def __repr__(self) -> str:
        return f"<RequestPipeline {self.dispatcher!r} {self.admission!r}>"

    def serve_oicp(self, request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        """Serve ``POST /api/oicp/...``."""
        context = self._contexts[1](self, request)
        return context.run(context.serve, needs_token=self._oicp_needs_token)

    def replace_contexts(self, oicp: OicpContextFactory, other: ContextFactory | None = None) -> None:
        """Serve OICP, and other paths if given, by contexts of other types."""
        self._contexts = (other or self._contexts[0], oicp)

    def wrap(self, handler: Handler, *, needs_token: bool = True) -> HttpHandler:
        """Return the aiohttp handler that serves a request by ``handler``.

        Args:
            handler: serves the request.
            needs_token: on the backend listener, whether the request must carry its token, if there is one.
        """

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            context = self._contexts[0](self, request)
            return await context.run(partial(handler, context), needs_token=needs_token)

        return handle

    def head_of(self, request: web.BaseRequest) -> InboundRequest:
        """Return the head of a request as its signature covers it."""
        raw_path, _, query = origin_form(request.raw_path).partition("?")
        connection, remote = cast("HttpConnection", request.protocol), request.remote
        certificate = connection.certificate
        if self._trusted_proxies:
            certificate = forwarded_certificate(request, self._trusted_proxies, self.dispatcher.clock) or certificate
            remote = client_address(remote, request.headers, self._trusted_proxies)
            connection.begin_request_of(address_block(remote or ""))
        return InboundRequest(
            method=request.method,
            authority=self._authority or request.headers.get("Host", ""),
            path=self._prefix + raw_path,
            query=query,
            headers=request.headers,
            content_length=request.content_length,
            client_address=remote,
            certificate=certificate,
        )


class RequestContext:
    """One request being served, and what has been established about it so far.

    Invariant: no other class writes to it. What handlers get of it (head, principal, body) is immutable.
    """

    def __init__(self, pipeline: RequestPipeline, http: web.BaseRequest) -> None:
        self.http = http
        self._connection = cast("HttpConnection", http.protocol)
        self.head = pipeline.head_of(http)
        self._pipeline = pipeline
        self._headers = {"Server": SERVER, "Process-ID": process_id_of(http) or pipeline.ids.process_id()}
        self._principal = ANONYMOUS
        self._wire_body: bytes | None = None
        self._decoded_body: bytes | None = None
        self._operation: Operation | None = None

    async def run(
        self, serve: Callable[[], Awaitable[OperationResponse]], *, needs_token: bool = True
    ) -> web.StreamResponse:
        """Serve the request; whatever goes wrong becomes a response with a StatusCode, never a stack trace."""
        PROCESS_ID.set(self._headers["Process-ID"])
        # The last request of this connection, which the same task has served, may have had one.
        if "traceparent" in self.head.headers or TRACE.get() is not None:
            begin_trace(self.head.headers)
        try:
            if (access := self._pipeline.access) is not None:
                access.check(self.head, needs_token=needs_token)
            response = await serve()
        except Exception as error:  # noqa: BLE001 - the edge of the program
            self._record_refusal(error)
            await self._delay_refusal(error)
            response = error_response(error, self.http.path, self._headers)
            self._pipeline.dispatcher.observe_rejection(response.http_status)
        return await self._finish(response)

    async def authenticate(self, party: PartyID | None) -> Principal:
        """Return the sender, authorized for ``party``; a body that was read before is verified as well.

        Raises:
            Refusal: 017 or 300.
            HttpError: 429 or 413, where the peer sends too much.
        """
        authenticator = self._pipeline.authenticator
        # Order: the principal is set before it is authorized, so that the refusal of a proved sender is signed.
        self._principal = principal = await authenticator.authenticate(self.head, party)
        if principal.is_proved_peer:
            self._connection.prove()
        authenticator.authorize(principal, party, self.head)
        if self._wire_body is not None:
            self._verify_body(self._wire_body)
        return principal

    @property
    def may_see_details(self) -> bool:
        """Whether the request carries the backend listener's token, or there is none."""
        access = self._pipeline.access
        return access is None or access.has_token(self.head.headers)

    def parameter(self, name: str) -> str:
        """Return a part of the path by its name in the route."""
        return self.http[PATH_PARAMETERS][name]

    def authenticate_by(self, authenticate: Callable[[InboundRequest, bytes], Principal]) -> None:
        """Set the sender of a request that carries its key in its body (pairing)."""
        self._principal = authenticate(self.head, self._wire_body or b"")

    async def read_body(self, max_bytes: int, *, is_form: bool = False) -> bytes:
        """Return the body (of a page: a form) as UTF-8, verified if the sender is known; it must not be compressed.

        Raises:
            HttpError: 400, 408, 413 or 415.
            InvalidMessage: it is no text.
        """
        check_head(self.head, self.http, max_bytes, is_form=is_form)
        if self.head.headers.get("Content-Encoding"):
            raise HttpError(415, StatusCodeValue.DATA_ERROR, "a compressed body is not served here")
        self._verify_body(body := await receive_body(self.http, max_bytes, is_urgent=True))
        if not self._pipeline.is_public:
            self._connection.prove()
        return decode_text(self.http, body)

    def _verify_body(self, body: bytes) -> None:
        # Order: until its body is verified, the principal proves nothing: the refusal of another body is not signed.
        principal, self._principal, self._wire_body = self._principal, ANONYMOUS, body
        self._pipeline.authenticator.verify_body(principal, self.head, body)
        self._principal = principal

    def _record_refusal(self, error: Exception) -> None:
        # Of OICP, the dispatcher knows more; and not whatever path scanners try.
        if self._operation is None and _NODE_PREFIX in self.head.path and not isinstance(error, HttpError):
            self._pipeline.dispatcher.record_refusal(node_operation(self.head.path), error, self._principal.peer)

    async def _delay_refusal(self, error: Exception) -> None:
        if isinstance(error, Unauthorized) and not self._principal.is_authenticated:
            await self._connection.wait(self._pipeline.authenticator.refusal_delay(self.head))

    async def _finish(self, response: OperationResponse) -> web.StreamResponse:
        """Compress and sign a response, and record the exchange before it is answered."""
        headers, body, principal = self._headers, response.body, self._principal
        headers["Content-Type"] = f"{response.content_type}; charset=utf-8"
        if response.headers is not None:
            headers |= response.headers
        if len(body) >= _MIN_COMPRESSED_BYTES and "gzip" in self.head.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"] = "gzip"
            body = await gzip_compress(body)
        if response.signature_headers is not None:
            headers |= response.signature_headers
        elif principal.is_authenticated or principal.signature is not None:
            headers |= self._signature_headers(response.http_status, body)
            await self._record(SignedResponseParts(response.http_status, headers, body), response.body)
        return http_response(self.http, response.http_status, headers, body)

    def sign_in_transaction(self, tx: Transaction, response: OperationResponse) -> OperationResponse:
        """Sign a response, and record the exchange, in the transaction that decides it (``TransactionalSigner``)."""
        # What will be compressed is signed as compressed, after the transaction.
        if len(response.body) >= _MIN_COMPRESSED_BYTES:
            return response
        recorder, parts = self._pipeline.recorder, self._exchange_parts()
        if recorder is None or parts is None:
            return response
        headers = self._signature_headers(response.http_status, response.body)
        signed = SignedResponseParts(response.http_status, headers, response.body)
        exchange = recorder.prepare_inbound(*parts, signed, response.body)
        if exchange is None:
            return response
        recorder.insert(tx, exchange)
        return replace(response, signature_headers=headers)

    def _signature_headers(self, status: int, body: bytes) -> dict[str, str]:
        """Return the headers that confirm the sender's identity to it, and prove who answers."""
        headers = {IDENTITY_CONFIRMED_HEADER: "proven"} if self._principal.is_authenticated else {}
        signer, signature = self._pipeline.signer, self._principal.signature
        return headers if signer is None or signature is None else {**headers, **signer(status, body, signature)}

    def _exchange_parts(self) -> tuple[str, str, SignedRequestParts] | None:
        """Return operation, peer and request of an exchange that can be evidence: an OICP request with a signature."""
        operation, principal, body, head = self._operation, self._principal, self._wire_body, self.head
        if operation is None or body is None or principal.signature is None or not principal.is_authenticated:
            return None
        request = SignedRequestParts(head.method, head.authority, head.path, head.query, head.headers, body)
        return operation.name, principal.peer.name if principal.peer else "", request

    async def _record(self, response: SignedResponseParts, decoded_body: bytes) -> None:
        recorder, parts = self._pipeline.recorder, self._exchange_parts()
        if recorder is not None and parts is not None:
            await recorder.record(recorder.prepare_inbound(*parts, response, decoded_body))


class OicpRequestContext(RequestContext):
    """One OICP request; the order of its steps is that of DESIGN section 7, "Admission"."""

    async def serve(self) -> OperationResponse:
        # (1) The connection was admitted by the listener. (2) The head has arrived.
        if self.http.method != "POST":
            info = f"{self.http.method} is not served here; send POST"
            raise HttpError(405, StatusCodeValue.SERVICE_NOT_AVAILABLE, info, {"Allow": "POST"})
        dispatcher, prefix_length = self._pipeline.dispatcher, self._pipeline.oicp_prefix_length
        started, path = dispatcher.clock.monotonic(), collapse_slashes(self.head.path)[prefix_length:]
        route = dispatcher.find_route(path)
        # Several operations may share a path, told apart by the body: until it is read, the first stands for all.
        self._operation = route.candidates[0]
        outcome: OperationResponse | Exception | None = None
        try:
            outcome = response = await self._admit(path, route)
        except Exception as error:
            outcome = error
            raise
        finally:
            dispatcher.observe(self._operation, started, outcome)
        return response

    async def _admit(self, path: str, route: Route) -> OperationResponse:
        dispatcher, admission = self._pipeline.dispatcher, self._pipeline.admission
        operation = route.candidates[0]
        try:
            dispatcher.check_recipient(self.head.headers)
            check_head(self.head, self.http, admission.max_body)
            # (3) The credentials, before the body costs anything.
            principal = await self.authenticate(claimed_party(operation, route.party))
            check_encoding(self.head, is_known=principal.peer is not None or principal.is_authenticated)
            ticket = AdmissionTicket(principal.client_key(self.head), principal.is_authenticated)
            try:
                return await self._serve_admitted(path, route, ticket)
            finally:
                admission.release(ticket)
        except (InvalidMessage, Refusal) as error:
            await self._delay_refusal(error)
            self._pipeline.dispatcher.observe_rejection(getattr(error, "http_status", 400))
            return dispatcher.refuse(self._operation or operation, error, self._principal.peer)

    async def _serve_admitted(self, path: str, route: Route, ticket: AdmissionTicket) -> OperationResponse:
        admission, principal = self._pipeline.admission, self._principal
        max_bytes = principal.max_body(admission.max_body)
        reserve_bytes = partial(admission.reserve_bytes, ticket)
        # (4) The body, where there is room for it, and (5) its digest; only now the nonce counts as used. Nearly always
        # it has come with its head, and how long it may take does not matter.
        is_urgent = not self.http.content.is_eof() and admission.is_interactive(path)
        body = await receive_body(self.http, max_bytes, reserve_bytes, is_urgent=is_urgent)
        self._verify_body(body)
        self._connection.prove()
        # (6) A slot: only complete requests of proved senders wait for one.
        await admission.enter_lane(ticket, path)
        # (7) Decompressed and (8) parsed is only what is served at once.
        if self.head.headers.get("Content-Encoding"):
            body = await decompress(self.http, body, max_bytes, reserve_bytes, admission.decompression)
        self._decoded_body = body = decode_text(self.http, body)
        self._operation = operation = route.choose(body)
        is_recorded = self._pipeline.recorder is not None and self._principal.signature is not None
        sign = self.sign_in_transaction if is_recorded else None
        return await self._pipeline.dispatcher.execute(
            operation, route.party, principal, self.head, body, sign_in_transaction=sign
        )
