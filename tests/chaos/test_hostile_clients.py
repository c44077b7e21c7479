"""Hostile requests: refused with 4xx in time, without a stack trace, and the node serves normally afterwards."""

import asyncio
import contextlib
import gzip
import io
import json
import random
import statistics
import time
import zlib
from contextlib import asynccontextmanager

import aiohttp
import pytest

from p2p_oicp.oicp import OPERATIONS
from tests.support import messages

pytestmark = pytest.mark.asyncio(loop_scope="module")

TIMEOUT_SECONDS = 15.0
# Twice the largest body (32 MiB: while it is decompressed, the chunks and the whole), and a margin.
MAX_MEMORY_GROWTH = 85
# Also 400 small bodies, each in the reader's buffer and in one piece, and what is freed and not returned.
MAX_MEMORY_GROWTH_OF_MANY = 140
STATUS_BY_ID = {"ProviderID": messages.B_EMP, "EvseID": [f"DE*GEF*E{n}" for n in range(100_000)]}
NESTED = {
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "deep and closed": b"[" * 5000 + b"]" * 5000,
    "deep inside": b'{"OperatorID":"DE*GEF","Identification":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
    "a number without end": b'{"OperatorID":' + b"9" * 200_000 + b"}",
    "an exponent": b'{"ConsumedEnergy":1e999999999,"MeterValueStart":-1E-999999999}',
    "a long name": b'{"' + b"x" * 1_000_000 + b'":1}',
    "the same member a lot": b"{" + b'"OperatorID":"DE*GEF",' * 50_000 + b'"OperatorID":"DE*GEF"}',
    "lone surrogates": b'{"OperatorID":"\\ud800","SessionID":"\\udfff\\ud800"}',
    "bytes that are no text": bytes(range(256)) * 100,
    "zeros": b"\x00" * 100_000,
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "a string": b'"DE*GEF"',
    "NaN": b'{"ConsumedEnergy":NaN,"MeterValueEnd":Infinity}',
}
BOMB = b" " * 200_000_000


@pytest.fixture
def max_memory_growth() -> int:
    """What a node's memory may grow by, in MB."""
    return MAX_MEMORY_GROWTH


@pytest.fixture(autouse=True)
def small(testbed, max_memory_growth):
    """Check that no node's memory grows by more than a large push needs, freed or not."""
    testbed.reset_peak_memory()
    yield
    assert testbed.memory_growth() < max_memory_growth


async def send(
    testbed, url: str, path: str, body: bytes, http: aiohttp.ClientSession | None = None, **headers: str
) -> tuple[int, str]:
    """Return status and text, 0 if the connection was closed; fail after some seconds."""
    headers = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    url, data, http = f"{url}/api/oicp/{path}", io.BytesIO(body), http or testbed.http
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS), http.post(url, data=data, headers=headers) as reply:
            return reply.status, (await reply.read()).decode(errors="replace")
    except aiohttp.ClientError:
        return 0, ""


def listeners(testbed) -> tuple[str, ...]:
    return testbed.a.backend_url, testbed.a.peer_url, testbed.b.backend_url, testbed.b.peer_url


def admitting(testbed) -> tuple[str, ...]:
    """Return the listeners that read a body of the CPO; the others refuse its credentials before (401)."""
    return testbed.a.backend_url, testbed.b.peer_url


def is_refused_properly(status: int, text: str) -> bool:
    return status < 500 and "Traceback" not in text and 'File "' not in text


@pytest.mark.parametrize("body", NESTED.values(), ids=NESTED)
async def test_a_malformed_body_is_refused(testbed, body):
    for url in listeners(testbed):
        for path in (messages.START, messages.CDR, messages.PUSH_STATUS, messages.REMOTE_START, messages.PULL_STATUS):
            status, text = await send(testbed, url, path, body)
            assert is_refused_properly(status, text), (url, path, status, text[:300])


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_decompression_bomb_is_refused(testbed, coding):
    small = gzip.compress(BOMB) if coding == "gzip" else zlib.compress(BOMB)
    for url in listeners(testbed):
        status, text = await send(testbed, url, messages.PUSH_STATUS, small, Content_Encoding=coding)
        assert status in ({400, 413} if url in admitting(testbed) else {401}), text[:300]


