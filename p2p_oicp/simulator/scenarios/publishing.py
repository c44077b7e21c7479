"""What a CPO publishes, and what an EMP finds."""

from __future__ import annotations

from p2p_oicp.oicp import EvseID
from p2p_oicp.simulator.scenarios import messages
from p2p_oicp.simulator.scenarios.backends import Json
from p2p_oicp.simulator.scenarios.stage import Stage, expect, expect_no, expect_yes, now

_PAGE = 1000


async def publish_and_discover(stage: Stage) -> None:
    """Publish EVSE data; the EMP finds all that was said of each EVSE."""
    records = [messages.evse_record(stage, number) for number in (1, 2)]
    await _push(stage, "fullLoad", *records)
    await _until_fleet(stage, {1: "Jena", 2: "Jena"})
    found = (await _fleet(stage))[EvseID(stage.evse(1))]
    for name, value in records[0].items():
        expect(
            name in {"EvseID", "GeoCoordinates"} or found.get(name) == value,
            f"{name} was {value!r} and arrived as {found.get(name)!r}",
        )


async def status_reaches_the_emp(stage: Stage) -> None:
    """Change a status; the EMP sees it, in all three forms of the pull."""
    pushed = await stage.cpo.ask("PushEvseStatus", messages.push_status(stage, "fullLoad", evse1="Available"))
    expect_yes(pushed, "PushEvseStatus fullLoad")
    await _until_status(stage, "Available")
    changed = await stage.cpo.ask("PushEvseStatus", messages.push_status(stage, "update", evse1="Occupied"))
    expect_yes(changed, "PushEvseStatus update")
    await _until_status(stage, "Occupied")
    provider, operator = str(stage.ends.provider), str(stage.ends.operator)
    for operation, asked in (
        ("PullEvseStatus", {"ProviderID": provider}),
        ("PullEvseStatusByOperatorID", {"ProviderID": provider, "OperatorID": [operator]}),
    ):
        told = await stage.emp.ask(operation, asked)
        text = str(told.members)
        expect(stage.evse(1) in text and "Occupied" in text, f"{operation} does not show the EVSE: {told}")


async def delta_converges(stage: Stage) -> None:
    """Apply what changed since the last call to what was there; a full pull shows the same."""
    await _push(stage, "fullLoad", *(messages.evse_record(stage, number) for number in (1, 2)))
    await _until_fleet(stage, {1: "Jena", 2: "Jena"})
    mirror = {evse: str(found["Address"]["City"]) for evse, found in (await _fleet(stage)).items()}
    since = now().isoformat()
    await _push(stage, "update", messages.evse_record(stage, 1, city="Weimar"))
    await _push(stage, "insert", messages.evse_record(stage, 3))
    await _push(stage, "delete", messages.evse_record(stage, 2))
    await _until_fleet(stage, {1: "Weimar", 3: "Jena"})
    for evse, change in (await _fleet(stage, LastCall=since)).items():
        kind = change.get("deltaType")
        expect(kind in {"insert", "update", "delete"}, f"{evse} changed, and its deltaType is {kind!r}")
        if kind == "delete":
            mirror.pop(evse, None)
        else:
            mirror[evse] = str(change["Address"]["City"])
    full = {evse: str(found["Address"]["City"]) for evse, found in (await _fleet(stage)).items()}
    expect(mirror == full, f"the deltas lead to {_shown(mirror)}, a full pull shows {_shown(full)}")


async def fleet_change_without_full_load(stage: Stage) -> None:
    """Change the fleet by insert, update and delete; the EMP finds what a fullLoad would have brought."""
    await _push(stage, "insert", messages.evse_record(stage, 1))
    await _push(stage, "insert", messages.evse_record(stage, 2))
    await _push(stage, "update", messages.evse_record(stage, 2, city="Erfurt"))
    await _push(stage, "delete", messages.evse_record(stage, 1))
    await _until_fleet(stage, {2: "Erfurt"})
    again = await stage.cpo.ask("PushEvseData", messages.push_data(stage, "insert", messages.evse_record(stage, 2)))
    expect_no(again, "the insert of an EVSE that is there", "009")


