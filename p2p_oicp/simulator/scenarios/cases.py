"""The sequences: sessions and their settlement, publishing EVSE data and statuses, lost responses and duplicates."""

from __future__ import annotations

from p2p_oicp.errors import PeerTimeout
from p2p_oicp.oicp import EvseID
from p2p_oicp.simulator.scenarios import messages
from p2p_oicp.simulator.scenarios.backends import Json
from p2p_oicp.simulator.scenarios.harness import (
    EndpointResponse,
    ScenarioContext,
    expect,
    expect_accepted,
    expect_refused,
    now,
)

_OTHER_UID = "0BADCA2D"
_PAGE_SIZE = 1000
# The client gives up before the slow contract system answers, so that the response is lost.
_SLOW_SECONDS = 1.0
_SHORT_TIMEOUT_SECONDS = 0.3


async def authorize_charge_settle(context: ScenarioContext) -> None:
    """Authorize a card; notifications, stop and CDR reach the EMP as the CPO sent them."""
    identification = messages.rfid_identification(context.valid_uid)
    session_id = (await _authorize(context, identification, "settle")).session_id
    expect(context.emp_backend.received_messages("AuthorizeStart"), "the contract system was not asked")
    for notification_type in ("Start", "Progress", "End"):
        await _send_notification(context, notification_type, session_id, identification)
    response = await context.cpo_client.send(
        "AuthorizeStop", messages.authorize_stop(context, session_id, identification)
    )
    expect_accepted(response, "AuthorizeStop")
    await _send_cdr_and_wait(context, session_id, identification)
    received_types = [
        message["Type"]
        for message in context.emp_backend.received_messages("ChargingNotifications", SessionID=session_id)
    ]
    expect(
        received_types == ["Start", "Progress", "End"],
        f"the EMP was notified of {', '.join(received_types) or 'nothing'}",
    )


async def remote_start(context: ScenarioContext) -> None:
    """Start and stop charging by app; the EMP gets the CDR."""
    await publish_evses(context, 1)
    start_response = await context.emp_client.send("AuthorizeRemoteStart", messages.remote_start(context, 1, "remote"))
    session_id = expect_accepted(start_response, "AuthorizeRemoteStart").session_id
    expect(
        context.csms.received_messages("AuthorizeRemoteStart", SessionID=session_id),
        "the CSMS was not asked to start this session",
    )
    await _send_notification(context, "Start", session_id, messages.remote_identification(context))
    stop_response = await context.emp_client.send("AuthorizeRemoteStop", messages.remote_stop(context, session_id))
    expect_accepted(stop_response, "AuthorizeRemoteStop")
    expect(
        context.csms.received_messages("AuthorizeRemoteStop", SessionID=session_id),
        "the CSMS was not asked to stop this session",
    )
    await _send_cdr_and_wait(context, session_id, messages.remote_identification(context))


async def refused_contract_with_its_code(context: ScenarioContext) -> None:
    """Expect the EMP's own code for a locked contract, and no session."""
    locked = {"PlugAndChargeIdentification": {"EvcoID": f"{context.endpoints.provider}-C99999999-9"}}
    response = await context.cpo_client.send("AuthorizeStart", messages.authorize_start(context, locked, "locked"))
    expect_refused(response, "AuthorizeStart with a locked contract", "200")
    expect("SessionID" not in response.members, "the refusal has a SessionID")


async def stop_with_same_identification_only(context: ScenarioContext) -> None:
    """Stop a session with another card, which is refused, and with the one that started it."""
    session_id = (await _authorize(context, messages.rfid_identification(context.valid_uid), "medium")).session_id
    response = await context.cpo_client.send(
        "AuthorizeStop", messages.authorize_stop(context, session_id, messages.rfid_identification(_OTHER_UID))
    )
    expect_refused(response, "AuthorizeStop with another card", "102", "106")
    request = messages.authorize_stop(context, session_id, messages.rfid_identification(context.valid_uid))
    expect_accepted(await context.cpo_client.send("AuthorizeStop", request), "AuthorizeStop with the right card")


