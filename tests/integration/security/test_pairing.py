"""Two companies that have never met: one invites, the other joins; and they part again."""

import asyncio

import orjson
import pytest
import typer

from p2p_oicp.cli.doctor import parse_result
from p2p_oicp.cli.peers import print_joined
from p2p_oicp.client import HttpTransport
from p2p_oicp.crypto import PrivateKey
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.peers.descriptor import Invitation
from tests.support.messages import PUSH_STATUS, START, authorize_start, push_status
from tests.support.pairing import Admin, Forged, attempt, paired
from tests.support.waiting import eventually


@pytest.fixture
async def unpaired(stopped):
    """Both nodes run, and know nobody."""
    for name in ("a", "b"):
        (stopped.folder / name / "peers.toml").write_text("")
    async with stopped.running("a"), stopped.running("b"):
        yield stopped, Admin(stopped, "a"), Admin(stopped, "b")


async def test_after_an_invitation_and_a_join_both_nodes_serve_each_other(unpaired):
    pair, a, b = unpaired
    assert (await pair.a.post(START, authorize_start())).code == "106"
    await paired(a, b)
    assert (await a.names(), await b.names()) == (["node b"], ["node a"])
    answer = await pair.a.post(START, authorize_start())
    assert (answer.code, answer.json["AuthorizationStatus"]) == ("000", "Authorized")
    (peer,) = (await a.ask("GET", "/peers"))["peers"]
    assert peer["trust"] == "authenticated by signature (paired)"
    assert peer["providers"] == ["DE-GDF"]
    assert peer["keys"] == [pair.key("b").key_id]


async def test_joining_ends_with_a_signed_hello_in_both_directions(unpaired):
    pair, a, b = unpaired
    link = (await a.ask("POST", "/peers/invitations"))["link"]
    await b.ask("POST", "/peers/join", link=link)
    checks = (await b.ask("POST", "/peers/node%20a/check"))["checks"]
    assert [(each["check"], each["outcome"]) for each in checks] == [
        ("hello to the peer", "ok"),
        ("hello from the peer", "ok"),
    ]
    assert "both nodes are authenticated by signature" in checks[0]["text"]
    assert (
        checks[1]["text"] == f"node a reaches this node at http://127.0.0.1:{pair.ports['b']}, and accepts its answer."
    )


async def test_joining_says_which_direction_fails_and_what_to_do(stopped, capsys):
    for name in ("a", "b"):
        (stopped.folder / name / "peers.toml").write_text("")
    file = stopped.folder / "b" / "node.toml"
    file.write_text(file.read_text().replace("[peer_api]\n", '[peer_api]\nurl = "http://127.0.0.1:1"\n'))
    async with stopped.running("a"), stopped.running("b"):
        a, b = Admin(stopped, "a"), Admin(stopped, "b")
        link = (await a.ask("POST", "/peers/invitations"))["link"]
        await b.ask("POST", "/peers/join", link=link)
        checks = (await b.ask("POST", "/peers/node%20a/check"))["checks"]
        assert await b.names() == ["node a"]
    with pytest.raises(typer.Exit):
        print_joined("node a", [parse_result(each) for each in checks])
    shown = " ".join(capsys.readouterr().out.split())
    assert "know each other now, but not all calls between them succeed" in shown
    assert "ok node a, hello to the peer" in shown
    assert "node a does not reach this node: nothing answers at http://127.0.0.1:1." in shown
    assert "To do: Check [peer_api] url" in shown


async def test_a_pairing_outlives_a_restart(stopped):
    for name in ("a", "b"):
        (stopped.folder / name / "peers.toml").write_text("")
    async with stopped.running("a"), stopped.running("b"):
        await paired(Admin(stopped, "a"), Admin(stopped, "b"))
    async with stopped.running("a"), stopped.running("b"):
        assert (await stopped.a.post(START, authorize_start())).code == "000"


async def test_the_joining_company_can_inspect_the_inviting_one_first(unpaired):
    pair, a, b = unpaired
    link = (await a.ask("POST", "/peers/invitations"))["link"]
    shown = await b.ask("POST", "/peers/inspect", link=link)
    assert (shown["name"], shown["operators"]) == ("node a", ["DE*GEF"])
    assert shown["fingerprint"] == pair.key("a").key_id
    assert await b.names() == []


async def test_a_link_of_our_own_and_what_is_no_link_are_called_so(unpaired):
    _, a, _ = unpaired
    link = (await a.ask("POST", "/peers/invitations"))["link"]
    for given, expected in ((link, "this link is your own"), ("hello", "this is no invitation")):
        for path in ("/peers/inspect", "/peers/join"):
            refusal = await a.ask("POST", path, 409, link=given)
            assert expected in refusal["StatusCode"]["AdditionalInfo"]


