"""A simulated station: OCPP 1.6 to a charging system such as ocpp_bridge.py. A real station does the same.

    python ocpp_station.py ws://127.0.0.1:9100/CP1 --card 04E8960A1A3C80     # one driver with a card
    python ocpp_station.py ws://127.0.0.1:9100/CP1                           # waits for drivers with an app

It charges 1.25 kWh in a moment, from a meter at 100 kWh, and prints what happens.
"""

from __future__ import annotations

import argparse
import asyncio
from datetime import UTC, datetime
from typing import Any

import websockets
from ocpp.routing import after, on
from ocpp.v16 import ChargePoint, call, call_result

SUBPROTOCOL = "ocpp1.6"
ENERGY_WH = 1250


def now() -> str:
    """Return the time as OCPP writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def say(text: str) -> None:
    """Print what happens at once."""
    print(text, flush=True)  # noqa: T201 - this is what it is for


class Station(ChargePoint):
    """A station with one connector."""

    def __init__(self, name: str, connection: Any) -> None:
        super().__init__(name, connection)
        self.meter_wh = 100_000
        self.transaction_id: int | None = None
        self.is_done = asyncio.Event()

    async def boot(self) -> None:
        """Report to the charging system."""
        await self.call(call.BootNotification(charge_point_vendor="Example", charge_point_model="One"))
        await self.report("Available")

    async def report(self, status: str) -> None:
        """Report the connector's status."""
        await self.call(call.StatusNotification(connector_id=1, error_code="NoError", status=status))

    async def charge(self, card: str) -> None:
        """Charge for a driver with a card, if the charging system lets it."""
        answer = await self.call(call.Authorize(id_tag=card))
        say(f"card: {answer.id_tag_info['status']}")
        if answer.id_tag_info["status"] == "Accepted":
            await self.begin(card)
            await self.end()

    async def begin(self, id_tag: str) -> None:
        """Let energy flow."""
        answer = await self.call(
            call.StartTransaction(connector_id=1, id_tag=id_tag, meter_start=self.meter_wh, timestamp=now())
        )
        self.transaction_id = answer.transaction_id
        await self.report("Charging")
        say(f"charging: transaction {self.transaction_id}")

    async def end(self) -> None:
        """End the transaction."""
        self.meter_wh += ENERGY_WH
        transaction_id, self.transaction_id = self.transaction_id, None
        await self.call(call.StopTransaction(meter_stop=self.meter_wh, timestamp=now(), transaction_id=transaction_id))
        await self.report("Available")
        say(f"ended: meter at {self.meter_wh} Wh")
        self.is_done.set()

    @on("RemoteStartTransaction")
    async def on_remote_start(self, **_: Any) -> call_result.RemoteStartTransaction:
        return call_result.RemoteStartTransaction(status="Rejected" if self.transaction_id else "Accepted")

    @after("RemoteStartTransaction")
    async def after_remote_start(self, id_tag: str, **_: Any) -> None:
        if self.transaction_id is None:
            await self.begin(id_tag)

    @on("RemoteStopTransaction")
    async def on_remote_stop(self, transaction_id: int) -> call_result.RemoteStopTransaction:
        is_ours = transaction_id == self.transaction_id
        return call_result.RemoteStopTransaction(status="Accepted" if is_ours else "Rejected")

    @after("RemoteStopTransaction")
    async def after_remote_stop(self, transaction_id: int) -> None:
        if transaction_id == self.transaction_id:
            await self.end()


async def run(url: str, card: str | None) -> None:
    """Connect, and charge once."""
    async with websockets.connect(url, subprotocols=[SUBPROTOCOL]) as connection:
        station = Station(url.rpartition("/")[2], connection)
        listening = asyncio.create_task(station.start())
        await station.boot()
        say("ready")
        if card is None:
            await station.is_done.wait()
        else:
            await station.charge(card)
        listening.cancel()


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(description="A simulated station with OCPP 1.6.")
    parser.add_argument("url", help="of the charging system, with the station's name at its end")
    parser.add_argument("--card", help="UID of a driver's card; without it, the app starts and stops")
    options = parser.parse_args()
    try:
        asyncio.run(run(options.url, options.card))
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