# What it may grow to, in parts that shrink little and much: it is refused for what it contains, or for its size.
RANDOM = random.Random(1)
NEARLY_A_BOMB = gzip.compress(b"".join(RANDOM.randbytes(100) + bytes(9000) for _ in range(280)))
SHAPES = (
    (messages.START, gzip.compress(bytes(32_000_000))),
    (messages.PUSH_STATUS, gzip.compress(bytes(32_000_000))),
    (messages.CDR, NEARLY_A_BOMB),
    (messages.PUSH_STATUS, NEARLY_A_BOMB),
)


@pytest.mark.parametrize("max_memory_growth", [MAX_MEMORY_GROWTH_OF_MANY], ids=["many"])
async def test_many_bombs_at_once_are_refused_and_others_are_served(testbed):
    url, start = testbed.b.peer_url, json.dumps(messages.authorize_start()).encode()
    bombs = [
        asyncio.create_task(send(testbed, url, path, body, Content_Encoding="gzip"))
        for _ in range(100)
        for path, body in SHAPES
    ]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))) as http:
        others = [await send(testbed, url, messages.START, start, http) for _ in range(20)]
    assert {status for status, _ in others} == {200}, others
    assert {status for status, _ in await asyncio.gather(*bombs)} <= {400, 413, 429, 503}


async def authorize_by_new_connections(testbed, seconds: float, *addresses: str) -> list[float]:
    """Send authorizations from several addresses, each by a new connection; return the times of the answers."""
    body, until, times = json.dumps(messages.authorize_start()).encode(), time.monotonic() + seconds, []

    async def keep_sending(address: str) -> None:
        while time.monotonic() < until:
            connector = aiohttp.TCPConnector(local_addr=(address, 0), force_close=True)
            async with aiohttp.ClientSession(connector=connector) as http:
                started = time.monotonic()
                status, text = await send(testbed, testbed.b.peer_url, messages.START, body, http)
                times.append(time.monotonic() - started)
                assert status == 200, (address, status, text)
            await asyncio.sleep(0.02)

    await asyncio.gather(*map(keep_sending, addresses))
    return times


@asynccontextmanager
async def silent_connections(testbed, count: int):
    """Keep connections open that announce a body and send none; who is cut off connects again."""
    starts = [
        f"POST /api/oicp/{path} HTTP/1.1\r\nHost: b\r\nContent-Length: {length}\r\n\r\n".encode()
        for path in (messages.START, messages.START.replace("GEF", "ZZZ"), messages.NOTIFY, messages.PUSH_STATUS)
        for length in (10, 32 * 1024 * 1024)
    ]

    async def hold(start: bytes) -> None:
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", testbed.b.ports.peer)
                try:
                    writer.write(start)
                    while await reader.read(1 << 16):
                        pass
                finally:
                    writer.transport.abort()
            await asyncio.sleep(0.05)

    holding = [asyncio.create_task(hold(starts[number % len(starts)])) for number in range(count)]
    await asyncio.sleep(1)
    try:
        yield
    finally:
        for task in holding:
            task.cancel()
        await asyncio.gather(*holding, return_exceptions=True)


@pytest.mark.parametrize("max_memory_growth", [2 * MAX_MEMORY_GROWTH_OF_MANY], ids=["many"])
async def test_two_thousand_connections_with_silent_bodies_keep_nobody_waiting(testbed):
    async with silent_connections(testbed, 2000):
        times = await authorize_by_new_connections(testbed, 5.0, "127.0.0.1", "127.0.0.2")
    assert len(times) > 20
    assert statistics.quantiles(times, n=100)[98] < 1.0, sorted(times)[-10:]


CODINGS = {
    "not gzip": ("gzip", b"not gzip", 400),
    "half of it": ("gzip", gzip.compress(b"{}")[:-4], 400),
    "brotli": ("br", b"{}", 415),
    "zstd": ("zstd", b"{}", 415),
    "twice": ("gzip, gzip", b"{}", 415),
    "unknown": ("x-pressed", b"{}", 415),
}


