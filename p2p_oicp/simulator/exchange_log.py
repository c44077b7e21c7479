"""The log of the OICP exchanges that a simulated backend takes part in, how a response is read for it, how it is shown.

Exchanges are logged in the order of their responses; listeners get each one at once. ``p2p-oicp flow`` reads and shows
what nodes have recorded in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from rich.cells import cell_len
from rich.text import Text

from p2p_oicp.clock import Clock
from p2p_oicp.errors import PeerError
from p2p_oicp.oicp import (
    Acknowledgement,
    AuthorizationStart,
    AuthorizationStop,
    ChargeDetailRecord,
    ChargingNotification,
    EvseID,
    EvseStatuses,
    EvseStatusesById,
    Message,
    PushEvseStatus,
    StatusCode,
)

#: So much of a SessionID tells sessions apart.
SHORT_SESSION_ID = 8
_OPERATION_WIDTH = 22


@dataclass(frozen=True, slots=True)
class LoggedExchange:
    """One request and its response; ``at`` (monotonic, of the response) and ``took`` are in seconds."""

    at: float
    took: float
    sender: str
    receiver: str
    operation: str
    session_id: str | None
    result: str
    good: bool


@dataclass
class ExchangeLog:
    """Collects exchanges and calls the listeners with each one at once."""

    clock: Clock
    exchanges: list[LoggedExchange] = field(default_factory=list)
    listeners: list[Callable[[LoggedExchange], None]] = field(default_factory=list)

    def add(self, exchange: LoggedExchange) -> None:
        """Append one exchange and call the listeners."""
        self.exchanges.append(exchange)
        for listener in self.listeners:
            listener(exchange)


class ExchangeSummary(NamedTuple):
    """The outcome of an exchange in a few words, and whether it was positive."""

    result: str
    good: bool


def summarize_exchange(request: Message, response: Message | PeerError) -> ExchangeSummary:
    """Return the outcome of one request; ``response`` is the error if there was none."""
    if isinstance(response, PeerError):
        return ExchangeSummary(response.reason, good=False)
    subject = _describe_request(request)
    result, good = summarize_response(response)
    if not subject:
        return ExchangeSummary(result, good)
    # The code first: on a narrow terminal of the demo the end is cut.
    return ExchangeSummary(f"{status_code_of(response)} {subject}" if good else f"{result}: {subject}", good)


def _describe_request(request: Message) -> str:
    match request:
        case PushEvseStatus():
            count = len(request.operator_evse_status.evse_status_records)
            return f"{request.action_type}, {_format_count(count, 'status')}"
        case ChargingNotification():
            return str(request.type)
        case ChargeDetailRecord():
            return f"{request.consumed_energy} kWh"
    return ""


def summarize_response(response: Message) -> ExchangeSummary:
    """Return the outcome that a response states."""
    match response:
        case AuthorizationStart() | AuthorizationStop():
            good = response.authorization_status == "Authorized"
            result = str(response.authorization_status)
            if good and response.provider_id is not None:
                result += f" by {response.provider_id}"
            return ExchangeSummary(result if good else f"{result}, {_format_status_code(response.status_code)}", good)
        case Acknowledgement():
            return ExchangeSummary(_format_status_code(response.status_code), response.result)
        case EvseStatuses() | EvseStatusesById():
            return ExchangeSummary(_format_count(len(evse_statuses(response)), "status"), good=True)
    return ExchangeSummary(type(response).__name__, good=True)


def _format_status_code(status: StatusCode) -> str:
    return f"{status.code} {status.description or ''}".rstrip()


def _format_count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "es")


def is_accepted(response: Message) -> bool:
    """Whether a response is positive."""
    match response:
        case Acknowledgement():
            return response.result
        case AuthorizationStart() | AuthorizationStop():
            return response.authorization_status == "Authorized"
    return False


def is_refused(response: Message) -> bool:
    """Whether a response is a refusal."""
    return isinstance(response, (Acknowledgement, AuthorizationStart, AuthorizationStop)) and not is_accepted(response)


def status_code_of(response: Message) -> str | None:
    """Return the status code of a response, None if its type has none."""
    status = getattr(response, "status_code", None)
    return status.code if isinstance(status, StatusCode) else None


def evse_statuses(response: Message) -> dict[EvseID, str]:
    """Return the status of each EVSE in the response to a pull; none if it is a refusal."""
    match response:
        case EvseStatuses():
            operators = response.evse_statuses.operator_evse_status
            records = [record for operator in operators for record in operator.evse_status_records]
        case EvseStatusesById():
            records = list(response.evse_status_records.evse_status_record)
        case _:
            records = []
    return {record.evse_id: str(record.evse_status) for record in records}


def exchange_head(at: str, exchange: LoggedExchange, *, parties_width: int, session_width: int) -> Text:
    """Return time, from → to, operation and session in columns, for a terminal; `exchange_result` follows.

    Args:
        at: the time.
        exchange: what is shown.
        parties_width: of the column from → to; longer names take more room.
        session_width: so much of the SessionID is shown.
    """
    parties = Text.assemble((exchange.sender, "cyan"), " → ", (exchange.receiver, "magenta"))
    session = (exchange.session_id or "")[:session_width]
    return Text.assemble(
        (f"{at} ", "dim"),
        _padded(parties, parties_width),
        _padded(Text(exchange.operation, style="bold"), _OPERATION_WIDTH),
        _padded(Text(session, style="blue"), session_width) if session_width else "",
    )


def exchange_result(exchange: LoggedExchange) -> Text:
    """Return the outcome of an exchange in its colour."""
    return Text(exchange.result, style="green" if exchange.good else "yellow")


def _padded(text: Text, width: int) -> Text:
    return Text.assemble(text, " " * (max(0, width - cell_len(text.plain)) + 1))
