"""The sequences of datasets (EVSE data, statuses, prices, authentication data): one side publishes, the other finds.

All but one change nothing but EVSEs of their own, and `withdraw` deletes what a sequence has published.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from p2p_oicp.errors import PeerError
from p2p_oicp.oicp import EvseID, OperatorID
from p2p_oicp.simulator.scenarios import messages
from p2p_oicp.simulator.scenarios.backends import Json
from p2p_oicp.simulator.scenarios.harness import (
    EndpointResponse,
    NoAnswer,
    ScenarioContext,
    ScenarioFailed,
    ScenarioSkipped,
    TestClient,
    dicts_in,
    now,
)

_PAGE_SIZE = 1000
# Prices for somebody else, whom no node of this world speaks for.
_OTHER_PROVIDER = "DE-ZZZ"


async def publish_and_discover(context: ScenarioContext) -> None:
    """Publish EVSE data; the EMP pulls every member of each EVSE."""
    records = [messages.evse_record(context, number) for number in (1, 2)]
    await _push_evse_data(context, "insert", *records)
    await _wait_for_evses(context, {1: "Jena", 2: "Jena"})
    pulled, response = await _pull_evses(context)
    for name, value in records[0].items():
        actual = pulled[EvseID(context.evse(1))].get(name)
        # An endpoint may write the id in its own spelling, and coordinates in the requested format.
        is_same = name in {"EvseID", "GeoCoordinates"} or actual == value
        response.expect(is_same, f"{context.evse(1)} with {name} {value!r} as pushed", f"{actual!r}")


async def status_reaches_the_emp(context: ScenarioContext) -> None:
    """Change a status; the EMP sees it, in all three forms of the pull."""
    await publish_evses(context, 1)
    await _push_status(context, "insert", {1: "Available"})
    await _wait_for_status(context, "Available")
    await _push_status(context, "update", {1: "Occupied"})
    await _wait_for_status(context, "Occupied")
    for operation in ("PullEvseStatus", "PullEvseStatusByOperatorID"):
        actual = (await _pull_statuses(context, operation)).get(EvseID(context.evse(1)))
        context.emp_client.latest().expect(
            actual == "Occupied", f"{context.evse(1)} Occupied", f"{actual or 'no such EVSE'}"
        )


async def delta_converges(context: ScenarioContext) -> None:
    """Apply a delta pull to an earlier full pull; a new full pull has the same EVSEs."""
    await publish_evses(context, 1, 2)
    mirror = _cities((await _pull_evses(context))[0])
    since = now().isoformat()
    await _push_evse_data(context, "update", messages.evse_record(context, 1, city="Weimar"))
    await _push_evse_data(context, "insert", messages.evse_record(context, 3))
    await _push_evse_data(context, "delete", messages.evse_record(context, 2))
    await _wait_for_evses(context, {1: "Weimar", 3: "Jena"})
    changes, response = await _pull_evses(context, LastCall=since)
    for evse, change in changes.items():
        delta_type = change.get("deltaType")
        is_listed = delta_type in {"insert", "update", "delete"}
        response.expect(is_listed, f"{evse} with deltaType insert, update or delete", f"{delta_type!r}")
        if delta_type == "delete":
            mirror.pop(evse, None)
        else:
            mirror[evse] = _city(change)
    pulled, response = await _pull_evses(context)
    full = _cities(pulled)
    response.expect(mirror == full, f"what the deltas lead to, {_format_cities(mirror)}", _format_cities(full))


async def delta_with_deletion(context: ScenarioContext) -> None:
    """Delete an EVSE; a delta pull says so, and one from later on does not show it any more."""
    await publish_evses(context, 1, 2)
    since = now().isoformat()
    await _push_evse_data(context, "delete", messages.evse_record(context, 1))
    await _wait_for_evses(context, {2: "Jena"})
    changes, response = await _pull_evses(context, LastCall=since)
    deleted = changes.get(EvseID(context.evse(1)))
    expected = f"{context.evse(1)} with deltaType delete"
    response.expect(deleted is not None, expected, f"a delta of {len(changes)} EVSE(s) without it")
    delta_type, updated_at = (deleted or {}).get("deltaType"), (deleted or {}).get("lastUpdate")
    response.expect(delta_type == "delete", expected, f"{delta_type!r}")
    response.expect(isinstance(updated_at, str), f"{context.evse(1)} with a lastUpdate", f"{updated_at!r}")


async def fleet_change_without_full_load(context: ScenarioContext) -> None:
    """Change the EVSEs by insert, update and delete; the EMP pulls the same as after a fullLoad."""
    await _push_evse_data(context, "insert", messages.evse_record(context, 1))
    await _push_evse_data(context, "insert", messages.evse_record(context, 2))
    await _push_evse_data(context, "update", messages.evse_record(context, 2, city="Erfurt"))
    await _push_evse_data(context, "delete", messages.evse_record(context, 1))
    await _wait_for_evses(context, {2: "Erfurt"})
    duplicate = messages.push_evse_data(context, "insert", messages.evse_record(context, 2))
    response = await context.cpo_client.send("PushEvseData", duplicate)
    response.expect_refused("009", what="for the insert of an EVSE that is there")


async def withdrawn_evse(context: ScenarioContext) -> None:
    """Withdraw an EVSE; the EMP no longer pulls it, and it cannot be started."""
    await publish_evses(context, 1, 2)
    await _push_status(context, "insert", {1: "Available", 2: "Available"})
    await _wait_for_status(context, "Available")
    await _push_evse_data(context, "delete", messages.evse_record(context, 1))
    await _push_status(context, "delete", {1: "Available"})
    await _wait_for_evses(context, {2: "Jena"})
    await _wait_for_status(context, "EvseNotFound")
    response = await context.emp_client.send("AuthorizeRemoteStart", messages.remote_start(context, 1, "withdrawn"))
    response.expect_refused("603", what="for the withdrawn EVSE")
    context.expect_requests(context.csms, 0, "AuthorizeRemoteStart", EvseID=context.evse(1))


async def full_load_replaces(context: ScenarioContext) -> None:
    """Replace all EVSEs of the operator by a fullLoad; skipped where that would withdraw anybody else's."""
    await publish_evses(context, 1, 2)
    await _push_status(context, "insert", {1: "Available", 2: "Available"})
    # Order: what the endpoint had before has come through to the EMP when its newest EVSE has.
    await _wait_for_status(context, "Available")
    if not context.endpoints.replace:
        await _check_no_others(context)
    await _push_evse_data(context, "fullLoad", messages.evse_record(context, 2, city="Gera"))
    await _push_status(context, "fullLoad", {2: "Occupied"})
    await _wait_for_evses(context, {2: "Gera"})
    await _wait_for_status(context, "EvseNotFound")


