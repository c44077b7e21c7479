"""Pushes of statuses, as tests of the storage write them."""

from p2p_oicp.storage.state.model import OWN, Group, Kind, Must, Push, Record, Replaces

MUST = {"insert": Must.BE_NEW, "update": Must.BE_KNOWN}


def record(key: str, status: str, group: str = "DEABC") -> Record:
    return Record(key, group, f'{{"EvseID":"{key}","EvseStatus":"{status}"}}'.encode(), status.lower())


def push(action: str, source: str = OWN, operator: str = "DEABC", **records: str) -> Push:
    made = [record(key, status, operator) for key, status in records.items()]
    return Push(
        kind=Kind.EVSE_STATUS,
        source=source,
        groups=(Group(operator, operator, b'{"OperatorID":"%b"}' % operator.encode()),),
        records=() if action == "delete" else made,
        gone=[one.key for one in made] if action == "delete" else (),
        must=MUST.get(action),
        replaces=Replaces.GROUPS if action == "fullLoad" else Replaces.NOTHING,
    )


def many(count: int, status: str = "Available") -> dict[str, str]:
    return {f"E{number:05}": status for number in range(count)}