async def second_cdr(context: ScenarioContext) -> None:
    """Send a CDR again, and a different one: that is refused, and the EMP gets only the first."""
    identification = messages.rfid_identification(context.valid_uid)
    session_id = (await _authorize(context, identification, "second")).session_id
    cdr = messages.charge_detail_record(context, session_id, identification)
    expect_accepted(await context.cpo_client.send("ChargeDetailRecord", cdr), "ChargeDetailRecord")
    await context.wait_until(lambda: bool(_received_cdrs(context, session_id)), "the EMP has no record of the session")
    duplicate_response = await context.cpo_client.send("ChargeDetailRecord", cdr)
    # Hubs differ here: a duplicate is acknowledged again, or refused with 400.
    expect(
        duplicate_response.is_accepted or duplicate_response.code == "400",
        f"the same record again was answered {duplicate_response}",
    )
    different_cdr = messages.charge_detail_record(context, session_id, identification, energy=99)
    expect_refused(
        await context.cpo_client.send("ChargeDetailRecord", different_cdr), "a different record of the session", "400"
    )
    expect(
        len(_received_cdrs(context, session_id)) == 1,
        f"the EMP has {len(_received_cdrs(context, session_id))} records of the session",
    )


async def _authorize(context: ScenarioContext, identification: Json, suffix: str) -> EndpointResponse:
    response = await context.cpo_client.send(
        "AuthorizeStart", messages.authorize_start(context, identification, suffix)
    )
    return expect_accepted(response, "AuthorizeStart")


async def _send_notification(
    context: ScenarioContext, notification_type: str, session_id: str, identification: Json
) -> None:
    response = await context.cpo_client.send(
        "ChargingNotifications", messages.notification(context, notification_type, session_id, identification)
    )
    expect_accepted(response, f"the {notification_type} notification")


async def _send_cdr_and_wait(context: ScenarioContext, session_id: str, identification: Json) -> None:
    sent = messages.charge_detail_record(context, session_id, identification)
    expect_accepted(await context.cpo_client.send("ChargeDetailRecord", sent), "ChargeDetailRecord")
    await context.wait_until(lambda: bool(_received_cdrs(context, session_id)), "the EMP has no record of the session")
    received = _received_cdrs(context, session_id)[0]
    changed = [name for name, value in sent.items() if received.get(name) != value]
    expect(not changed, f"the record arrived with other values of {', '.join(changed)}")


def _received_cdrs(context: ScenarioContext, session_id: str) -> list[Json]:
    return context.emp_backend.received_messages("ChargeDetailRecord", SessionID=session_id)


async def publish_and_discover(context: ScenarioContext) -> None:
    """Publish EVSE data; the EMP pulls every member of each EVSE."""
    records = [messages.evse_record(context, number) for number in (1, 2)]
    await _push_evse_data(context, "fullLoad", *records)
    await _wait_for_evses(context, {1: "Jena", 2: "Jena"})
    pulled = (await _pull_evses(context))[EvseID(context.evse(1))]
    for name, value in records[0].items():
        # An endpoint may write the id in its own spelling, and coordinates in the requested format.
        expect(
            name in {"EvseID", "GeoCoordinates"} or pulled.get(name) == value,
            f"{name} was {value!r} and arrived as {pulled.get(name)!r}",
        )


async def status_reaches_the_emp(context: ScenarioContext) -> None:
    """Change a status; the EMP sees it, in all three forms of the pull."""
    push_response = await context.cpo_client.send(
        "PushEvseStatus", messages.push_evse_status(context, "fullLoad", evse1="Available")
    )
    expect_accepted(push_response, "PushEvseStatus fullLoad")
    await _wait_for_status(context, "Available")
    update_response = await context.cpo_client.send(
        "PushEvseStatus", messages.push_evse_status(context, "update", evse1="Occupied")
    )
    expect_accepted(update_response, "PushEvseStatus update")
    await _wait_for_status(context, "Occupied")
    provider, operator = str(context.endpoints.provider), str(context.endpoints.operator)
    for operation, request in (
        ("PullEvseStatus", {"ProviderID": provider}),
        ("PullEvseStatusByOperatorID", {"ProviderID": provider, "OperatorID": [operator]}),
    ):
        response = await context.emp_client.send(operation, request)
        text = str(response.members)
        expect(context.evse(1) in text and "Occupied" in text, f"{operation} does not show the EVSE: {response}")