async def _check_no_others(context: ScenarioContext) -> None:
    """Raise ScenarioSkipped where the operator has EVSEs or statuses that no sequence has published."""
    evses = (await _pull_all_evses(context))[0].keys()
    statuses = (await _pull_statuses(context, "PullEvseStatusByOperatorID")).keys()
    others = [evse for evse in {*evses, *statuses} if not _is_of_scenarios(context, evse)]
    if others:
        reason = f"{context.operator} has {len(others)} EVSE(s) that are not of this test, such as {min(others)}: "
        raise ScenarioSkipped(f"{reason}a fullLoad would withdraw them (--replace plays it nevertheless)")


def _is_of_scenarios(context: ScenarioContext, evse: EvseID) -> bool:
    return evse.key.startswith(EvseID(f"{context.evse_prefix}1").key[:-1])


async def prices_per_provider(context: ScenarioContext) -> None:
    """Publish prices for this EMP and for another provider; the EMP finds its own, and not the other's."""
    await publish_evses(context, 1)
    own, other = f"SCENARIO-{context.tag}-OWN", f"SCENARIO-{context.tag}-OTHER"
    for provider, product in ((context.provider, own), (_OTHER_PROVIDER, other)):
        defaults = await _product_defaults(context, provider)
        request = messages.push_products(context, "insert", provider, product, defaults)
        (await context.cpo_client.send("PushPricingProductData", request)).expect_accepted()
        context.published.products.append(request)
        price = {"EvseID": context.evse(1), "ProviderID": provider, "EvseIDProductList": [product]}
        request = messages.push_evse_pricing("insert", price)
        (await context.cpo_client.send("PushEVSEPricing", request)).expect_accepted()
        context.published.prices.append(price)
    for operation in ("PullPricingProductData", "PullEVSEPricing"):
        await context.wait_until(
            lambda operation=operation: _is_priced(context, operation, own),
            lambda: context.emp_client.unexpected(f"{own} of {context.operator}", "a list without it"),
        )
        has_other = other.encode() in context.emp_client.latest().body
        context.emp_client.latest().expect(
            not has_other, f"no price for {_OTHER_PROVIDER}", f"{other}, which is meant for it"
        )


async def _is_priced(context: ScenarioContext, operation: str, product: str) -> bool:
    request: Json = {"OperatorIDs": [context.operator]}
    if operation == "PullEVSEPricing":
        request["ProviderID"] = context.provider
    response = await context.emp_client.send(operation, request)
    return product.encode() in response.expect_accepted().body


