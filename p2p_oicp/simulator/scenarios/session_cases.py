"""The sequences of sessions: authorized, started remotely, reserved; lost responses, duplicates, CDRs."""

from __future__ import annotations

from p2p_oicp.simulator.scenarios import messages
from p2p_oicp.simulator.scenarios.backends import Json
from p2p_oicp.simulator.scenarios.dataset_cases import publish_evses
from p2p_oicp.simulator.scenarios.harness import EndpointResponse, NoAnswer, ScenarioContext, ScenarioFailed, dicts_in

_OTHER_UID = "0BADCA2D"
# The client gives up before the slow contract system answers, so that the response is lost.
_SLOW_SECONDS = 1.0
_SHORT_TIMEOUT_SECONDS = 0.3
_CDRS, _CDRS_PER_PAGE = 3, 2


async def authorize_charge_settle(context: ScenarioContext) -> None:
    """Authorize a card; notifications, stop and CDR reach the EMP as the CPO sent them."""
    identification = messages.rfid_identification(context.valid_uid)
    session_id = (await _authorize(context, identification, "settle")).session_id
    await context.wait_for_request(context.emp_backend, "AuthorizeStart", SessionID=session_id)
    types = ("Start", "Progress", "End")
    for notification_type in types:
        await _send_notification(context, notification_type, session_id, identification)
    request = messages.authorize_stop(context, session_id, identification)
    (await context.cpo_client.send("AuthorizeStop", request)).expect_accepted()
    await _send_cdr_and_wait(context, session_id, identification)
    _expect_notifications(context, session_id, *types)


async def error_notification(context: ScenarioContext) -> None:
    """Report an error of the station; the EMP gets it with its ErrorType, and the session goes on."""
    identification = messages.rfid_identification(context.valid_uid)
    session_id = (await _authorize(context, identification, "error")).session_id
    for notification_type in ("Start", "Error", "End"):
        await _send_notification(context, notification_type, session_id, identification)
    await _send_cdr_and_wait(context, session_id, identification)
    _expect_notifications(context, session_id, "Start", "Error", "End")
    backend = context.emp_backend
    (error,) = backend.received_messages("ChargingNotifications", SessionID=session_id, Type="Error")
    if error.get("ErrorType") != "ConnectorError":
        where = backend.describe("ChargingNotifications", Type="Error")
        raise ScenarioFailed(f"{where}: expected ErrorType ConnectorError; came {error.get('ErrorType')!r}")


async def remote_start(context: ScenarioContext) -> None:
    """Start and stop charging by app; the EMP gets the CDR."""
    await publish_evses(context, 1)
    session_id = await _start_remotely(context, "AuthorizeRemoteStart", messages.remote_start(context, 1, "remote"))
    await _send_notification(context, "Start", session_id, messages.remote_identification(context))
    await _stop_remotely(context, "AuthorizeRemoteStop", session_id)
    await _send_cdr_and_wait(context, session_id, messages.remote_identification(context))


async def reservation(context: ScenarioContext) -> None:
    """Reserve an EVSE and end the reservation, at the documented paths; its CDR follows."""
    await _reserve(context, at_alias=False)


async def reservation_at_other_path(context: ScenarioContext) -> None:
    """Reserve an EVSE and end the reservation, at the paths that WWCP uses."""
    await _reserve(context, at_alias=True)


async def _reserve(context: ScenarioContext, *, at_alias: bool) -> None:
    await publish_evses(context, 1)
    request = messages.reservation(context, 1, "reserve")
    session_id = await _start_remotely(context, "AuthorizeRemoteReservationStart", request, at_alias=at_alias)
    await _stop_remotely(context, "AuthorizeRemoteReservationStop", session_id, at_alias=at_alias)
    await _send_cdr_and_wait(context, session_id, messages.remote_identification(context), energy=0)


async def late_remote_start(context: ScenarioContext) -> None:
    """Start remotely at a CSMS that answers too late; the EMP is answered in time, and the session is not lost."""
    await publish_evses(context, 1)
    start = messages.remote_start(context, 1, "late")
    context.csms.delay_answers(context.endpoints.late)
    try:
        response = await context.emp_client.send("AuthorizeRemoteStart", start)
        request = await context.wait_for_request(context.csms, "AuthorizeRemoteStart", EvseID=context.evse(1))
        is_answered = response.is_accepted or response.code in {"001", "002", "021", "310"}
        response.expect(is_answered, "Result true when the CSMS has answered, or Result false, code 310 before")
        await context.wait_until(
            context.csms.has_answered, lambda: "the CSMS of this command did not answer", context.endpoints.late
        )
    finally:
        context.csms.delay_answers(0.0)
    session_id = str(response.members.get("SessionID") or request.get("SessionID"))
    await context.emp_client.send("AuthorizeRemoteStart", start)
    context.expect_requests(context.csms, 1, "AuthorizeRemoteStart", EvseID=context.evse(1))
    await _send_notification(context, "Start", session_id, messages.remote_identification(context))
    await _send_cdr_and_wait(context, session_id, messages.remote_identification(context))