async def delta_converges(context: ScenarioContext) -> None:
    """Apply a delta pull to an earlier full pull; a new full pull has the same EVSEs."""
    await _push_evse_data(context, "fullLoad", *(messages.evse_record(context, number) for number in (1, 2)))
    await _wait_for_evses(context, {1: "Jena", 2: "Jena"})
    mirror = {evse: str(record["Address"]["City"]) for evse, record in (await _pull_evses(context)).items()}
    since = now().isoformat()
    await _push_evse_data(context, "update", messages.evse_record(context, 1, city="Weimar"))
    await _push_evse_data(context, "insert", messages.evse_record(context, 3))
    await _push_evse_data(context, "delete", messages.evse_record(context, 2))
    await _wait_for_evses(context, {1: "Weimar", 3: "Jena"})
    for evse, change in (await _pull_evses(context, LastCall=since)).items():
        delta_type = change.get("deltaType")
        expect(delta_type in {"insert", "update", "delete"}, f"{evse} changed, and its deltaType is {delta_type!r}")
        if delta_type == "delete":
            mirror.pop(evse, None)
        else:
            mirror[evse] = str(change["Address"]["City"])
    full = {evse: str(record["Address"]["City"]) for evse, record in (await _pull_evses(context)).items()}
    expect(mirror == full, f"the deltas lead to {_format_cities(mirror)}, a full pull shows {_format_cities(full)}")


async def fleet_change_without_full_load(context: ScenarioContext) -> None:
    """Change the EVSEs by insert, update and delete; the EMP pulls the same as after a fullLoad."""
    await _push_evse_data(context, "insert", messages.evse_record(context, 1))
    await _push_evse_data(context, "insert", messages.evse_record(context, 2))
    await _push_evse_data(context, "update", messages.evse_record(context, 2, city="Erfurt"))
    await _push_evse_data(context, "delete", messages.evse_record(context, 1))
    await _wait_for_evses(context, {2: "Erfurt"})
    duplicate_response = await context.cpo_client.send(
        "PushEvseData", messages.push_evse_data(context, "insert", messages.evse_record(context, 2))
    )
    expect_refused(duplicate_response, "the insert of an EVSE that is there", "009")


async def withdrawn_evse(context: ScenarioContext) -> None:
    """Withdraw an EVSE; the EMP no longer pulls it, and it cannot be started."""
    await _push_evse_data(context, "fullLoad", *(messages.evse_record(context, number) for number in (1, 2)))
    initial_push = messages.push_evse_status(context, "fullLoad", evse1="Available", evse2="Available")
    expect_accepted(await context.cpo_client.send("PushEvseStatus", initial_push), "PushEvseStatus fullLoad")
    await _wait_for_evses(context, {1: "Jena", 2: "Jena"})
    await _push_evse_data(context, "fullLoad", messages.evse_record(context, 2))
    withdrawal_push = messages.push_evse_status(context, "fullLoad", evse2="Available")
    expect_accepted(await context.cpo_client.send("PushEvseStatus", withdrawal_push), "PushEvseStatus without the EVSE")
    await _wait_for_evses(context, {2: "Jena"})
    await _wait_for_status(context, "EvseNotFound")
    response = await context.emp_client.send("AuthorizeRemoteStart", messages.remote_start(context, 1, "withdrawn"))
    expect_refused(response, "a remote start at the withdrawn EVSE", "603")
    expect(
        not context.csms.received_messages("AuthorizeRemoteStart", EvseID=context.evse(1)),
        "the CSMS was asked to start there",
    )


async def publish_evses(context: ScenarioContext, *numbers: int) -> None:
    """Insert EVSEs, and return when the EMP pulls them."""
    for number in numbers:
        await _push_evse_data(context, "insert", messages.evse_record(context, number))
    await _wait_for_evses(context, dict.fromkeys(numbers, "Jena"))


async def _push_evse_data(context: ScenarioContext, action: str, *records: Json) -> None:
    response = await context.cpo_client.send("PushEvseData", messages.push_evse_data(context, action, *records))
    expect_accepted(response, f"PushEvseData {action}")


async def _pull_evses(context: ScenarioContext, **members: object) -> dict[EvseID, Json]:
    """Return the EVSEs of this sequence as the EMP pulls them, page after page."""
    request = {"ProviderID": str(context.endpoints.provider), "GeoCoordinatesResponseFormat": "Google", **members}
    if not members:
        request["OperatorIds"] = [str(context.endpoints.operator)]
    records: dict[EvseID, Json] = {}
    page, is_last = 0, False
    while not is_last:
        response = await context.emp_client.send(
            "PullEvseData", request, query={"page": str(page), "size": str(_PAGE_SIZE)}
        )
        expect_accepted(response, "PullEvseData")
        content = response.members.get("content") or []
        records |= {EvseID(record["EvseID"]): record for record in content}
        page, is_last = page + 1, response.members.get("last") is not False or not content
    return {evse: record for evse, record in records.items() if context.tag in evse.key}


