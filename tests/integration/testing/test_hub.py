"""The fixture of the clearing house: partners, script, exchanges."""

from __future__ import annotations

import pytest

from p2p_oicp.testing import FakeEmp, samples


def test_partners_roam_through_a_hub_and_their_exchanges_are_there(oicp_hub, fake_csms, fake_emp):
    hub = oicp_hub(fake_csms, fake_emp)
    session = fake_csms.charge(fake_emp.uid)
    fake_emp.wait_for("ChargeDetailRecord", SessionID=session)
    exchange = hub.wait_for("ChargeDetailRecord", session=session, direction="in")
    assert (exchange["party"], exchange["code"]) == (fake_csms.party, "000")
    # The EMP has it before the hub has its answer, which is what ends the exchange.
    hub.wait_for("ChargeDetailRecord", session=session, direction="out")
    hub.clear()
    assert hub.exchanges() == []
    with pytest.raises(AssertionError, match="hub: no AuthorizeStop"):
        hub.wait_for("AuthorizeStop", timeout=0)


def test_a_script_answers_in_the_place_of_a_partner(oicp_hub, fake_csms):
    hub = oicp_hub(fake_csms)
    hub.set_script({"uid": "04E8960A1A3C80", "authorize": "DE-XYZ"}, {"operation": "AuthorizeStart", "refuse": "102"})
    assert fake_csms.authorize_start("04E8960A1A3C80")["ProviderID"] == "DE-XYZ"
    assert fake_csms.authorize_start("DEADBEEF").code == "102"
    with pytest.raises(ValueError, match="/hub/v1/script"):
        hub.set_script({"colour": "red"})


def test_a_partner_is_pushed_what_its_entry_names(oicp_hub, fake_csms):
    hub = oicp_hub(fake_csms)
    with FakeEmp("DE-XYZ") as emp:
        hub.add(emp, push=["EvseStatus"])
        assert fake_csms.send("PushEvseStatus", samples.fleet(3).push_evse_status()).is_positive
        request = emp.wait_for("PushEvseStatus")
    assert len(request["OperatorEvseStatus"]["EvseStatusRecord"]) == 3
