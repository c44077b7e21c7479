"""The commands about OICP itself, each in a program of its own around them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from openapi_spec_validator import validate
from typer.testing import CliRunner, Result

from p2p_oicp.cli import reference, validation
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.server.openapi.documents import Listener, openapi_document
from tests.support.oicp_examples import AUTHORIZE_START, EVSE, SESSION, push_evse_data
from tests.support.oicp_examples import CDR as FAULTLESS_CDR

CDR = FAULTLESS_CDR | {"PartnerProductID": "AC1"}
#: More than the outlet delivers in that hour.
MUCH = {"MeterValueEnd": 130.5, "ConsumedEnergy": 30}


def run(*arguments: str, given: object = None) -> Result:
    app = typer.Typer()
    reference.register(app)
    validation.register(app)
    text = given if isinstance(given, str) else json.dumps(given)
    return CliRunner().invoke(app, arguments, input=text)


def refusal(*arguments: str, given: object = None) -> str:
    """Return the one line with which the program ends, with exit code 2."""
    result = run(*arguments, given=given)
    assert isinstance(result.exception, ConfigurationError)
    return str(result.exception)


@pytest.mark.parametrize(
    ("change", "code", "verdict"),
    [
        pytest.param({}, 0, "accept", id="faultless"),
        pytest.param({"OperatorID": "de*abc", "EvseID": "de*abc*E1"}, 0, "accept-with-warning", id="a warning"),
        pytest.param({"EvseID": "nonsense"}, 1, "reject", id="an error"),
        pytest.param({"OperatorID": None}, 1, "reject", id="no message at all"),
    ],
)
def test_validate_says_what_is_wrong(change, code, verdict):
    result = run("validate", "AuthorizeStart", "--json", given=AUTHORIZE_START | change)
    report = json.loads(result.stdout)
    assert (result.exit_code, report["verdict"]) == (code, verdict)
    assert all(set(found) == {"severity", "pointer", "code", "message"} for found in report["findings"])
    text = run("validate", "authorize-start", "-", given=AUTHORIZE_START | change)
    assert verdict in text.stdout
    assert all(found["pointer"] in text.stdout for found in report["findings"])


def test_validate_reads_files_and_responses(tmp_path):
    file = tmp_path / "answer.json"
    file.write_text(json.dumps({"Result": False, "StatusCode": {"Code": "102"}}))
    assert run("validate", "AuthorizeStart", str(file), "--message", "response").exit_code == 0


def test_validate_knows_whom_a_push_may_speak_for():
    record = {"EvseID": "DE*SUB*E1", "EvseStatus": "Available"}
    push = {"ActionType": "insert", "OperatorEvseStatus": {"OperatorID": "DE*ABC", "EvseStatusRecord": [record]}}
    assert run("validate", "PushEvseStatus", given=push).exit_code == 0
    assert run("validate", "PushEvseStatus", "--authorized-for", "DE*ABC", given=push).exit_code == 1
    spoken = ("--authorized-for", "DE*ABC", "--authorized-for", "DE*SUB")
    assert run("validate", "PushEvseStatus", *spoken, given=push).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "given", "expected"),
    [
        pytest.param(("validate", "AuthorizeStart"), "{", "not JSON", id="no JSON"),
        pytest.param(("validate", "AuthorizeStart", "nowhere.json"), "", "nowhere.json", id="no file"),
        pytest.param(("validate", "Charge"), "{}", "no operation 'Charge'", id="no operation"),
        pytest.param(("validate", "PushEvseData", "--authorized-for", "?"), "{}", "--authorized-for ?", id="no party"),
        pytest.param(("cdr", "--evse", "nowhere.json"), json.dumps(CDR), "nowhere.json", id="no charging spot"),
        pytest.param(("errata", "D99"), "", "D01 to D68", id="no erratum"),
    ],
)
def test_an_input_that_cannot_be_used_ends_with_one_line(arguments, given, expected):
    assert expected in refusal(*arguments, given=given)


def test_many_messages_are_validated_line_by_line():
    lines: list[dict[str, Any]] = [
        {"id": "a", "operation": "AuthorizeStart", "message": "request", "payload": AUTHORIZE_START},
        {"id": "b", "operation": "ChargingNotificationsStart", "message": "request", "payload": {}},
        {"id": 3, "operation": "Acknowledgement", "message": "response", "payload": {"StatusCode": {"Code": "017"}}},
    ]
    result = run("validate", "--jsonl", "-", given="\n".join(map(json.dumps, lines)) + "\n\n")
    reports = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(line["id"], line["verdict"]) for line in reports] == [
        ("a", "accept"),
        ("b", "reject"),
        (3, "accept-with-warning"),
    ]
    assert result.exit_code == 1
    assert run("validate", "--jsonl", "-", given=json.dumps(lines[0])).exit_code == 0


def test_a_line_without_a_message_does_not_cost_the_others():
    good = json.dumps({"id": 1, "operation": "AuthorizeStart", "payload": AUTHORIZE_START})
    result = run("validate", "--jsonl", given=f'{{\n{{"id": 2, "operation": "Charge", "payload": {{}}}}\n{good}\n')
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == [1]
    assert "line 1" in result.stderr
    assert "line 2" in result.stderr
    assert result.exit_code == 2


@pytest.mark.parametrize(
    ("change", "options", "code", "found"),
    [
        pytest.param({}, ("--products", "AC1, DC"), 0, None, id="faultless"),
        pytest.param(MUCH, (), 1, "implausible-energy", id="more than the outlet delivers"),
        pytest.param({}, ("--products", "DC"), 1, "unknown-product", id="unknown product"),
        pytest.param({"SessionEnd": "2024-05-01T10:30:00+02:00"}, (), 1, "times-out-of-order", id="times"),
        pytest.param({"SessionID": None}, (), 1, "missing", id="no record"),
    ],
)
@pytest.mark.parametrize("shape", ["record", "push"])
def test_a_cdr_is_checked_before_it_is_sent(change, options, code, found, shape, tmp_path: Path):
    file = tmp_path / "evse.json"
    file.write_text(json.dumps(EVSE if shape == "record" else push_evse_data(EVSE)))
    result = run("cdr", "--evse", str(file), *options, given=CDR | change)
    assert result.exit_code == code
    assert (found or "accept") in result.stdout


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("DE*ABC*E1*2", ["EvseID"]),
        ("+49*536", ["OperatorID"]),
        ("DE-8EO-CAet5e4XY-3", ["EvcoID"]),
        (SESSION, ["SessionID"]),
        ("*", ["ProviderIDOrAll"]),
        ("nothing at all", []),
    ],
)
def test_an_identifier_says_what_it_is(text, kinds):
    result = run("id", "--json", "--", text)
    assert [found["type"] for found in json.loads(result.stdout)["matches"]] == kinds
    assert result.exit_code == (0 if kinds else 1)
    assert all(kind in run("id", "--", text).stdout for kind in kinds)


def test_a_text_that_is_nearly_an_identifier_says_what_is_wrong():
    assert "as UID: has 12 hexadecimal digits" in run("id", "04E1D2C3B4A5").stdout
    report = json.loads(run("id", "04E1D2C3B4A5", "--json").stdout)
    assert [problem["type"] for problem in report["problems"]] == ["UID"]


def test_an_identifier_says_what_it_means():
    (found,) = json.loads(run("id", "de*ab7*E840", "--json").stdout)["matches"]
    assert found == {
        "type": "EvseID",
        "standard": "ISO",
        "country": "DE",
        "operator": "de*ab7",
        "key": "DEAB7E840",
        "canonical": "no, it is written like DE*ABC*ETEST1",
    }


def test_all_endpoints_are_listed():
    rows = json.loads(run("endpoints", "--json").stdout)
    text = run("endpoints").stdout
    assert len(rows) == 21
    assert all(row["path"].removeprefix("/api/oicp") in text for row in rows)


def test_errata_can_be_looked_up():
    assert "LastCall" in run("errata", "d43").stdout
    assert len(json.loads(run("errata", "--json").stdout)) == 68


def test_schemas_are_printed_or_written(tmp_path):
    printed = json.loads(run("schema").stdout)
    assert run("schema", "--out", str(tmp_path / "new")).exit_code == 0
    assert {file.name for file in (tmp_path / "new").iterdir()} == {f"{name}.schema.json" for name in printed}


@pytest.mark.parametrize("role", ["cpo", "emp"])
def test_the_openapi_document_is_valid(role):
    validate(json.loads(run("openapi", "--role", role).stdout))


@pytest.mark.parametrize("listener", Listener)
def test_the_openapi_document_of_a_listener_is_printed_as_it_is_served(listener):
    assert json.loads(run("openapi", "--listener", listener).stdout) == openapi_document(listener)


def test_the_asyncapi_document_is_printed():
    assert json.loads(run("asyncapi").stdout)["asyncapi"] == "3.0.0"
