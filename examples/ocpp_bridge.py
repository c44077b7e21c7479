"""A small charging system: OCPP 1.6 to stations, OICP 2.3 to a node, in the place of a simulated one.

It shows what a CSMS has to do to roam, and is none itself: one connector a station, everything in memory, no TLS.
Tried with ocpp 2.1 and websockets 17. docs/guides/use-a-real-station.md has the way to try it.

    python ocpp_bridge.py --node http://127.0.0.1:8321 --operator "DE*ABC" --station "CP1=DE*ABC*E1001*1"

==========================================  =========================================
OCPP 1.6                                    OICP 2.3
==========================================  =========================================
StatusNotification                          PushEvseStatus (update)
Authorize, StartTransaction                 AuthorizeStart (RFIDMifareFamily)
StartTransaction                            ChargingNotification Start
StopTransaction                             ChargingNotification End, ChargeDetailRecord
RemoteStartTransaction                      AuthorizeRemoteStart
RemoteStopTransaction                       AuthorizeRemoteStop
==========================================  =========================================
"""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
import websockets
from aiohttp import web
from ocpp.routing import on
from ocpp.v16 import ChargePoint, call, call_result
from ocpp.v16.datatypes import IdTagInfo

SUBPROTOCOL = "ocpp1.6"
RETRY_SECONDS = 5
CARD = "RFIDMifareFamilyIdentification"
STATUSES = {
    "Available": "Available", "Preparing": "Available", "Reserved": "Reserved",
    "Unavailable": "OutOfService", "Faulted": "OutOfService",
}  # fmt: skip
SUCCESS = {"Result": True, "StatusCode": {"Code": "000"}}
Json = dict[str, Any]


def refusal(code: str, reason: str) -> Json:
    """Return a refusal in OICP."""
    return {"Result": False, "StatusCode": {"Code": code, "Description": reason}}


def now() -> str:
    """Return the time as both protocols write it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass
class Session:
    """A charging session: ``id_tag`` is what the station knows its driver by, energies are in Wh."""

    session_id: str
    id_tag: str
    identification: Json
    started: str = field(default_factory=now)
    transaction_id: int | None = None
    charging_started: str = ""
    meter_start: int = 0


@dataclass
class Sessions:
    """What is under way at a station, by the ids of its drivers: it outlives the station's connections."""

    by_id_tag: dict[str, Session] = field(default_factory=dict)
    transactions: int = 0
    # Messages of a session reach the node in their order, also if it is away for a while.
    order: asyncio.Lock = field(default_factory=asyncio.Lock)

    def find(self, session_id: str, transaction_id: int | None = None) -> Session | None:
        """Return the session that charges with this SessionID or transaction."""
        for each in self.by_id_tag.values():
            is_it = each.session_id.lower() == session_id.lower() or each.transaction_id == transaction_id
            if each.transaction_id is not None and is_it:
                return each
        return None


class Node:
    """The OICP node of the operator: its backend API."""

    def __init__(self, http: aiohttp.ClientSession, url: str, operator: str) -> None:
        self._http = http
        self._url = url
        self.operator = operator

    async def post(self, path: str, message: Json) -> Json:
        """Send a message of OICP and return the answer; raise aiohttp.ClientError if there is none."""
        async with self._http.post(f"{self._url}/api/oicp/{path}", json=message) as response:
            answer: Json = await response.json()
            return answer

    async def authorize(self, evse_id: str, id_tag: str) -> Session | None:
        """Ask whose card it is; None if nobody lets it charge, or the node cannot be reached."""
        identification = {CARD: {"UID": id_tag.upper()}}
        message = {"OperatorID": self.operator, "EvseID": evse_id, "Identification": identification}
        try:
            answer = await self.post(f"charging/v21/operators/{self.operator}/authorize/start", message)
        except aiohttp.ClientError:
            return None
        if answer.get("AuthorizationStatus") != "Authorized":
            return None
        return Session(answer["SessionID"], id_tag, identification)

    async def deliver(self, path: str, message: Json) -> None:
        """Send a message until the node has answered: it takes a second one of the same session as the same one."""
        while True:
            try:
                answer = await self.post(path, message)
            except aiohttp.ClientError:
                await asyncio.sleep(RETRY_SECONDS)
            else:
                if not answer.get("Result"):
                    print(f"refused: {path}: {answer}")  # noqa: T201 - what a person has to look into
                return