async def duplicate_remote_start(context: ScenarioContext) -> None:
    """Send a remote start again; charging starts once."""
    await publish_evses(context, 1)
    start = messages.remote_start(context, 1, "again")
    session_id = await _start_remotely(context, "AuthorizeRemoteStart", start)
    duplicate = (await context.emp_client.send("AuthorizeRemoteStart", start)).expect_accepted("for the repetition")
    duplicate.expect(
        duplicate.session_id.lower() == session_id.lower(),
        f"the SessionID of the first start, {session_id}",
        f"another one, {duplicate.session_id}",
    )
    context.expect_requests(context.csms, 1, "AuthorizeRemoteStart", EvseID=context.evse(1))
    await _stop_remotely(context, "AuthorizeRemoteStop", session_id)
    await _send_cdr_and_wait(context, session_id, messages.remote_identification(context))


async def refused_contract_with_its_code(context: ScenarioContext) -> None:
    """Expect the EMP's own code for a locked contract, and no session."""
    locked = {"PlugAndChargeIdentification": {"EvcoID": f"{context.provider}-C99999999-9"}}
    response = await context.cpo_client.send("AuthorizeStart", messages.authorize_start(context, locked, "locked"))
    response.expect_refused("200", what="for a locked contract")
    response.expect("SessionID" not in response.members, "no SessionID in a refusal", "one")


async def stop_with_same_identification_only(context: ScenarioContext) -> None:
    """Stop a session with another card, which is refused, and with the one that started it."""
    identification = messages.rfid_identification(context.valid_uid)
    session_id = (await _authorize(context, identification, "medium")).session_id
    other = messages.authorize_stop(context, session_id, messages.rfid_identification(_OTHER_UID))
    (await context.cpo_client.send("AuthorizeStop", other)).expect_refused("102", "106", what="for another card")
    request = messages.authorize_stop(context, session_id, identification)
    (await context.cpo_client.send("AuthorizeStop", request)).expect_accepted("for the card that started it")
    await _send_cdr_and_wait(context, session_id, identification)


async def second_cdr(context: ScenarioContext) -> None:
    """Send a CDR again, and a different one: that is refused, and the EMP gets only the first."""
    identification = messages.rfid_identification(context.valid_uid)
    session_id = (await _authorize(context, identification, "second")).session_id
    cdr = await _send_cdr_and_wait(context, session_id, identification)
    # Hubs differ here: a duplicate is acknowledged again, or refused with 400.
    duplicate = await context.cpo_client.send("ChargeDetailRecord", cdr)
    duplicate.expect(
        duplicate.is_accepted or duplicate.code == "400", "Result true, or code 400, for the same record again"
    )
    different_cdr = messages.charge_detail_record(context, session_id, identification, energy=1.25)
    response = await context.cpo_client.send("ChargeDetailRecord", different_cdr)
    response.expect_refused("400", what="for a different record of the session")
    context.expect_requests(context.emp_backend, 1, "ChargeDetailRecord", SessionID=session_id)


async def cdr_against_the_clock(context: ScenarioContext) -> None:
    """Send a CDR that ends in the future: it is refused, or its acknowledgement says so; never taken in silence."""
    identification = messages.rfid_identification(context.valid_uid)
    session_id = (await _authorize(context, identification, "future")).session_id
    cdr = messages.cdr_in_the_future(context, session_id, identification)
    response = await context.cpo_client.send("ChargeDetailRecord", cdr)
    expected = "code 022, or Result true with an AdditionalInfo that says why, for a session that ends in two hours"
    response.expect(response.code == "022" or (response.is_accepted and response.info), expected)
    if response.is_accepted:
        await context.wait_for_request(context.emp_backend, "ChargeDetailRecord", SessionID=session_id)
    else:
        await _send_cdr_and_wait(context, session_id, identification)


async def cdrs_in_pages(context: ScenarioContext) -> None:
    """Charge three times; GetChargeDetailRecords returns the records of these sessions, two a page."""
    identification, sent = messages.rfid_identification(context.valid_uid), {}
    for number in range(_CDRS):
        session_id = (await _authorize(context, identification, f"page-{number}")).session_id
        await _send_cdr_and_wait(context, session_id, identification)
        sent[session_id.lower()] = number
    request, received = messages.get_charge_detail_records(context, list(sent)), []
    for page, expected in enumerate((_CDRS_PER_PAGE, _CDRS - _CDRS_PER_PAGE)):
        query = {"page": str(page), "size": str(_CDRS_PER_PAGE)}
        response = await context.emp_client.send("GetChargeDetailRecords", request, query=query)
        records = dicts_in(response.expect_accepted().members.get("content"))
        response.expect(len(records) == expected, f"{expected} record(s) on page {page}", f"{len(records)}")
        is_last = page == 1
        last, total = response.members.get("last"), response.members.get("totalElements")
        response.expect(last is is_last, f"last {str(is_last).lower()} on page {page}", f"last {last!r}")
        response.expect(total == _CDRS, f"totalElements {_CDRS}", f"{total!r}")
        received += [str(record.get("SessionID")).lower() for record in records]
    response.expect(
        sorted(received) == sorted(sent), f"the sessions {', '.join(sorted(sent))}", ", ".join(sorted(received))
    )


