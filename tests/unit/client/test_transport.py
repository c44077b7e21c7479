"""The client on real sockets."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer

from p2p_oicp.client import Endpoint, HttpTransport, OicpClient, OutboundRequest
from p2p_oicp.client import transport as transport_module
from p2p_oicp.clock import SystemClock, UuidGenerator
from p2p_oicp.crypto import BearerToken
from p2p_oicp.crypto.tls import Certificate, TlsIdentity, self_signed
from p2p_oicp.errors import PeerBusy, PeerProtocolError, PeerRejected, PeerTimeout, PeerUnauthorized, PeerUnreachable
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from tests.support.waiting import eventually

AUTHORIZE_START = OPERATION_BY_NAME["AuthorizeStart"]
NOT_AUTHORIZED = b'{"AuthorizationStatus":"NotAuthorized","StatusCode":{"Code":"102"}}'
BODY = b'{"OperatorID":"DE*GEF","Identification":{"RFIDMifareFamilyIdentification":{"UID":"1234ABCD"}}}'


def answering(**response):
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(**{"content_type": "application/json", **response})

    return answer


async def test_the_request_is_what_other_implementations_expect(call, peer):
    await call()
    (request,) = peer.requests
    assert request.method == "POST"
    assert request.raw_path == "/api/oicp/charging/v21/operators/DE*GEF/authorize/start"
    assert request.headers["Content-Type"] == "application/json; charset=utf-8"
    assert request.headers["User-Agent"] == "p2p-oicp/test"
    assert peer.bodies == [BODY]
    assert int(request.headers["Content-Length"]) == len(BODY)


async def test_a_given_process_id_is_sent_and_otherwise_each_call_has_its_own(call, peer):
    for process_id in ("p-1", None, None):
        await call(process_id=process_id)
    first, second, third = (request.headers["Process-ID"] for request in peer.requests)
    assert first == "p-1"
    assert len({first, second, third}) == 3


async def test_a_large_push_goes_out_whole(client, peer):
    body = b'{"filler":"' + b"x" * 5_000_000 + b'"}'
    await client.call(Endpoint("b", peer.url), AUTHORIZE_START, "DE*GEF", body, deadline=5)
    assert peer.bodies == [body]
    assert int(peer.requests[0].headers["Content-Length"]) == len(body)


async def test_an_empty_body_is_sent_too(transport, peer):
    response = await transport.send(OutboundRequest("POST", f"{peer.url}p2p/v1/hello", b"", 5, "peer B"))
    assert (response.status, response.body) == (200, NOT_AUTHORIZED)
    assert peer.bodies == [b""]


async def test_query_members_are_sent(call, peer):
    await call(query={"page": "0", "size": "2000"})
    assert dict(peer.requests[0].query) == {"page": "0", "size": "2000"}


def client_with(transport, credentials) -> OicpClient:
    return OicpClient(transport, ids=UuidGenerator(), clock=SystemClock(), credentials=credentials)


async def test_the_signer_sees_exactly_what_is_sent_and_its_headers_are_added(transport, peer):
    seen = []

    class Signer:
        def sign(self, *, to, method, url, body):
            seen.append((to, method, url, body))
            return {"Signature": "x"}

        def verify_response(self, *, to, request_headers, response):
            seen.append((to, request_headers["Signature"], response.body))

    client = client_with(transport, Signer())
    await client.call(Endpoint("b", peer.url), AUTHORIZE_START, "+49*810", BODY, deadline=5, query={"page": "0"})
    path = peer.requests[0].raw_path
    assert seen == [("b", "POST", peer.url.rstrip("/") + path, BODY), ("b", "x", NOT_AUTHORIZED)]
    assert "%2B49*810" in path
    assert peer.requests[0].headers["Signature"] == "x"


async def test_a_bearer_token_reaches_the_peer(transport, peer):
    client = client_with(transport, BearerToken("t0k"))
    await client.call(Endpoint("b", peer.url), AUTHORIZE_START, "DE*GEF", BODY, deadline=5)
    assert peer.requests[0].headers["Authorization"] == "Bearer t0k"


async def test_hundreds_of_calls_share_one_connection(call, peer):
    for _ in range(200):
        await call()
    assert len(peer.connections) == 1


async def test_calls_at_the_same_time_reuse_their_connections(call, peer):
    for _ in range(25):
        await asyncio.gather(*(call() for _ in range(8)))
    assert len(peer.connections) <= 8


async def test_refusals_by_status_keep_the_connection(call, peer):
    peer.handler = answering(status=404, body=b'{"StatusCode":{"Code":"300"}}')
    for _ in range(20):
        with pytest.raises(PeerRejected) as caught:
            await call()
    assert caught.value.code == "300"
    assert len(peer.connections) == 1


async def test_a_gzip_response_is_read_and_keeps_the_connection(call, peer):
    peer.handler = answering(body=gzip.compress(NOT_AUTHORIZED), headers={"Content-Encoding": "gzip"})
    replies = [await call() for _ in range(5)]
    assert {reply.body for reply in replies} == {NOT_AUTHORIZED}
    assert len(peer.connections) == 1


async def chunked(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    for part in (NOT_AUTHORIZED[:10], NOT_AUTHORIZED[10:]):
        await response.write(part)
    return response


async def test_a_chunked_response_is_read(call, peer):
    peer.handler = chunked
    assert (await call()).body == NOT_AUTHORIZED


async def endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(bytes(50_000))


TOO_LARGE = {
    "declared": answering(body=bytes(100_001)),
    "compressed": answering(body=gzip.compress(bytes(5_000_000)), headers={"Content-Encoding": "gzip"}),
    "endless": endless,
}


@pytest.mark.parametrize("handler", TOO_LARGE.values(), ids=TOO_LARGE)
async def test_a_response_over_the_limit_is_a_protocol_error(call, peer, handler):
    peer.handler = handler
    with pytest.raises(PeerProtocolError, match="larger than 100000 bytes"):
        await call()
    peer.handler = answering(body=NOT_AUTHORIZED)
    assert (await call()).http_status == 200


STATUSES = {
    "redirect": (302, {"Location": "http://elsewhere.example/"}, PeerProtocolError),
    "unauthorized": (401, {}, PeerUnauthorized),
    "busy": (503, {"Retry-After": "7"}, PeerBusy),
    "failed": (500, {}, PeerProtocolError),
    "no content": (204, {}, PeerProtocolError),
}


@pytest.mark.parametrize(("status", "headers", "error"), STATUSES.values(), ids=STATUSES)
async def test_statuses_are_mapped_to_errors_and_nothing_is_sent_twice(call, peer, status, headers, error):
    peer.handler = answering(status=status, headers=headers)
    with pytest.raises(error):
        await call()
    assert len(peer.requests) == 1


async def test_a_refused_connection_is_unreachable(call, unused_tcp_port):
    with pytest.raises(PeerUnreachable) as caught:
        await call(endpoint=Endpoint("gone", f"http://127.0.0.1:{unused_tcp_port}"))
    assert not caught.value.may_have_arrived
    assert str(caught.value) == f"gone: no connection to 127.0.0.1:{unused_tcp_port}: Connection refused"


URLS = {"no scheme": "peer.example", "another scheme": "ftp://peer.example", "a bad port": "http://127.0.0.1:99999"}


@pytest.mark.parametrize("url", URLS.values(), ids=URLS)
async def test_an_unusable_url_is_unreachable(call, url):
    with pytest.raises(PeerUnreachable):
        await call(endpoint=Endpoint("odd", url))


async def test_no_response_within_the_deadline_is_a_timeout(call, peer):
    released = asyncio.Event()

    async def never(_request: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    peer.handler = never
    with pytest.raises(PeerTimeout, match="within the deadline") as caught:
        await call(deadline=1.0)
    released.set()
    assert caught.value.may_have_arrived


async def test_a_response_that_stalls_is_a_timeout(call, peer):
    released = asyncio.Event()

    async def stalls(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"{")
        await released.wait()
        return response

    peer.handler = stalls
    with pytest.raises(PeerTimeout):
        await call(deadline=1.0)
    released.set()


async def test_requests_that_take_long_use_up_no_connection_of_others(monkeypatch, peer):
    monkeypatch.setattr(transport_module, "_MAX_SLOW_CONNECTIONS", 2)
    released = asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        if request.path == "/slow":
            await released.wait()
        return web.Response()

    peer.handler = hang

    def request(path: str, seconds: float, *, is_slow: bool) -> OutboundRequest:
        return OutboundRequest("POST", f"{peer.url}{path}", b"{}", seconds, "peer B", is_slow=is_slow)

    async with HttpTransport(user_agent="t", max_body=1000) as transport:
        slow = [asyncio.ensure_future(transport.send(request("slow", 30, is_slow=True))) for _ in range(2)]
        await eventually(lambda: len(peer.requests) == 2)
        with pytest.raises(PeerUnreachable, match="no connection within the deadline"):
            await transport.send(request("quick", 0.2, is_slow=True))
        assert (await transport.send(request("quick", 30, is_slow=False))).status == 200
        released.set()
        await asyncio.gather(*slow)


DAY_SECONDS = 86_400


def write_certificate(folder: Path, name: str, days: int) -> tuple[Path, Path]:
    files = folder / f"{name}.crt", folder / f"{name}.key"
    key, certificate = self_signed(name, [], ["127.0.0.1"], now=time.time(), days=days)
    for file, content in zip(files, (certificate, key), strict=True):
        file.write_bytes(content)
    return files


@pytest.mark.parametrize(("server_days", "own_days"), [(1, 9), (9, 1)], ids=["the server's", "our own"])
async def test_a_connection_is_not_used_after_the_end_of_a_certificate(tmp_path, server_days, own_days):
    connections, now = [], [time.time()]

    async def respond(request: web.BaseRequest) -> web.Response:
        connections.append(request.transport)
        return web.Response()

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_files = write_certificate(tmp_path, "server", server_days)
    tls.load_cert_chain(*server_files)
    shown = Certificate.from_pem(server_files[0].read_bytes()).der_base64
    context = TlsIdentity(*write_certificate(tmp_path, "own", own_days), ca=None).client_context_for([shown])
    server = RawTestServer(respond)
    await server.start_server(ssl=tls)
    async with server:
        request = OutboundRequest("POST", str(server.make_url("/")), b"{}", 5, "peer B", tls=context)
        async with HttpTransport(user_agent="t", max_body=1000, now=lambda: now[0]) as transport:
            for seconds in (0, 0, DAY_SECONDS, 8 * DAY_SECONDS):
                now[0] += seconds
                await transport.send(request)
    first, second, third, fourth = connections
    assert first is second
    assert len({first, third, fourth}) == 3


@asynccontextmanager
async def raw_server(answer: bytes, until: bytes = BODY) -> AsyncIterator[str]:
    """A server that reads each request up to ``until``, writes ``answer`` and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(until)
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1") as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


