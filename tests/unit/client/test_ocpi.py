"""The client of OCPI partners: what it sends, where it goes, and which deviations it reads (GATEWAY 7, 12)."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web

from p2p_oicp.client import HttpTransport
from p2p_oicp.client.ocpi import (
    MAX_RESPONSE_BYTES,
    EndpointMissing,
    NotAnEnvelope,
    OcpiCall,
    OcpiClient,
    OcpiConnection,
    OcpiRefused,
    origin_of,
)
from p2p_oicp.clock import SystemClock, UuidGenerator
from p2p_oicp.errors import PeerBusy, PeerProtocolError, PeerRejected, PeerTimeout, PeerUnauthorized, PeerUnreachable
from p2p_oicp.ocpi_mapping.ids import Party
from tests.support.ocpi_platform import Platform, envelope, serving, token_header

TOKEN = "a-token-of-the-partner"
PATH = "/ocpi/2.2.1/locations"
BROKEN_LINK = '<https://elsewhere.example/VersionNumber.v_2_2_1/>; rel="next"'


@pytest.fixture
async def platform():
    async with serving(Platform(own_tokens={TOKEN})) as platform:
        yield platform


@pytest.fixture
async def client():
    async with HttpTransport(user_agent="test", max_body=MAX_RESPONSE_BYTES) as transport:
        yield OcpiClient(transport, ids=UuidGenerator(), clock=SystemClock())


@pytest.fixture
def connection(platform):
    endpoints = {("locations", "SENDER"): f"{platform.url}{PATH}/"}
    origins, sender = frozenset({origin_of(platform.url)}), Party("DE", "DCB")
    return OcpiConnection("ocpi:citrine", TOKEN, endpoints, origins, sender, Party("DE", "GEF"))


async def get(client, connection, **members):
    return await client.call(connection, OcpiCall("GET", connection.url_of("locations", "SENDER"), **members))


def answering(platform, answer, verb="GET", path=PATH):
    """Answer a request, with or without a slash at the end of its path."""
    for each in (path, f"{path}/"):
        platform.answers[verb, each] = answer


# What is sent


async def test_a_request_has_token_ids_and_routing(client, connection, platform):
    await get(client, connection, correlation_id="c-1")
    await get(client, connection)
    first, second = (request["headers"] for request in platform.requests)
    assert first["Authorization"] == token_header(TOKEN)
    assert first["X-Correlation-ID"] == "c-1"
    assert first["X-Request-ID"] != second["X-Request-ID"]
    assert (first["OCPI-from-party-id"], first["OCPI-to-party-id"]) == ("DCB", "GEF")
    assert (first["OCPI-from-country-code"], first["OCPI-to-country-code"]) == ("DE", "DE")


async def test_an_objects_address_has_its_parts_encoded(connection, platform):
    url = connection.url_of("locations", "SENDER", "DE", "a/b c")
    assert url == f"{platform.url}{PATH}/DE/a%2Fb%20c"


async def test_an_interface_that_the_partner_lacks_is_an_error_before_anything_is_sent(connection):
    with pytest.raises(EndpointMissing, match="commands RECEIVER"):
        connection.url_of("commands", "RECEIVER")


async def test_a_body_goes_out_with_every_verb(client, connection, platform):
    for verb in ("PUT", "PATCH", "POST"):
        await client.call(connection, OcpiCall(verb, f"{platform.url}{PATH}/1", {"id": "1"}))
    assert [request["json"] for request in platform.requests] == [{"id": "1"}] * 3


# Where it goes


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/ocpi", "https://10.0.0.1/", "http://[::1]/", "nonsense"])
async def test_another_server_is_not_called(client, connection, url):
    with pytest.raises(PeerRejected, match="is none of its registered servers"):
        await client.call(connection, OcpiCall("GET", url))


@pytest.mark.parametrize("status", [307, 308])
async def test_a_redirect_to_the_same_path_with_a_slash_is_followed(client, connection, platform, status):
    platform.answers["PUT", f"{PATH}/1"] = lambda _: web.Response(status=status, headers={"Location": f"{PATH}/1/"})
    reply = await client.call(connection, OcpiCall("PUT", f"{platform.url}{PATH}/1", {"id": "1"}))
    assert reply.is_success
    assert (platform.requests[-1]["path"], platform.requests[-1]["json"]) == (f"{PATH}/1/", {"id": "1"})


@pytest.mark.parametrize(
    ("status", "target"),
    [
        pytest.param(307, "http://127.0.0.1:1/", id="another server"),
        pytest.param(307, "/elsewhere", id="another path"),
        pytest.param(307, f"{PATH}/1", id="the same path"),
        pytest.param(307, f"{PATH}/1/?admin=true", id="another query"),
        pytest.param(302, f"{PATH}/1/", id="a redirect that may change the verb"),
        pytest.param(307, "", id="nowhere"),
    ],
)
async def test_other_redirects_are_not_followed(client, connection, platform, status, target):
    platform.answers["GET", f"{PATH}/1"] = lambda _: web.Response(status=status, headers={"Location": target})
    with pytest.raises(NotAnEnvelope) as error:
        await client.call(connection, OcpiCall("GET", f"{platform.url}{PATH}/1"))
    assert (error.value.http_status, len(platform.requests)) == (status, 1)


async def test_a_second_redirect_is_not_followed(client, connection, platform):
    answering(platform, lambda request: web.Response(status=307, headers={"Location": _other_slash(request.path)}))
    with pytest.raises(NotAnEnvelope):
        await get(client, connection)
    assert len(platform.requests) == 2


def _other_slash(path: str) -> str:
    return path.rstrip("/") if path.endswith("/") else f"{path}/"


# What is read


@pytest.mark.parametrize(
    ("answer", "status_code", "data"),
    [
        pytest.param({"data": [1], "status_code": 1000}, 1000, [1], id="as the standard has it"),
        pytest.param({"data": {"id": 1}}, 1000, {"id": 1}, id="no status code beside HTTP 200"),
        pytest.param({"status_code": 1001, "data": None, "more": 1}, 1001, None, id="nulls, more members, 1xxx"),
        pytest.param({"status_code": 2001, "status_message": 5}, 2001, None, id="a message that is no text"),
    ],
)
async def test_an_envelope_is_read_tolerantly(client, connection, platform, answer, status_code, data):
    answering(platform, lambda _: web.json_response(answer))
    reply = await get(client, connection)
    assert (reply.status_code, reply.data) == (status_code, data)


async def test_an_empty_answer_to_a_delete_is_a_yes(client, connection, platform):
    answering(platform, lambda _: web.Response(status=204), "DELETE", f"{PATH}/1")
    assert (await client.call(connection, OcpiCall("DELETE", f"{platform.url}{PATH}/1"))).is_success


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        pytest.param(401, {"detail": "no"}, PeerUnauthorized, id="401 without an envelope"),
        pytest.param(403, envelope(code=2002), PeerUnauthorized, id="403 with one"),
        pytest.param(429, envelope(code=3000), PeerBusy, id="429"),
        pytest.param(503, {}, PeerBusy, id="503"),
        pytest.param(404, {"detail": "no"}, NotAnEnvelope, id="404 without an envelope"),
        pytest.param(405, {}, NotAnEnvelope, id="405 without an envelope"),
        pytest.param(422, {"detail": []}, NotAnEnvelope, id="422 without an envelope"),
        pytest.param(500, {}, NotAnEnvelope, id="500 without an envelope"),
        pytest.param(200, [1], NotAnEnvelope, id="a list alone"),
    ],
)
async def test_what_is_no_answer_is_an_error(client, connection, platform, status, body, error):
    answering(platform, lambda _: web.json_response(body, status=status, headers={"Retry-After": "7"}))
    with pytest.raises(error) as raised:
        await get(client, connection)
    assert getattr(raised.value, "http_status", status) == status
    assert getattr(raised.value, "retry_after", 7) == 7


@pytest.mark.parametrize("status", [400, 404, 405, 500])
async def test_an_error_with_an_envelope_is_an_answer(client, connection, platform, status):
    answering(platform, lambda _: web.json_response(envelope(code=2003, message="no such location"), status=status))
    reply = await get(client, connection)
    assert (reply.http_status, reply.status_code, reply.is_success) == (status, 2003, False)


async def test_a_partner_that_echoes_the_token_brings_it_into_no_error(client, connection, platform):
    text = f"unknown {TOKEN} or {token_header(TOKEN)}"
    answering(platform, lambda _: web.json_response(envelope(code=2001, message=text), status=401))
    with pytest.raises(PeerUnauthorized) as error:
        await get(client, connection)
    assert "********" in str(error.value)
    assert TOKEN not in str(error.value)
    assert token_header(TOKEN).split()[1] not in str(error.value)


async def test_an_answer_that_is_too_large_is_refused(client, connection, platform):
    answering(platform, lambda _: web.Response(body=b" " * (MAX_RESPONSE_BYTES + 1)))
    with pytest.raises(PeerProtocolError, match="larger than"):
        await get(client, connection)


async def test_a_partner_that_is_away_has_received_nothing(client):
    gone = OcpiConnection("ocpi:gone", TOKEN, origins=frozenset({"http://127.0.0.1:1"}))
    with pytest.raises(PeerUnreachable):
        await client.call(gone, OcpiCall("GET", "http://127.0.0.1:1/"))


async def test_a_partner_that_does_not_answer_in_time_may_have_done_it(client, connection, platform):
    platform.hold = asyncio.Event()
    call = OcpiCall("PUT", f"{platform.url}/ocpi/2.2.1/credentials", _credentials(platform), deadline=0.2)
    platform.calls_back = False
    with pytest.raises(PeerTimeout):
        await client.call(connection, call)
    platform.hold.set()


def _credentials(platform) -> dict:
    return platform.credentials("a-token")


# Pages


async def pages(client, connection, **query):
    return [page async for page in client.pages(connection, connection.url_of("locations", "SENDER"), query)]


def rows(count: int) -> list[dict]:
    return [{"country_code": "DE", "party_id": "GEF", "id": f"L{number}"} for number in range(count)]


async def test_a_list_comes_whole_page_by_page(client, connection, platform):
    platform.objects["locations"] = rows(250)
    found = await pages(client, connection, date_from="2026-11-10T09:00:00Z")
    assert [len(page.objects) for page in found] == [100, 100, 50]
    assert {page.total for page in found} == {250}
    assert platform.requests[0]["query"]["date_from"] == "2026-11-10T09:00:00Z"


def in_pages(platform, headers, size=100, total=250):
    """Serve a list with headers of the partner's own make."""

    def answer(request):
        offset = int(request.query.get("offset", 0))
        part = rows(total)[offset : offset + size]
        return web.json_response(envelope(part), headers={name: value(part) for name, value in headers.items()})

    answering(platform, answer)


