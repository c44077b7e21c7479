"""Sends a message that a person has written, as a request of our own system does, and records it as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from p2p_oicp.client.recording import ExchangeLog, RawExchange
from p2p_oicp.clock import Clock, IdGenerator
from p2p_oicp.logs import PROCESS_ID
from p2p_oicp.oicp.operations import BASE_PATH, Operation
from p2p_oicp.server.dispatcher import OperationDispatcher
from p2p_oicp.server.inbound import InboundRequest
from p2p_oicp.server.problems import HttpError
from p2p_oicp.storage.exchanges import Exchange

_JSON_HEADERS: Mapping[str, str] = MappingProxyType({"Content-Type": "application/json"})
_ADDRESS = "the dashboard"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the node has answered to a message.

    Attributes:
        http_status: of the answer.
        body: its JSON.
        seconds: that it took.
        process_id: under which it is in the logs of all systems that it has passed.
    """

    http_status: int
    body: bytes
    seconds: float
    process_id: str


class MessageSender:
    """Sends messages to this node.

    Args:
        dispatcher: of the backend API: whatever it refuses of a system of ours, it refuses of a person.
        exchanges: where what was said is recorded; None: nowhere.
        backend_of: the name of our own system that sends an operation for a party.
        ids: mints the SessionIDs of samples.
        clock: the time.
    """

    def __init__(
        self,
        dispatcher: OperationDispatcher,
        exchanges: ExchangeLog | None,
        backend_of: Callable[[Operation, str | None], str],
        ids: IdGenerator,
        clock: Clock,
    ) -> None:
        self._dispatcher = dispatcher
        self._exchanges = exchanges
        self._backend_of = backend_of
        self._ids = ids
        self._clock = clock

    def new_session_id(self) -> str:
        """Return a SessionID that nobody has."""
        return self._ids.session_id()

    async def send(self, operation: Operation, party: str, body: bytes) -> Answer:
        """Send a message in the name of one of our parties; return what is answered, also where that is a refusal.

        Raises:
            StoreError: the database cannot be used.
        """
        at, started = self._clock.time(), self._clock.monotonic()
        path = f"{BASE_PATH}/{operation.path_for(party)}"
        request = InboundRequest("POST", "", path, "", _JSON_HEADERS)
        named = party if "{" in operation.path else None
        try:
            response = await self._dispatcher.execute_in_process(operation, named, request, body)
        except HttpError as error:
            response = error.to_response()
        answer = Answer(response.http_status, response.body, self._clock.monotonic() - started, PROCESS_ID.get())
        self._record(operation, party, path, at, body, answer)
        return answer

    def _record(self, operation: Operation, party: str, path: str, at: float, body: bytes, answer: Answer) -> None:
        if self._exchanges is None:
            return
        exchange = Exchange(
            at=at,
            seconds=answer.seconds,
            direction="in",
            backend=self._backend_of(operation, party),
            operation=operation.name,
            method="POST",
            path=path,
            party=party,
            http_status=answer.http_status,
            process_id=answer.process_id,
            address=_ADDRESS,
        )
        self._exchanges.record(RawExchange(exchange=exchange, request=body, response=answer.body))
