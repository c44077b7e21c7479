"""Answers that get lost, and requests that are sent again."""

from __future__ import annotations

from p2p_oicp.errors import PeerSilent
from p2p_oicp.simulator.scenarios import messages
from p2p_oicp.simulator.scenarios.publishing import published
from p2p_oicp.simulator.scenarios.stage import Stage, expect, expect_yes

_SLOW_SECONDS = 1.0
_IMPATIENT_SECONDS = 0.3


async def answer_lost_and_repeated(stage: Stage) -> None:
    """Send a start again whose answer was lost: one session, one effect, one record."""
    driver = messages.card(stage.good_uid)
    start = messages.authorize_start(stage, driver, "lost")
    stage.contracts.slowness = _SLOW_SECONDS
    try:
        await stage.cpo.ask("AuthorizeStart", start, deadline=_IMPATIENT_SECONDS)
    except PeerSilent:
        lost = True
    else:
        lost = False
    finally:
        stage.contracts.slowness = 0.0
    expect(lost, "the endpoint answered before its EMP did")
    session = expect_yes(await stage.cpo.ask("AuthorizeStart", start), "the repeated AuthorizeStart").session
    asked = {message.get("SessionID") for message in stage.emp_backend.of("AuthorizeStart")}
    expect(len(asked) == 1, f"the contract system was asked about {len(asked)} sessions for one driver")
    record = messages.record(stage, session, driver)
    for _ in range(3):
        told = await stage.cpo.ask("ChargeDetailRecord", record)
        expect(told.is_yes or told.code == "400", f"the repeated record was answered {told}")
    await stage.until(
        lambda: bool(stage.emp_backend.of("ChargeDetailRecord", SessionID=session)), "the EMP has no record"
    )
    got = stage.emp_backend.of("ChargeDetailRecord", SessionID=session)
    expect(len(got) == 1, f"the EMP got the record {len(got)} times")


async def remote_start_repeated(stage: Stage) -> None:
    """Send a remote start again; charging starts once."""
    await published(stage, 1)
    start = messages.remote_start(stage, 1, "again")
    first = expect_yes(await stage.emp.ask("AuthorizeRemoteStart", start), "AuthorizeRemoteStart")
    again = expect_yes(await stage.emp.ask("AuthorizeRemoteStart", start), "the repeated AuthorizeRemoteStart")
    expect(first.session.lower() == again.session.lower(), "the repetition opened a second session")
    asked = stage.csms.of("AuthorizeRemoteStart")
    expect(len(asked) == 1, f"the CSMS was asked to start {len(asked)} times")
    stopped = await stage.emp.ask("AuthorizeRemoteStop", messages.remote_stop(stage, first.session))
    expect_yes(stopped, "AuthorizeRemoteStop")
