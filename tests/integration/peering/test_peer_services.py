"""The limits of a peer's entry hold for every operation, whether or not its path names the sender."""

import pytest

from tests.support.messages import NOTIFY, START, UNKNOWN_SESSION, authorize_start, notification


@pytest.mark.parametrize(
    ("limit", "status", "code"),
    [('networks = ["192.0.2.0/24"]', 401, "017"), ('may_call = ["ChargeDetailRecord"]', 200, "210")],
)
@pytest.mark.parametrize(
    ("path", "body"),
    [(START, authorize_start()), (NOTIFY, notification("Start", UNKNOWN_SESSION))],
    ids=["start", "notification"],
)
async def test_networks_and_may_call_of_a_peer_are_enforced_for_every_operation(
    stopped, limit, status, code, path, body
):
    with (stopped.folder / "b" / "peers.toml").open("a") as peers:
        peers.write(f"{limit}\n")
    async with stopped.running("b"):
        answer = await stopped.b_peer.post(path, body)
    assert (answer.status, answer.code) == (status, code)
