"""What a partner meets at the OCPI listener: paths, tokens, ids, routing, pages, envelopes (transport_and_format)."""

from __future__ import annotations

import base64

import pytest

from p2p_oicp.ocpi_gateway.requests import ModuleResult, OcpiProblem, unknown_object
from tests.support.ocpi_listener import ocpi_listener
from tests.support.ocpi_objects import location

LOCATION = "/2.2.1/emsp/locations/DE/GEF/LOC1"
TOKENS = "/2.2.1/emsp/tokens"


@pytest.fixture
async def lab(tmp_path):
    async with ocpi_listener(tmp_path) as lab:
        yield lab


async def refuse(problem):
    raise problem


# Paths


@pytest.mark.parametrize(
    "path", [LOCATION, f"{LOCATION}/", LOCATION.replace("/emsp", "//emsp"), LOCATION.replace("LOC1", "LOC%31")]
)
async def test_a_path_is_the_same_with_a_slash_at_its_end_and_with_two_in_a_row(lab, path):
    assert (await lab.call("GET", path)).status == 200
    assert dict(lab.modules.last.segments) == {"country_code": "DE", "party_id": "GEF", "location_id": "LOC1"}


async def test_a_slash_within_an_id_stays_one(lab):
    await lab.call("GET", LOCATION.replace("LOC1", "A%2FB"))
    assert lab.modules.last.segments["location_id"] == "A/B"


@pytest.mark.parametrize(
    ("verb", "path", "status"),
    [
        pytest.param("GET", "/2.2.1/emsp/nothing", 404, id="no such module"),
        pytest.param("GET", "/2.2.1/cpo/locations", 404, id="a module of the other face"),
        pytest.param("GET", "/2.1.1/emsp/locations/DE/GEF/LOC1", 404, id="another version"),
        pytest.param("DELETE", LOCATION, 405, id="a verb that the path does not have"),
        pytest.param("GET", "/2.2.1/emsp/locations/" + "a/" * 20, 404, id="a path that is too long"),
    ],
)
async def test_what_is_not_served_has_an_envelope_too(lab, verb, path, status):
    answer = await lab.call(verb, path)
    assert (answer.status, answer.code) == (status, 2000)
    assert answer.json["timestamp"].endswith("Z")
    assert lab.modules.requests == []


async def test_a_verb_that_is_not_served_says_which_are(lab):
    assert (await lab.call("DELETE", LOCATION)).headers["Allow"] == "GET, PUT, PATCH"


# Tokens


@pytest.mark.parametrize(
    "header",
    [
        pytest.param("", id="none"),
        pytest.param("Token", id="no token"),
        pytest.param("Token !!!", id="no base64"),
        pytest.param("Bearer {base64}", id="another scheme"),
        pytest.param("Token {plain}", id="as it is, where base64 is expected"),
        pytest.param("Token {base64}x", id="another token"),
    ],
)
async def test_without_a_token_an_answer_says_nothing_but_that(lab, header):
    text = header.format(plain=lab.token, base64=base64.b64encode(lab.token.encode()).decode())
    answer = await lab.call("GET", LOCATION, Authorization=text)
    assert (answer.status, answer.code, answer.data) == (401, 2000, None)
    assert answer.json["status_message"] == "no valid token of a partner"


async def test_a_token_whose_base64_has_a_line_break_at_its_end_is_accepted(lab):
    text = base64.b64encode(f"{lab.token}\n".encode()).decode()
    assert (await lab.call("GET", LOCATION, Authorization=f"Token {text}")).status == 200


async def test_the_token_that_a_platform_has_issued_is_accepted_from_it_where_the_profile_says_so(lab):
    known = set(lab.platform.own_tokens)
    await lab.register("other")
    (issued,) = lab.platform.own_tokens - known
    path = "/2.2.1/emsp/locations/DE/ABC/LOC1"
    assert (await lab.call("GET", path, token=issued)).status == 200
    assert lab.modules.last.partner.name == "other"


# Ids and routing


