"""What a listener takes on at a time: bodies in chunks, connections."""

import asyncio
import json

import aiohttp
import pytest

from tests.support.clients import TestClient
from tests.support.messages import START, authorize_start
from tests.support.waiting import eventually

OTHER_PARTY = START.replace("GEF", "ABC")
HERE, THERE = "192.0.2.1", "192.0.2.2"
MEBIBYTE = 1024 * 1024


async def in_chunks(body: dict):
    yield json.dumps(body).encode()


async def test_many_requests_that_come_in_chunks_are_answered_at_a_time(pair):
    pair.contracts.hold = asyncio.Event()
    sent = [asyncio.create_task(pair.a.post(START, in_chunks(authorize_start(f"{number:08}")))) for number in range(8)]
    await eventually(lambda: len(pair.contracts.starts) >= len(sent))
    pair.contracts.hold.set()
    assert [answer.status for answer in await asyncio.gather(*sent)] == [200] * 8


async def test_bodies_that_come_in_chunks_and_grow_large_have_the_common_bound(stopped):
    toml = stopped.folder / "a" / "node.toml"
    toml.write_text(toml.read_text().replace("[backend_api]", f"[backend_api]\nmax_body = {MEBIBYTE}"))
    more = asyncio.Event()

    async def growing():
        yield b" " * (MEBIBYTE - 1024)
        await more.wait()

    async with stopped.running("a"), stopped.running("b"):
        sent = [asyncio.create_task(stopped.a.post(START, growing())) for _ in range(3)]
        done, _ = await asyncio.wait(sent, timeout=10, return_when=asyncio.FIRST_COMPLETED)
        assert [(await task).status for task in done] == [503]
        more.set()
        assert sorted([(await task).status for task in sent]) == [400, 400, 503]


@pytest.fixture
async def narrow(stopped):
    """Two nodes with room for few connections."""
    stopped.extra_config = "[limits]\nconnections = 16\n"
    stopped.authorization_deadline = 60.0
    stopped.write()
    async with stopped.running("a"), stopped.running("b"):
        yield stopped


async def test_more_connections_than_may_be_open_push_out_the_silent_ones_and_others_are_served(narrow):
    opened, ended = [], []
    for number in range(200):
        opened.append(await asyncio.open_connection("127.0.0.1", narrow.ports["a backend"]))
        ended.append(asyncio.create_task(opened[-1][0].read()))
        await eventually(lambda over=number - 128: sum(task.done() for task in ended) > over, timeout=5)
    for number in range(5):
        async with aiohttp.ClientSession() as another:
            answer = await TestClient(another, narrow.a.base).post(START, authorize_start(f"{number:08}"))
            assert answer.status == 200
    assert sum(task.done() for task in ended) >= 200 - 128
    for _, writer in opened:
        writer.close()
    await asyncio.gather(*ended, return_exceptions=True)


async def test_a_connection_that_has_to_go_gets_its_answer_and_where_none_goes_a_new_one_is_503(narrow):
    narrow.contracts.hold = asyncio.Event()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as many:
        caller, sent = TestClient(many, narrow.a.base), []
        async with asyncio.timeout(10):
            for number in range(33):
                sent.append(asyncio.create_task(caller.post(START, authorize_start(f"{number:08}"))))
                while len(narrow.contracts.starts) <= number:
                    await asyncio.sleep(0.001)
            refused = await caller.post(START, authorize_start())
        assert (refused.status, refused.code, refused.headers["Retry-After"]) == (503, "021", "1")
        narrow.contracts.hold.set()
        assert [answer.status for answer in await asyncio.gather(*sent)] == [200] * 33
    assert (await narrow.a.post(START, authorize_start())).status == 200
