"""What two nodes try of each other: a hello that is answered by another, and a body that only has to arrive."""

import asyncio
import json
import secrets
import time
from contextlib import closing, suppress

import pytest

from p2p_oicp.crypto.http_signatures import sign_request
from tests.support.nodes import configured
from tests.support.signed_nodes import SignedPair


@pytest.fixture
async def b_runs(tmp_path):
    async with configured(SignedPair, tmp_path) as pair, pair.running("b"):
        yield pair


async def send(pair, target: str, body: bytes, *, signed: bool = True) -> tuple[int, dict]:
    path, _, query = target.partition("?")
    authority = f"127.0.0.1:{pair.ports['b']}"
    headers = {"Content-Type": "application/json"}
    if signed:
        headers = sign_request(
            pair.key("a"), method="POST", authority=authority, path=path, query=query, body=body, now=time.time(),
            nonce=secrets.token_urlsafe(16),
        )  # fmt: skip
    async with pair.http.post(f"http://{authority}{target}", data=body, headers=headers) as response:
        return response.status, await response.json(content_type=None)


async def test_a_probe_is_for_proved_peers_once_a_minute_and_small(b_runs):
    probe = "/p2p/v1/probe?operator=DE*GEF"
    assert (await send(b_runs, probe, b"{}", signed=False))[0] == 401
    assert (await send(b_runs, "/p2p/v1/probe", b"{}"))[0] == 400
    status, content = await send(b_runs, probe, json.dumps("x" * 900_000).encode())
    assert (status, content) == (200, {"bytes": 900_002})
    status, content = await send(b_runs, probe, b"{}")
    assert status == 429
    assert "too many probes" in content["StatusCode"]["AdditionalInfo"]


async def test_a_probe_above_a_megabyte_is_413(b_runs):
    assert (await send(b_runs, "/p2p/v1/probe?operator=DE*GEF", json.dumps("x" * 1_000_001).encode()))[0] == 413


async def test_who_asks_to_be_called_back_often_is_called_once(b_runs):
    called = []

    async def count(reader, writer) -> None:
        with closing(writer), suppress(asyncio.IncompleteReadError):
            called.append(await reader.readuntil(b"\r\n\r\n"))

    hello = json.dumps({"name": "node a", "operators": ["DE*GEF"], "providers": [], "call_back": True}).encode()
    async with await asyncio.start_server(count, "127.0.0.1", b_runs.ports["a"]):
        before = len(called)
        answers = await asyncio.gather(*(send(b_runs, "/p2p/v1/hello", hello) for _ in range(5)))
        outcomes = [content["call_back"] for _, content in answers]
    assert outcomes[0]["url"].endswith(str(b_runs.ports["a"]))
    assert outcomes[0]["error"]
    assert all(each == outcomes[0] for each in outcomes)
    hellos = [each for each in called[before:] if b"POST /p2p/v1/hello" in each]
    assert len(hellos) <= 3  # the one for all who asked, and those that the node sends by itself


async def test_a_hello_without_the_wish_is_not_answered_by_another(b_runs):
    hello = json.dumps({"name": "node a", "operators": ["DE*GEF"], "providers": []}).encode()
    status, content = await send(b_runs, "/p2p/v1/hello", hello)
    assert status == 200
    assert content["known"]
    assert "call_back" not in content
    assert "probe" in content["extensions"]
