"""A client of ``GET /events``, as a browser reads it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

UNLIMITED = aiohttp.ClientTimeout(total=None)


@dataclass
class EventStream:
    """What one connection has received: events as they were read, the last id, comments."""

    response: aiohttp.ClientResponse
    events: list[dict] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    comments: int = 0
    last_id: str = ""

    async def read(self) -> dict | None:
        """Return the next event; None at the end of the stream."""
        fields: dict[str, str] = {}
        async for line in self.response.content:
            name, _, value = line.decode().rstrip("\n").partition(":")
            value = value.removeprefix(" ")
            if name:
                fields[name] = value
                continue
            if line.startswith(b":"):
                self.comments += 1
                continue
            # An empty line: the id counts even without data.
            self.last_id = fields.get("id", self.last_id)
            if "data" in fields:
                event = json.loads(fields["data"])
                self.events.append(event)
                self.names.append(fields["event"])
                return event
            fields = {}
        return None

    async def read_until(self, matches, timeout: float = 10.0) -> dict:  # noqa: ASYNC109
        async with asyncio.timeout(timeout):
            while (event := await self.read()) is not None:
                if matches(event):
                    return event
        raise AssertionError("the stream has ended")

    async def read_for(self, seconds: float) -> None:
        """Read for so long."""
        try:
            async with asyncio.timeout(seconds):
                while await self.read() is not None:
                    pass
        except TimeoutError:
            return


@asynccontextmanager
async def listening(
    http: aiohttp.ClientSession, url: str, query: str = "", **headers: str
) -> AsyncIterator[EventStream]:
    async with http.get(f"{url}/events?{query}", headers=headers, timeout=UNLIMITED) as response:
        assert response.status == 200, await response.text()
        yield EventStream(response)