@pytest.mark.parametrize(("coding", "body", "status"), CODINGS.values(), ids=CODINGS)
async def test_damaged_and_unknown_content_codings_are_refused_with_an_oicp_code(testbed, coding, body, status):
    for url in listeners(testbed):
        answered, text = await send(testbed, url, messages.START, body, Content_Encoding=coding)
        expected = (status, "022") if url in admitting(testbed) else (401, "017")
        assert (answered, json.loads(text).get("StatusCode", {}).get("Code", "022")) == expected, text[:300]


async def test_a_list_of_a_hundred_thousand_ids_is_refused_and_not_looked_up(testbed):
    for url in (testbed.b.backend_url, testbed.a.peer_url):
        status, text = await send(testbed, url, messages.PULL_STATUS, json.dumps(STATUS_BY_ID).encode())
        assert is_refused_properly(status, text), text[:300]
        assert '"EvseNotFound"' not in text


HEADS = {
    "a huge header": f"POST /api/oicp/x HTTP/1.1\r\nHost: [::]\r\nX: {'x' * 1_000_000}\r\n\r\n",
    "very many headers": "POST /api/oicp/x HTTP/1.1\r\nHost: [::]\r\n"
    + "".join(f"X{n}: 1\r\n" for n in range(5000))
    + "\r\n",
    "a long path": f"POST /{'a/' * 50_000} HTTP/1.1\r\nHost: [::]\r\n\r\n",
    "no HTTP": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 100,
    "two lengths": "POST /api/oicp/x HTTP/1.1\r\nHost: [::]\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "length and chunks": (
        "POST /api/oicp/x HTTP/1.1\r\nHost: [::]\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    ),
    "a negative length": "POST /api/oicp/x HTTP/1.1\r\nHost: [::]\r\nContent-Length: -1\r\n\r\n",
    "a bad chunk": "POST /api/oicp/x HTTP/1.1\r\nHost: [::]\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a bad escape": "POST /api/oicp/%zz%ff%00 HTTP/1.1\r\nHost: [::]\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
async def test_a_malformed_head_is_refused_or_its_connection_closed(testbed, head):
    for node in (testbed.a, testbed.b):
        for port in (node.ports.peer, node.ports.backend):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head.encode("latin-1"))
            async with asyncio.timeout(TIMEOUT_SECONDS):
                try:
                    reply = await reader.read(100)
                except ConnectionResetError:
                    reply = b""
            writer.transport.abort()
            assert not reply or 400 <= int(reply.split(b" ")[1]) < 500, reply


ODD_PARTIES = ("*", "%2A", "..", "DE*GEF%00", "%F0%9F%9A%97", "DE*GEF" * 500, "%C3%28", "-", "DE*GEF%0d%0aX:%201")


async def test_every_path_with_odd_ids_and_empty_bodies_is_refused_properly(testbed):
    for operation in OPERATIONS:
        for party in ODD_PARTIES:
            path = operation.path.replace("{operatorID}", party).replace("{providerID}", party)
            for url in (testbed.a.peer_url, testbed.b.backend_url):
                status, text = await send(testbed, url, path, b"{}")
                assert is_refused_properly(status, text), (path, status, text[:300])


@pytest.mark.parametrize(
    "query", ["page=-1", "page=x", "size=0", "size=99999999999999999999", "page=1e9&page=2", "%ff=%00"]
)
async def test_odd_pages_are_refused_properly(testbed, query):
    for operation in OPERATIONS:
        if "page" in operation.name.lower() or operation.name.startswith(("Pull", "Get")):
            path = operation.path.replace("{operatorID}", messages.A_CPO).replace("{providerID}", messages.B_EMP)
            status, text = await send(
                testbed, testbed.b.backend_url, f"{path}?{query}", json.dumps({"ProviderID": "DE-GDF"}).encode()
            )
            assert is_refused_properly(status, text), (path, status, text[:300])


async def test_afterwards_the_nodes_serve_normally(testbed):
    await testbed.csms.run_sessions(2)
    await testbed.check_ledger()
    for node in (testbed.a, testbed.b):
        assert "http.internal_error" not in node.log()
