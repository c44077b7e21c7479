"""The client of peers: what is sent a second time, what is not, and what is to be recorded."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web

from p2p_oicp.client import AuthenticatedPeerClient, HttpResponse, read_reply
from p2p_oicp.client.transport import UnknownServerCertificate
from p2p_oicp.clock import SystemClock, UuidGenerator
from p2p_oicp.crypto import NoOpSigner
from p2p_oicp.errors import PeerError, PeerRejected, PeerTimeout, PeerUnauthorized, UnknownKey, VerificationError
from p2p_oicp.oicp import OperatorID, ProviderID
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.peers import Peer
from tests.support.messages import UNKNOWN_SESSION
from tests.unit.client.conftest import AUTHORIZE_START, BODY, NOT_AUTHORIZED

PULL = OPERATION_BY_NAME["PullEvseStatus"]
JSON = {"Content-Type": "application/json"}


class Refresher:
    """Counts the refreshes; ``result`` is returned by each, or raised, or never comes (None)."""

    def __init__(self, result: bool | None = True) -> None:  # noqa: FBT001, FBT002 - it is what refresh returns
        self.result, self.names = result, []

    async def refresh(self, name: str) -> bool:
        self.names.append(name)
        if self.result is None:
            await asyncio.Event().wait()
        return self.result


class Transport:
    """Responds to each request with the next of ``responses``, or raises it."""

    def __init__(self, *responses: HttpResponse | PeerError) -> None:
        self.responses, self.requests = list(responses), []

    async def send(self, request) -> HttpResponse:
        self.requests.append(request)
        response = self.responses.pop(0)
        if isinstance(response, Exception):
            raise response
        return response


class Signer:
    """Signs everything; verifies a response unless one of ``failures`` is left."""

    def __init__(self, *failures: VerificationError) -> None:
        self.failures, self.signed, self.verified = list(failures), 0, 0

    def sign(self, **_parts):
        self.signed += 1
        return {"Signature": str(self.signed)}

    def verify_response(self, *, response, **_parts) -> None:
        self.verified += 1
        if self.failures and response.status in {200, 401}:
            raise self.failures.pop(0)


class Tls:
    def client_context_for(self, _peer):
        raise AssertionError("no test speaks https")


def client_with(transport, *, signer=None, refresher=None, local=None) -> AuthenticatedPeerClient:
    return AuthenticatedPeerClient(
        transport,
        signer=signer or NoOpSigner(),
        tls=Tls(),
        key_refresher=refresher or Refresher(),
        ids=UuidGenerator(),
        clock=SystemClock(),
        local=local,
    )


def peer_at(url: str = "http://b.example", **changes) -> Peer:
    return Peer("peer B", url, **{"providers": (ProviderID("DE-GDF"),), **changes})


def answer(body: bytes = NOT_AUTHORIZED, status: int = 200, **headers) -> HttpResponse:
    return HttpResponse("peer B", status, JSON | headers, body, body)


UNKNOWN = UnknownKey("key x is not known")
UNSIGNED = VerificationError("no signature-input header")
CERTIFICATE = UnknownServerCertificate("peer B", "its certificate is not accepted")

RESENDS = {
    # what is received, what fails to verify: how often sent, how often verified
    "all is well": ([answer()], [], 1, 1),
    "the response is signed with a new key": ([answer()], [UNKNOWN], 1, 2),
    "the server has a new certificate": ([CERTIFICATE, answer()], [], 2, 1),
    "our credentials are refused": ([answer(b"", 401), answer()], [UNSIGNED], 2, 2),
}


@pytest.mark.parametrize(("responses", "failures", "sent", "verified"), RESENDS.values(), ids=RESENDS)
async def test_a_request_is_sent_again_only_if_it_was_not_processed(responses, failures, sent, verified):
    transport, signer, refresher = Transport(*responses), Signer(*failures), Refresher()
    client = client_with(transport, signer=signer, refresher=refresher)
    reply = await client.call(peer_at(), AUTHORIZE_START, "DE*GEF", BODY, deadline=5)
    assert reply.body == NOT_AUTHORIZED
    assert (len(transport.requests), signer.verified) == (sent, verified)
    assert refresher.names == ["peer B"] * (len(responses) + len(failures) > 1)
    assert len({request.headers["Signature"] for request in transport.requests}) == sent  # each has its own nonce


TWICE = {
    "the key stays unknown": ([answer()], [UNKNOWN, UNKNOWN], PeerError, 1),
    "the certificate stays unknown": ([CERTIFICATE, CERTIFICATE], [], UnknownServerCertificate, 2),
    "our credentials stay refused": ([answer(b"", 401)] * 2, [UNSIGNED, UNSIGNED], PeerUnauthorized, 2),
    "the second request is not answered": ([CERTIFICATE, PeerTimeout("peer B", "late")], [], PeerTimeout, 2),
}


@pytest.mark.parametrize(("responses", "failures", "error", "sent"), TWICE.values(), ids=TWICE)
async def test_a_request_is_sent_twice_at_most(responses, failures, error, sent):
    transport, refresher = Transport(*responses), Refresher()
    client = client_with(transport, signer=Signer(*failures), refresher=refresher)
    with pytest.raises(error):
        await client.call(peer_at(), AUTHORIZE_START, "DE*GEF", BODY, deadline=5)
    assert (len(transport.requests), len(refresher.names)) == (sent, 1)


@pytest.mark.parametrize("result", [False, None], ids=["no new keys", "not within the deadline"])
async def test_without_fresh_keys_the_first_failure_stands(result):
    transport = Transport(answer(b"", 401))
    client = client_with(transport, signer=Signer(UNSIGNED), refresher=Refresher(result))
    with pytest.raises(PeerUnauthorized):
        await client.call(peer_at(), AUTHORIZE_START, "DE*GEF", BODY, deadline=0.1)
    assert len(transport.requests) == 1


async def test_a_signed_exchange_is_returned_to_be_recorded():
    body = json.dumps({**json.loads(BODY), "SessionID": UNKNOWN_SESSION}).encode()
    client = client_with(Transport(answer(b"", 401), answer()), signer=Signer(UNSIGNED))
    prepared = (await client.call(peer_at(), AUTHORIZE_START, "DE*GEF", body, deadline=5)).exchange
    assert (prepared.session_id, prepared.exchange.peer, prepared.exchange.sent_by_us) == (
        UNKNOWN_SESSION,
        "peer B",
        True,
    )
    assert prepared.exchange.request.headers["Signature"] == "2"  # the one that was answered
    assert prepared.exchange.response.body == NOT_AUTHORIZED


async def test_a_signed_refusal_is_returned_to_be_recorded_as_well():
    body = json.dumps({**json.loads(BODY), "SessionID": UNKNOWN_SESSION}).encode()
    client = client_with(Transport(answer(b'{"StatusCode":{"Code":"300"}}', 404)), signer=Signer())
    with pytest.raises(PeerRejected) as caught:
        await client.call(peer_at(), AUTHORIZE_START, "DE*GEF", body, deadline=5)
    assert caught.value.exchange.session_id == UNKNOWN_SESSION


UNRECORDED = {
    "nothing is signed": (NoOpSigner(), AUTHORIZE_START, UNKNOWN_SESSION),
    "no session": (Signer(), AUTHORIZE_START, None),
    "an operation that costs nothing": (Signer(), PULL, UNKNOWN_SESSION),
}


@pytest.mark.parametrize(("signer", "operation", "session"), UNRECORDED.values(), ids=UNRECORDED)
async def test_other_exchanges_are_not_recorded(signer, operation, session):
    body = json.dumps({**json.loads(BODY), "SessionID": session}).encode()
    acknowledged = answer(b'{"Result":false,"StatusCode":{"Code":"300"}}')
    client = client_with(Transport(acknowledged), signer=signer)
    assert (await client.call(peer_at(), operation, "DE*GEF", body, deadline=5)).exchange is None


async def test_requests_to_this_node_itself_stay_in_the_process():
    class Local:
        async def call(self, _peer, operation, *_message, **_options):
            return read_reply(answer(), operation, now=0.0)

    client = client_with(Transport(), local=Local())
    reply = await client.call(peer_at(is_self=True), AUTHORIZE_START, "DE*GEF", BODY, deadline=5)
    assert reply.body == NOT_AUTHORIZED


async def test_a_request_names_some_of_the_parties_that_it_is_for():
    operators = tuple(OperatorID(f"DE*AA{n}") for n in range(5))
    transport = Transport(answer(), answer())
    client = client_with(transport)
    for peer in (peer_at(operators=operators), peer_at(operators=operators[:1])):
        await client.call(peer, AUTHORIZE_START, "DE*GEF", BODY, deadline=5)
    assert [request.headers["P2P-Recipient"] for request in transport.requests] == [
        "DE*AA0, DE*AA1, DE*AA2, DE-GDF",
        "DE*AA0, DE-GDF",
    ]


def answering(**response):
    async def respond(_request: web.Request) -> web.Response:
        return web.Response(**{"content_type": "application/json", **response})

    return respond


async def test_plain_json_is_posted_and_its_statuses_are_typed_the_same(transport, peer):
    client, other = client_with(transport), peer_at(f"{peer.url}api/oicp")
    peer.handler = answering(body=b'{"name": "B"}')
    assert await client.request(other, "POST", "/p2p/v1/hello", b"{}", deadline=5) == (200, b'{"name": "B"}')
    assert (peer.requests[0].path, peer.bodies) == ("/p2p/v1/hello", [b"{}"])
    peer.handler = answering(status=204)
    assert await client.request(other, "POST", "/p2p/v1/hello", b"{}", deadline=5) == (204, b"")
    peer.handler = answering(status=404)
    with pytest.raises(PeerRejected, match=r"^peer B: HTTP 404"):
        await client.request(other, "POST", "/p2p/v1/hello", b"{}", deadline=5)