HANG_UPS = {
    "at once": (b"", PeerTimeout),
    "in the headers": (b"HTTP/1.1 200 OK\r\nContent-Le", PeerTimeout),
    "in the body": (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", PeerTimeout),
    "in a chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{", PeerTimeout),
    "after something that is not HTTP": (b"220 mail.example ESMTP\r\n", PeerProtocolError),
    "after a bad chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", None),
    "after endless headers": (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n", PeerProtocolError),
}


@pytest.mark.parametrize(("answer", "error"), HANG_UPS.values(), ids=HANG_UPS)
async def test_a_closed_connection_is_mapped_by_when_it_closes(call, answer, error):
    async with raw_server(answer) as url:
        with pytest.raises(error or (PeerTimeout, PeerProtocolError)):
            await call(endpoint=Endpoint("raw", url))


WITHOUT_BODY = pytest.mark.parametrize("method", ["GET", "DELETE"])


@WITHOUT_BODY
async def test_a_request_without_a_body_may_have_arrived_over_a_connection(transport, method):
    async with raw_server(b"", until=b"\r\n\r\n") as url:
        with pytest.raises(PeerTimeout) as caught:
            await transport.send(OutboundRequest(method, url, b"", 5, "peer B"))
    assert caught.value.may_have_arrived


@WITHOUT_BODY
@pytest.mark.parametrize("place", ["127.0.0.1:{port}", "127.0.0.1:99999"], ids=["nobody listens", "no port"])
async def test_a_request_without_a_body_is_unreachable_without_a_connection(transport, unused_tcp_port, method, place):
    url = f"http://{place.format(port=unused_tcp_port)}/"
    with pytest.raises(PeerUnreachable):
        await transport.send(OutboundRequest(method, url, b"", 5, "peer B"))


async def test_a_cancelled_call_stays_cancelled(call, peer):
    arrived = asyncio.Event()

    async def never(_request: web.Request) -> web.Response:
        arrived.set()
        await asyncio.Event().wait()
        raise AssertionError

    peer.handler = never
    task = asyncio.ensure_future(call())
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_use_outside_the_async_with_block_is_a_bug():
    transport = HttpTransport(user_agent="t", max_body=1)
    with pytest.raises(RuntimeError, match="outside"):
        await transport.send(OutboundRequest("POST", "http://peer.example", b"{}", 1, "peer B"))