class Station(ChargePoint):
    """A station that is connected, seen by the charging system; it has one connector, which is one EVSE."""

    def __init__(self, name: str, connection: Any, evse_id: str, node: Node, sessions: Sessions) -> None:
        super().__init__(name, connection)
        self.evse_id = evse_id
        self._node = node
        self._sessions = sessions
        self._tasks: set[asyncio.Task[None]] = set()

    @on("BootNotification")
    async def on_boot(self, **_: Any) -> call_result.BootNotification:
        return call_result.BootNotification(current_time=now(), interval=300, status="Accepted")

    @on("Heartbeat")
    async def on_heartbeat(self) -> call_result.Heartbeat:
        return call_result.Heartbeat(current_time=now())

    @on("MeterValues")
    async def on_meter_values(self, **_: Any) -> call_result.MeterValues:
        return call_result.MeterValues()

    @on("StatusNotification")
    async def on_status(self, status: str, **_: Any) -> call_result.StatusNotification:
        record = {"EvseID": self.evse_id, "EvseStatus": STATUSES.get(status, "Occupied")}
        operator = self._node.operator
        content = {"OperatorID": operator, "OperatorName": operator, "EvseStatusRecord": [record]}
        message = {"ActionType": "update", "OperatorEvseStatus": content}
        self._deliver(f"evsepush/v21/operators/{operator}/status-records", message)
        return call_result.StatusNotification()

    @on("Authorize")
    async def on_authorize(self, id_tag: str) -> call_result.Authorize:
        session = self._sessions.by_id_tag.get(id_tag)
        if session is not None and session.transaction_id is None and CARD in session.identification:
            del self._sessions.by_id_tag[id_tag]  # the driver has gone away without charging, and is back
        return call_result.Authorize(id_tag_info=await self._authorize(id_tag))

    @on("StartTransaction")
    async def on_start(self, id_tag: str, meter_start: int, timestamp: str, **_: Any) -> call_result.StartTransaction:
        # A station with a list of its own starts without Authorize.
        info = await self._authorize(id_tag)
        self._sessions.transactions += 1
        transaction_id = self._sessions.transactions
        session = self._sessions.by_id_tag.get(id_tag)
        if session is not None:
            session.transaction_id, session.meter_start = transaction_id, meter_start
            session.charging_started = timestamp
            members = {"Type": "Start", "ChargingStart": timestamp, "MeterValueStart": meter_start / 1000}
            self._deliver("notificationmgmt/v11/charging-notifications", self._about(session) | members)
        return call_result.StartTransaction(transaction_id=transaction_id, id_tag_info=info)

    @on("StopTransaction")
    async def on_stop(
        self, transaction_id: int, meter_stop: int, timestamp: str, **_: Any
    ) -> call_result.StopTransaction:
        session = self._sessions.find("", transaction_id)
        if session is not None:
            del self._sessions.by_id_tag[session.id_tag]
            members = {
                "ChargingStart": session.charging_started, "ChargingEnd": timestamp,
                "SessionStart": min(session.started, session.charging_started, key=datetime.fromisoformat),
                "SessionEnd": timestamp,
                "MeterValueStart": session.meter_start / 1000, "MeterValueEnd": meter_stop / 1000,
                "ConsumedEnergy": (meter_stop - session.meter_start) / 1000,
            }  # fmt: skip
            about = self._about(session)
            self._deliver("notificationmgmt/v11/charging-notifications", about | members | {"Type": "End"})
            record = about | members
            del record["OperatorID"]
            self._deliver(f"cdrmgmt/v22/operators/{self._node.operator}/charge-detail-record", record)
        return call_result.StopTransaction()

    async def start_remotely(self, session_id: str, identification: Json) -> Json:
        """Have the station start, for a driver with an app; return the answer in OICP."""
        id_tag = session_id.replace("-", "")[-20:]  # OCPP 1.6 has room for 20 characters
        self._sessions.by_id_tag[id_tag] = Session(session_id, id_tag, identification)
        answer = await self._command(call.RemoteStartTransaction(id_tag=id_tag, connector_id=1))
        if answer["StatusCode"]["Code"] == "501":
            del self._sessions.by_id_tag[id_tag]
        return answer

    async def stop_remotely(self, session_id: str) -> Json:
        """Have the station stop; return the answer in OICP."""
        session = self._sessions.find(session_id)
        if session is None:
            return refusal("400", "no such session charges here")
        return await self._command(call.RemoteStopTransaction(transaction_id=session.transaction_id))

    async def _command(self, command: Any) -> Json:
        """Have the station do something; return the answer in OICP."""
        try:
            answer = await self.call(command)
        except (TimeoutError, websockets.ConnectionClosed):
            return refusal("310", "the station does not answer")  # it may yet do it: the session is uncertain
        is_accepted = answer is not None and answer.status == "Accepted"
        return SUCCESS if is_accepted else refusal("501", "the station refuses")

    async def _authorize(self, id_tag: str) -> IdTagInfo:
        session = self._sessions.by_id_tag.get(id_tag) or await self._node.authorize(self.evse_id, id_tag)
        if session is None:
            return IdTagInfo(status="Invalid")
        self._sessions.by_id_tag[id_tag] = session
        return IdTagInfo(status="Accepted")

    def _about(self, session: Session) -> Json:
        return {
            "SessionID": session.session_id, "CPOPartnerSessionID": f"{self.id}-{session.transaction_id}",
            "OperatorID": self._node.operator, "EvseID": self.evse_id, "Identification": session.identification,
        }  # fmt: skip

    def _deliver(self, path: str, message: Json) -> None:
        # The station does not wait for the node.
        task = asyncio.create_task(self._deliver_in_order(path, message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver_in_order(self, path: str, message: Json) -> None:
        async with self._sessions.order:
            await self._node.deliver(path, message)


class Bridge:
    """The charging system.

    Args:
        node: the node of the operator.
        evses: the EvseIDs, by the names by which stations connect.
    """

    def __init__(self, node: Node, evses: dict[str, str]) -> None:
        self._node = node
        self._evses = evses
        self._stations: dict[str, Station] = {}
        self._sessions = {name: Sessions() for name in evses}

    async def serve_station(self, connection: Any) -> None:
        """Serve a station as long as it is connected: ``ws://…/NAME``."""
        name = connection.request.path.strip("/")
        if name not in self._evses:
            await connection.close(1008, "unknown station")
            return
        station = self._stations[name] = Station(name, connection, self._evses[name], self._node, self._sessions[name])
        try:
            await station.start()
        except websockets.ConnectionClosed:
            if self._stations.get(name) is station:
                del self._stations[name]

    def app(self) -> web.Application:
        """Return what the node calls: the paths of OICP."""
        app = web.Application()
        path = "/api/oicp/charging/v21/providers/{provider}/authorize-remote"
        app.router.add_post(f"{path}/start", self._remote_start)
        app.router.add_post(f"{path}/stop", self._remote_stop)
        return app

    async def _remote_start(self, request: web.Request) -> web.Response:
        message = await request.json()
        station = self._station_of(message["EvseID"])
        if station is None:
            return web.json_response(refusal("501", "the station is not connected"))
        return web.json_response(await station.start_remotely(message["SessionID"], message["Identification"]))

    async def _remote_stop(self, request: web.Request) -> web.Response:
        message = await request.json()
        station = self._station_of(message["EvseID"])
        if station is None:
            return web.json_response(refusal("501", "the station is not connected"))
        return web.json_response(await station.stop_remotely(message["SessionID"]))

    def _station_of(self, evse_id: str) -> Station | None:
        key = evse_id.replace("*", "").upper()
        stations = self._stations.values()
        return next((each for each in stations if each.evse_id.replace("*", "").upper() == key), None)


async def run(options: argparse.Namespace) -> None:
    """Serve stations and the node until cancelled; print where."""
    evses = dict(station.split("=", 1) for station in options.station)
    headers = {"Authorization": f"Bearer {options.token}"} if options.token else {}
    async with aiohttp.ClientSession(headers=headers) as http:
        bridge = Bridge(Node(http, options.node.rstrip("/"), options.operator), evses)
        runner = web.AppRunner(bridge.app(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, options.host, options.oicp_port).start()
        async with websockets.serve(
            bridge.serve_station, options.host, options.ocpp_port, subprotocols=[SUBPROTOCOL]
        ) as server:
            oicp_port, ocpp_port = runner.addresses[0][1], server.sockets[0].getsockname()[1]
            print(f"OICP: http://{options.host}:{oicp_port}  OCPP: ws://{options.host}:{ocpp_port}/NAME", flush=True)  # noqa: T201
            await asyncio.Event().wait()


def main() -> None:
    """Read the options and run until Ctrl-C."""
    parser = argparse.ArgumentParser(description="A small charging system between OCPP 1.6 and OICP 2.3.")
    parser.add_argument("--node", required=True, help="base URL of the node's backend API")
    parser.add_argument("--token", help="its bearer token, if it needs one")
    parser.add_argument("--operator", required=True, help="OperatorID")
    parser.add_argument("--station", action="append", required=True, metavar="NAME=EVSEID", help="can be repeated")
    parser.add_argument("--host", default="127.0.0.1", help="where stations and the node reach this")
    parser.add_argument("--oicp-port", type=int, default=9000, help="port for the node")
    parser.add_argument("--ocpp-port", type=int, default=9100, help="port for stations")
    try:
        asyncio.run(run(parser.parse_args()))
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
