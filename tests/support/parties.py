"""Parties that are added to a paired node, and taken away from it."""

from tests.support.messages import A_CPO, B_EMP, PULL_STATUS, PUSH_STATUS
from tests.support.pairing import Admin, paired
from tests.support.waiting import eventually_equals

SUB = "DE*SUB"
PULL_ALL = {"ProviderID": B_EMP}


def set_operators(pair, *operators: str) -> None:
    """Change what A is, in its own file."""
    _replace_operators(pair.folder / "a" / "node.toml", operators)


def set_operators_of_a(pair, *operators: str) -> None:
    """Change what B's peers file says of A."""
    _replace_operators(pair.folder / "b" / "peers.toml", operators)


def _replace_operators(file, operators) -> None:
    line_now = f"operators = {list(operators)}"
    lines = [line_now if line.startswith("operators") else line for line in file.read_text().splitlines()]
    file.write_text("\n".join(lines) + "\n")


def push_of(operator: str, *names: str) -> tuple[str, dict]:
    records = [{"EvseID": f"{operator}*E{name}", "EvseStatus": "Available"} for name in names]
    push = {"OperatorID": operator, "OperatorName": "x", "EvseStatusRecord": records}
    return PUSH_STATUS.replace(A_CPO, operator), {"ActionType": "fullLoad", "OperatorEvseStatus": push}


async def operators_at(caller) -> list[str]:
    groups = (await caller.post(PULL_STATUS, PULL_ALL)).json["EvseStatuses"]["OperatorEvseStatus"]
    return sorted(group["OperatorID"] for group in groups)


async def pair_up(pair) -> None:
    """Make the nodes peers of each other by an invitation."""
    for name in ("a", "b"):
        (pair.folder / name / "peers.toml").write_text("")
    async with pair.running("a"), pair.running("b"):
        await paired(Admin(pair, "a"), Admin(pair, "b"))
        await pair.a.post(*push_of(A_CPO, "1"))
        await eventually_equals(lambda: operators_at(pair.b), [A_CPO])
