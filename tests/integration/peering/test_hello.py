"""The sender of a hello is the peer with one of the parties that it names, and never the default route."""

import pytest

from p2p_oicp.storage.statements import Statement

STORES = Statement("SELECT peer, store_epoch FROM destinations WHERE store_epoch IS NOT NULL", {})


async def send_hello(pair, **hello) -> dict:
    async with pair.http.post(f"{pair.a_peer.base}/p2p/v1/hello", json=hello) as answer:
        return {"status": answer.status, **await answer.json()}


@pytest.mark.parametrize(
    ("providers", "known"),
    [
        (["DE-GDF"], True),
        (["FR-QQQ", "DE-GDF"], True),
        (["FR-QQQ"], False),
        ([], False),
    ],
)
async def test_a_peer_is_identified_by_any_of_its_parties(stopped, providers, known):
    async with stopped.running("a"):
        assert (await send_hello(stopped, name="B", providers=providers, store=7))["known"] is known


async def test_an_unknown_sender_of_hello_is_not_the_default_route(stopped):
    stopped.write_peer("a", "the hub", "b", "default_route = true")
    async with stopped.running("a") as node:
        assert (await send_hello(stopped, name="unknown", providers=["FR-QQQ"], store=7))["known"] is False
        assert await node.store.query(STORES) == []


@pytest.mark.parametrize("hello", [{"providers": 5}, {"operators": 1.5}])
async def test_a_malformed_hello_is_a_data_error(stopped, hello):
    async with stopped.running("a"):
        answer = await send_hello(stopped, **hello)
    assert (answer["status"], answer["StatusCode"]["Code"]) == (400, "022")
