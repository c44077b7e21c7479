"""What a backend pulls from its node, and what it pushed arriving there."""

from tests.support.dataset_messages import PULL_AUTHENTICATION, PUSH_AUTHENTICATION, push_authentication
from tests.support.messages import A_CPO, PULL_STATUS
from tests.support.nodes import query
from tests.support.waiting import eventually, eventually_equals


async def pulled(caller, **members) -> dict[str, str]:
    answer = await caller.post(PULL_STATUS, {"ProviderID": "DE-GDF", **members})
    assert answer.code == "000"
    groups = answer.json["EvseStatuses"]["OperatorEvseStatus"]
    return {record["EvseID"]: record["EvseStatus"] for group in groups for record in group["EvseStatusRecord"]}


async def until_pulled(caller, expected: dict[str, str]) -> None:
    await eventually_equals(lambda: pulled(caller), expected)


async def known(caller) -> list[dict]:
    answer = await caller.post(PULL_AUTHENTICATION, {"OperatorID": A_CPO})
    assert answer.code == "000"
    return [
        record["Identification"]
        for block in answer.json["ProviderAuthenticationData"]
        for record in block["AuthenticationDataRecord"]
    ]


async def until_known(caller, count: int) -> list[dict]:
    async def right_number() -> list[dict] | None:
        return found if len(found := await known(caller)) == count else None

    return await eventually(right_number)


async def pushed(pair, *records: dict) -> None:
    """Let the EMP's data stand at both nodes."""
    assert (await pair.b.post(PUSH_AUTHENTICATION, push_authentication(*records))).json["Result"] is True
    await eventually(lambda: query(pair, "a", "SELECT 1 FROM identifications"))
