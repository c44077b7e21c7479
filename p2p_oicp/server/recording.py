"""Records the exchanges that a listener serves (`client.recording`).

`record_exchanges` lets a pipeline make contexts that record: so one that records nothing pays nothing. Recorded is what
other systems say: OICP, and what nodes say to each other below ``/p2p``, the latter without bodies.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from p2p_oicp.client.recording import ExchangeLog, RawExchange
from p2p_oicp.clock import Clock
from p2p_oicp.oicp.operations import Operation, find
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.inbound import collapse_slashes
from p2p_oicp.server.limits import TokenBucketLimiter
from p2p_oicp.server.pipeline import OicpRequestContext, RequestContext, RequestPipeline
from p2p_oicp.server.problems import HttpError
from p2p_oicp.storage.exchanges import Exchange

# Of requests that are refused and that nobody has proved: others could fill the ring with them.
_REFUSALS_PER_SECOND, _REFUSALS_AT_ONCE = 5.0, 50.0
_NODE_PREFIX = "/p2p/"
_OK = 200


@dataclass(frozen=True, slots=True)
class InboundRecording:
    """What the recorded requests of a listener share.

    Attributes:
        exchanges: where they go.
        clock: the times.
        backend_of: returns the name of our own system that serves the sender of a request; None on the peer API.
        refusals: limits what nobody has proved.
    """

    exchanges: ExchangeLog
    clock: Clock
    backend_of: Callable[[Operation, str | None], str] | None
    refusals: TokenBucketLimiter


def record_exchanges(
    pipeline: RequestPipeline,
    exchanges: ExchangeLog,
    clock: Clock,
    backend_of: Callable[[Operation, str | None], str] | None = None,
) -> None:
    """Let a pipeline record what it serves; see `InboundRecording` for the parameters."""
    refusals = TokenBucketLimiter(clock, per_second=_REFUSALS_PER_SECOND, burst=_REFUSALS_AT_ONCE)
    recording = InboundRecording(exchanges, clock, backend_of, refusals)
    # What commands and people send to the backend API (/admin/v1, /metrics) is nobody's exchange.
    other = partial(_RecordedRequest, recording) if backend_of is None else None
    pipeline.replace_contexts(partial(_RecordedOicpRequest, recording), other)


class _RecordedRequest(RequestContext):
    def __init__(self, recording: InboundRecording, pipeline: RequestPipeline, http: web.BaseRequest) -> None:
        super().__init__(pipeline, http)
        self._recording = recording
        self._response: OperationResponse | None = None

    async def run(
        self, serve: Callable[[], Awaitable[OperationResponse]], *, needs_token: bool = True
    ) -> web.StreamResponse:
        clock = self._recording.clock
        at, started = clock.time(), clock.monotonic()
        try:
            return await super().run(serve, needs_token=needs_token)
        finally:
            self._record_exchange(at, clock.monotonic() - started)

    async def _finish(self, response: OperationResponse) -> web.StreamResponse:
        self._response = response
        return await super()._finish(response)

    def _is_recorded(self) -> bool:
        if self._operation is None and _NODE_PREFIX not in self.head.path:
            return False
        response = self._response
        is_refused = response is None or response.is_refusal or response.http_status != _OK
        if is_refused and self._principal.peer is None:
            try:
                self._recording.refusals.acquire("")
            except HttpError:
                return False
        return True

    def _record_exchange(self, at: float, seconds: float) -> None:
        if not self._is_recorded():
            return
        operation, response, peer = self._operation, self._response, self._principal.peer
        party = self._party()
        backend_of = self._recording.backend_of
        exchange = Exchange(
            at=at,
            seconds=seconds,
            direction="in",
            peer=peer.name if peer is not None and backend_of is None else "",
            backend=backend_of(operation, party) if backend_of is not None and operation is not None else "",
            operation=operation.name if operation is not None else "",
            method=self.head.method,
            path=self.head.path,
            party=party or "",
            http_status=None if response is None else response.http_status,
            error="" if response is not None else self._connection.dropped_because or "given up: the client has gone",
            process_id=self._headers["Process-ID"],
            address=self.head.client_address or "",
        )
        response_body = None if response is None or operation is None else response.body
        self._recording.exchanges.record(
            RawExchange(exchange=exchange, request=self._decoded_body, response=response_body)
        )

    def _party(self) -> str | None:
        path = collapse_slashes(self.head.path)[self._pipeline.oicp_prefix_length :]
        route = find(path) if self._operation is not None else None
        return None if route is None else route.party


class _RecordedOicpRequest(_RecordedRequest, OicpRequestContext):
    pass
