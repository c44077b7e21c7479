"""Hello: a node that has started, or has new keys, tells its peers, so that they send at once what waits for it.

``POST /p2p/v1/hello`` names the node and its parties, and carries the store epochs (`StoreEpochs`); the response
has the same members. This is the client's side, and what both sides read.

A hello with ``"call_back": true`` has the other node send its own hello before it answers; ``call_back`` of the answer
says how that went. So one request proves both directions (`HelloClient.check`).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
import structlog

from p2p_oicp.client import AuthenticatedPeerClient
from p2p_oicp.clock import Clock
from p2p_oicp.delivery.channel_log import ChannelLog
from p2p_oicp.delivery.store_epochs import StoreEpochs
from p2p_oicp.delivery.wakeup import ExponentialBackoff, WakeupRegistry
from p2p_oicp.errors import FailureCause, PeerError, PeerProtocolError, PeerRejected, PeerUnauthorized, StoreError
from p2p_oicp.oicp import OperatorID, ProviderID
from p2p_oicp.peering.agreements import PartyAgreements
from p2p_oicp.peers import Peer
from p2p_oicp.storage import Store, Transaction, job_keys, peer_state
from p2p_oicp.storage.peer_state import Destination

log = structlog.get_logger(__name__)

HELLO_PATH = "/p2p/v1/hello"
#: From one hello to the next. A peer that nothing is sent to is known to be unreachable after that time at the latest.
HELLO_INTERVAL_SECONDS = 300.0
#: The member by which a hello has the other side call back, and by which the answer says how that went.
CALL_BACK = "call_back"
_TIMEOUT_SECONDS = 5.0
# The other side's own hello has its time within ours.
_CHECK_TIMEOUT_SECONDS = 12.0
# A peer may ask for it as often as it likes: it is called once in this time, and all that ask share the outcome.
_CALL_BACK_REUSE_SECONDS = 5.0
_MISSING_PATH_STATUSES = frozenset({404, 405, 501})


class CallBack(NamedTuple):
    """How a peer's hello to this node went, as the peer says.

    Attributes:
        url: the URL that it has of this node.
        cause: why it failed (`FailureCause`); empty: this node has answered.
        error: in the peer's words.
    """

    url: str
    cause: str
    error: str


class HelloCheck(NamedTuple):
    """A hello in both directions.

    Attributes:
        error: why ours failed; None: the peer has answered, and both sides are authenticated.
        call_back: the peer's; None: it does not say.
        extensions: what its node offers.
    """

    error: PeerError | None
    call_back: CallBack | None
    extensions: frozenset[str] = frozenset()


class HelloClient:
    """Sends hello to peers.

    Args:
        local_peer: this node's own company, which hello names.
        client: signs the request.
        store_epochs: what is sent of our databases, and received of the peer's.
        wakeups: wakes the replicators of a peer whose database was replaced.
        backoff: how long to wait after failures.
        agreements: which parties both sides have agreed to.
        store: has how hello to each peer goes.
        clock: the time of that.
    """

    def __init__(
        self,
        local_peer: Peer,
        *,
        client: AuthenticatedPeerClient,
        store_epochs: StoreEpochs,
        wakeups: WakeupRegistry,
        backoff: ExponentialBackoff,
        agreements: PartyAgreements,
        store: Store,
        clock: Clock,
    ) -> None:
        self._client = client
        self._store = store
        self._clock = clock
        self._store_epochs = store_epochs
        self._wakeups = wakeups
        self._backoff = backoff
        self._agreements = agreements
        self._identity_members = identity_members(local_peer)
        self._our_parties = local_peer.parties
        self._called_back: dict[str, tuple[float, dict[str, object]]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def check(self, peer: Peer) -> HelloCheck:
        """Send hello, and have the peer send its own."""
        response: dict[str, Any] = {}
        try:
            response = await self._request(peer, _CHECK_TIMEOUT_SECONDS, {CALL_BACK: True})
            self._check_known(peer, response)
        except PeerError as error:
            return HelloCheck(error, _parse_call_back(response), _parse_extensions(response))
        return HelloCheck(None, _parse_call_back(response), _parse_extensions(response))

    async def call_back(self, peer: Peer) -> dict[str, object]:
        """Send hello to a peer that asks for it; return what it is told of the outcome."""
        async with self._locks.setdefault(peer.id, asyncio.Lock()):
            called_at, outcome = self._called_back.get(peer.id, (-math.inf, {}))
            if self._clock.monotonic() - called_at >= _CALL_BACK_REUSE_SECONDS:
                error = await self._failure_of(peer)
                outcome = {"url": peer.url, "cause": error and error.cause, "error": error and error.reason}
                self._called_back[peer.id] = (self._clock.monotonic(), outcome)
        return outcome

    async def _failure_of(self, peer: Peer) -> PeerError | None:
        try:
            await self._send(peer)
        except PeerError as error:
            return error
        return None

    async def send_once(self, peer: Peer) -> None:
        """Send hello; a failure is logged."""
        try:
            await self._send(peer)
        except PeerError as error:
            log.info("hello.failed", peer=peer.name, reason=error.reason)

    async def keep_sending(self, peer: Peer) -> None:
        """Send hello to a node again and again, so that it is known at any time whether it can be reached.

        A peer that is no node of ours (it has no such path) is left alone.
        """
        if not peer.is_node:
            return
        wakeup = self._wakeups.register(Destination(peer.id, peer_state.HELLO))
        failures = 0
        channel_log = ChannelLog(log.bind(peer=peer.name, channel=peer_state.HELLO), self._clock)
        while True:
            try:
                await self._send(peer)
                channel_log.record_success()
                await self._record(wakeup.destination, 0, None)
                failures, delay = 0, HELLO_INTERVAL_SECONDS
            except StoreError as error:
                log.warning("hello.not_recorded", peer=peer.name, error=error)
                delay = self._backoff.delay(failures) if failures else HELLO_INTERVAL_SECONDS
            except PeerError as error:
                if isinstance(error, PeerRejected) and error.http_status in _MISSING_PATH_STATUSES:
                    log.info("hello.rejected", peer=peer.name, reason=error.reason)
                    await self._record(wakeup.destination, 0, None)
                    return
                failures += 1
                delay = self._backoff.delay(failures)
                channel_log.record_failure(error, next_try_in=delay)
                await self._record(wakeup.destination, failures, error, delay)
            await wakeup.wait(delay, idle=not failures)

    async def _record(
        self, destination: Destination, failures: int, error: PeerError | None, delay: float = 0.0
    ) -> None:
        """Store how hello goes, and in how many seconds it is tried again; it is shown, and decides nothing."""
        now = self._clock.time()

        def job(tx: Transaction) -> None:
            if error is None:
                peer_state.mark_success(tx, destination, now)
            else:
                peer_state.mark_failure(tx, destination, failures, now + delay, error, now=now)

        try:
            await self._store.write(job, about=(job_keys.destination(destination.peer),))
        except StoreError as store_error:
            log.warning("hello.not_recorded", error=store_error)

    async def _send(self, peer: Peer) -> None:
        self._check_known(peer, await self._request(peer, _TIMEOUT_SECONDS, {}))

    async def _request(self, peer: Peer, deadline: float, members: Mapping[str, object]) -> dict[str, Any]:
        agreed = self._agreements.hello_members(peer)
        hello = orjson.dumps({**self._identity_members, **self._store_epochs.hello_members(), **agreed, **members})
        _, body = await self._client.request(peer, "POST", HELLO_PATH, hello, deadline=deadline)
        try:
            response = parse_hello(body)
        except ValueError as error:
            raise PeerProtocolError(peer.name, f"the response to hello is none: {error}") from error
        # Another node may have the peer's address by now: its epoch is not the peer's.
        named = parties_of(response)
        if any(peer.handles_party(party) for party in named):
            self._agreements.record_hello(peer, response, named)
            await self._store_epochs.record_hello(peer, response, self._wakeups)
        return response

    def _check_known(self, peer: Peer, response: Mapping[str, Any]) -> None:
        """Raise PeerUnauthorized if the peer does not know this node, or has not agreed to all of its parties."""
        unagreed = self._agreements.unagreed.get(peer.id, {})
        unknown = [party.text for party in self._our_parties if party.key in unagreed]
        if response.get("known") is False:
            unknown = [party.text for party in self._our_parties]
        if unknown:
            reason = f"does not know {', '.join(unknown)} as ours"
            raise PeerUnauthorized(peer.name, reason).because_of(FailureCause.PARTY_REFUSED)


def identity_members(local_peer: Peer) -> dict[str, object]:
    """Return the members by which this node names itself."""
    return {
        "name": local_peer.name,
        "operators": [party.text for party in local_peer.operators],
        "providers": [party.text for party in local_peer.providers],
    }


def _parse_call_back(response: Mapping[str, Any]) -> CallBack | None:
    outcome = response.get(CALL_BACK)
    if not isinstance(outcome, Mapping):
        return None
    return CallBack(*(str(outcome.get(name) or "") for name in CallBack._fields))


def _parse_extensions(response: Mapping[str, Any]) -> frozenset[str]:
    names = response.get("extensions")
    return frozenset(map(str, names)) if isinstance(names, list) else frozenset()


def parse_hello(body: bytes) -> dict[str, Any]:
    """Return the members of a hello, or of its response; raise ValueError."""
    hello = orjson.loads(body)
    if not isinstance(hello, dict):
        raise ValueError("it is no object")  # noqa: TRY004 - one kind of error for whatever is wrong with the text
    parties_of(hello)
    return hello


def parties_of(hello: Mapping[str, Any]) -> list[OperatorID | ProviderID]:
    """Return the parties that a hello names; raise ValueError."""
    try:
        operators = [OperatorID(str(text)) for text in hello.get("operators", ())]
        return [*operators, *(ProviderID(str(text)) for text in hello.get("providers", ()))]
    except TypeError as error:
        raise ValueError(str(error)) from error
