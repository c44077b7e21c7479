"""Bad input: each kind has its answer, and leaves no trace in the store."""

import asyncio
import io
import json
import socket

import pytest
import structlog

from p2p_oicp.storage.statements import Statement
from tests.support.messages import (
    CDR,
    NOTIFY,
    PUSH_STATUS,
    START,
    STOP,
    UNKNOWN_SESSION,
    authorize_start,
    cdr,
    push_status,
)

TABLES = ("sessions", "session_events", "cdrs", "conflicting_cdrs", "outbox", "dataset_records", "dataset_groups")


async def traces(node) -> dict[str, int]:
    return {
        table: (await node.store.query(Statement(f"SELECT count(*) AS n FROM {table}", {})))[0]["n"] for table in TABLES
    }


@pytest.fixture
async def unchanged(stopped):
    """Node A alone; afterwards its store must be what it was."""
    async with stopped.running("a") as node:
        before = await traces(node)
        yield stopped
        assert await traces(node) == before


def without(body: dict, member: str) -> dict:
    return {name: value for name, value in body.items() if name != member}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (START, b"{", ""),
        (START, b"", ""),
        (START, b"[]", ""),
        (START, b"\xff\xfe\xfa", ""),
        (START, authorize_start(EvseID=7), "evseID"),
        (START, without(authorize_start(), "Identification"), "identification"),
        (START, without(authorize_start(), "OperatorID"), "operatorID"),
        (START, authorize_start("not hex!"), "identification.rFIDMifareFamilyIdentification.uID"),
        (CDR, without(cdr(UNKNOWN_SESSION), "ChargingEnd"), "chargingEnd"),
        (CDR, cdr(UNKNOWN_SESSION, ConsumedEnergy="much"), "consumedEnergy"),
        (CDR, cdr(UNKNOWN_SESSION, ConsumedEnergy=-1), "consumedEnergy"),
        (NOTIFY, {"Type": "Nothing"}, "type"),
        (PUSH_STATUS, push_status("replace"), "actionType"),
        (PUSH_STATUS, without(push_status(), "OperatorEvseStatus"), "operatorEvseStatus"),
    ],
)
async def test_what_cannot_be_read_is_400_and_names_the_member(unchanged, path, body, field):
    answer = await unchanged.a.post(path, body)
    assert answer.status == 400
    assert set(answer.json) == {"message", "extendedInfo", "validationErrors"}
    assert field.casefold() in [error["fieldReference"].casefold() for error in answer.json["validationErrors"]]
    assert all(error["errorMessage"] for error in answer.json["validationErrors"])


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        (START.replace("DE*GEF", "DE*XYZ"), authorize_start(), 401, "017"),
        (START.replace("DE*GEF", "DE*XYZ"), authorize_start(OperatorID="DE*XYZ"), 401, "017"),
        (START, authorize_start(OperatorID="DE*XYZ"), 401, "017"),
        (PUSH_STATUS, push_status(operator="DE*XYZ"), 401, "017"),
        ("charging/v21/nothing", {}, 404, "320"),
    ],
    ids=["path is foreign", "path and body are foreign", "body is foreign", "push for others", "no path"],
)
async def test_a_request_that_may_not_be_served_says_why(unchanged, path, body, status, code):
    answer = await unchanged.a.post(path, body)
    assert (answer.status, answer.code) == (status, code)


async def test_the_same_id_in_another_spelling_is_the_same_id(pair):
    answer = await pair.a.post(START.replace("DE*GEF", "degef"), authorize_start(OperatorID="DEGEF"))
    assert answer.code == "000"


async def test_a_peer_that_nobody_knows_is_300(unchanged):
    body = {"ProviderID": "FR-XYZ"}
    answer = await unchanged.a_peer.post("evsepull/v21/providers/FR-XYZ/status-records", body)
    assert (answer.status, answer.code) == (200, "300")


@pytest.mark.parametrize("announced", [True, False], ids=["with its length", "in chunks"])
async def test_a_body_of_50_mb_is_413(unchanged, announced):
    async def chunks():
        for _ in range(50):
            yield b" " * 1_000_000

    data = io.BytesIO(b" " * 50_000_000) if announced else chunks()
    async with unchanged.http.post(
        f"{unchanged.a.base}/api/oicp/{START}", data=data, headers={"Content-Type": "application/json"}
    ) as response:
        assert response.status == 413
        assert (await response.json())["StatusCode"]["Code"] == "022"


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", f"/api/oicp/{START}", {}, 405),
        ("POST", f"/api/oicp/{START}", {"Content-Type": "text/xml"}, 415),
        ("GET", "/etc/passwd", {}, 404),
        ("POST", "/p2p/v1/nothing", {}, 404),
    ],
)
async def test_what_is_not_oicp_has_an_http_status_and_a_status_code(unchanged, method, path, headers, status):
    headers = {"Content-Type": "application/json"} | headers
    async with unchanged.http.request(method, unchanged.a.base + path, data=b"{}", headers=headers) as response:
        assert response.status == status
        assert (await response.json())["StatusCode"]["AdditionalInfo"]


