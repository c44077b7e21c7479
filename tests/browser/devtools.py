"""A page in a real Chromium, driven by its DevTools protocol: what it does, asks for, and complains of."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.browser.test_cross_site import browser
from tests.support.waiting import eventually

# Chromium's own requests are none of a page's.
QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-port=0")


class Page:
    """One page; ``requests`` are the URLs that it has asked for, ``complaints`` what its console has of errors."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict]] = {}
        self.requests: list[str] = []
        self.complaints: list[str] = []

    async def listen(self) -> None:
        async for frame in self._socket:
            message = json.loads(frame.data)
            if (number := message.get("id")) is not None:
                self._answers.pop(number).set_result(message)
                continue
            parameters = message["params"]
            match message["method"]:
                case "Network.requestWillBeSent":
                    self.requests.append(parameters["request"]["url"])
                case "Log.entryAdded":
                    self.complaints.append(parameters["entry"]["text"])
                case "Runtime.exceptionThrown":
                    self.complaints.append(json.dumps(parameters["exceptionDetails"])[:500])

    async def call(self, method: str, **parameters: object) -> dict[str, Any]:
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        return await answer

    async def evaluate(self, expression: str) -> Any:
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer["result"], answer
        return answer["result"]["result"].get("value")

    async def until(self, expression: str) -> Any:
        """Return the value of an expression as soon as it is true."""
        return await eventually(lambda: self.evaluate(expression))

    async def click(self, selector: str) -> None:
        await self.until(f"!!document.querySelector({json.dumps(selector)})")
        await self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    async def fill(self, selector: str, text: str) -> None:
        """Type into a field of React, which listens to events and not to values."""
        await self.until(f"!!document.querySelector({json.dumps(selector)})")
        await self.evaluate(
            f"(field => {{ Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(field, "
            f"{json.dumps(text)}); field.dispatchEvent(new Event('input', {{bubbles: true}})); }})"
            f"(document.querySelector({json.dumps(selector)}))"
        )


@asynccontextmanager
async def opened(chromium: str, profile: Path, url: str) -> AsyncIterator[Page]:
    """A page at a URL, from before its first request on."""
    async with browser(chromium, profile, *QUIET, "about:blank"), aiohttp.ClientSession() as http:
        port = (await eventually(lambda: _port(profile))).splitlines()[0]
        async with http.get(f"http://127.0.0.1:{port}/json/list") as answer:
            (target,) = [each for each in await answer.json() if each["type"] == "page"]
        async with http.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            page = Page(socket)
            listening = asyncio.create_task(page.listen())
            try:
                for domain in ("Network", "Log", "Runtime", "Page"):
                    await page.call(f"{domain}.enable")
                await page.call("Page.navigate", url=url)
                yield page
            finally:
                listening.cancel()


def _port(profile: Path) -> str:
    file = profile / "DevToolsActivePort"
    return file.read_text() if file.exists() else ""