async def _product_defaults(context: ScenarioContext, provider: str) -> Json:
    """Return the default prices that the operator has for a provider already: the push must not change them."""
    response = await context.emp_client.send("PullPricingProductData", {"OperatorIDs": [context.operator]})
    groups = dicts_in(response.expect_accepted().members.get("PricingProductData"))
    group = next((each for each in groups if str(each.get("ProviderID")) == provider), {})
    return {name: value for name, value in group.items() if name.startswith("PricingDefault") or name == "OperatorName"}


async def offline_authorization(context: ScenarioContext) -> None:
    """Push a card as authentication data; the CPO's endpoint authorizes it without the EMP, until it is deleted."""
    uid = f"5C{context.tag}"[:8]
    identification = messages.rfid_identification(uid)
    request = messages.push_authentication_data(context, "insert", identification)
    (await context.emp_client.send("PushAuthenticationData", request)).expect_accepted()
    context.published.tokens.append(identification)
    response = await _wait_for_authorization(context, identification, expected=True)
    context.expect_requests(context.emp_backend, 0, "AuthorizeStart", SessionID=response.session_id)
    cdr = messages.charge_detail_record(context, response.session_id, identification)
    (await context.cpo_client.send("ChargeDetailRecord", cdr)).expect_accepted()
    await context.wait_for_request(context.emp_backend, "ChargeDetailRecord", SessionID=response.session_id)
    await _delete_tokens(context)
    await _wait_for_authorization(context, identification, expected=False)


async def _wait_for_authorization(
    context: ScenarioContext, identification: Json, *, expected: bool
) -> EndpointResponse:
    """Start until the card is authorized, or is not any more, and return that answer."""
    attempts = 0

    async def is_as_expected() -> bool:
        nonlocal attempts
        attempts += 1
        start = messages.authorize_start(context, identification, f"offline-{expected}-{attempts}")
        return (await context.cpo_client.send("AuthorizeStart", start)).is_accepted is expected

    def failure() -> str:
        verdict = "Authorized by the pushed data" if expected else "NotAuthorized, for the card was deleted"
        return context.cpo_client.unexpected(verdict)

    await context.wait_until(is_as_expected, failure)
    return context.cpo_client.latest()


async def find_operator_name(client: TestClient, operator: str) -> str:
    """Return the OperatorName that an EMP finds already; empty where it finds none, or gets no list."""
    request = {"ProviderID": client.party, "GeoCoordinatesResponseFormat": "Google", "OperatorIds": [operator]}
    try:
        response = await client.send("PullEvseData", request, query={"page": "0", "size": "1"})
    except NoAnswer:
        return ""
    names = [record.get("OperatorName") for record in dicts_in(response.members.get("content"))]
    return str(names[0]) if names and names[0] else ""


async def publish_evses(context: ScenarioContext, *numbers: int) -> None:
    """Insert EVSEs, and return when the EMP pulls them."""
    await _push_evse_data(context, "insert", *(messages.evse_record(context, number) for number in numbers))
    await _wait_for_evses(context, dict.fromkeys(numbers, "Jena"))


async def withdraw(context: ScenarioContext) -> list[str]:
    """Delete what a sequence has published; return why something is still there."""
    published, reasons = context.published, []
    deletions: list[tuple[str, Json]] = []
    deletions += [("PushEVSEPricing", messages.push_evse_pricing("delete", price)) for price in published.prices]
    deletions += [("PushPricingProductData", {**request, "ActionType": "delete"}) for request in published.products]
    if published.statuses:
        statuses = dict.fromkeys(sorted(published.statuses), "Unknown")
        deletions.append(("PushEvseStatus", messages.push_evse_status(context, "delete", statuses)))
    if published.evses:
        records = [messages.evse_record(context, number) for number in sorted(published.evses)]
        deletions.append(("PushEvseData", messages.push_evse_data(context, "delete", *records)))
    for operation, request in deletions:
        try:
            (await context.cpo_client.send(operation, request)).expect_accepted("for the deletion")
        except (ScenarioFailed, PeerError) as error:
            reasons.append(str(error))
    try:
        await _delete_tokens(context)
    except (ScenarioFailed, PeerError) as error:
        reasons.append(str(error))
    return reasons


async def _delete_tokens(context: ScenarioContext) -> None:
    while context.published.tokens:
        request = messages.push_authentication_data(context, "delete", context.published.tokens[-1])
        (await context.emp_client.send("PushAuthenticationData", request)).expect_accepted("for the deletion")
        context.published.tokens.pop()