async def test_an_invitation_may_be_for_some_services_only(unpaired):
    pair, a, b = unpaired
    await paired(a, b, services=["AuthorizeRemoteStart"])
    for side in (a, b):
        assert [peer["services"] for peer in (await side.ask("GET", "/peers"))["peers"]] == [["AuthorizeRemoteStart"]]
    assert (await pair.a.post(START, authorize_start())).code == "106"


async def test_removing_a_peer_un_pairs_both_sides(unpaired):
    pair, a, b = unpaired
    await paired(a, b)
    assert (await a.ask("DELETE", "/peers/node%20b"))["peer_error"] is None
    assert (await a.names(), await b.names()) == ([], [])
    assert (await pair.a.post(START, authorize_start())).code == "106"
    assert (await pair.b_peer.post(START, authorize_start())).status == 401


async def test_unpaired_companies_may_pair_again(unpaired):
    _, a, b = unpaired
    await paired(a, b)
    await a.ask("DELETE", "/peers/node%20b")
    await paired(a, b)
    assert await a.names() == ["node b"]


async def test_the_workers_of_a_peer_start_and_stop_with_it(unpaired):
    _, a, b = unpaired

    def workers() -> int:
        return sum(task.get_name() == "outbox of node b" for task in asyncio.all_tasks())

    counts = [workers()]
    await paired(a, b)
    counts.append(workers())
    await a.ask("DELETE", "/peers/node%20b")
    await asyncio.sleep(0)
    # Node B has one for itself.
    assert [*counts, workers()] == [1, 2, 1]


def task_names() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks()]


@pytest.mark.parametrize("name", ["session expiry", "dataset retention", "peers file", "uncertain sessions"])
async def test_no_name_of_a_peer_collides_with_a_background_job(stopped, name):
    file = stopped.folder / "b" / "peers.toml"
    file.write_text(file.read_text().replace("node a", name))
    before = asyncio.all_tasks()
    async with stopped.running("b"):
        await eventually(lambda: f"outbox of {name}" in task_names())
        names = task_names()
        assert (names.count(name), names.count(f"outbox of {name}")) == (1, 1)
    assert asyncio.all_tasks() == before


async def test_an_invitation_is_used_once(unpaired):
    pair, a, b = unpaired
    link = await paired(a, b)
    await b.ask("DELETE", "/peers/node%20a")
    thief = await attempt(pair, link, Forged(providers=["DE-THF"]))
    assert thief == (401, "this invitation is not known, or was used, or has expired")


async def test_an_expired_invitation_is_refused(unpaired):
    pair, a, _ = unpaired
    link = (await a.ask("POST", "/peers/invitations", expires_in=0.001))["link"]
    await asyncio.sleep(0.01)
    assert (await attempt(pair, link, Forged()))[0] == 401


async def test_a_wrong_token_is_refused_and_guessing_is_slowed_down(unpaired):
    pair, _, _ = unpaired
    url = f"http://127.0.0.1:{pair.ports['a']}"
    statuses = []
    for _ in range(7):
        guess = Invitation.new(url, pair.key("a").key_id).link()
        statuses.append((await attempt(pair, guess, Forged()))[0])
    assert statuses == [401] * 5 + [429] * 2


async def test_the_token_itself_is_never_sent_nor_stored(unpaired, tmp_path):
    _, a, b = unpaired
    link = await paired(a, b)
    token = Invitation.from_link(link).token.encode()
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert token not in file.read_bytes(), file


CONFLICTS = {
    "a party of the inviting node": ({"operators": ["DE*GEF"]}, '"DE*GEF" is claimed by this node itself already'),
    "the name of the inviting node": ({"name": "node a"}, '"node a" is the name of another peer already'),
    "nothing, but unreadable at the next start: no party": ({"providers": []}, "peer: names no party"),
    "nothing, but unreadable at the next start: proof": (
        {"require": ("dnssec",)},
        "expected 'signature' or 'mtls'",
    ),
}


@pytest.mark.parametrize(("changes", "reason"), CONFLICTS.values(), ids=CONFLICTS)
async def test_a_joining_node_cannot_take_a_party_or_name_of_others(unpaired, changes, reason):
    pair, a, _ = unpaired
    link = (await a.ask("POST", "/peers/invitations"))["link"]
    status, info = await attempt(pair, link, Forged(**changes))
    assert status == 409
    assert reason in info
    assert await a.names() == []
    # The invitation can still be redeemed by the company that it was meant for.
    assert (await attempt(pair, link, Forged()))[0] == 200


async def test_a_joining_node_cannot_take_the_name_of_our_own_backend(unpaired):
    pair, a, _ = unpaired
    link = (await a.ask("POST", "/peers/invitations"))["link"]
    status, info = await attempt(pair, link, Forged(name="backend emp"))
    assert (status, "expected another name" in info) == (401, True)
    assert await a.names() == []


async def test_a_paired_company_cannot_be_replaced_by_a_new_key(unpaired):
    pair, a, b = unpaired
    await paired(a, b)
    link = (await a.ask("POST", "/peers/invitations"))["link"]
    status, info = await attempt(pair, link, Forged(name="node b", providers=["DE-GDF"]))
    assert (status, "already, with another key" in info) == (409, True)
    assert (await pair.a.post(START, authorize_start())).code == "000"


