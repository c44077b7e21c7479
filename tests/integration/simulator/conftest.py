"""A clearing house in one process, as the simulated backends see it; and the backends connected to it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from p2p_oicp.client import Endpoint, HttpTransport, OicpClient
from p2p_oicp.clock import SystemClock, UuidGenerator
from p2p_oicp.oicp import (
    UID,
    Acknowledgement,
    EvcoID,
    EvseID,
    EvseStatuses,
    EvseStatusesById,
    EvseStatusRecord,
    EvseStatusRecords,
    Message,
    Operation,
    OperatorEvseStatus,
    OperatorEvseStatuses,
    OperatorID,
    Party,
    ProviderID,
    SessionID,
    StatusCode,
    StatusCodeValue,
    find,
)
from p2p_oicp.simulator import ChargingPoint, Contract, ContractSystem, Csms, ExchangeLog, SimulatedClock

OPERATOR = OperatorID("DE*GEF")
OPENS_A_SESSION = {"AuthorizeStart", "AuthorizeRemoteStart"}


@dataclass
class Hub:
    """Forwards each message to the backend it is for, and keeps what was sent."""

    client: OicpClient
    urls: dict[Party, str] = field(default_factory=dict)
    statuses: dict[EvseID, str] = field(default_factory=dict)
    taken: list[tuple[Operation, bytes]] = field(default_factory=list)
    url: str = ""

    async def serve(self, request: web.Request) -> web.Response:
        body = await request.read()
        route = find(request.path.removeprefix("/api/oicp/"))
        operation = route.choose(body)
        self.taken.append((operation, body))
        answer = await self.answer(operation, route.party, operation.request.from_json(body))
        return web.Response(body=answer.to_json(), content_type="application/json")

    async def answer(self, operation: Operation, party: str | None, message: Message) -> Message:
        if operation.name == "PushEvseStatus":
            records = message.operator_evse_status.evse_status_records
            self.statuses |= {record.evse_id: record.evse_status for record in records}
            return Acknowledgement(result=True, status_code=StatusCode.of(StatusCodeValue.SUCCESS))
        if operation.name.startswith("PullEvseStatus"):
            return self.pulled(operation, message)
        if operation.name in OPENS_A_SESSION:
            message = message.replace(session_id=SessionID(UuidGenerator().session_id()))
        reply = await self.call(operation, party, message)
        if operation.name in OPENS_A_SESSION:
            return reply.replace(session_id=message.session_id)
        return reply

    def pulled(self, operation: Operation, message: Message) -> Message:
        if operation.name == "PullEvseStatusByID":
            records = EvseStatusRecords(evse_status_record=self.records(message.evse_id))
            return EvseStatusesById(evse_status_records=records)
        of_operator = OperatorEvseStatus(operator_id=OPERATOR, evse_status_records=self.records(self.statuses))
        return EvseStatuses(evse_statuses=OperatorEvseStatuses(operator_evse_status=(of_operator,)))

    def records(self, evse_ids) -> tuple[EvseStatusRecord, ...]:
        return tuple(EvseStatusRecord(evse_id=each, evse_status=self.statuses[each]) for each in evse_ids)

    async def call(self, operation: Operation, party: str | None, message: Message) -> Message:
        """Ask the backend that serves an operation."""
        endpoint = Endpoint("backend", self.urls[operation.server])
        reply = await self.client.call(endpoint, operation, party, message.to_json(), deadline=5)
        return reply.message


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    async with HttpTransport(user_agent="hub", max_body=10_000_000) as transport:
        hub = Hub(OicpClient(transport, ids=UuidGenerator(), clock=SystemClock()))
        app = web.Application()
        app.router.add_post("/{path:.*}", hub.serve)
        async with TestServer(app) as server:
            hub.url = str(server.make_url("/"))
            yield hub


@pytest.fixture
def journal() -> ExchangeLog:
    return ExchangeLog(SystemClock())


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(datetime(2024, 5, 1, 8, tzinfo=UTC))


@pytest.fixture
async def csms(hub, journal, clock) -> AsyncIterator[Csms]:
    points = [ChargingPoint(EvseID(f"DE*GEF*E1001*{place}"), Decimal("100.5")) for place in (1, 2, 3, 4)]
    async with Csms(name="CSMS", operator=OPERATOR, points=points, exchange_log=journal, clock=clock) as csms:
        csms.connect("hub", hub.url)
        hub.urls[Party.CPO] = csms.url
        yield csms


@pytest.fixture
async def contracts(hub, journal) -> AsyncIterator[ContractSystem]:
    drivers = [
        Contract(EvcoID("DE-GDF-C00000001-1"), uids=(UID("04A1B2C3D4E5F6"),)),
        Contract(EvcoID("DE-GDF-C00000002-2"), uids=(UID("04B10C4ED00000"),), is_valid=False),
        Contract(EvcoID("DE-GDF-C12345678-X")),
    ]
    provider = ProviderID("DE-GDF")
    async with ContractSystem(name="contracts", provider=provider, contracts=drivers, exchange_log=journal) as system:
        system.connect("hub", hub.url)
        hub.urls[Party.EMP] = system.url
        yield system