async def test_any_charset_of_json_is_read(pair):
    body = json.dumps(authorize_start(CPOPartnerSessionID="Größe")).encode("utf-16")
    answer = await pair.a.post(START, body, headers={"Content-Type": "application/json; charset=utf-16"})
    assert answer.json["CPOPartnerSessionID"] == "Größe"


async def test_an_unknown_charset_is_400(unchanged):
    answer = await unchanged.a.post(START, b"{}", headers={"Content-Type": "application/json; charset=klingon"})
    assert (answer.status, answer.json["validationErrors"][0]["fieldReference"]) == (400, "")


async def test_a_body_whose_content_encoding_is_wrong_is_400(unchanged):
    answer = await unchanged.a.post(START, b"this is not gzip", headers={"Content-Encoding": "gzip"})
    assert (answer.status, answer.code) == (400, "022")


async def test_a_hello_of_many_chunks_is_413(unchanged):
    async def chunks():
        for _ in range(10):
            yield b" " * 10_000

    hello = f"{unchanged.a_peer.base}/p2p/v1/hello"
    async with unchanged.http.post(hello, data=chunks(), headers={"Content-Type": "application/json"}) as response:
        assert response.status == 413


async def test_a_process_id_is_echoed_or_minted(pair):
    given = await pair.a.post(START, authorize_start(), headers={"Process-ID": "abc-1"})
    minted = await pair.a.post(START, authorize_start())
    assert given.headers["Process-ID"] == "abc-1"
    assert minted.headers["Process-ID"]


async def test_large_answers_are_compressed_for_who_reads_that(pair):
    await pair.a.post(PUSH_STATUS, push_status(**{f"{n:05}": "Available" for n in range(500)}))
    path = "evsepull/v21/providers/DE-GDF/status-records"
    async with stopped_raw(pair, path) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert len((await response.json())["EvseStatuses"]["OperatorEvseStatus"][0]["EvseStatusRecord"]) == 500


def stopped_raw(pair, path):
    return pair.http.post(
        f"{pair.a_peer.base}/api/oicp/{path}", json={"ProviderID": "DE-GDF"}, headers={"Accept-Encoding": "gzip"}
    )


async def test_a_peer_that_never_answers_does_not_hold_others(stopped):
    """A silent peer beside node B: the card is authorized by B long before the silent one's deadline."""
    silent = socket.create_server(("127.0.0.1", 0))  # connections wait in its backlog for ever
    port = silent.getsockname()[1]
    with (stopped.folder / "a" / "peers.toml").open("a") as peers:
        peers.write(f'[[peer]]\nname = "silent"\nurl = "http://127.0.0.1:{port}"\nproviders = ["FR-XYZ"]\n')
    async with stopped.running("a"), stopped.running("b"):
        assert (await stopped.a.post(START, authorize_start())).code == "000"
        refused = await stopped.a.post(START, authorize_start("AABBCCDD"))
        assert (refused.json["AuthorizationStatus"], refused.code) == ("NotAuthorized", "102")
        assert "silent" in refused.json["StatusCode"]["AdditionalInfo"]
    silent.close()


async def test_stop_of_a_session_keeps_working_after_bad_input(pair):
    await pair.a.post(STOP, b"{")
    assert (await pair.a.post(START, authorize_start())).code == "000"


MALFORMED = {
    "a header given twice": f"POST /api/oicp/{START} HTTP/1.1\r\nHost: localhost\r\n"
    + 2 * "Content-Type: a/b\r\n"
    + "\r\n",
    "a header that is none": f"POST /api/oicp/{START} HTTP/1.1\r\nHost: localhost\r\nno header\r\n\r\n",
    "an endless line": f"POST /{10_000 * 'x'} HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a wrong length": f"POST /api/oicp/{START} HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
}


@pytest.mark.parametrize("request_text", MALFORMED.values(), ids=MALFORMED)
async def test_what_is_not_http_costs_one_short_line_of_the_log(pair, request_text, caplog):
    with structlog.testing.capture_logs() as logs:
        reader, writer = await asyncio.open_connection("127.0.0.1", pair.ports["a"])
        writer.write(request_text.encode())
        answer = await reader.read()
        writer.close()
    assert answer.split()[1] == b"400"
    assert [record for record in caplog.records if record.name.startswith("aiohttp")] == []
    (line,) = [line for line in logs if line["event"].startswith("http.")]
    assert line["event"] == "http.malformed"
    assert len(line["reason"]) <= 100