async def test_ids_of_a_request_are_repeated_and_missing_ones_are_made(lab):
    answer = await lab.call("GET", LOCATION, X_Request_ID="r-1", X_Correlation_ID="c-1")
    assert (answer.headers["X-Request-ID"], answer.headers["X-Correlation-ID"]) == ("r-1", "c-1")
    assert lab.modules.last.correlation_id == "c-1"
    made = await lab.call("GET", LOCATION)
    assert len(made.headers["X-Request-ID"]) == len(made.headers["X-Correlation-ID"]) == 36


def routing(sender="DE GEF", receiver="DE DCB") -> dict[str, str]:
    parts = {"from": sender.split(), "to": receiver.split()}
    return {
        f"OCPI-{end}-{name}": value
        for end, (country, party) in parts.items()
        for name, value in (("country-code", country), ("party-id", party))
    }


async def test_routing_headers_come_back_swapped(lab):
    answer = await lab.call("GET", LOCATION, **routing(sender="de gef"))
    assert answer.headers["OCPI-to-country-code"] == "de"
    assert answer.headers["OCPI-to-party-id"] == "gef"
    assert answer.headers["OCPI-from-party-id"] == "DCB"
    assert lab.modules.last.receiver == ("DE", "DCB")


async def test_without_routing_headers_a_request_is_from_and_for_the_main_parties(lab):
    await lab.call("GET", LOCATION)
    assert (lab.modules.last.sender, lab.modules.last.receiver) == (("DE", "GEF"), ("DE", "DCB"))


@pytest.mark.parametrize(
    "headers", [routing(sender="DE XXX"), routing(receiver="DE XXX")], ids=["from another party", "for another party"]
)
async def test_routing_headers_of_others_are_refused_with_2001(lab, headers):
    answer = await lab.call("GET", LOCATION, **headers)
    assert (answer.status, answer.code) == (200, 2001)
    assert lab.modules.requests == []


async def test_citrineos_swaps_sender_and_recipient(lab):
    token = await lab.register("other")
    path, headers = "/2.2.1/emsp/locations/DE/ABC/LOC1", routing(sender="DE DCB", receiver="DE ABC")
    assert (await lab.call("GET", path, token=token, **headers)).code == 1000
    assert lab.modules.last.sender == ("DE", "ABC")


# Bodies


async def test_an_object_is_read_and_its_deviations_are_findings(lab):
    await lab.call("PUT", LOCATION, location(extra="stays", name=None))
    request = lab.modules.last
    assert (request.body["extra"], "name" in request.body) == ("stays", False)
    assert b'"extra"' in request.raw_body


async def test_a_patch_has_its_nulls(lab):
    await lab.call("PATCH", LOCATION, {"name": None, "last_updated": "2026-11-10T09:00:00Z"})
    assert lab.modules.last.body["name"] is None


@pytest.mark.parametrize(
    ("verb", "body", "headers", "status", "code", "words"),
    [
        pytest.param("PUT", b"{", {}, 400, 2001, "is not JSON", id="no JSON"),
        pytest.param("PUT", b"[]", {}, 400, 2001, "must be an object", id="no object"),
        pytest.param("PUT", {"id": "LOC1"}, {}, 400, 2001, "/", id="members are missing"),
        pytest.param("PATCH", b"[]", {}, 400, 2001, "must be an object", id="a patch that is no object"),
        pytest.param("PUT", b"", {}, 400, 2001, "", id="no body"),
        pytest.param("PUT", b"<a/>", {"Content-Type": "text/xml"}, 415, 2000, "application/json", id="no JSON at all"),
        pytest.param("PUT", b"x", {"Content-Encoding": "gzip"}, 415, 2000, "compressed", id="compressed"),
    ],
)
async def test_a_body_that_cannot_be_read_is_refused_with_the_place(lab, verb, body, headers, status, code, words):
    answer = await lab.call(verb, LOCATION, body, **headers)
    assert (answer.status, answer.code) == (status, code)
    assert words in answer.json["status_message"]
    assert lab.modules.requests == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param("/2.2.1/emsp/locations/DE/XXX/LOC1", location(party_id="XXX"), id="path and object"),
        pytest.param(LOCATION, location(party_id="XXX"), id="object alone"),
        pytest.param("/2.2.1/emsp/locations/DE/XXX/LOC1", location(), id="path alone"),
        pytest.param("/2.2.1/emsp/cdrs", {"country_code": "DE", "party_id": "XXX"}, id="a CDR"),
    ],
)
async def test_an_object_of_another_party_is_refused_with_2001_and_not_served(lab, path, body):
    verb = "POST" if path.endswith("cdrs") else "PUT"
    answer = await lab.call(verb, path, body)
    assert answer.code == 2001
    assert lab.modules.requests == []


