"""A national feed becomes one push an operator; how its records are repaired stands with the rules (L14, L17)."""

import json

import pytest

from p2p_oicp.cli.feed import FEED_KINDS, OperatorPush, all_operators, find_kind, read_feed
from p2p_oicp.oicp import OperatorID
from tests.support.paths import SHARED

SWISS = SHARED / "data" / "swiss-2023-evse-statuses.json"


def group(operator: str, *evse_ids: str, status: str = "Available") -> dict:
    records = [{"EvseID": evse_id, "EVSEStatus": status} for evse_id in evse_ids]
    return {"OperatorID": operator, "OperatorName": "Name", "EVSEStatusRecord": records}


STATUSES = FEED_KINDS["push-evse-status"]


def pushes_of(*groups: dict) -> list[OperatorPush]:
    feed = read_feed(STATUSES, json.dumps({"EVSEStatuses": groups}).encode())
    assert feed.problems == []
    return [*feed.pushes]


def test_a_group_becomes_a_full_load_in_oicp_spelling():
    (push,) = pushes_of(group("CH*ECU", "CH*ECUE1", "CHECUE2"))
    assert json.loads(push.message()) == {
        "ActionType": "fullLoad",
        "OperatorEvseStatus": {
            "OperatorID": "CH*ECU",
            "OperatorName": "Name",
            "EvseStatusRecord": [
                {"EvseID": "CH*ECUE1", "EvseStatus": "Available"},
                {"EvseID": "CHECUE2", "EvseStatus": "Available"},
            ],
        },
    }
    assert push.remarks() == []


def test_a_valid_operator_stays_and_others_are_its_sub_operators():
    (push,) = pushes_of(group("CH*CPI", "AT*HTB*E1", "AT*HTB*E2", "CH*WWZ*E1", "CHCPIE1"))
    assert push.operator.text == "CH*CPI"
    assert [operator.text for operator in push.sub_operators] == ["AT*HTB", "CH*WWZ"]
    assert push.remarks() == ["CH*CPI: EvseIDs of sub-operators: AT*HTB (2), CH*WWZ (1)"]


def test_a_name_gives_way_to_the_operator_of_most_evse_ids_with_a_remark():
    (push,) = pushes_of(group("CH*MOBILECHARGE", "+41*025*1", "+41*002*1", "+41*002*2"))
    assert push.operator.text == "+41*002"
    assert push.remarks() == [
        '"CH*MOBILECHARGE" is no OperatorID: sent as +41*002, the operator of 2 of its 3 EvseIDs',
        "+41*002: EvseIDs of sub-operators: +41*025 (1)",
    ]


def test_groups_of_one_operator_are_one_push_since_a_full_load_replaces_the_other():
    (push,) = pushes_of(group("CH*LIDL", "CH*LIDE1"), group("CHLID", "CHLIDE2"))
    assert len(push.records) == 2
    assert "CH*LID: one push of 2 groups: CH*LIDL, CHLID" in push.remarks()


def test_records_that_would_cost_the_whole_push_are_left_out_and_reported():
    broken = group("CH*ECU", "CH*ECUE1", "CH*ECUE1", "CHECUE1", "nonsense")
    broken["EVSEStatusRecord"] += [{"EVSEStatus": "Available"}, None]
    (push,) = pushes_of(broken)
    assert len(push.records) == 1
    remarks = push.remarks()
    assert [remark.partition(":")[0] for remark in remarks] == [
        *("nonsense", "a record without EvseID", "a record without EvseID"),
        *("CH*ECUE1", "CHECUE1"),
    ]
    assert remarks[-1] == "CHECUE1: left out: repeated in the group of CH*ECU"


def test_unknown_members_of_a_record_stay():
    record = {"EvseID": "CH*ECUE1", "EvseStatus": "Available", "CustomData": {"a": 1}}
    (push,) = pushes_of({"OperatorID": "CH*ECU", "EvseStatusRecord": [record]})
    assert json.loads(push.message())["OperatorEvseStatus"]["EvseStatusRecord"] == [record]
    assert json.loads(push.message())["OperatorEvseStatus"]["OperatorName"] == "CH*ECU"


def test_a_group_without_an_operator_id_is_that_of_its_evse_ids():
    (push,) = pushes_of(group(None, "CH*ECU*E1", "CH*ECU*E2"))
    assert push.operator.text == "CH*ECU"
    assert '"null" is no OperatorID: sent as CH*ECU, the operator of 2 of its 2 EvseIDs' in push.remarks()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param({"OperatorID": "CH*ECU"}, "group 2 has no list EVSEStatusRecord", id="no records"),
        pytest.param(["CH*ECU"], "group 2 has no list EVSEStatusRecord", id="no object"),
        pytest.param(group(None), 'group 2: "null" is no OperatorID, and no EvseID says whose it is', id="no id"),
        pytest.param(
            group("CH*LIDL"), 'group 2: "CH*LIDL" is no OperatorID, and no EvseID says whose it is', id="nobody's"
        ),
    ],
)
def test_a_group_that_cannot_be_read_is_named_and_costs_no_other(content, expected):
    feed = read_feed(STATUSES, json.dumps({"EVSEStatuses": [group("CH*ECU", "CH*ECUE1"), content]}).encode())
    assert [push.operator.text for push in feed.pushes] == ["CH*ECU"]
    (problem,) = feed.problems
    assert expected in problem
    assert [*feed.sums()] == ["1 groups left out"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b'{"EVSEStatuses": []}', "push-evse-status", id="statuses"),
        pytest.param(b'{"EVSEData": []}', "push-evse-data", id="data"),
        pytest.param(b'{"ActionType": "fullLoad", "OperatorEvseStatus": {}}', None, id="a push"),
        pytest.param(b'{"EvseStatuses": {"OperatorEvseStatus": []}}', None, id="the answer of a pull"),
        pytest.param(b"[]", None, id="a list"),
        pytest.param(b"{", None, id="no JSON"),
    ],
)
def test_a_feed_is_distinguished_from_an_oicp_message(body, expected):
    kind = find_kind(body)
    assert (kind and kind.operation.command) == expected


def test_the_operators_of_a_feed_come_after_those_a_node_has():
    pushes = pushes_of(group("CH*CPI", "CH*WWZ*E1", "CHCPIE1"), group("CH*ECU", "CH*ECUE1"))
    operators = all_operators(pushes, configured=[OperatorID("CH*OWN"), OperatorID("CHECU")])
    assert [operator.text for operator in operators] == ["CH*OWN", "CHECU", "CH*CPI", "CH*WWZ"]


@pytest.mark.skipif(not SWISS.exists(), reason="the real feed is not beside the project")
def test_the_swiss_feed_is_29_pushes_with_every_status_once():
    pushes = read_feed(STATUSES, SWISS.read_bytes()).pushes
    assert len(pushes) == 29
    assert sum(len(push.records) for push in pushes) == 12_876
    assert all(push.operator.is_valid for push in pushes)
    assert [push.operator.text for push in pushes if "CH*AIL" in push.group_ids] == ["CH*AIL"]
    mapped = {name: push.operator.text for push in pushes for name in push.group_ids if name != push.operator.text}
    assert mapped["CH*SWISSCHARGE"] == "CH*SWI"
    assert mapped["CH*FASTNED"] == "CHFAS"
    assert len(mapped) == 12
    assert len(all_operators(pushes)) == 37
