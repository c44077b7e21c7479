"""The OpenAPI document of the OCPI listener: valid, whole, and true of what is answered."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from openapi_spec_validator import validate

from p2p_oicp.ocpi.enumerations import Role
from p2p_oicp.ocpi.modules import V2_2_1
from p2p_oicp.ocpi_gateway.requests import ModuleResult
from p2p_oicp.server.ocpi.documents import ocpi_document
from p2p_oicp.server.ocpi.routes import Resource, find, module_paths
from tests.support.ocpi_listener import ocpi_listener
from tests.support.ocpi_platform import lab_with, token_header

DOCUMENT = ocpi_document()
MODULES = [
    (path, interface, endpoint)
    for role in (Role.EMSP, Role.CPO)
    for path, interface, endpoint in module_paths(role, V2_2_1)
]
RESPONSE_TIMEOUT_SECONDS = 15


def test_the_document_is_valid():
    validate(DOCUMENT)


@pytest.mark.parametrize(
    ("path", "interface", "endpoint"), MODULES, ids=[f"{endpoint.verb} {path}" for path, _, endpoint in MODULES]
)
def test_each_endpoint_of_the_table_is_served_and_stands_in_the_document(path, interface, endpoint):
    assert endpoint.verb.lower() in DOCUMENT["paths"][path]
    match = find(endpoint.verb, path.replace("{", "").replace("}", ""))
    assert (match.resource, match.interface, match.endpoint) == (Resource.MODULE, interface, endpoint)


async def test_a_node_serves_the_document_on_its_backend_api(tmp_path):
    async with (
        lab_with(tmp_path) as lab,
        lab.running(),
        lab.platform.http.get(f"{lab.backend_url}/ocpi/openapi.json") as answer,
    ):
        assert (answer.status, (await answer.json())["paths"].keys()) == (200, DOCUMENT["paths"].keys())


def generated(document: Path, url: str, token: str) -> subprocess.CompletedProcess[str]:
    """Send generated requests, valid and invalid ones, to each path of the document; return the process."""
    return subprocess.run(
        (
            sys.executable, "-m", "schemathesis.cli", "run", str(document), "--url", url,
            "--header", f"Authorization: {token_header(token)}",
            # What ends the registration would make every answer after it a 401.
            "--exclude-operation-id", "deleteCredentials", "--exclude-operation-id", "putCredentials",
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
            "--phases", "fuzzing", "--mode", "all", "--max-examples", "5", "--seed", "1",
            "--request-timeout", str(RESPONSE_TIMEOUT_SECONDS), "--no-shrink", "--workers", "1", "--no-color",
            "--generation-database", "none",
        ),
        check=False, capture_output=True, text=True, cwd=document.parent,
    )  # fmt: skip


async def test_no_generated_request_is_answered_otherwise_than_the_document_says(tmp_path):
    document = tmp_path / "ocpi.json"
    document.write_text(json.dumps(DOCUMENT))
    (tmp_path / "schemathesis.toml").write_text('[parameters]\ncountry_code = "DE"\nparty_id = "GEF"\n')
    async with ocpi_listener(tmp_path, requests_per_second=1000.0) as lab:
        lab.modules.answer = lambda request: ModuleResult(None, total=0 if request.page is not None else None)
        done = await asyncio.to_thread(generated, document, lab.url.removesuffix("/ocpi"), lab.token)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert len(lab.modules.requests) > 20