async def _push_evse_data(context: ScenarioContext, action: str, *records: Json) -> None:
    response = await context.cpo_client.send("PushEvseData", messages.push_evse_data(context, action, *records))
    response.expect_accepted(f"for the {action}")
    numbers = {int(record["EvseID"].rpartition("*")[2]) for record in records}
    context.published.change(context.published.evses, action, numbers)


async def _push_status(context: ScenarioContext, action: str, statuses: Mapping[int, str]) -> None:
    response = await context.cpo_client.send("PushEvseStatus", messages.push_evse_status(context, action, statuses))
    response.expect_accepted(f"for the {action}")
    context.published.change(context.published.statuses, action, statuses)


async def _pull_evses(context: ScenarioContext, **members: object) -> tuple[dict[EvseID, Json], EndpointResponse]:
    """Return the EVSEs of this sequence as the EMP pulls them, and the last page."""
    records, response = await _pull_all_evses(context, **members)
    own = {EvseID(context.evse(number)) for number in range(1, 10)}
    return {evse: record for evse, record in records.items() if evse in own}, response


async def _pull_all_evses(context: ScenarioContext, **members: object) -> tuple[dict[EvseID, Json], EndpointResponse]:
    """Return what the EMP pulls of the operator, page after page, and the last page."""
    request = {"ProviderID": context.provider, "GeoCoordinatesResponseFormat": "Google", **members}
    if not members:
        request["OperatorIds"] = [context.operator]
    records: dict[EvseID, Json] = {}
    page, is_last = 0, False
    while not is_last:
        query = {"page": str(page), "size": str(_PAGE_SIZE)}
        response = (await context.emp_client.send("PullEvseData", request, query=query)).expect_accepted()
        content = dicts_in(response.members.get("content"))
        records |= {EvseID(str(record.get("EvseID"))): record for record in content}
        page, is_last = page + 1, response.members.get("last") is not False or not content
    return records, response


def _city(record: Json) -> str:
    address = record.get("Address")
    return str(address.get("City")) if isinstance(address, dict) else "no city"


def _cities(records: Mapping[EvseID, Json]) -> dict[EvseID, str]:
    return {evse: _city(record) for evse, record in records.items()}


async def _wait_for_evses(context: ScenarioContext, cities: dict[int, str]) -> None:
    expected = {EvseID(context.evse(number)): city for number, city in cities.items()}
    seen: dict[EvseID, str] = {}

    async def has_converged() -> bool:
        seen.clear()
        seen.update(_cities((await _pull_evses(context))[0]))
        return seen == expected

    def failure() -> str:
        return context.emp_client.unexpected(_format_cities(expected), _format_cities(seen))

    await context.wait_until(has_converged, failure)


async def _wait_for_status(context: ScenarioContext, status: str) -> None:
    request = {"ProviderID": context.provider, "EvseID": [context.evse(1)]}
    seen: list[str] = []

    async def has_converged() -> bool:
        response = (await context.emp_client.send("PullEvseStatusByID", request)).expect_accepted()
        seen[:] = [str(record.get("EvseStatus")) for record in _status_records(response.members)]
        return [text.lower() for text in seen] == [status.lower()]

    def failure() -> str:
        return context.emp_client.unexpected(f"{context.evse(1)} {status}", ", ".join(seen) or "no status")

    await context.wait_until(has_converged, failure)


async def _pull_statuses(context: ScenarioContext, operation: str) -> dict[EvseID, str]:
    request: Json = {"ProviderID": context.provider}
    if operation == "PullEvseStatusByOperatorID":
        request["OperatorID"] = [context.operator]
    response = (await context.emp_client.send(operation, request)).expect_accepted()
    own = OperatorID(context.operator)
    statuses = {
        EvseID(str(record.get("EvseID"))): str(record.get("EvseStatus")) for record in _status_records(response.members)
    }
    return {evse: status for evse, status in statuses.items() if evse.operator == own}


def _status_records(value: Any) -> list[Json]:  # noqa: ANN401 - any JSON
    """Return all EvseStatusRecords in a response, which the three pulls nest differently."""
    if isinstance(value, dict):
        if isinstance(value.get("EvseStatus"), str):
            return [value]
        value = list(value.values())
    return [record for item in value for record in _status_records(item)] if isinstance(value, list) else []


def _format_cities(cities: dict[EvseID, str]) -> str:
    return ", ".join(f"{evse} in {city}" for evse, city in sorted(cities.items())) or "none of these EVSEs"
