"""Records what was said to whom, for people who look for a fault (`[exchanges]` of the settings).

`ExchangeLog` is given raw exchanges by both sides: the requests that we send, by `RecordingTransport`, which takes the
place of the transport, and those that we serve, by `server.recording`. It masks them at once and writes them a moment
later, in a thread. Where nothing is recorded there is none of all this.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec
import structlog

from p2p_oicp.client.replies import HttpResponse
from p2p_oicp.client.transport import HttpTransport, OutboundRequest
from p2p_oicp.clock import Clock
from p2p_oicp.concurrency import SingleThreadExecutor
from p2p_oicp.errors import PeerError
from p2p_oicp.oicp.masking import MaskedText, leave_unmasked, mask
from p2p_oicp.storage.exchanges import Exchange, ExchangeFilter, ExchangePage, ExchangeRing, RecordedBody
from p2p_oicp.tracing.spans import SpanRecorder

log = structlog.get_logger(__name__)

# As many may wait for the disk.
_MAX_QUEUED = 2000
_WRITE_DELAY_SECONDS = 0.1
_MAX_ID_LENGTH = 100
_MAX_ERROR_LENGTH = 300
_BACKEND_PREFIX = "backend:"
_SUCCESS = "000"
_OK = 200


class RawExchange(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange as it was, for `ExchangeLog.record`; what is empty is not known.

    Attributes:
        exchange: what is known of it but its messages.
        request: the body of the request, without content coding; None: it was not read.
        response: the body of the response.
    """

    exchange: Exchange
    request: bytes | None = None
    response: bytes | None = None


class _StatusCode(msgspec.Struct, rename={"code": "Code"}):
    code: str | int | None = None


class _Members(
    msgspec.Struct, rename={"session_id": "SessionID", "evse_id": "EvseID", "status": "StatusCode"}, frozen=True
):
    """What a message says of itself; each may be anything."""

    session_id: object = None
    evse_id: object = None
    status: object = None


_decode_members = msgspec.json.Decoder(_Members).decode
_NO_MEMBERS = _Members()