@pytest.mark.parametrize(
    ("headers", "size"),
    [
        pytest.param({}, 100, id="no headers"),
        pytest.param({"X-Total-Count": lambda part: str(len(part))}, 100, id="the total is the size of the page"),
        pytest.param({"Link": lambda _: BROKEN_LINK}, 100, id="a broken link"),
        pytest.param({"Link": lambda _: ""}, 100, id="an empty link"),
        pytest.param({"X-Limit": lambda _: "30"}, 30, id="smaller pages than asked for"),
    ],
)  # fmt: skip
async def test_a_list_comes_whole_without_a_link_that_can_be_followed(client, connection, platform, headers, size):
    in_pages(platform, headers, size)
    found = [each["id"] for page in await pages(client, connection) for each in page.objects]
    assert found == [each["id"] for each in rows(250)]


async def test_a_list_without_an_end_ends_with_the_first_page_that_has_nothing_new(client, connection, platform):
    answering(platform, lambda _: web.json_response(envelope(rows(100)), headers={"X-Total-Count": "1000000"}))
    assert len(await pages(client, connection)) == 1
    assert len(platform.requests) == 2


async def test_a_list_that_is_refused_on_its_way_is_an_error(client, connection, platform):
    answering(platform, lambda _: web.Response(body=json.dumps(envelope(code=3000, message="not now"))))
    with pytest.raises(OcpiRefused, match="3000: not now"):
        await pages(client, connection)
