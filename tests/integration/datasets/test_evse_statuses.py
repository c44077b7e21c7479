"""EVSE statuses: pushed to node A by its backend, pulled from node B by its own."""

from datetime import UTC, datetime

import pytest

from tests.support.messages import PULL_STATUS, PUSH_STATUS, push_status
from tests.support.pulls import pulled, until_pulled


async def test_what_a_backend_pushes_the_other_backend_pulls(pair):
    assert (await pair.a.post(PUSH_STATUS, push_status(A="Available", B="Occupied"))).json["Result"] is True
    await until_pulled(pair.b, {"DE*GEF*EA": "Available", "DE*GEF*EB": "Occupied"})


@pytest.mark.parametrize(
    ("action", "change", "expected"),
    [
        ("insert", {"C": "Reserved"}, {"DE*GEF*EA": "Available", "DE*GEF*EB": "Occupied", "DE*GEF*EC": "Reserved"}),
        ("update", {"A": "OutOfService"}, {"DE*GEF*EA": "OutOfService", "DE*GEF*EB": "Occupied"}),
        ("delete", {"A": "Available"}, {"DE*GEF*EB": "Occupied"}),
        ("fullLoad", {}, {}),
    ],
)
async def test_every_action_arrives(pair, action, change, expected):
    await pair.a.post(PUSH_STATUS, push_status(A="Available", B="Occupied"))
    await until_pulled(pair.b, {"DE*GEF*EA": "Available", "DE*GEF*EB": "Occupied"})
    assert (await pair.a.post(PUSH_STATUS, push_status(action, **change))).json["Result"] is True
    await until_pulled(pair.b, expected)


async def test_a_peer_that_was_unreachable_catches_up(stopped):
    async with stopped.running("a"):
        async with stopped.running("b"):
            await stopped.a.post(PUSH_STATUS, push_status(A="Available", B="Occupied"))
            await until_pulled(stopped.b, {"DE*GEF*EA": "Available", "DE*GEF*EB": "Occupied"})
        await stopped.a.post(PUSH_STATUS, push_status(A="Reserved"))
        async with stopped.running("b"):
            await until_pulled(stopped.b, {"DE*GEF*EA": "Reserved"})


async def test_a_peer_that_lost_its_store_gets_everything_again(stopped):
    async with stopped.running("a"):
        async with stopped.running("b"):
            await stopped.a.post(PUSH_STATUS, push_status(A="Available", B="Occupied"))
            await until_pulled(stopped.b, {"DE*GEF*EA": "Available", "DE*GEF*EB": "Occupied"})
        for file in (stopped.folder / "b" / "data").glob("node.sqlite3*"):
            file.unlink()
        await stopped.a.post(PUSH_STATUS, push_status("update", A="Reserved"))
        async with stopped.running("b"):
            await until_pulled(stopped.b, {"DE*GEF*EA": "Reserved", "DE*GEF*EB": "Occupied"})


@pytest.mark.parametrize(
    ("action", "statuses", "expected"),
    [
        ("insert", {"A": "Occupied"}, {"DE*GEF*EA": "Occupied"}),
        ("update", {"Z": "Occupied"}, {"DE*GEF*EA": "Available", "DE*GEF*EZ": "Occupied"}),
        ("delete", {"Z": "Available"}, {"DE*GEF*EA": "Available"}),
    ],
    ids=["insert of a known", "update of an unknown", "delete of none"],
)
async def test_l12_a_status_is_set_whether_or_not_there_was_one(pair, action, statuses, expected):
    await pair.a.post(PUSH_STATUS, push_status(A="Available"))
    answer = await pair.a.post(PUSH_STATUS, push_status(action, **statuses))
    assert (answer.json["Result"], answer.code) == (True, "000")
    await until_pulled(pair.b, expected)


def with_evse_ids(*evse_ids: str) -> dict:
    push = push_status()
    push["OperatorEvseStatus"]["EvseStatusRecord"] = [{"EvseID": e, "EvseStatus": "Available"} for e in evse_ids]
    return push


@pytest.mark.parametrize(
    ("push", "named"),
    [
        (with_evse_ids("DE*GEF*E1", "FR*XYZ*E1"), "FR*XYZ*E1"),
        (with_evse_ids("DE*GEF*E1", "DEGEFE1"), "DEGEFE1"),
    ],
    ids=["an EVSE of another operator", "one EVSE in two spellings"],
)
async def test_an_inconsistent_push_is_018_and_stores_nothing(pair, push, named):
    answer = await pair.a.post(PUSH_STATUS, push)
    info = (answer.json.get("StatusCode") or {}).get("AdditionalInfo") or str(answer.json)
    assert named in info
    assert answer.status == 400 or answer.code == "018"
    assert await pulled(pair.b) == {}


