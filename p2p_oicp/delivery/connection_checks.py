"""Active checks of the way to a peer and back, for ``p2p-oicp doctor`` and at the end of ``peers join``.

For each peer, in this order: a connection (TLS chain, host name), hello in both directions (each node authenticates the
other), the clocks, and a body of 900 kB. What cannot be tried because of an earlier failure is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from p2p_oicp.client import check_connection
from p2p_oicp.client.peer_client import PeerTlsContexts
from p2p_oicp.clock import Clock, format_timestamp
from p2p_oicp.config.base import is_loopback
from p2p_oicp.delivery.health import LiveCalls
from p2p_oicp.delivery.health_texts import Condition, explain, explain_call_back
from p2p_oicp.delivery.hello import CallBack, HelloCheck, HelloClient
from p2p_oicp.delivery.node_protocol import NodeClient
from p2p_oicp.errors import PeerBusy, PeerError
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.peers.models import PROBE_EXTENSION
from p2p_oicp.peers.registry import SecurityPolicy

CONNECTION_TIMEOUT_SECONDS = 5.0
#: What batches of datasets may have at most (`delivery.change_batches`).
PROBE_BYTES = 900_000
_NOTABLE_CLOCK_SKEW_SECONDS, _MAX_CLOCK_SKEW_SECONDS = 60.0, 300.0
_CERTIFICATE_NOTICE_SECONDS = 14 * 86_400.0
_RECENT_SECONDS = 60.0


class Outcome(StrEnum):
    """What became of a check."""

    OK = "ok"
    FAILED = "failed"
    NOTICE = "notice"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One check, for people: of whom, what was found, what to do, and the error in the words of whoever gave it."""

    check: str
    name: str
    outcome: Outcome
    text: str
    cure: str = ""
    error: str = ""

    def to_json(self) -> dict[str, str]:
        """Return the result as a JSON object."""
        return {name: str(getattr(self, name)) for name in ("check", "name", "outcome", "text", "cure", "error")}