async def withdrawn_evse(stage: Stage) -> None:
    """Withdraw an EVSE; it is gone for the EMP, and cannot be started."""
    await _push(stage, "fullLoad", *(messages.evse_record(stage, number) for number in (1, 2)))
    pushed = messages.push_status(stage, "fullLoad", evse1="Available", evse2="Available")
    expect_yes(await stage.cpo.ask("PushEvseStatus", pushed), "PushEvseStatus fullLoad")
    await _until_fleet(stage, {1: "Jena", 2: "Jena"})
    await _push(stage, "fullLoad", messages.evse_record(stage, 2))
    gone = messages.push_status(stage, "fullLoad", evse2="Available")
    expect_yes(await stage.cpo.ask("PushEvseStatus", gone), "PushEvseStatus without the EVSE")
    await _until_fleet(stage, {2: "Jena"})
    await _until_status(stage, "EvseNotFound")
    started = await stage.emp.ask("AuthorizeRemoteStart", messages.remote_start(stage, 1, "withdrawn"))
    expect_no(started, "a remote start at the withdrawn EVSE", "603")
    expect(not stage.csms.of("AuthorizeRemoteStart", EvseID=stage.evse(1)), "the CSMS was asked to start there")


async def published(stage: Stage, *numbers: int) -> None:
    """Add EVSEs, so that something can be started there; return when the EMP finds them."""
    for number in numbers:
        await _push(stage, "insert", messages.evse_record(stage, number))
    await _until_fleet(stage, dict.fromkeys(numbers, "Jena"))


async def _push(stage: Stage, action: str, *records: Json) -> None:
    told = await stage.cpo.ask("PushEvseData", messages.push_data(stage, action, *records))
    expect_yes(told, f"PushEvseData {action}")


async def _fleet(stage: Stage, **asked: object) -> dict[EvseID, Json]:
    """Return our EVSEs as the EMP finds them, page after page."""
    question = {"ProviderID": str(stage.ends.provider), "GeoCoordinatesResponseFormat": "Google", **asked}
    if not asked:
        question["OperatorIds"] = [str(stage.ends.operator)]
    found: dict[EvseID, Json] = {}
    number, last = 0, False
    while not last:
        told = await stage.emp.ask("PullEvseData", question, query={"page": str(number), "size": str(_PAGE)})
        expect_yes(told, "PullEvseData")
        content = told.members.get("content") or []
        found |= {EvseID(record["EvseID"]): record for record in content}
        number, last = number + 1, told.members.get("last") is not False or not content
    return {evse: record for evse, record in found.items() if stage.tag in evse.key}


async def _until_fleet(stage: Stage, cities: dict[int, str]) -> None:
    wanted = {EvseID(stage.evse(number)): city for number, city in cities.items()}
    seen: dict[EvseID, str] = {}

    async def is_so() -> bool:
        seen.clear()
        seen.update({evse: str(found["Address"]["City"]) for evse, found in (await _fleet(stage)).items()})
        return seen == wanted

    try:
        await stage.until(is_so, "")
    finally:
        expect(seen == wanted, f"the EMP finds {_shown(seen)}, expected {_shown(wanted)}")


async def _until_status(stage: Stage, status: str) -> None:
    asked = {"ProviderID": str(stage.ends.provider), "EvseID": [stage.evse(1)]}
    seen: list[str] = []

    async def is_so() -> bool:
        told = await stage.emp.ask("PullEvseStatusByID", asked)
        records = (told.members.get("EVSEStatusRecords") or {}).get("EvseStatusRecord") or []
        seen[:] = [str(record["EvseStatus"]) for record in records]
        return [text.lower() for text in seen] == [status.lower()]

    try:
        await stage.until(is_so, "")
    finally:
        expect(
            [text.lower() for text in seen] == [status.lower()],
            f"the EMP sees {stage.evse(1)} as {', '.join(seen) or 'nothing'}, expected {status}",
        )


def _shown(fleet: dict[EvseID, str]) -> str:
    return ", ".join(f"{evse} in {city}" for evse, city in sorted(fleet.items())) or "no EVSE"