async def test_a_peers_push_is_018_however_much_else_is_wrong_with_it(pair):
    push = with_evse_ids(*(f"DE*GEF*E{number}" for number in range(150)), "FR*XYZ*E1", "DE*GEF*EA")
    for record in push["OperatorEvseStatus"]["EvseStatusRecord"][:150]:
        del record["EvseStatus"]
    answer = await pair.b_peer.post(PUSH_STATUS, push)
    assert (answer.code, "FR*XYZ*E1" in str(answer.json)) == ("018", True)
    assert await pulled(pair.b) == {}


async def test_a_status_pull_can_be_filtered(pair):
    await pair.a.post(PUSH_STATUS, push_status(A="Available", B="Occupied"))
    await until_pulled(pair.b, {"DE*GEF*EA": "Available", "DE*GEF*EB": "Occupied"})
    assert await pulled(pair.b, EVSEStatus="Occupied") == {"DE*GEF*EB": "Occupied"}
    assert await pulled(pair.b, OperatorID=["DEGEF"]) == await pulled(pair.b)
    assert await pulled(pair.b, OperatorID=["FR*XYZ"]) == {}


async def test_a_status_by_id_of_an_unknown_evse_is_evse_not_found(pair):
    await pair.a.post(PUSH_STATUS, push_status(A="Available", B="Occupied"))
    await until_pulled(pair.b, {"DE*GEF*EA": "Available", "DE*GEF*EB": "Occupied"})
    requested = ["DEGEFEA", "DE*GEF*E9", "FR*XYZ*E1"]
    answer = await pair.b.post(PULL_STATUS, {"ProviderID": "DE-GDF", "EvseID": requested})
    assert answer.json["EVSEStatusRecords"]["EvseStatusRecord"] == [
        {"EvseID": "DE*GEF*EA", "EvseStatus": "Available"},
        {"EvseID": "DE*GEF*E9", "EvseStatus": "EvseNotFound"},
        {"EvseID": "FR*XYZ*E1", "EvseStatus": "EvseNotFound"},
    ]


async def test_an_emp_peer_may_pull_from_the_cpo_node_itself(pair):
    await pair.a.post(PUSH_STATUS, push_status(A="Available"))
    assert await pulled(pair.a_peer) == {"DE*GEF*EA": "Available"}


async def test_an_operator_that_the_peer_does_not_know_does_not_hold_up_the_others(stopped):
    config = stopped.folder / "a" / "node.toml"
    config.write_text(config.read_text().replace('["DE*GEF"]', '["DE*GEF", "DE*AAA"]'))
    unknown = {"OperatorID": "DE*AAA", "EvseStatusRecord": [{"EvseID": "DE*AAA*E1", "EvseStatus": "Available"}]}
    async with stopped.running("a"), stopped.running("b"):
        push = {"ActionType": "fullLoad", "OperatorEvseStatus": unknown}
        assert (await stopped.a.post(PUSH_STATUS.replace("DE*GEF", "DE*AAA"), push)).code == "000"
        await stopped.a.post(PUSH_STATUS, push_status(X="Available"))
        await until_pulled(stopped.b, {"DE*GEF*EX": "Available"})


async def test_our_own_backend_may_ask_for_what_has_changed_since_its_last_call(pair):
    await pair.a.post(PUSH_STATUS, push_status(A="Available", B="Occupied", C="Available"))
    await until_pulled(pair.b, {"DE*GEF*EA": "Available", "DE*GEF*EB": "Occupied", "DE*GEF*EC": "Available"})
    last_call = datetime.now(UTC).isoformat()
    await pair.a.post(PUSH_STATUS, push_status(A="Available", B="Reserved"))
    await until_pulled(pair.b, {"DE*GEF*EA": "Available", "DE*GEF*EB": "Reserved"})
    assert await statuses_since(pair, last_call) == {"DE*GEF*EB": "Reserved", "DE*GEF*EC": "EvseNotFound"}
    assert await statuses_since(pair, datetime.now(UTC).isoformat()) == {}


async def statuses_since(pair, last_call: str) -> dict[str, str]:
    answer = await pair.b.post(PULL_STATUS, {"ProviderID": "DE-GDF", "LastCall": last_call})
    groups = answer.json["EvseStatuses"]["OperatorEvseStatus"]
    return {record["EvseID"]: record["EvseStatus"] for group in groups for record in group["EvseStatusRecord"]}


async def test_a_last_call_that_is_no_time_is_refused(pair):
    answer = await pair.b.post(PULL_STATUS, {"ProviderID": "DE-GDF", "LastCall": "yesterday"})
    assert answer.code == "022"
    assert "LastCall: expected a time with its offset" in answer.json["StatusCode"]["AdditionalInfo"]
