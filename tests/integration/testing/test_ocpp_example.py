"""The example of a charging system with OCPP stations, between a simulated station and a real node.

OCPP_PYTHON names an interpreter that has the library; `.ci/run --part integration` makes one, and there its absence
is a failure.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import ExitStack

import pytest

from p2p_oicp.simulator.node_files import free_ports
from p2p_oicp.testing import FakeEmp, open_node
from tests.support.paths import ROOT

PYTHON = os.environ.get("OCPP_PYTHON", sys.executable)
OPERATOR, EVSE = "DE*ABC", "DE*ABC*E1001*1"


@pytest.fixture(scope="module", autouse=True)
def _library():
    done = subprocess.run(
        [PYTHON, "-c", "import aiohttp, ocpp, websockets"], capture_output=True, text=True, check=False
    )
    if done.returncode and os.environ.get("REQUIRE_OCPP"):
        pytest.fail(f"REQUIRE_OCPP is set, and {PYTHON} has no OCPP library: {done.stderr[-300:]}")
    if done.returncode:
        pytest.skip("the example needs an OCPP library: pip install ocpp websockets")


def example(name, *arguments):
    command = [PYTHON, ROOT / "examples" / f"{name}.py", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def roaming():
    """An EMP's backend, and the URL by which stations reach the charging system on the other side of the node."""
    with ExitStack() as stack:
        emp = stack.enter_context(FakeEmp("DE-DCB"))
        (port,) = free_ports(1)
        node = stack.enter_context(open_node(operators=[OPERATOR], cpo=f"http://127.0.0.1:{port}", emp=emp))
        bridge = stack.enter_context(
            example(
                "ocpp_bridge", "--node", node.url, "--operator", OPERATOR, "--station", f"CP1={EVSE}",
                "--oicp-port", str(port), "--ocpp-port", "0",
            )
        )  # fmt: skip
        stack.callback(bridge.terminate)
        ocpp_port = re.search(r"OCPP: ws://127.0.0.1:(\d+)", bridge.stdout.readline())[1]
        yield emp, f"ws://127.0.0.1:{ocpp_port}/CP1"


def ended(station):
    out, err = station.communicate(timeout=30)
    assert station.returncode == 0, err
    return out.splitlines()


def test_a_driver_with_a_card_charges_at_an_ocpp_station(roaming):
    emp, url = roaming
    lines = ended(example("ocpp_station", url, "--card", emp.uid))
    assert lines[1:] == ["card: Accepted", "charging: transaction 1", "ended: meter at 101250 Wh"]
    record = emp.wait_for("ChargeDetailRecord", EvseID=EVSE)
    assert (record["ConsumedEnergy"], record["MeterValueEnd"]) == (1.25, 101.25)
    emp.wait_for("ChargingNotifications", Type="End", SessionID=record["SessionID"])


def test_a_card_that_no_provider_has_does_not_charge(roaming):
    emp, url = roaming
    assert ended(example("ocpp_station", url, "--card", "DEADBEEF"))[1:] == ["card: Invalid"]
    emp.assert_not_received("ChargingNotifications")


def test_an_app_starts_and_stops_an_ocpp_station(roaming):
    emp, url = roaming
    refused = emp.remote_start(EVSE)
    assert refused.code == "501"  # no station is connected
    station = example("ocpp_station", url)
    assert station.stdout.readline() == "ready\n"
    started = emp.remote_start(EVSE)
    assert started.is_positive, started.body
    emp.wait_for("ChargingNotifications", Type="Start", SessionID=started["SessionID"])
    assert emp.remote_stop(EVSE, started["SessionID"]).is_positive
    assert ended(station) == ["charging: transaction 1", "ended: meter at 101250 Wh"]
    assert emp.wait_for("ChargeDetailRecord", SessionID=started["SessionID"])["ConsumedEnergy"] == 1.25
