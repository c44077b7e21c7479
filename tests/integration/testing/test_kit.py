"""The test kit: fixtures for the tests of a backend, in this process and in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib

import pytest

from p2p_oicp.testing import open_cluster, samples, wait_until_listening
from tests.support.paths import ROOT
from tests.support.waiting import eventually_blocking

ACCEPTANCE = """
import pytest
from p2p_oicp.testing import samples


def test_every_driver_charges_everywhere(oicp_cluster):
    cluster = oicp_cluster(cpo=2, emp=3)
    for cpo in cluster.cpos:
        for emp in cluster.emps:
            session = cpo.csms.charge(emp.contracts.uid)
            record = emp.contracts.wait_for("ChargeDetailRecord", SessionID=session)
            assert record["ConsumedEnergy"] == 1.25
    for emp in cluster.emps:
        emp.contracts.assert_received("ChargeDetailRecord", count=2)
        assert cluster.cpos[0].csms.authorize_start("DEADBEEF").code == "106"
"""


def pytest_in(folder, text):
    """Run a test as a new environment of CI does: no plugin but ours, and no file beside it."""
    (folder / "test_mine.py").write_text(text)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-p", "p2p_oicp.testing.plugin", "-q", "-W", "error", "test_mine.py"]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=280, check=False
    )


def test_fifteen_lines_with_five_nodes_pass_in_an_empty_folder(tmp_path):
    assert len(ACCEPTANCE.strip().splitlines()) <= 15
    done = pytest_in(tmp_path, ACCEPTANCE)
    assert (done.returncode, "1 passed" in done.stdout) == (0, True), done.stdout + done.stderr


def test_the_plugin_loads_nothing_before_a_fixture_is_used(tmp_path):
    text = (
        "import sys\ndef test_nothing():\n"
        "    names = {'aiohttp', 'pydantic', 'sqlalchemy', 'structlog', 'p2p_oicp.oicp'}\n"
        "    assert 'p2p_oicp.testing.plugin' in sys.modules and not names & set(sys.modules)\n"
    )
    done = pytest_in(tmp_path, text)
    assert done.returncode == 0, done.stdout


def test_pytest_finds_the_plugin_of_an_installed_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    # By the name of the module: a conftest may name it as well.
    assert project["entry-points"]["pytest11"] == {"p2p_oicp.testing.plugin": "p2p_oicp.testing.plugin"}


@pytest.fixture(scope="module")
def cluster():
    with open_cluster(cpo=1, emp=1) as cluster:
        yield cluster


@pytest.fixture
def cpo(cluster):
    yield cluster["cpo-1"]
    cluster["cpo-1"].csms.reset()


@pytest.fixture
def emp(cluster):
    yield cluster["emp-1"]
    cluster["emp-1"].contracts.reset()


def test_a_scripted_refusal_reaches_the_other_side(cpo, emp):
    cpo.csms.refuse("AuthorizeRemoteStart", "601", "the bay is being swept", times=1)
    evse_id = samples.evse_id_of(cpo.party)
    assert emp.contracts.remote_start(evse_id).code == "601"
    started = emp.contracts.remote_start(evse_id)
    assert started.is_positive
    assert emp.contracts.remote_stop(evse_id, started["SessionID"]).is_positive
    requests = cpo.csms.assert_received("AuthorizeRemoteStart", count=2, EvseID=evse_id)
    assert requests[1].party == emp.party
    cpo.csms.assert_received("AuthorizeRemoteStop", SessionID=started["SessionID"])


async def test_a_test_with_an_event_loop_does_not_block_it(cpo, emp):
    uid = emp.contracts.uid
    reply = await cpo.csms.send_async("AuthorizeStart", samples.request("AuthorizeStart", operator=cpo.party, uid=uid))
    assert (reply.status, reply["AuthorizationStatus"]) == (200, "Authorized")
    request = await emp.contracts.wait_for_async("AuthorizeStart", where=lambda body: "EvseID" in body)
    assert request["SessionID"] == reply["SessionID"]


def test_what_an_emp_misses_while_its_node_is_away_it_gets_afterwards(cpo, emp):
    session = cpo.csms.authorize_start(emp.contracts.uid)["SessionID"]
    emp.kill()
    assert not emp.is_running
    record = samples.request("ChargeDetailRecord", operator=cpo.party, uid=emp.contracts.uid, session_id=session)
    assert cpo.csms.send("ChargeDetailRecord", record).is_positive
    emp.contracts.assert_not_received("ChargeDetailRecord", SessionID=session)
    emp.start()
    assert emp.contracts.wait_for("ChargeDetailRecord", SessionID=session).body == record


def test_a_fleet_of_two_thousand_arrives(cpo, emp):
    fleet = samples.fleet(2000, operator=cpo.party)
    assert cpo.csms.send("PushEvseData", fleet.push_evse_data()).is_positive
    assert cpo.csms.send("PushEvseStatus", fleet.push_evse_status()).is_positive

    def pulled() -> dict:
        reply = emp.contracts.send("PullEvseStatus", samples.request("PullEvseStatus", provider=emp.party))
        operators = reply["EvseStatuses"]["OperatorEvseStatus"]
        return {each["EvseID"]: each["EvseStatus"] for one in operators for each in one["EvseStatusRecord"]}

    eventually_blocking(lambda: pulled() == fleet.status_of, 60.0, "the statuses did not arrive")


def test_one_node_is_between_two_systems(oicp_node, fake_csms, fake_emp):
    node = oicp_node(cpo=fake_csms, emp=fake_emp)
    assert (node.csms, node.contracts) == (fake_csms, fake_emp)
    session = fake_csms.charge(fake_emp.uid, PartnerProductID="AC1")
    assert fake_emp.wait_for("ChargeDetailRecord", SessionID=session)["PartnerProductID"] == "AC1"
    node.restart()
    assert fake_csms.authorize_start("DEADBEEF").code == "102"
    assert "node.ready" in node.log()


def test_the_url_of_a_backend_of_ones_own_takes_the_place_of_a_fake_one(oicp_cluster, fake_emp):
    cluster = oicp_cluster(cpo=1, emp=1, secure="signed", backends={"emp-1": fake_emp.url})
    with pytest.raises(LookupError, match="emp-1 has no fake contract system"):
        cluster["emp-1"].contracts  # noqa: B018
    assert cluster["cpo-1"].csms.authorize_start(fake_emp.uid).is_positive
    fake_emp.assert_received("AuthorizeStart", count=1)


def test_a_backend_that_never_listens_is_named():
    with pytest.raises(TimeoutError, match=r"http://127.0.0.1:9: nobody listens after 0.1 s"):
        wait_until_listening("http://127.0.0.1:9", timeout=0.1)
