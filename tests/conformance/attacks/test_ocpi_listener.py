"""What attackers try at the OCPI listener: without a token, with a spent one, and as a partner with bad intent."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web

from p2p_oicp.server.ocpi.authority import MAX_IN_FLIGHT
from p2p_oicp.server.ocpi.reading import MAX_BODY_BYTES, MAX_DEPTH, MAX_VALUES
from tests.support.ocpi_listener import ocpi_listener
from tests.support.ocpi_objects import location
from tests.support.ocpi_platform import envelope, token_header
from tests.support.waiting import eventually

LOCATION = "/2.2.1/emsp/locations/DE/GEF/LOC1"
FOREIGN = "/2.2.1/emsp/locations/DE/ABC/LOC1"


@pytest.fixture
async def lab(tmp_path):
    async with ocpi_listener(tmp_path) as lab:
        yield lab


async def raw(lab, head: str, body: bytes = b"", *, seconds: float = 10.0) -> bytes:
    """Send bytes as they are, and return the whole answer."""
    host, port = lab.url.removeprefix("http://").split("/")[0].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(head.format(host=f"{host}:{port}", token=token_header(lab.token)).encode() + body)
        await writer.drain()
        async with asyncio.timeout(seconds):
            return await reader.read()
    finally:
        writer.close()


# Sizes


@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, 8 * MAX_BODY_BYTES])
async def test_a_body_that_is_too_large_is_refused_before_it_is_read(lab, size):
    answer = await lab.call("PUT", LOCATION, b'"' + b"x" * size + b'"')
    assert (answer.status, answer.code) == (413, 2000)


async def test_a_body_that_says_nothing_of_its_size_is_read_only_to_the_limit(lab):
    async def endless():
        for _ in range(64):
            yield b"x" * 65536

    sent = {"Authorization": token_header(lab.token), "Content-Type": "application/json"}
    async with lab.platform.http.put(f"{lab.url}{LOCATION}", data=endless(), headers=sent) as answer:
        assert answer.status == 413


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"[" * 100_000, id="open lists"),
        pytest.param(b'{"a":' * 1000 + b"1" + b"}" * 1000, id="objects in objects"),
        pytest.param(b'{"evses":' + b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1) + b"}", id="one too many"),
    ],
)
async def test_deep_json_is_refused(lab, body):
    answer = await lab.call("PUT", LOCATION, body)
    assert (answer.status, answer.code) == (400, 2001)
    assert f"deeper than {MAX_DEPTH}" in answer.json["status_message"]


async def test_brackets_in_a_text_are_no_depth(lab):
    assert (await lab.call("PUT", LOCATION, location(name="[" * 100))).code == 1000


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(json.dumps({"evses": [1] * 300_000}).encode(), id="a list of wrong elements"),
        pytest.param(json.dumps({"evses": [1] * (MAX_VALUES - 1)}).encode(), id="as many as are read"),
        pytest.param(json.dumps({f"m{number}": 1 for number in range(60_000)}).encode(), id="as many unknown members"),
    ],
)
async def test_a_list_of_very_many_elements_is_refused_in_a_moment(lab, body):
    assert len(body) <= MAX_BODY_BYTES
    started = asyncio.get_running_loop().time()
    answer = await lab.call("PUT", LOCATION, body)
    assert (answer.status, answer.code) == (400, 2001)
    assert asyncio.get_running_loop().time() - started < 5


# Time


async def test_a_body_that_comes_too_slowly_is_not_waited_for(lab):
    head = f"PUT /ocpi{LOCATION} HTTP/1.1\r\nHost: {{host}}\r\nAuthorization: {{token}}\r\n"
    answer = await raw(lab, f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n", b"{", seconds=20)
    assert answer.startswith(b"HTTP/1.1 408")


async def test_a_body_without_a_token_is_not_waited_for(lab):
    head = f"PUT /ocpi{LOCATION} HTTP/1.1\r\nHost: {{host}}\r\nContent-Length: 100\r\n\r\n"
    assert (await raw(lab, head, b"{")).startswith(b"HTTP/1.1 401")


# Smuggling


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", id="length and chunks"),
        pytest.param("Content-Length: 2\r\nContent-Length: 3\r\n", id="two lengths"),
        pytest.param("Transfer-Encoding: chunked, identity\r\n", id="an unknown coding at the end"),
    ],
)
async def test_a_request_that_two_servers_read_in_two_ways_is_refused(lab, headers):
    head = f"PUT /ocpi{LOCATION} HTTP/1.1\r\nHost: {{host}}\r\nAuthorization: {{token}}\r\n"
    answer = await raw(lab, f"{head}Content-Type: application/json\r\n{headers}\r\n", b"0\r\n\r\n{}")
    assert b" 400 " in answer.splitlines()[0]
    assert lab.modules.requests == []


async def test_two_tokens_are_none(lab):
    head = (
        f"GET /ocpi{LOCATION} HTTP/1.1\r\nHost: {{host}}\r\nAuthorization: {{token}}\r\nAuthorization: Token eA==\r\n"
    )
    assert (await raw(lab, f"{head}Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 401")


# Others' objects


@pytest.mark.parametrize(
    ("verb", "path", "body"),
    [
        pytest.param("GET", FOREIGN, None, id="read"),
        pytest.param("PUT", FOREIGN, location(party_id="ABC"), id="write"),
        pytest.param("PUT", LOCATION, location(party_id="ABC"), id="write by a path of its own"),
        pytest.param("PATCH", FOREIGN, {"last_updated": "2026-11-10T09:00:00Z"}, id="change"),
        pytest.param("PATCH", LOCATION, {"party_id": "ABC", "last_updated": "2026-11-10T09:00:00Z"}, id="take over"),
    ],
)
async def test_a_partner_reaches_no_object_of_another_one(lab, verb, path, body):
    answer = await lab.call(verb, path, body)
    assert (answer.status, answer.code) == (200, 2001)
    assert lab.modules.requests == []


# Registration


async def test_a_spent_invitation_and_a_replayed_registration_open_nothing(lab):
    invitation = await lab.registrar.invite("other")
    body = lab.platform.credentials(lab.platform.new_token())
    body["roles"][0]["party_id"] = "ABC"
    url = "/2.2.1/credentials"
    lab.platform.party_id = "ABC"
    assert (await lab.call("POST", url, body, token=invitation.token)).code == 1000
    replayed = await lab.call("POST", url, body, token=invitation.token)
    assert (replayed.status, replayed.data) == (405, None)
    assert (await lab.call("GET", "/versions", token=invitation.token)).status == 401


@pytest.mark.parametrize(
    "url",
    [
        "https://10.0.0.7/versions",
        "https://169.254.169.254/latest/meta-data",
        "https://[fd00::1]/versions",
        "https://[::ffff:10.0.0.7]/versions",
        "https://0.0.0.0/versions",
        "http://example.com/versions",
        "file:///etc/passwd",
        "https://user:secret@10.0.0.7/versions",
        "https:///versions",
        "nonsense",
    ],
)
async def test_a_partner_cannot_make_the_node_call_the_inside_of_its_network(lab, url):
    body = {**lab.platform.credentials("token-of-the-partner"), "url": url}
    answer = await lab.call("PUT", "/2.2.1/credentials", body)
    assert answer.code == 2001, answer
    assert lab.partners.get("citrine").stored.registration.versions_url == lab.platform.versions_url


async def test_an_endpoint_inside_the_network_is_refused_as_well(lab):
    def details(_request):
        rows = [{"identifier": "locations", "role": "SENDER", "url": "https://192.168.1.1/locations"}]
        return web.json_response(envelope({"version": "2.2.1", "endpoints": rows}))

    lab.platform.answers["GET", "/ocpi/2.2.1"] = details
    answer = await lab.call("PUT", "/2.2.1/credentials", lab.platform.credentials(lab.platform.new_token()))
    assert answer.code == 2001


async def test_a_platform_that_answers_with_redirects_is_followed_nowhere_else(lab):
    def redirect(_request):
        return web.Response(status=307, headers={"Location": "http://127.0.0.1:1/ocpi/versions"})

    lab.platform.answers["GET", "/ocpi/versions"] = redirect
    answer = await lab.call("PUT", "/2.2.1/credentials", lab.platform.credentials(lab.platform.new_token()))
    assert answer.code == 3001


# Too much


async def test_a_partner_that_asks_too_much_at_once_is_refused_and_others_are_served(tmp_path):
    async with ocpi_listener(tmp_path, requests_per_second=1000.0) as lab:
        other = await lab.register("other")
        lab.modules.hold = asyncio.Event()
        waiting = [asyncio.ensure_future(lab.call("GET", LOCATION)) for _ in range(MAX_IN_FLIGHT)]
        await eventually(lambda: len(lab.modules.requests) == MAX_IN_FLIGHT)
        refused = await lab.call("GET", LOCATION)
        assert (refused.status, refused.code, "Retry-After" in refused.headers) == (429, 3000, True)
        served = asyncio.ensure_future(lab.call("GET", FOREIGN, token=other))
        await eventually(lambda: len(lab.modules.requests) == MAX_IN_FLIGHT + 1)
        lab.modules.hold.set()
        assert (await served).code == 1000
        assert {answer.code for answer in await asyncio.gather(*waiting)} == {1000}


async def test_a_partner_that_asks_too_often_learns_when_to_come_back(tmp_path):
    async with ocpi_listener(tmp_path, requests_per_second=2.0) as lab:
        answers = [await lab.call("GET", LOCATION) for _ in range(8)]
    assert [answer.status for answer in answers].count(429) >= 3
    assert answers[-1].headers["Retry-After"]