async def test_letter_case_of_parties_does_not_count(lab):
    assert (await lab.call("PUT", "/2.2.1/emsp/locations/de/gef/loc1", location())).code == 1000


async def test_an_authorization_may_have_no_body(lab):
    assert (await lab.call("POST", f"{TOKENS}/04A1B2C3/authorize?type=RFID")).code == 1000
    assert (lab.modules.last.body, lab.modules.last.query["type"]) == (None, "RFID")


# Answers


async def test_a_result_has_its_data_status_and_headers(lab):
    lab.modules.answer = lambda _: ModuleResult({"id": 1}, headers={"Location": "http://there"})
    answer = await lab.call("GET", LOCATION)
    assert (answer.data, answer.headers["Location"]) == ({"id": 1}, "http://there")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        pytest.param(unknown_object("location LOC1"), 404, 2000, id="unknown object"),
        pytest.param(OcpiProblem(2003, "no such location"), 200, 2003, id="a refusal of OCPI"),
        pytest.param(ZeroDivisionError(), 500, 3000, id="a bug"),
    ],
)
async def test_an_error_has_an_envelope_and_no_stack(lab, error, status, code):
    def fail(_request):
        raise error

    lab.modules.answer = fail
    answer = await lab.call("GET", LOCATION)
    assert (answer.status, answer.code, answer.data) == (status, code, None)
    assert "Traceback" not in str(answer.json)


# Pages


@pytest.mark.parametrize(
    ("query", "offset", "limit", "next_page"),
    [
        pytest.param("", 0, 50, "offset=50&limit=50", id="default"),
        pytest.param("?offset=100&limit=20", 100, 20, "offset=120&limit=20", id="as asked"),
        pytest.param("?limit=5000", 0, 100, "offset=100&limit=100", id="lowered"),
        pytest.param("?offset=240&limit=20", 240, 20, None, id="the last one"),
    ],
)
async def test_a_page_says_how_many_there_are_and_where_the_next_one_is(lab, query, offset, limit, next_page):
    lab.modules.answer = lambda _: ModuleResult([], total=250)
    answer = await lab.call("GET", f"{TOKENS}{query}")
    page = lab.modules.last.page
    assert (page.offset, page.limit) == (offset, limit)
    assert (answer.headers["X-Total-Count"], answer.headers["X-Limit"]) == ("250", str(limit))
    expected = None if next_page is None else f'<{lab.url}{TOKENS}?{next_page}>; rel="next"'
    assert answer.headers.get("Link") == expected


async def test_filters_stay_in_the_link_and_times_without_a_zone_are_utc(lab):
    lab.modules.answer = lambda _: ModuleResult([], total=250)
    answer = await lab.call("GET", f"{TOKENS}/?date_from=2026-11-10T09:00:00&limit=10")
    assert lab.modules.last.page.date_from.isoformat() == "2026-11-10T09:00:00+00:00"
    assert f"<{lab.url}{TOKENS}?date_from=2026-11-10T09%3A00%3A00&offset=10&limit=10>" in answer.headers["Link"]


@pytest.mark.parametrize("query", ["offset=-1", "limit=0", "limit=x", "date_from=yesterday"])
async def test_a_page_that_there_cannot_be_is_refused_with_2001(lab, query):
    answer = await lab.call("GET", f"{TOKENS}?{query}")
    assert (answer.status, answer.code) == (200, 2001)
