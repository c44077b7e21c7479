"""kill -9 of a node that streams events to a client and sends them to a receiver, while its statuses change.

A node in a process of its own, with ``synchronous = FULL``; the client and the receiver run here. The receiver takes
some requests, and the connection breaks, or the node dies, before the answer.
"""

import asyncio
import itertools
import random
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from p2p_oicp.client.event_stream import EventListener, ReceivedEvent
from p2p_oicp.simulator.node_files import free_ports
from tests.support.messages import A_CPO, PUSH_STATUS, push_status
from tests.support.receivers import Receiver, receiving
from tests.support.waiting import eventually

EVSES = 40
_STATUSES = ("Available", "Occupied", "Reserved", "OutOfService")


@dataclass
class EventBed:
    """One node, a client of its stream that comes back, and a receiver of its webhook."""

    folder: Path
    ports: list[int]
    receiver: Receiver
    rng: random.Random
    http: aiohttp.ClientSession
    streamed: list[ReceivedEvent] = field(default_factory=list)
    rounds: Iterator[int] = field(default_factory=itertools.count)
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports[1]}"

    def write(self) -> None:
        (self.folder / "peers.toml").write_text("")
        (self.folder / "node.toml").write_text(
            f'[node]\nname = "Alpha"\noperators = ["{A_CPO}"]\n[security]\nrequire = []\n'
            f"[peer_api]\nport = {self.ports[0]}\n[backend_api]\nport = {self.ports[1]}\n"
            "[delivery]\nretry_first = 0.05\nretry_max = 0.2\n"
            f'[[webhooks]]\nname = "warehouse"\nurl = "{self.receiver.url}"\nsignature = false\nbatch = 7\n'
        )

    async def start(self) -> None:
        config = str(self.folder / "node.toml")
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "p2p_oicp", "run", "--config", config),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        await eventually(self._is_alive, timeout=60.0, interval=0.05)

    async def _is_alive(self) -> bool:
        with suppress(aiohttp.ClientError, OSError):
            async with self.http.get(f"{self.url}/livez") as response:
                return response.status == 200
        return False

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def listen(self) -> None:
        """Keep what the stream has, coming back for ever."""
        async for event in EventListener(self.url, retry_seconds=0.05).listen({}, "0"):
            self.streamed.append(event)

    async def change(self) -> None:
        """Change the statuses of all EVSEs again and again, until the node is gone."""
        with suppress(aiohttp.ClientError, OSError):
            while True:
                number = next(self.rounds)
                statuses = {f"E{each}": _STATUSES[(number + each) % len(_STATUSES)] for each in range(EVSES)}
                body = push_status("fullLoad", **statuses)
                async with self.http.post(f"{self.url}/api/oicp/{PUSH_STATUS}", json=body) as response:
                    await response.read()

    async def round(self) -> None:
        """Kill the node at some moment, start it again, and wait until both have all of its events."""
        changing = asyncio.ensure_future(self.change())
        await asyncio.sleep(self.rng.uniform(0.05, 0.8))
        await self.kill()
        await changing
        await self.start()
        await self.until_received(await self.newest())

    async def until_received(self, number: int) -> None:
        """Wait until both have an event."""
        await eventually(lambda: self.streamed and self.streamed[-1].members["number"] >= number, timeout=30.0)
        await eventually(lambda: number in {event["data"]["number"] for event in self.receiver.events}, timeout=30.0)

    async def settle(self) -> int:
        """Wait until both have all events, those of the receiver's failures included; return the newest's number."""
        self.receiver.answer = lambda _: 204
        newest = 0
        while newest < (latest := await self.newest()):
            newest = latest
            await self.until_received(newest)
        return newest

    async def newest(self) -> int:
        async with self.http.get(f"{self.url}/admin/v1/events?limit=1") as response:
            return (await response.json(content_type=None))["newest"]

    async def log(self) -> list[str]:
        """Return the ids of all events of the node, as they stand in its database."""
        ids, after = [], 0
        while True:
            async with self.http.get(f"{self.url}/admin/v1/events?limit=1000&after={after}") as response:
                page = await response.json(content_type=None)
            ids += [event["id"] for event in page["events"]]
            after = page["next"]
            if after >= page["newest"]:
                return ids


def answer_of(rng: random.Random) -> int:
    """Refuse some requests after they were taken, as a receiver does that dies in between."""
    return 503 if rng.random() < 0.1 else 204


@asynccontextmanager
async def event_bed(folder: Path, seed: int) -> AsyncIterator[EventBed]:
    """Run the node, the client and the receiver."""
    rng = random.Random(seed)
    receiver = Receiver(answer=lambda _: answer_of(rng), keeps_refused=True)
    async with receiving(receiver), aiohttp.ClientSession() as http:
        bed = EventBed(folder, free_ports(2), receiver, rng, http)
        bed.write()
        await bed.start()
        listening = asyncio.ensure_future(bed.listen())
        try:
            yield bed
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await bed.kill()
