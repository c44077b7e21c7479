"""What a peer's entry says of its calls holds for every operation, whether or not its path names the sender."""

import pytest

from tests.support.messages import NOTIFY, START, UNKNOWN_SESSION, authorize_start, notification


@pytest.mark.parametrize(
    ("limit", "status", "code"),
    [('networks = ["192.0.2.0/24"]', 401, "017"), ('services = ["ChargeDetailRecord"]', 200, "210")],
)
@pytest.mark.parametrize(
    ("path", "body"),
    [(START, authorize_start()), (NOTIFY, notification("Start", UNKNOWN_SESSION))],
    ids=["start", "note"],
)
async def test_a_peer_is_held_to_its_networks_and_services(stopped, limit, status, code, path, body):
    with (stopped.folder / "b" / "peers.toml").open("a") as peers:
        peers.write(f"{limit}\n")
    async with stopped.running("b"):
        answer = await stopped.b_peer.post(path, body)
    assert (answer.status, answer.code) == (status, code)