async def test_an_eavesdropper_cannot_replace_the_descriptor_of_the_joining_node(unpaired):
    pair, a, _ = unpaired
    link = (await a.ask("POST", "/peers/invitations"))["link"]
    thief = Forged()

    def with_my_descriptor(body: bytes) -> bytes:
        return orjson.dumps(orjson.loads(body) | {"descriptor": orjson.loads(thief.body)})

    status, info = await attempt(pair, link, Forged(name="honest"), with_my_descriptor)
    assert (status, "not the one that was signed" in info) == (401, True)


async def test_a_link_whose_node_has_another_key_is_refused_before_anything_is_sent(unpaired):
    pair, a, b = unpaired
    link = (await a.ask("POST", "/peers/invitations"))["link"]
    other = Invitation(
        f"http://127.0.0.1:{pair.ports['a']}", PrivateKey.generate().key_id, Invitation.from_link(link).token
    )
    answer = await b.ask("POST", "/peers/join", status=502, link=other.link())
    assert "the link is of" in answer["StatusCode"]["AdditionalInfo"]
    assert await b.names() == []


ALIASES = {
    "spaces at its ends": (" Alpha ", 409, "no space at its ends"),
    "too long": ("A" * 65, 409, "1 to 64 printable characters"),
    "our own backend's": ("backend emp", 409, "expected another name"),
    "no text": (5, 400, "alias: expected text"),
}


@pytest.mark.parametrize(("alias", "status", "reason"), ALIASES.values(), ids=ALIASES)
async def test_a_name_that_no_peer_can_have_is_refused_before_anything_is_sent(unpaired, alias, status, reason):
    _, a, b = unpaired
    link = (await a.ask("POST", "/peers/invitations"))["link"]
    answer = await b.ask("POST", "/peers/join", status=status, link=link, alias=alias)
    assert reason in answer["StatusCode"]["AdditionalInfo"]
    assert (await a.names(), await b.names()) == ([], [])
    assert (await b.ask("POST", "/peers/join", link=link, alias="Alpha"))["joined"] == "Alpha"


@pytest.mark.parametrize("link", ["", "hello", "http://a.example/p2p/v1/pairings#token=x&key=y"])
def test_a_malformed_link_is_refused(link):
    with pytest.raises(ConfigurationError, match="this is no invitation"):
        Invitation.from_link(link)


def test_a_link_is_read_as_it_was_written_and_hides_its_token():
    one = Invitation.new("https://a.example/node", PrivateKey.generate().key_id)
    assert Invitation.from_link(one.link()) == one
    assert one.token not in repr(one)


async def test_a_peer_of_the_peers_file_cannot_be_removed_by_the_api(stopped):
    async with stopped.running("a"), stopped.running("b"):
        answer = await Admin(stopped, "a").ask("DELETE", "/peers/node%20b", status=409)
        assert "remove it there" in answer["StatusCode"]["AdditionalInfo"]


async def test_a_changed_peers_file_is_used_without_a_restart_and_a_broken_one_is_not(stopped):
    file = stopped.folder / "a" / "peers.toml"
    known = file.read_text()
    async with stopped.running("a"), stopped.running("b"):
        admin = Admin(stopped, "a")
        broken = "[[peer]]\nnme = 1\n"
        for text, status, names in (
            (known, 200, ["node b"]),
            ("", 200, []),
            (broken, 409, []),
            (known, 200, ["node b"]),
        ):
            file.write_text(text)
            await admin.ask("POST", "/reload", status)
            assert await admin.names() == names
        assert (await stopped.a.post(START, authorize_start())).code == "000"


async def test_a_changed_peers_file_is_reloaded_by_the_watch(stopped, monkeypatch):
    monkeypatch.setattr("p2p_oicp.peering.directory._POLL_INTERVAL_SECONDS", 0.01)
    async with stopped.running("a") as node:
        (stopped.folder / "a" / "peers.toml").write_text("")
        await eventually(lambda: len(node.registry.all()) <= 1, timeout=5)


async def test_each_delivery_to_a_peer_that_was_paired_at_run_time_has_a_process_id_of_its_own(unpaired, monkeypatch):
    (pair, a, b), process_ids, send = unpaired, [], HttpTransport.send

    async def recording(transport, request):
        if "status-records" in request.url:
            process_ids.append(request.headers["Process-ID"])
        return await send(transport, request)

    monkeypatch.setattr(HttpTransport, "send", recording)
    await paired(a, b)
    for count, status in enumerate(("Available", "Occupied"), 1):
        assert (await pair.a.post(PUSH_STATUS, push_status(X=status))).code == "000"
        await eventually(lambda expected=count: len(process_ids) >= expected)
    assert len(set(process_ids)) == len(process_ids) >= 2
