"""The limits of one peer; and what is insecure is shown."""

import asyncio
import json

import pytest

from p2p_oicp.config import load_settings
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.server.limits import TokenBucketLimiter
from p2p_oicp.server.problems import HttpError
from tests.support.messages import START, authorize_start
from tests.support.pairing import Admin
from tests.support.waiting import eventually


def limit_peer(pair, line: str) -> None:
    """Add a line to the entry of peer A at node B."""
    file = pair.folder / "b" / "peers.toml"
    file.write_text(file.read_text() + line + "\n")


async def test_a_peer_over_its_rate_gets_429_with_retry_after(stopped):
    limit_peer(stopped, "requests_per_second = 1")
    async with stopped.running("b"):
        answers = [await stopped.b_peer.post(START, authorize_start(f"{n:08}")) for n in range(4)]
    assert 429 in {answer.status for answer in answers[2:]}
    refused = next(answer for answer in answers if answer.status == 429)
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.code == "021"


async def test_unauthenticated_requests_do_not_use_up_the_share_of_a_peer(stopped):
    limit_peer(stopped, "requests_per_second = 1")
    async with stopped.running("b"):
        plain = stopped.caller("b", "a")
        plain.signs = False
        for _ in range(5):
            assert (await plain.post(START, authorize_start())).status == 401
        assert (await stopped.b_peer.post(START, authorize_start())).status == 200


async def test_a_body_larger_than_a_peer_may_send_is_413(stopped):
    limit_peer(stopped, "max_body = 1024")
    async with stopped.running("b"):
        answer = await stopped.b_peer.post(START, authorize_start(CustomData={"filler": "x" * 2000}))
    assert answer.status == 413
    assert not stopped.contracts.starts


async def test_the_concurrency_of_a_peer_is_limited(stopped):
    limit_peer(stopped, "concurrent = 2")
    stopped.contracts.hold = asyncio.Event()
    async with stopped.running("b"):
        waiting = [asyncio.ensure_future(stopped.b_peer.post(START, authorize_start(f"{n:08}"))) for n in range(2)]
        await eventually(lambda: len(stopped.contracts.starts) >= 2, timeout=5)
        assert (await stopped.b_peer.post(START, authorize_start("0000AAAA"))).status == 429
        stopped.contracts.hold.set()
        assert [answer.status for answer in await asyncio.gather(*waiting)] == [200, 200]


async def test_a_peer_may_be_limited_to_its_networks(stopped):
    limit_peer(stopped, 'networks = ["203.0.113.0/24"]')
    async with stopped.running("b"):
        answer = await stopped.b_peer.post(START, authorize_start())
    assert (answer.status, answer.code) == (401, "017")
    assert "may not call from 127.0.0.1" in answer.json["StatusCode"]["AdditionalInfo"]


@pytest.mark.parametrize(("proxies", "status"), [('"127.0.0.0/8"', 200), ('"192.0.2.1"', 401)], ids=["proxy", "other"])
async def test_behind_a_trusted_proxy_the_network_is_that_of_the_client(stopped, proxies, status):
    limit_peer(stopped, 'networks = ["203.0.113.0/24"]')
    file = stopped.folder / "b" / "node.toml"
    file.write_text(file.read_text().replace("[peer_api]", f"[peer_api]\ntrusted_proxies = [{proxies}]"))
    async with stopped.running("b"):
        headers = {"X-Forwarded-For": "198.51.100.7, 203.0.113.9"}
        assert (await stopped.b_peer.post(START, authorize_start(), headers=headers)).status == status


def test_a_bucket_fills_again(clock):
    buckets = TokenBucketLimiter(clock, per_second=2, burst=4)
    for _ in range(4):
        buckets.acquire("a")
    with pytest.raises(HttpError) as caught:
        buckets.acquire("a")
    assert caught.value.headers == {"Retry-After": "1"}
    buckets.acquire("b")
    clock.now += 0.5
    buckets.acquire("a")


@pytest.mark.parametrize("where", ["the node", "one peer"])
async def test_insecure_peers_are_shown_everywhere(stopped, where):
    config = stopped.folder / "b" / "node.toml"
    if where == "the node":
        config.write_text(config.read_text().replace('require = ["signature"]', "require = []"))
    else:
        limit_peer(stopped, "security = []")
    async with stopped.running("b"):
        listed = (await Admin(stopped, "b").ask("GET", "/peers"))["peers"]
        ready = (await stopped.b.get("/readyz")).json
    assert [peer["trust"] for peer in listed] == ["INSECURE: not authenticated"]
    assert ready["insecure_peers"] == ["node a"]
    assert ("warning" in ready) == (where == "the node")


async def test_a_node_without_its_key_does_not_start(stopped):
    (stopped.folder / "a" / "keys" / "node.key").unlink()
    with pytest.raises(ConfigurationError, match=r"node\.key: cannot be read"):
        async with stopped.running("a"):
            pass


async def test_an_insecure_node_needs_no_key(stopped):
    config = stopped.folder / "a" / "node.toml"
    config.write_text(config.read_text().replace('require = ["signature"]', "require = []"))
    for file in (stopped.folder / "a" / "keys").iterdir():
        file.unlink()
    (stopped.folder / "a" / "keys").rmdir()
    url = f"http://127.0.0.1:{stopped.ports['a']}/.well-known/oicp-p2p"
    async with stopped.running("a"), stopped.http.get(url) as answer:
        payload = json.loads((await answer.json())["payload"])
    assert payload["security"] == {"require": []}
    assert load_settings(config).security.require == ()
