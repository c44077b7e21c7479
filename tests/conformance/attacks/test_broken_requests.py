"""Requests that are broken on purpose: each is answered or dropped; none is a failure of the node (500, a stack)."""

import asyncio
import json
import socket
import struct

import pytest
import structlog

from tests.support.messages import CDR, NOTIFY, PUSH_STATUS, START, authorize_start, cdr

DEEP = 100_000
BODY = json.dumps(authorize_start()).encode()
BODIES = {
    "objects without end": b'{"a":' * DEEP,
    "objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "lists": b"[" * DEEP + b"]" * DEEP,
    "deep inside": BODY[:-1] + b',"CustomData":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}",
    "a SessionID that is no text": b'{"SessionID":"\xff\xfe"}',
    "a SessionID of another type": b'{"SessionID":{"a":[]}}',
    "a number of 100,000 digits": b'{"ConsumedEnergy":' + b"9" * DEEP + b"}",
    "an exponent without bounds": b'{"ConsumedEnergy":1e999999999}',
    "the end of time": json.dumps(cdr("f98efba4-02d8-4fa0-b810-9a9d50d2c527", SessionEnd="9999-12-31T23:59:59-14:00"))
    .encode(),
    "the beginning of time": json.dumps(
        cdr("f98efba4-02d8-4fa0-b810-9a9d50d2c527", SessionStart="0001-01-01T00:00:00+14:00")
    ).encode(),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_failures():
    """Check that the nodes log no failure of their own."""
    with structlog.testing.capture_logs() as logs:
        yield
    assert [entry for entry in logs if entry["log_level"] in {"error", "critical"} or "exc_info" in entry] == []


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_broken_body_of_a_proved_peer_is_answered(stopped, body):
    async with stopped.running("b"):
        for path in (START, CDR, NOTIFY, PUSH_STATUS):
            assert (await stopped.b_peer.post(path, body)).status in {200, 400, 401}


@pytest.mark.parametrize("path", ["p2p/v1/hello", "p2p/v1/pairings"])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_broken_body_of_a_node_is_refused(stopped, body, path):
    async with stopped.running("b"), stopped.http.post(f"{stopped.b_peer.base}/{path}", data=body) as answer:
        assert answer.status in {400, 413, 415}


NO_TEXT = "\udcff"  # the byte FF, which begins no character of UTF-8
ODD_HEADERS = {
    "Authorization": f"Bearer {NO_TEXT}",
    "Content-Encoding": NO_TEXT,
    "Content-Type": f"application/{NO_TEXT}",
    "Expect": NO_TEXT,
    "Host": NO_TEXT,
    "P2P-Recipient": NO_TEXT,
    "Process-ID": NO_TEXT,
    "Signature": NO_TEXT,
    "Signature-Input": f'a=("@method");keyid="{NO_TEXT}"',
}


@pytest.mark.parametrize(("name", "value"), ODD_HEADERS.items(), ids=ODD_HEADERS)
@pytest.mark.parametrize("port", ["b", "b backend"])
@pytest.mark.parametrize("require", [(), ("signature",)], ids=["insecure", "signed"])
async def test_a_header_that_is_no_text_is_answered(stopped, name, value, port):
    headers = {"Content-Type": "application/json", "Content-Length": str(len(BODY)), "Host": "localhost"} | {
        name: value
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    async with stopped.running("b"):
        for path in (f"/api/oicp/{START}", "/p2p/v1/hello", f"/{NO_TEXT}"):
            reader, writer = await asyncio.open_connection("127.0.0.1", stopped.ports[port])
            writer.write(f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode(errors="surrogateescape") + BODY)
            status = (await asyncio.wait_for(reader.readuntil(b"\r\n"), 5)).split()[1]
            writer.transport.abort()
            assert 200 <= int(status) < 500


async def hang_up(pair, start: bytes) -> None:
    """Send the start of a request, and reset the connection."""
    _, writer = await asyncio.open_connection("127.0.0.1", pair.ports["b"])
    writer.write(start)
    await writer.drain()
    await asyncio.sleep(0.05)  # until it has been read
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


HEAD = f"POST /api/oicp/{START} HTTP/1.1\r\nHost: b\r\nContent-Type: application/json\r\n"
CUT_OFF = {
    "in a head": HEAD,
    "in a body": f"{HEAD}Content-Length: 100\r\n\r\n{{",
    "before a body that was asked for": f"{HEAD}Content-Length: 100\r\nExpect: 100-continue\r\n\r\n",
    "in a chunk": f"{HEAD}Transfer-Encoding: chunked\r\n\r\n64\r\n{{",
    "between two chunks": f"{HEAD}Transfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n",
    "after the body": f"{HEAD}Content-Length: {len(BODY)}\r\n\r\n{BODY.decode()}",
    "in the hello of a node": "POST /p2p/v1/hello HTTP/1.1\r\nHost: b\r\nContent-Length: 100\r\n\r\n{",
}


@pytest.mark.parametrize("start", CUT_OFF.values(), ids=CUT_OFF)
@pytest.mark.parametrize("require", [(), ("signature",)], ids=["insecure", "signed"])
async def test_a_client_that_hangs_up_is_no_failure(stopped, start):
    async with stopped.running("b"):
        await hang_up(stopped, start.encode())
        assert (await stopped.b_peer.post(START, authorize_start())).status == 200


async def test_a_target_in_absolute_form_is_served(stopped):
    headers = stopped.b_peer.signed(START, BODY) | {"Content-Length": str(len(BODY)), "Host": "b"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    async with stopped.running("b"):
        reader, writer = await asyncio.open_connection("127.0.0.1", stopped.ports["b"])
        writer.write(f"POST {stopped.b_peer.base}/api/oicp/{START} HTTP/1.1\r\n{lines}\r\n".encode() + BODY)
        answer = await asyncio.wait_for(reader.readuntil(b"}"), 5)
        writer.close()
    assert b" 200 OK" in answer
    assert len(stopped.contracts.starts) == 1


@pytest.mark.parametrize("since", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "9" * 400])
async def test_a_time_without_bounds_is_refused_by_the_administration(stopped, since):
    async with stopped.running("b"):
        assert (await stopped.b.admin("cdrs/reconcile", {"since": since})).status == 400