class ExchangeLog:
    """Masks and records exchanges in a ring.

    Args:
        ring: where they go.
        max_body: of a larger body, the beginning is recorded.
        is_masked: whether what identifies a driver is masked; a clearing house for tests shows it.
    """

    def __init__(self, ring: ExchangeRing, max_body: int, *, is_masked: bool = True) -> None:
        self._mask = mask if is_masked else leave_unmasked
        self._ring = ring
        self._max_body = max_body
        self._queued: deque[Exchange] = deque()
        self._left_out = 0
        self._arrived = asyncio.Event()
        # The ring is used by one thread at a time, also when whoever waits for it is cancelled.
        self._executor = SingleThreadExecutor("p2p-oicp-exchanges")

    def __repr__(self) -> str:
        return f"<ExchangeLog {self._ring!r} queued={len(self._queued)}>"

    def record(self, raw: RawExchange) -> None:
        """Record an exchange; one for which there is no room is left out."""
        if len(self._queued) >= _MAX_QUEUED:
            self._left_out += 1
            return
        self._queued.append(self._masked(raw))
        self._arrived.set()

    async def run(self) -> None:
        """Write what is recorded, until cancelled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            await self.flush()
            # Others that come meanwhile are written together.
            await asyncio.sleep(_WRITE_DELAY_SECONDS)

    async def flush(self) -> None:
        """Write what has been recorded so far; what cannot be written is left out, and the log says so."""
        exchanges = list(self._queued)
        self._queued.clear()
        if self._left_out:
            log.warning("exchanges.left_out", exchanges=self._left_out, reason="the disk was too slow")
            self._left_out = 0
        if exchanges:
            # Shielded: they are in no queue any more.
            await asyncio.shield(self._executor.submit(self._append, exchanges))

    def _append(self, exchanges: Sequence[Exchange]) -> None:
        try:
            self._ring.append(exchanges)
        except OSError as error:
            log.error("exchanges.write_failed", error=error, left_out=len(exchanges))  # noqa: TRY400

    async def read(self, selection: ExchangeFilter) -> ExchangePage:
        """Return recorded exchanges, all that have ended included."""
        await self.flush()
        return await self._executor.submit(self._ring.read, selection)

    async def clear(self) -> None:
        """Delete what has been recorded so far."""
        await self.flush()
        await self._executor.submit(self._ring.clear)

    async def close(self) -> None:
        """Write what has been recorded so far, and end the thread."""
        await self.flush()
        self._executor.close()

    def _masked(self, raw: RawExchange) -> Exchange:
        exchange = raw.exchange
        request = None if raw.request is None else self._mask(raw.request, self._max_body)
        response = None
        if raw.response is not None:
            response = self._mask(raw.response, self._max_body, () if request is None else request.secrets)
        sent, returned = self._members(raw.request), self._members(raw.response)
        code = _code_of(returned)
        # A refusal may repeat what stands in a part of the request that was not read.
        if request is not None and request.is_cut and (exchange.http_status != _OK or code not in {"", _SUCCESS}):
            response = MaskedText(None)
        return msgspec.structs.replace(
            exchange,
            session_id=_text(returned.session_id) or _text(sent.session_id),
            evse_id=_text(sent.evse_id),
            code=code,
            error=exchange.error[:_MAX_ERROR_LENGTH],
            request=_recorded(raw.request, request),
            response=_recorded(raw.response, response),
        )

    def _members(self, body: bytes | None) -> _Members:
        # A large message is a list, which has no session of its own.
        if body is None or len(body) > self._max_body:
            return _NO_MEMBERS
        try:
            return _decode_members(body)
        except msgspec.DecodeError:
            return _NO_MEMBERS


@dataclass(frozen=True, slots=True)
class SentRecords:
    """What a node writes down of the requests that it sends.

    Attributes:
        exchanges: the recorded exchanges; None: none are recorded.
        spans: the same of spans.
    """

    exchanges: ExchangeLog | None = None
    spans: SpanRecorder | None = None


class RecordingTransport(HttpTransport):
    """A transport that records the requests whose `OutboundRequest.operation` is not None."""

    def __init__(
        self, exchanges: ExchangeLog, *, user_agent: str, max_body: int, clock: Clock, spans: SpanRecorder | None = None
    ) -> None:
        super().__init__(user_agent=user_agent, max_body=max_body, now=clock.time, spans=spans)
        self._exchanges = exchanges
        self._clock = clock

    def send(self, request: OutboundRequest) -> Coroutine[object, object, HttpResponse]:
        return super().send(request) if request.operation is None else self._send_recorded(request)

    async def _send_recorded(self, request: OutboundRequest) -> HttpResponse:
        at, started = self._clock.time(), self._clock.monotonic()
        try:
            response = await super().send(request)
        except PeerError as error:
            self._record(request, None, error.reason, at, started)
            raise
        except asyncio.CancelledError:
            self._record(request, None, "given up: another answer has decided, or the deadline has passed", at, started)
            raise
        self._record(request, response, "", at, started)
        return response

    def _record(
        self, request: OutboundRequest, response: HttpResponse | None, error: str, at: float, started: float
    ) -> None:
        is_backend = request.target.startswith(_BACKEND_PREFIX)
        exchange = Exchange(
            at=at,
            seconds=self._clock.monotonic() - started,
            direction="out",
            peer="" if is_backend else request.target,
            backend=request.target.removeprefix(_BACKEND_PREFIX) if is_backend else "",
            operation=request.operation or "",
            method=request.method,
            path=urlsplit(request.url).path,
            http_status=response.status if response is not None else None,
            error=error,
            process_id=request.headers.get("Process-ID", ""),
        )
        # What nodes say to each other below /p2p may have secrets that are none of OICP.
        is_oicp = bool(request.operation)
        self._exchanges.record(
            RawExchange(
                exchange=exchange,
                request=request.body if is_oicp else None,
                response=response.body if is_oicp and response is not None else None,
            )
        )


def _recorded(body: bytes | None, masked: MaskedText | None) -> RecordedBody | None:
    if body is None or masked is None:
        return None
    if masked.text is None:
        return RecordedBody(len(body))
    if masked.is_cut:
        return RecordedBody(len(body), start=masked.text)
    return RecordedBody(len(body), json=msgspec.Raw(masked.text.encode()))


def _text(value: object) -> str:
    return value[:_MAX_ID_LENGTH] if isinstance(value, str) else ""


def _code_of(members: _Members) -> str:
    code = members.status.get("Code") if isinstance(members.status, dict) else None
    return f"{code:03}" if isinstance(code, int) else _text(code)
