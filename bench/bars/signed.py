"""Bar 3: what proof of identity costs: signatures both ways, and TLS."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack

from bench import messages, nodes
from bench.bars.authorize import check_authorized
from bench.bench import Bench
from bench.load import Load, Result, cost, median, ratio
from bench.nodes import LOOPBACK, Place, Security
from bench.table import Row
from p2p_oicp.identity import PrivateKey, keystore
from p2p_oicp.identity.certificates import self_signed
from p2p_oicp.identity.signatures import sign_request

_SIGNED = ("NORMAL", "FULL")
_LEAST_RATIO = 0.13
_MOST_TLS = 1.25
#: What signing takes: no node verifies more.
_MOST_SIGNED_A_SECOND = 10_000


def measure(bench: Bench) -> list[Row]:
    """Load REF, and a node that wants signatures, one that speaks TLS and one that does neither, in turns."""
    key = PrivateKey.generate()
    tls = bench.directory / "tls"
    tls.mkdir()
    private, certificate = self_signed("emp", [messages.EMP], [LOOPBACK], now=time.time(), days=1)
    (tls / "tls.key").write_bytes(private)
    (tls / "tls.crt").write_bytes(certificate)
    signing = Security(peer_key=key.public.line)
    signed = ("FULL",) if bench.quick else _SIGNED
    kinds = {**dict.fromkeys(signed, signing), "TLS": Security(tls=tls), "plain": Security()}
    places = {kind: _place(bench, kind, security) for kind, security in kinds.items()}
    seen: dict[str, list[Result]] = {kind: [] for kind in ("REF", *kinds)}
    with ExitStack() as stack:
        reference = stack.enter_context(nodes.reference(bench.directory))
        servers = {kind: stack.enter_context(nodes.emp_node(at)) for kind, at in places.items()}
        for _ in range(bench.rounds):
            seen["REF"].append(bench.echoes().run(reference))
            for kind in signed:
                seen[kind].append(_signed(bench, key, places[kind]).run(servers[kind]))
            seen["TLS"].append(bench.authorize_starts(bench.seconds, tls=True).run(servers["TLS"]))
            seen["plain"].append(bench.authorize_starts(bench.seconds).run(servers["plain"]))
        for kind, at in places.items():
            check_authorized(at, sum(result.requests for result in seen[kind]))
    return _rows(seen)


def _place(bench: Bench, kind: str, security: Security) -> Place:
    at = nodes.place("emp", bench.directory / f"secure-{kind}")
    if security.peer_key:
        keystore.generate(at.directory / "keys")
    synchronous = kind if kind in _SIGNED else "FULL"
    nodes.configure_emp(at, nodes.place("cpo", bench.directory / "nobody"), synchronous=synchronous, security=security)
    return at


def _signed(bench: Bench, key: PrivateKey, at: Place) -> Load:
    load = Load(file=bench.directory / "signed", seconds=bench.seconds)
    return load.filled(_signed_starts(bench.numbers(bench.seconds * _MOST_SIGNED_A_SECOND), key, at))


def _signed_starts(numbers: Iterator[int], key: PrivateKey, at: Place) -> Iterator[bytes]:
    now = time.time()
    for number in numbers:
        body = messages.authorize_start(number)
        proof = sign_request(
            key, method="POST", authority=f"{LOOPBACK}:{at.peer}", path=messages.AUTHORIZE_START, query="",
            body=body, now=now, nonce=secrets.token_urlsafe(16),
        )  # fmt: skip
        yield messages.post(messages.AUTHORIZE_START, body, {**messages.OF_A_NODE, **proof})


def _rows(seen: dict[str, list[Result]]) -> list[Row]:
    tls = median(seen["TLS"])
    return [
        *(_signed_row(kind, seen) for kind in _SIGNED if kind in seen),
        Row(
            bar=3, what="AuthorizeStart over TLS, kept alive: CPU against plain", limit=_MOST_TLS,
            measured=cost(seen["TLS"], seen["plain"]), cpu=tls.cpu, p50=tls.p50, p99=tls.p99,
        ),
    ]  # fmt: skip


def _signed_row(kind: str, seen: dict[str, list[Result]]) -> Row:
    signed, reference = median(seen[kind]), median(seen["REF"])
    return Row(
        bar=3, what=f"AuthorizeStart, {kind}, signed both ways", limit=_LEAST_RATIO, at_least=True, unit="REF",
        measured=ratio(seen[kind], seen["REF"]), cpu=signed.cpu, p50=signed.p50, p99=signed.p99,
        note=f"{signed.rate:,.0f}/s against {reference.rate:,.0f}/s",
    )  # fmt: skip
