"""What was said to whom is recorded, where the settings say so: at both listeners, in both directions."""

import asyncio
import json

import pytest

from tests.support.command_line import p2p_oicp
from tests.support.messages import START, authorize_start
from tests.support.nodes import pair, start_session, stopped
from tests.support.own_systems import CONTRACTS_ONE, NORTH, company

__all__ = ["p2p_oicp", "pair", "stopped"]

CARD = "11111111"
RECORDED = '[exchanges]\nrecord = "disk"\n'


@pytest.fixture
async def recording(stopped):
    stopped.extra_config = RECORDED
    stopped.write()
    async with stopped.running("a"), stopped.running("b"):
        yield stopped


async def exchanges_of(client, query: str = "") -> list[dict]:
    return (await client.get(f"/admin/v1/exchanges?{query}")).json["exchanges"]


async def test_both_sides_of_a_start_are_recorded_at_both_nodes(recording):
    session_id = await start_session(recording)
    at_cpo = await exchanges_of(recording.a, "operation=AuthorizeStart")
    at_emp = await exchanges_of(recording.b, f"session={session_id.upper()}")
    members = [(each["direction"], each.get("peer"), each.get("backend"), each["code"]) for each in (*at_cpo, *at_emp)]
    assert members == [("out", "node b", None, "000"), ("in", None, "cpo", "000"), ("in", "node a", None, "000")]
    assert {each["session_id"] for each in (*at_cpo, *at_emp)} == {session_id}
    assert len({each["process_id"] for each in (*at_cpo, *at_emp)}) == 1


async def test_a_card_is_in_no_file(recording):
    await start_session(recording)
    await recording.a.post(START, {**authorize_start(), "EvseID": "nonsense"})
    assert len(await exchanges_of(recording.a, "operation=AuthorizeStart")) == 3
    uid = authorize_start()["Identification"]["RFIDMifareFamilyIdentification"]["UID"]
    files = [*(recording.folder / "a" / "data" / "exchanges").iterdir()]
    written = b"".join(file.read_bytes() for file in files)
    assert (b"RFIDMifareFamilyIdentification" in written, uid.encode() in written) == (True, False)


async def test_a_request_to_a_system_of_our_own_is_recorded(tmp_path):
    async with company(tmp_path) as own:
        own.write(own.all_tables(), more='[exchanges]\nrecord = "memory"\n')
        async with own.running():
            start = authorize_start(CARD, OperatorID=NORTH, EvseID=f"{NORTH}*E1")
            await own.client.post(START.replace("DE*GEF", NORTH), start)
            found = await exchanges_of(own.client, f"peer=backend:{CONTRACTS_ONE}")
    assert [(each["direction"], each["operation"], each["http_status"]) for each in found] == [
        ("out", "AuthorizeStart", 200)
    ]


async def test_a_peer_that_is_down_is_in_the_record_with_the_reason(stopped):
    stopped.extra_config = RECORDED
    stopped.write()
    async with stopped.running("a"):
        await stopped.a.post(START, authorize_start())
        (sent,) = await exchanges_of(stopped.a, "peer=node%20b&operation=AuthorizeStart")
    assert "http_status" not in sent
    assert "no connection" in sent["error"]


async def test_a_storm_of_requests_that_nobody_has_proved_does_not_fill_the_ring(recording):
    for number in range(80):
        await recording.a_peer.post(f"charging/v21/providers/DE-N{number:02}/authorize-remote/start", {})
    assert len(await exchanges_of(recording.a, "operation=AuthorizeRemoteStart&limit=1000")) < 70


async def test_nothing_is_recorded_by_default(pair):
    await start_session(pair)
    answer = (await pair.a.get("/admin/v1/exchanges")).json
    assert (answer["record"], answer["exchanges"]) == ("off", [])
    assert not (pair.folder / "a" / "data" / "exchanges").exists()


async def test_the_command_reads_the_files_of_a_node_that_is_down(stopped, p2p_oicp):
    stopped.extra_config = RECORDED
    stopped.write()
    async with stopped.running("a"):
        await stopped.a.post(START, authorize_start())
    config = stopped.folder / "a" / "node.toml"

    async def command(*arguments):
        return await asyncio.to_thread(p2p_oicp, "exchanges", *arguments, "--config", config)

    listed = json.loads((await command("list", "--operation", "AuthorizeStart", "--json")).out)
    assert [each["direction"] for each in listed] == ["out", "in"]
    shown = json.loads((await command("show", listed[0]["number"], "--json")).out)
    assert shown["request"]["json"]["OperatorID"] == "DE*GEF"
    assert "there is no exchange 999" in (await command("show", 999)).err
