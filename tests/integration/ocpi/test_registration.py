"""Registration with a foreign OCPI platform, both ways (credentials, 7.1): tokens A, B and C, and what fits when."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from tests.support import database
from tests.support.ocpi_platform import Platform, envelope, lab_with
from tests.support.waiting import eventually


@pytest.fixture
async def lab(tmp_path):
    async with lab_with(tmp_path) as lab:
        yield lab


@pytest.fixture
async def node(lab):
    async with lab.running() as node:
        yield node


def credentials_url(lab) -> str:
    return f"{lab.url}/2.2.1/credentials"


async def opens(lab, token: str, path: str = "2.2.1/credentials") -> bool:
    return (await lab.platform.call("GET", f"{lab.url}/{path}", token)).status == 200


# We are the receiver


@pytest.mark.usefixtures("node")
async def test_an_invited_platform_registers_and_both_have_tokens(lab):
    answer = await lab.platform.register(await lab.invite())
    assert (answer.status, answer.code) == (200, 1000)
    assert answer.data["url"] == f"{lab.url}/versions"
    assert [role["role"] for role in answer.data["roles"]] == ["EMSP"]
    partner = await lab.partner_state()
    assert (partner["state"], partner["version"], partner["missing"]) == ("registered", "2.2.1", [])
    assert await opens(lab, answer.data["token"])


@pytest.mark.usefixtures("node")
async def test_an_invitation_opens_versions_and_details_and_nothing_else(lab):
    token = (await lab.invite())["token"]
    statuses = {
        path: (await lab.platform.call("GET", f"{lab.url}/{path}", token)).status
        for path in ("versions", "2.2.1", "2.2.1/credentials", "2.2.1/emsp/locations/DE/GEF/1")
    }
    assert list(statuses.values()) == [200, 200, 401, 401]


@pytest.mark.usefixtures("node")
async def test_a_spent_invitation_is_answered_with_405_and_opens_nothing(lab):
    invitation = await lab.invite()
    await lab.platform.register(invitation)
    again = await lab.platform.register(invitation)
    assert (again.status, again.code) == (405, 2000)
    assert not await opens(lab, invitation["token"], "versions")


@pytest.mark.usefixtures("node")
async def test_a_registered_platform_that_posts_again_is_answered_with_405(lab):
    token = await lab.register_partner()
    body = lab.platform.credentials(lab.platform.new_token())
    assert (await lab.platform.call("POST", credentials_url(lab), token, body)).status == 405


@pytest.mark.usefixtures("node")
async def test_a_second_invitation_ends_the_first_and_its_time_ends_it_too(lab):
    first = await lab.invite()
    second = (await lab.admin("POST", "partners/citrine/invitation", {"ttl": 0.05}))[1]
    assert not await opens(lab, first["token"], "versions")
    await eventually(lambda: _is_refused(lab, second["token"]))


async def _is_refused(lab, token: str) -> bool:
    return not await opens(lab, token, "versions")


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize(
    ("changes", "status", "code", "words"),
    [
        pytest.param({"party_id": "XXX"}, 200, 2001, "DE GEF is expected", id="another party"),
        pytest.param({"role": "EMSP"}, 200, 2001, "CPO DE GEF is expected", id="another role"),
        pytest.param({"versions": ("2.1.1",)}, 200, 3002, "2.1.1", id="no common version"),
        pytest.param({"modules": (("cdrs", "SENDER"),)}, 200, 3003, "locations SENDER", id="no module that is needed"),
    ],
)
async def test_a_platform_that_does_not_fit_learns_why_and_stays_invited(lab, changes, status, code, words):
    for name, value in changes.items():
        setattr(lab.platform, name, value)
    answer = await lab.platform.register(await lab.invite())
    assert (answer.status, answer.code) == (status, code)
    assert words in answer.json["status_message"]
    assert (await lab.partner_state())["state"] == "invited"


@pytest.mark.usefixtures("node")
async def test_a_platform_whose_versions_we_cannot_read_learns_it_and_may_try_again(lab):
    invitation = await lab.invite()
    lab.platform.answers["GET", "/ocpi/versions"] = lambda _: web.Response(status=500)
    assert (await lab.platform.register(invitation)).code == 3001
    lab.platform.answers.clear()
    assert (await lab.platform.register(invitation)).code == 1000


@pytest.mark.usefixtures("node")
async def test_of_what_a_platform_lacks_only_functions_are_disabled(lab):
    lab.platform.modules = (("locations", "SENDER"), ("cdrs", "SENDER"))
    await lab.register_partner()
    assert (await lab.partner_state())["missing"] == [
        *("sessions SENDER", "tariffs SENDER", "tokens RECEIVER", "commands RECEIVER", "chargingprofiles RECEIVER"),
    ]


@pytest.mark.usefixtures("node")
async def test_a_platform_that_writes_all_in_lower_case_is_the_same_party(lab):
    lab.platform.lower_case = True
    await lab.register_partner()
    assert (await lab.partner_state())["state"] == "registered"


@pytest.mark.usefixtures("node")
async def test_a_platform_exchanges_tokens_and_the_old_one_ends_when_the_new_one_is_used(lab):
    old = await lab.register_partner()
    body = lab.platform.credentials(lab.platform.new_token())
    answer = await lab.platform.call("PUT", credentials_url(lab), old, body)
    new = answer.data["token"]
    assert await opens(lab, old)
    assert await opens(lab, new)
    # Registration does not end it: a platform may look at our versions before it has taken the new token.
    assert await opens(lab, old)
    await lab.platform.call("GET", f"{lab.url}/2.2.1/emsp/locations/DE/GEF/1", new)
    assert not await opens(lab, old)


@pytest.mark.usefixtures("node")
async def test_an_exchange_whose_answer_was_lost_can_be_repeated_with_the_old_token(lab):
    old = await lab.register_partner()
    first = await lab.platform.call(
        "PUT", credentials_url(lab), old, lab.platform.credentials(lab.platform.new_token())
    )
    body = lab.platform.credentials(lab.platform.new_token())
    second = await lab.platform.call("PUT", credentials_url(lab), old, body)
    assert second.code == 1000
    assert not await opens(lab, first.data["token"])
    assert await opens(lab, second.data["token"])


@pytest.mark.usefixtures("node")
async def test_a_platform_unregisters_and_is_unknown_from_then_on(lab):
    token = await lab.register_partner()
    assert (await lab.platform.call("DELETE", credentials_url(lab), token)).code == 1000
    assert (await lab.partner_state())["state"] == "none"
    assert not await opens(lab, token)


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize("verb", ["PUT", "DELETE"])
async def test_what_only_a_registered_platform_may_do_is_405(lab, verb):
    token = (await lab.invite())["token"]
    body = lab.platform.credentials("token-of-the-platform") if verb == "PUT" else None
    assert (await lab.platform.call(verb, credentials_url(lab), token, body)).status == 405


@pytest.mark.usefixtures("node")
async def test_two_registrations_at_once_make_one_partner(lab):
    invitation = await lab.invite()
    answers = await asyncio.gather(*(lab.platform.register(invitation) for _ in range(5)))
    assert [answer.code for answer in answers].count(1000) == 1
    assert {answer.status for answer in answers} <= {200, 405, 503}


# We are the sender


@pytest.mark.usefixtures("node")
async def test_a_node_registers_with_a_platform_that_calls_back_meanwhile(lab):
    status, answer = await lab.admin("POST", "partners/citrine/registration", {"token": lab.platform.new_token()})
    assert (status, answer["version"]) == (200, "2.2.1")
    assert lab.platform.peer["url"] == f"{lab.url}/versions"
    assert (await lab.partner_state())["state"] == "registered"
    assert await opens(lab, lab.platform.peer["token"])


@pytest.mark.usefixtures("node")
async def test_a_registration_that_is_refused_leaves_our_token_valid_for_an_hour_and_can_be_repeated(lab):
    path = "/ocpi/2.2.1/credentials"
    lab.platform.answers["POST", path] = lambda _: web.json_response(envelope(code=2000, message="not today"))
    status, answer = await lab.admin("POST", "partners/citrine/registration", {"token": lab.platform.new_token()})
    assert (status, "not today" in str(answer)) == (409, True)
    assert (await lab.partner_state())["state"] == "registering"
    sent = lab.platform.sent("POST", path)[-1]["json"]["token"]
    assert await opens(lab, sent, "versions")
    assert not await opens(lab, sent, "2.2.1/emsp/locations/DE/GEF/1")
    lab.platform.answers.clear()
    status, _ = await lab.admin("POST", "partners/citrine/registration", {"token": lab.platform.new_token()})
    assert status == 200


@pytest.mark.usefixtures("node")
async def test_a_refresh_exchanges_both_tokens_and_the_platform_may_use_the_old_one_until_it_has_the_new(lab):
    old = await lab.register_partner()
    assert (await lab.admin("POST", "partners/citrine/refresh"))[0] == 200
    assert lab.platform.peer["token"] != old
    assert await opens(lab, old)
    assert await opens(lab, lab.platform.peer["token"])


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize(
    ("answer", "new_is_valid"),
    [
        pytest.param(lambda _: web.json_response(envelope(code=3000)), False, id="refused: it has not got the new one"),
        pytest.param(lambda _: web.Response(status=502), True, id="no answer: it may have got it"),
    ],
)
async def test_a_refresh_that_fails_locks_nobody_out(lab, answer, new_is_valid):
    old = await lab.register_partner()
    lab.platform.answers["PUT", "/ocpi/2.2.1/credentials"] = answer
    assert (await lab.admin("POST", "partners/citrine/refresh"))[0] in {409, 502}
    sent = lab.platform.sent("PUT", "/ocpi/2.2.1/credentials")[-1]["json"]["token"]
    assert await opens(lab, old)
    assert await opens(lab, sent) is new_is_valid
    lab.platform.answers.clear()
    assert (await lab.admin("POST", "partners/citrine/refresh"))[0] == 200


@pytest.mark.parametrize("is_done_there", [False, True], ids=["not done there", "done there, the answer is lost"])
async def test_a_refresh_that_is_broken_off_can_be_repeated_or_says_what_to_do(lab, node, is_done_there):
    old, given = await lab.register_partner(), set(lab.platform.own_tokens)
    lab.platform.hold = asyncio.Event()
    refresh = asyncio.ensure_future(node._ocpi.registrar.refresh("citrine"))
    await eventually(lambda: lab.platform.sent("PUT", "/ocpi/2.2.1/credentials"))
    refresh.cancel()
    lab.platform.hold.set()
    await eventually(lambda: lab.platform.own_tokens != given)
    if not is_done_there:
        lab.platform.own_tokens = given
    assert await opens(lab, old)
    assert await opens(lab, lab.platform.peer["token"])
    status, answer = await lab.admin("POST", "partners/citrine/refresh")
    assert status == (409 if is_done_there else 200)
    assert ("register anew" in str(answer)) is is_done_there


async def test_a_registration_that_is_broken_off_can_be_repeated_with_another_invitation(lab, node):
    lab.platform.hold = asyncio.Event()
    register = asyncio.ensure_future(node._ocpi.registrar.register("citrine", lab.platform.new_token()))
    await eventually(lambda: lab.platform.sent("POST", "/ocpi/2.2.1/credentials"))
    register.cancel()
    lab.platform.hold.set()
    await eventually(lambda: lab.platform.peer)
    assert (await lab.partner_state())["state"] == "registering"
    body = {"token": lab.platform.new_token()}
    status, answer = await lab.admin("POST", "partners/citrine/registration", body)
    assert (status, "invite us anew" in str(answer)) == (409, True)
    lab.platform.peer = None
    body = {"token": lab.platform.new_token()}
    assert (await lab.admin("POST", "partners/citrine/registration", body))[0] == 200


@pytest.mark.usefixtures("node")
async def test_our_side_ends_even_if_the_platform_does_not_answer(lab):
    token = await lab.register_partner()
    lab.platform.answers["DELETE", "/ocpi/2.2.1/credentials"] = lambda _: web.Response(status=503)
    status, answer = await lab.admin("DELETE", "partners/citrine/registration")
    assert (status, "503" in answer["error"]) == (200, True)
    assert not await opens(lab, token)
    assert (await lab.admin("DELETE", "partners/citrine/registration"))[0] == 200


@pytest.mark.usefixtures("node")
async def test_tokens_that_were_provisioned_by_hand_are_taken_and_no_credentials_are_sent(lab):
    body = {"token": lab.platform.new_token(), "provisioned": True, "own_token": "the-token-of-the-platform"}
    status, answer = await lab.admin("POST", "partners/citrine/registration", body)
    assert (status, "token" in answer) == (200, False)
    assert lab.platform.sent("POST", "/ocpi/2.2.1/credentials") == []
    assert await opens(lab, "the-token-of-the-platform")
    assert (await lab.partner_state())["provisioned"] is True


@pytest.mark.usefixtures("node")
async def test_without_a_token_of_the_platform_one_is_made_and_shown_once(lab):
    body = {"token": lab.platform.new_token(), "provisioned": True}
    _, answer = await lab.admin("POST", "partners/citrine/registration", body)
    assert await opens(lab, answer["token"])
    assert answer["token"] not in str(await lab.admin("GET", "partners"))


# What is stored


async def test_a_registration_outlives_a_restart(lab):
    async with lab.running():
        token = await lab.register_partner()
    async with lab.running():
        assert await opens(lab, token)
        assert (await lab.admin("POST", "partners/citrine/refresh"))[0] == 200


async def test_no_token_stands_in_the_database_and_the_key_is_for_its_owner_only(lab):
    async with lab.running():
        token = await lab.register_partner()
        given = next(iter(lab.platform.own_tokens))
    rows = database.execute(lab.folder / "data" / "node.sqlite3", "SELECT * FROM ocpi_partners", ())
    assert token.encode() not in repr(rows).encode()
    assert given not in repr(rows)
    key = lab.folder / "keys" / "ocpi.key"
    assert (key.stat().st_mode & 0o777, len(key.read_bytes())) == (0o600, 32)


async def test_with_another_key_a_partner_has_to_be_registered_anew(lab):
    async with lab.running():
        await lab.register_partner()
    (lab.folder / "keys" / "ocpi.key").write_bytes(bytes(32))
    async with lab.running():
        status, answer = await lab.admin("POST", "partners/citrine/refresh")
        assert (status, "keys/ocpi.key" in str(answer)) == (409, True)


# Who we are


async def test_a_platform_learns_of_a_peer_that_comes(tmp_path):
    async with lab_with(tmp_path) as lab, lab.running():
        await lab.register_partner()
        peers = lab.folder / "peers.toml"
        peers.write_text('[[peer]]\nname = "Drivers"\nurl = "http://127.0.0.1:1"\nproviders = ["DE-DCB"]\n')
        puts = await eventually(lambda: lab.platform.sent("PUT", "/ocpi/2.2.1/credentials"), timeout=30)
    roles = puts[-1]["json"]["roles"]
    assert [(role["party_id"], role["business_details"]["name"]) for role in roles] == [
        ("DCB", "Drivers"),
        ("GDF", "Node A"),
    ]


async def test_a_platform_with_a_fixed_list_hears_of_no_other_peer(tmp_path):
    async with lab_with(tmp_path, partner='as = ["DE-DCB"]\n') as lab, lab.running():
        answer = await lab.platform.register(await lab.invite())
    assert [role["party_id"] for role in answer.data["roles"]] == ["DCB"]


async def test_a_platform_may_be_an_emsp_as_well(tmp_path):
    modules = (("cdrs", "RECEIVER"), ("tokens", "SENDER"))
    app = Platform(role="EMSP", party_id="GDF", modules=modules)
    async with lab_with(tmp_path, app) as lab:
        text = lab.config.read_text().replace('"cpo"', '"emsp"').replace('["DE*GEF"]\nhotline', '["DE-GDF"]\nhotline')
        lab.config.write_text(text)
        async with lab.running():
            answer = await app.register(await lab.invite())
            details = await app.call("GET", f"{lab.url}/2.2.1", answer.data["token"])
    assert [role["role"] for role in answer.data["roles"]] == ["CPO"]
    assert ("locations", "SENDER") in {(each["identifier"], each["role"]) for each in details.data["endpoints"]}
