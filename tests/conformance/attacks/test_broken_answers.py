"""A peer whose answers are broken on purpose: they count as none, and no part of the node fails by them."""

import asyncio
import json
from contextlib import asynccontextmanager, suppress

import pytest
import structlog
from aiohttp import web

from tests.support.messages import REMOTE_START, START, authorize_start, remote_start
from tests.support.waiting import eventually

DEEP, DIGITS = 100_000, b"9" * 400
STATUS = {"state": "charging", "SessionID": "\ud800", "EvseID": "*", "OperatorID": "DE*GEF", "ProviderID": "DE-GDF"}
ANSWERS = {
    "objects without end": b'{"a":' * DEEP,
    "lists": b"[" * DEEP + b"]" * DEEP,
    "deep inside": b'{"StatusCode":{"Code":"000"},"state":"charging","x":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "a number of 400 digits": b'{"Result":true,"StatusCode":{"Code":' + DIGITS + b'},"CreatedAt":' + DIGITS + b"}",
    "an exponent without bounds": b'{"StatusCode":{"Code":"000"},"state":"charging","CreatedAt":1e999}',
    "times without bounds": json.dumps(
        STATUS
        | {"CreatedAt": 1e308, "Events": [{"at": -1e308, "event": "\x00"}], "StoreCreatedAt": 1e308}
        | {"Gaps": [[1e308, -1e308]], "Hello": {"epoch": [], "gap": {"from": 1e308}}}
    ).encode(),
    "unknown, for all times": b'{"state":"unknown","Gaps":[[-1e308,1e308]],"StoreCreatedAt":1e308}',
    "another type": b"[]",
    "no text": b"\xff\xfe",
}
HEADERS = {"Retry-After": "9" * 400, "Date": "Fri, 31 Dec 9999 23:59:59 -1400"}


@asynccontextmanager
async def answering(pair, name: str, body: bytes):
    """Answer with these bytes in the place of a node; yields the paths that were requested."""
    paths: list[str] = []

    async def respond(request: web.BaseRequest) -> web.Response:
        await request.read()
        paths.append(request.path)
        return web.Response(body=body, headers=HEADERS, content_type="application/json")

    server = web.Server(respond)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", pair.ports[name])
    try:
        yield paths
    finally:
        listening.close()
        await server.shutdown(1)


@pytest.mark.parametrize("require", [(), ("signature",)], ids=["insecure", "signed"])
@pytest.mark.parametrize("body", ANSWERS.values(), ids=ANSWERS)
async def test_a_broken_answer_of_a_peer_is_no_failure_of_ours(stopped, body):
    with structlog.testing.capture_logs() as logs:
        async with answering(stopped, "b", body), stopped.running("a"):
            assert (await stopped.a.post(START, authorize_start())).json["AuthorizationStatus"] == "NotAuthorized"
        async with answering(stopped, "a", body) as paths, stopped.running("b"):
            assert (await stopped.b.post(REMOTE_START, remote_start())).status == 200
            with suppress(TimeoutError):  # some of them decide the start: then nothing is asked afterwards
                await eventually(lambda: any(path.startswith("/p2p/v1/sessions/") for path in paths), timeout=2)
    assert [entry for entry in logs if entry["log_level"] in {"error", "critical"} or "exc_info" in entry] == []