async def retry_after_lost_response(context: ScenarioContext) -> None:
    """Send a start again whose response was lost: one session, one authorization, one CDR."""
    identification = messages.rfid_identification(context.valid_uid)
    start = messages.authorize_start(context, identification, "lost")
    context.contracts.delay_responses(_SLOW_SECONDS)
    try:
        early = await context.cpo_client.send("AuthorizeStart", start, deadline=_SHORT_TIMEOUT_SECONDS)
    except NoAnswer:
        early = None
    finally:
        context.contracts.delay_responses(0.0)
    if early is not None:
        early.expect(condition=False, expected=f"an answer after the EMP's, which takes {_SLOW_SECONDS:g} s")
    response = await context.cpo_client.send("AuthorizeStart", start)
    session_id = response.expect_accepted("for the repetition").session_id
    sessions = {message.get("SessionID") for message in context.emp_backend.received_messages("AuthorizeStart")}
    if len(sessions) != 1:
        where = context.emp_backend.describe("AuthorizeStart")
        raise ScenarioFailed(f"{where}: expected one session for one driver; came {len(sessions)} SessionIDs")
    cdr = messages.charge_detail_record(context, session_id, identification)
    for _ in range(3):
        response = await context.cpo_client.send("ChargeDetailRecord", cdr)
        response.expect(response.is_accepted or response.code == "400", "Result true, or code 400 for a repetition")
    await context.wait_for_request(context.emp_backend, "ChargeDetailRecord", SessionID=session_id)
    context.expect_requests(context.emp_backend, 1, "ChargeDetailRecord", SessionID=session_id)


async def _authorize(context: ScenarioContext, identification: Json, suffix: str) -> EndpointResponse:
    request = messages.authorize_start(context, identification, suffix)
    return (await context.cpo_client.send("AuthorizeStart", request)).expect_accepted()


async def _start_remotely(context: ScenarioContext, operation: str, request: Json, *, at_alias: bool = False) -> str:
    """Start or reserve, and return the SessionID; the CSMS was asked for it."""
    response = await context.emp_client.send(operation, request, at_alias=at_alias)
    session_id = response.expect_accepted().session_id
    await context.wait_for_request(context.csms, operation, SessionID=session_id)
    return session_id


async def _stop_remotely(context: ScenarioContext, operation: str, session_id: str, *, at_alias: bool = False) -> None:
    request = messages.remote_stop(context, session_id)
    (await context.emp_client.send(operation, request, at_alias=at_alias)).expect_accepted()
    await context.wait_for_request(context.csms, operation, SessionID=session_id)


async def _send_notification(
    context: ScenarioContext, notification_type: str, session_id: str, identification: Json
) -> None:
    request = messages.notification(context, notification_type, session_id, identification)
    response = await context.cpo_client.send("ChargingNotifications", request)
    response.expect_accepted(f"for the {notification_type} notification")


def _expect_notifications(context: ScenarioContext, session_id: str, *types: str) -> None:
    received = context.emp_backend.received_messages("ChargingNotifications", SessionID=session_id)
    actual = [str(message.get("Type")) for message in received]
    if actual != list(types):
        where = context.emp_backend.describe("ChargingNotifications", SessionID=session_id)
        raise ScenarioFailed(f"{where}: expected {', '.join(types)}; came {', '.join(actual) or 'none'}")


async def _send_cdr_and_wait(
    context: ScenarioContext, session_id: str, identification: Json, energy: float = messages.ENERGY
) -> Json:
    """Send a CDR, wait until the EMP has it, and return it; it must arrive as it was sent."""
    sent = messages.charge_detail_record(context, session_id, identification, energy)
    (await context.cpo_client.send("ChargeDetailRecord", sent)).expect_accepted()
    received = await context.wait_for_request(context.emp_backend, "ChargeDetailRecord", SessionID=session_id)
    for name, value in sent.items():
        if received.get(name) != value:
            where = context.emp_backend.describe("ChargeDetailRecord", SessionID=session_id)
            raise ScenarioFailed(f"{where}: expected {name} {value!r} as sent; came {received.get(name)!r}")
    return sent