async def _wait_for_evses(context: ScenarioContext, cities: dict[int, str]) -> None:
    expected = {EvseID(context.evse(number)): city for number, city in cities.items()}
    seen: dict[EvseID, str] = {}

    async def converged() -> bool:
        seen.clear()
        seen.update({evse: str(record["Address"]["City"]) for evse, record in (await _pull_evses(context)).items()})
        return seen == expected

    # In `finally`, so that the reason names what was seen last, which wait_until does not have.
    try:
        await context.wait_until(converged, "")
    finally:
        expect(seen == expected, f"the EMP finds {_format_cities(seen)}, expected {_format_cities(expected)}")


async def _wait_for_status(context: ScenarioContext, status: str) -> None:
    request = {"ProviderID": str(context.endpoints.provider), "EvseID": [context.evse(1)]}
    seen: list[str] = []

    async def converged() -> bool:
        response = await context.emp_client.send("PullEvseStatusByID", request)
        records = (response.members.get("EVSEStatusRecords") or {}).get("EvseStatusRecord") or []
        seen[:] = [str(record["EvseStatus"]) for record in records]
        return [text.lower() for text in seen] == [status.lower()]

    try:
        await context.wait_until(converged, "")
    finally:
        expect(
            [text.lower() for text in seen] == [status.lower()],
            f"the EMP sees {context.evse(1)} as {', '.join(seen) or 'nothing'}, expected {status}",
        )


def _format_cities(cities: dict[EvseID, str]) -> str:
    return ", ".join(f"{evse} in {city}" for evse, city in sorted(cities.items())) or "no EVSE"


async def retry_after_lost_response(context: ScenarioContext) -> None:
    """Send a start again whose response was lost: one session, one authorization, one CDR."""
    identification = messages.rfid_identification(context.valid_uid)
    start = messages.authorize_start(context, identification, "lost")
    context.contracts.delay_responses(_SLOW_SECONDS)
    try:
        await context.cpo_client.send("AuthorizeStart", start, deadline=_SHORT_TIMEOUT_SECONDS)
    except PeerTimeout:
        lost = True
    else:
        lost = False
    finally:
        context.contracts.delay_responses(0.0)
    expect(lost, "the endpoint answered before its EMP did")
    response = await context.cpo_client.send("AuthorizeStart", start)
    session_id = expect_accepted(response, "the repeated AuthorizeStart").session_id
    requests = context.emp_backend.received_messages("AuthorizeStart")
    requested_sessions = {message.get("SessionID") for message in requests}
    expect(
        len(requested_sessions) == 1,
        f"the contract system was asked about {len(requested_sessions)} sessions for one driver",
    )
    cdr = messages.charge_detail_record(context, session_id, identification)
    for _ in range(3):
        response = await context.cpo_client.send("ChargeDetailRecord", cdr)
        expect(response.is_accepted or response.code == "400", f"the repeated record was answered {response}")
    await context.wait_until(
        lambda: bool(context.emp_backend.received_messages("ChargeDetailRecord", SessionID=session_id)),
        "the EMP has no record",
    )
    received = context.emp_backend.received_messages("ChargeDetailRecord", SessionID=session_id)
    expect(len(received) == 1, f"the EMP got the record {len(received)} times")


async def duplicate_remote_start(context: ScenarioContext) -> None:
    """Send a remote start again; charging starts once."""
    await publish_evses(context, 1)
    start = messages.remote_start(context, 1, "again")
    first = expect_accepted(await context.emp_client.send("AuthorizeRemoteStart", start), "AuthorizeRemoteStart")
    duplicate = expect_accepted(
        await context.emp_client.send("AuthorizeRemoteStart", start), "the repeated AuthorizeRemoteStart"
    )
    expect(first.session_id.lower() == duplicate.session_id.lower(), "the repetition opened a second session")
    received = context.csms.received_messages("AuthorizeRemoteStart")
    expect(len(received) == 1, f"the CSMS was asked to start {len(received)} times")
    response = await context.emp_client.send("AuthorizeRemoteStop", messages.remote_stop(context, first.session_id))
    expect_accepted(response, "AuthorizeRemoteStop")
