"""A platform of another make, live: extrawest-ocpi from PyPI, in a process and an environment of its own.

EXTRAWEST_PYTHON names an interpreter that has it; `.ci/run --part integration` makes one, and there its absence is a
failure. Its deviations (GATEWAY 12): everything in lower case, an object as a list of one, lists and POST only with a
slash at the end, broken links, `commands` missing in the version details, errors without an envelope.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess

import pytest

from p2p_oicp.client.ocpi import NotAnEnvelope
from p2p_oicp.ocpi.envelope import single_object
from p2p_oicp.simulator.node_files import free_ports
from tests.support.ocpi_objects import location
from tests.support.ocpi_platform import Platform, lab_with
from tests.support.paths import ROOT
from tests.support.waiting import eventually, listens

PYTHON = os.environ.get("EXTRAWEST_PYTHON", "")
INVITATION = "an-invitation-of-extrawest"
LOCATIONS = 120
TOKEN = {
    "country_code": "DE", "party_id": "GDF", "uid": "04A1B2C3", "type": "RFID", "contract_id": "DE-GDF-C12345678-9",
    "visual_number": None, "issuer": "DE-GDF", "group_id": None, "valid": True, "whitelist": "ALLOWED",
    "language": None, "default_profile_type": None, "energy_contract": None, "last_updated": "2026-11-10T09:00:00Z",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _library():
    is_there = bool(PYTHON) and subprocess.run([PYTHON, "-c", "import py_ocpi, uvicorn"], check=False).returncode == 0
    if not is_there and os.environ.get("REQUIRE_EXTRAWEST"):
        pytest.fail(f"REQUIRE_EXTRAWEST is set, and EXTRAWEST_PYTHON ({PYTHON or 'absent'}) has no extrawest-ocpi")
    if not is_there:
        pytest.skip(
            "a live OCPI platform is needed: python3 -m venv V && V/bin/pip install extrawest-ocpi==2025.7.16 uvicorn, "
            "and EXTRAWEST_PYTHON=V/bin/python"
        )


@pytest.fixture
async def lab(tmp_path):
    """A node that is configured for a platform of extrawest, which runs."""
    (port,) = free_ports(1)
    objects = tmp_path / "objects.json"
    objects.write_text(
        json.dumps({"locations": [location(id=f"LOC{number}", evses=[]) for number in range(LOCATIONS)]})
    )
    script = ROOT / "tests" / "support" / "extrawest_platform.py"
    log = (tmp_path / "platform.log").open("w")
    process = await asyncio.create_subprocess_exec(
        PYTHON, str(script), str(port), INVITATION, str(objects), stdout=log, stderr=subprocess.STDOUT
    )
    try:
        await eventually(lambda: listens(port), timeout=60, interval=0.1)
        url = f"http://127.0.0.1:{port}/ocpi"
        partner = f'profile = "extrawest"\nendpoints = {{ commands = "{url}/cpo/2.2.1/commands" }}\n'
        async with lab_with(tmp_path, Platform(), partner=partner) as lab:
            text = lab.config.read_text().replace(lab.platform.versions_url, f"{url}/versions")
            lab.config.write_text(text)
            yield lab
    finally:
        process.terminate()
        await process.wait()
        log.close()


async def register(lab) -> dict:
    status, answer = await lab.admin("POST", "partners/citrine/registration", {"token": INVITATION})
    assert status == 200, answer
    return answer


def seen(lab) -> list[dict]:
    """Return what the platform was sent."""
    lines = (lab.folder / "platform.log").read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith('{"what"')]


async def test_a_node_registers_refreshes_and_unregisters(lab):
    async with lab.running() as node:
        assert await register(lab) == {"version": "2.2.1", "missing": ["chargingprofiles RECEIVER"]}
        assert [each["party_id"].lower() for each in seen(lab)[0]["roles"]] == ["gdf"]
        before = node._ocpi.partners.connection("citrine").token
        assert (await lab.admin("POST", "partners/citrine/refresh"))[0] == 200
        assert node._ocpi.partners.connection("citrine").token != before
        assert await lab.admin("DELETE", "partners/citrine/registration") == (200, {"unregistered": "citrine"})
        assert seen(lab)[-1]["module"] == "credentials"


async def test_an_invitation_that_was_used_is_refused_and_the_text_says_what_to_do(lab):
    async with lab.running():
        await register(lab)
        await lab.admin("DELETE", "partners/citrine/registration")
        status, answer = await lab.admin("POST", "partners/citrine/registration", {"token": INVITATION})
    assert (status, "40" in str(answer)) == (502, True)


async def test_a_list_comes_whole_through_redirects_and_broken_links(lab):
    async with lab.running() as node:
        await register(lab)
        pages = [page async for page in node._ocpi.partners.pages("citrine", "locations", "SENDER")]
    ids = [each["id"] for page in pages for each in page.objects]
    assert ids == [f"loc{number}" for number in range(LOCATIONS)]


async def test_objects_are_written_changed_and_read_back(lab):
    target = ("tokens", "RECEIVER", "DE", "GDF", "04A1B2C3")
    async with lab.running() as node:
        await register(lab)
        call = node._ocpi.partners.call
        assert (await call("citrine", "PUT", target, body=TOKEN)).is_success
        patch = {"valid": False, "last_updated": "2026-11-10T10:00:00Z"}
        assert (await call("citrine", "PATCH", target, body=patch)).is_success
        stored = single_object((await call("citrine", "GET", target)).data)
    assert (stored["uid"], stored["valid"]) == ("04a1b2c3", False)


async def test_what_has_no_envelope_is_an_error_of_its_own(lab):
    async with lab.running() as node:
        await register(lab)
        partners = node._ocpi.partners
        with pytest.raises(NotAnEnvelope) as unknown:
            await partners.call("citrine", "GET", ("tokens", "RECEIVER", "DE", "GDF", "UNKNOWN"))
        assert unknown.value.http_status == 404


async def test_a_wrong_token_is_refused_before_anything_is_registered(lab):
    async with lab.running():
        status, answer = await lab.admin("POST", "partners/citrine/registration", {"token": "a-wrong-token"})
        assert (await lab.partner_state())["state"] == "none"
    assert (status, answer["StatusCode"]["AdditionalInfo"].startswith("ocpi:citrine: HTTP 40")) == (502, True)
