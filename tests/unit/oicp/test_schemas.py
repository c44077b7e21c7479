"""Schemas, OpenAPI documents and errata, drawn from the models."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

import p2p_oicp.oicp
from p2p_oicp.oicp import OPERATION_BY_NAME, OPERATIONS, ChargingNotificationProgress, Party
from p2p_oicp.oicp.errata import ERRATA
from p2p_oicp.oicp.schemas import json_schema, message_models, openapi
from tests.support.oicp_examples import REQUESTS


@pytest.mark.parametrize("name", REQUESTS)
def test_an_example_of_every_request_fits_its_schema(name):
    model = OPERATION_BY_NAME[name].request
    schema = json_schema(ChargingNotificationProgress if name == "ChargingNotifications" else model)
    assert list(Draft202012Validator(schema).iter_errors(REQUESTS[name])) == []


@pytest.mark.parametrize("model", message_models())
def test_every_schema_is_valid_and_refuses_an_empty_message(model):
    schema = json_schema(model)
    Draft202012Validator.check_schema(schema)
    assert not Draft202012Validator(schema).is_valid({})


@pytest.mark.parametrize("role", Party)
def test_the_openapi_document_is_valid_and_has_every_path_that_the_role_serves(role):
    document = openapi(role, "1")
    validate(document)
    served = {f"/{path}" for row in OPERATIONS if row.server is role for path in (row.path, *row.aliases)}
    assert set(document["paths"]) == served


def test_there_are_68_errata_in_order():
    assert [erratum.number for erratum in ERRATA] == [f"D{number:02}" for number in range(1, 69)]


def test_every_finding_code_of_an_erratum_is_in_use():
    sources = "".join(
        path.read_text() for path in Path(p2p_oicp.oicp.__file__).parent.rglob("*.py") if path.name != "errata.py"
    )
    used = set(re.findall(r'"([a-z]+(?:-[a-z]+)*)"', sources))
    assert {code for erratum in ERRATA for code in erratum.codes} <= used