class PeerChecks:
    """Tries the way to peers, and back.

    Args:
        local_peer: this node's own entry.
        registry: what came of each peer.
        hello: is sent, and has the peer send its own.
        nodes: sends the probe.
        tls: the contexts in which peers are called.
        policy: which credentials each peer needs.
        live: the clocks.
        clock: the time.
    """

    def __init__(
        self,
        local_peer: Peer,
        *,
        registry: PeerRegistry,
        hello: HelloClient,
        nodes: NodeClient,
        tls: PeerTlsContexts,
        policy: SecurityPolicy,
        live: LiveCalls,
        clock: Clock,
    ) -> None:
        self._local_peer = local_peer
        self._registry = registry
        self._hello = hello
        self._nodes = nodes
        self._tls = tls
        self._policy = policy
        self._live = live
        self._clock = clock

    async def check(self, peer: Peer) -> list[CheckResult]:
        """Try everything with one peer."""
        context = self._tls.client_context_for(peer) if peer.url.startswith("https:") else None
        try:
            ends_at = await check_connection(peer.url, peer.name, context, CONNECTION_TIMEOUT_SECONDS)
        except PeerError as error:
            return [failed_result("connection", peer.name, error)]
        results = [connection_result(peer.name, peer.url, ends_at, self._clock.time())]
        if not peer.is_node:
            text = f"{peer.name} is no node of this kind: only the connection was tried."
            return [*results, CheckResult(check="hello", name=peer.name, outcome=Outcome.SKIPPED, text=text)]
        hello = await self._hello.check(peer)
        results += [*self._of_hello(peer, hello), *self._of_clock(peer)]
        if hello.error is None:
            results.append(await self._probe(peer, hello))
        return results

    async def check_hello(self, peer: Peer) -> list[CheckResult]:
        """Try hello in both directions only."""
        return [*self._of_hello(peer, await self._hello.check(peer))]

    def _of_hello(self, peer: Peer, hello: HelloCheck) -> Iterator[CheckResult]:
        if hello.error is not None:
            yield failed_result("hello to the peer", peer.name, hello.error)
        else:
            credentials = " and ".join(self._policy.required_credentials(peer))
            proof = f"both nodes are authenticated by {credentials}" if credentials else "nobody is authenticated"
            text = f"{peer.name} answers our hello; {proof}."
            yield CheckResult(check="hello to the peer", name=peer.name, outcome=Outcome.OK, text=text)
        if hello.call_back is not None:
            yield self._of_call_back(peer, hello.call_back)
        else:
            yield self._of_inbound(peer, has_answered=hello.error is None)

    def _of_call_back(self, peer: Peer, outcome: CallBack) -> CheckResult:
        name, check = peer.name, "hello from the peer"
        if outcome.cause:
            text, cure = explain_call_back(outcome.cause, name, outcome.url)
            return CheckResult(
                check=check, name=name, outcome=Outcome.FAILED, text=text, cure=cure, error=outcome.error
            )
        if outcome.url.rstrip("/") == self._local_peer.url.rstrip("/"):
            text = f"{name} reaches this node at {outcome.url}, and accepts its answer."
            return CheckResult(check=check, name=name, outcome=Outcome.OK, text=text)
        return CheckResult(
            check=check,
            name=name,
            outcome=Outcome.NOTICE,
            text=f"{name} reaches this node at {outcome.url}; [peer_api] url says {self._local_peer.url}.",
            cure=f"Correct [peer_api] url of node.toml, or have {name} correct its entry of this node.",
        )

    def _of_inbound(self, peer: Peer, *, has_answered: bool) -> CheckResult:
        """Say what has come from a peer that does not tell how its own calls go."""
        name, check, now = peer.name, "hello from the peer", self._clock.time()
        if refusals := self._registry.refusals_of(peer, now):
            text, _ = explain(Condition.REFUSED_HERE, name)
            _, cure = explain_call_back(refusals[-1].cause, name, self._local_peer.url)
            error = refusals[-1].reason
            return CheckResult(check=check, name=name, outcome=Outcome.FAILED, text=text, cure=cure, error=error)
        seen_at = self._registry.last_seen_at(peer)
        if seen_at is not None and now - seen_at < _RECENT_SECONDS:
            text = f"A request of {name} has come within the last minute, and was accepted."
            return CheckResult(check=check, name=name, outcome=Outcome.OK, text=text)
        reason = "its version does not tell" if has_answered else "our hello has failed, so it was not asked"
        text = f"It is not known whether {name} reaches this node: {reason}."
        cure = f"Ask {name} for what its p2p-oicp status says of this node."
        return CheckResult(check=check, name=name, outcome=Outcome.SKIPPED, text=text, cure=cure)

    def _of_clock(self, peer: Peer) -> Iterator[CheckResult]:
        skew = self._live.clock_skew(peer.name)
        if skew is None:
            return
        if abs(skew) < _NOTABLE_CLOCK_SKEW_SECONDS:
            text = f"The clocks of this node and of {peer.name} agree (within {max(1, round(abs(skew)))} s)."
            yield CheckResult(check="clock", name=peer.name, outcome=Outcome.OK, text=text)
            return
        _, cure = explain(Condition.CLOCK_APART, peer.name)
        side = "ahead of" if skew > 0 else "behind"
        outcome = Outcome.FAILED if abs(skew) > _MAX_CLOCK_SKEW_SECONDS else Outcome.NOTICE
        text = f"The clock of {peer.name} is {abs(skew):.0f} s {side} ours."
        yield CheckResult(check="clock", name=peer.name, outcome=outcome, text=text, cure=cure)

    async def _probe(self, peer: Peer, hello: HelloCheck) -> CheckResult:
        name, size = peer.name, f"{PROBE_BYTES // 1000} kB"
        if PROBE_EXTENSION not in hello.extensions:
            text = f"The version of {name} has no probe: bodies of {size} were not tried."
            return CheckResult(check="body size", name=name, outcome=Outcome.SKIPPED, text=text)
        try:
            await self._nodes.send_probe(peer, self._local_peer.parties[0], PROBE_BYTES)
        except PeerBusy as error:
            text = f"Bodies of {size} were not tried: {name} takes one probe a minute."
            cure = "Try again in a minute."
            return CheckResult(
                check="body size", name=name, outcome=Outcome.SKIPPED, text=text, cure=cure, error=error.reason
            )
        except PeerError as error:
            return failed_result("body size", name, error)
        text = f"A body of {size} comes through to {name}."
        return CheckResult(check="body size", name=name, outcome=Outcome.OK, text=text)


def failed_result(check: str, name: str, error: PeerError, *, is_backend: bool = False) -> CheckResult:
    """Say why a call has failed, and what to do."""
    text, cure = explain(error.cause, name, is_backend=is_backend)
    return CheckResult(check=check, name=name, outcome=Outcome.FAILED, text=text, cure=cure, error=error.reason)


def connection_result(
    name: str, url: str, ends_at: float | None, now: float, *, check: str = "connection"
) -> CheckResult:
    """Say that a connection was opened, and what is to be known of it: the end of the certificate, or no TLS."""
    if ends_at is not None:
        is_near = ends_at - now < _CERTIFICATE_NOTICE_SECONDS
        return CheckResult(
            check=check,
            name=name,
            outcome=Outcome.NOTICE if is_near else Outcome.OK,
            text=f"{name} answers at {url}, with a trusted certificate until {format_timestamp(ends_at)}.",
            cure=f"{name} has to renew it before." if is_near else "",
        )
    text = f"{name} answers at {url}, without TLS."
    if is_loopback(urlsplit(url).hostname or ""):
        return CheckResult(check=check, name=name, outcome=Outcome.OK, text=text)
    cure = "Use https between companies: signatures authenticate, and do not encrypt."
    return CheckResult(check=check, name=name, outcome=Outcome.NOTICE, text=text, cure=cure)
