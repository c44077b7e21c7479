"""Drivers who charge, or may not."""

from __future__ import annotations

from p2p_oicp.simulator.scenarios import messages
from p2p_oicp.simulator.scenarios.backends import Json
from p2p_oicp.simulator.scenarios.publishing import published
from p2p_oicp.simulator.scenarios.stage import Stage, Told, expect, expect_no, expect_yes

_OTHER_UID = "0BADCA2D"


async def authorize_charge_settle(stage: Stage) -> None:
    """Authorize a card; notifications, stop and record reach the EMP, which gets what the CPO sent."""
    driver = messages.card(stage.good_uid)
    session = (await _authorized(stage, driver, "settle")).session
    expect(stage.emp_backend.of("AuthorizeStart"), "the contract system was not asked")
    for kind in ("Start", "Progress", "End"):
        await _notify(stage, kind, session, driver)
    stopped = await stage.cpo.ask("AuthorizeStop", messages.authorize_stop(stage, session, driver))
    expect_yes(stopped, "AuthorizeStop")
    await _settled(stage, session, driver)
    told = [message["Type"] for message in stage.emp_backend.of("ChargingNotifications", SessionID=session)]
    expect(told == ["Start", "Progress", "End"], f"the EMP was notified of {', '.join(told) or 'nothing'}")


async def remote_start(stage: Stage) -> None:
    """Start and stop charging by app; the EMP gets the record."""
    await published(stage, 1)
    started = await stage.emp.ask("AuthorizeRemoteStart", messages.remote_start(stage, 1, "remote"))
    session = expect_yes(started, "AuthorizeRemoteStart").session
    expect(stage.csms.of("AuthorizeRemoteStart", SessionID=session), "the CSMS was not asked to start this session")
    await _notify(stage, "Start", session, messages.contract(stage))
    stopped = await stage.emp.ask("AuthorizeRemoteStop", messages.remote_stop(stage, session))
    expect_yes(stopped, "AuthorizeRemoteStop")
    expect(stage.csms.of("AuthorizeRemoteStop", SessionID=session), "the CSMS was not asked to stop this session")
    await _settled(stage, session, messages.contract(stage))


async def refused_contract_with_its_code(stage: Stage) -> None:
    """Expect the EMP's own code for a locked contract, and no session."""
    locked = {"PlugAndChargeIdentification": {"EvcoID": f"{stage.ends.provider}-C99999999-9"}}
    refused = await stage.cpo.ask("AuthorizeStart", messages.authorize_start(stage, locked, "locked"))
    expect_no(refused, "AuthorizeStart with a locked contract", "200")
    expect("SessionID" not in refused.members, "the refusal has a SessionID")


async def stop_by_the_right_medium_only(stage: Stage) -> None:
    """Stop a session with another card, in vain, and with the one that started it."""
    session = (await _authorized(stage, messages.card(stage.good_uid), "medium")).session
    other = await stage.cpo.ask("AuthorizeStop", messages.authorize_stop(stage, session, messages.card(_OTHER_UID)))
    expect_no(other, "AuthorizeStop with another card", "102", "106")
    right = messages.authorize_stop(stage, session, messages.card(stage.good_uid))
    expect_yes(await stage.cpo.ask("AuthorizeStop", right), "AuthorizeStop with the right card")


async def second_record(stage: Stage) -> None:
    """Send a record again, and a different one: the second is refused, and the EMP gets one."""
    driver = messages.card(stage.good_uid)
    session = (await _authorized(stage, driver, "second")).session
    record = messages.record(stage, session, driver)
    expect_yes(await stage.cpo.ask("ChargeDetailRecord", record), "ChargeDetailRecord")
    await stage.until(lambda: bool(_records(stage, session)), "the EMP has no record of the session")
    again = await stage.cpo.ask("ChargeDetailRecord", record)
    expect(again.is_yes or again.code == "400", f"the same record again was answered {again}")
    different = messages.record(stage, session, driver, energy=99)
    expect_no(await stage.cpo.ask("ChargeDetailRecord", different), "a different record of the session", "400")
    expect(len(_records(stage, session)) == 1, f"the EMP has {len(_records(stage, session))} records of the session")


async def _authorized(stage: Stage, driver: Json, process: str) -> Told:
    told = await stage.cpo.ask("AuthorizeStart", messages.authorize_start(stage, driver, process))
    return expect_yes(told, "AuthorizeStart")


async def _notify(stage: Stage, kind: str, session: str, driver: Json) -> None:
    told = await stage.cpo.ask("ChargingNotifications", messages.notification(stage, kind, session, driver))
    expect_yes(told, f"the {kind} notification")


async def _settled(stage: Stage, session: str, driver: Json) -> None:
    sent = messages.record(stage, session, driver)
    expect_yes(await stage.cpo.ask("ChargeDetailRecord", sent), "ChargeDetailRecord")
    await stage.until(lambda: bool(_records(stage, session)), "the EMP has no record of the session")
    got = _records(stage, session)[0]
    changed = [name for name, value in sent.items() if got.get(name) != value]
    expect(not changed, f"the record arrived with other values of {', '.join(changed)}")


def _records(stage: Stage, session: str) -> list[Json]:
    return stage.emp_backend.of("ChargeDetailRecord", SessionID=session)
