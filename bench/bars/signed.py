"""Bar 3: the cost of authentication: signatures of requests and responses, and TLS."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack

from bench import messages, nodes
from bench.bars.authorize import check_authorized
from bench.bench import Bench
from bench.load import Load, Result, cost, median, ratio
from bench.nodes import LOOPBACK, NodeSecurity, NodeSetup
from bench.table import Row
from p2p_oicp.crypto import PrivateKey, keystore
from p2p_oicp.crypto.http_signatures import sign_request
from p2p_oicp.crypto.tls import self_signed

_DURABILITIES = ("NORMAL", "FULL")
_MIN_RATIOS = {"NORMAL": 0.16, "FULL": 0.14}
_MAX_TLS_COST = 1.25
#: No node verifies more, so a load of this size is never used up.
_MAX_SIGNED_PER_SECOND = 10_000


def measure(bench: Bench) -> list[Row]:
    """Load, in turns, REF and three nodes: one requires signatures, one speaks TLS, one does neither."""
    key = PrivateKey.generate()
    tls = bench.directory / "tls"
    tls.mkdir()
    private, certificate = self_signed("emp", [messages.EMP], [LOOPBACK], now=time.time(), days=1)
    (tls / "tls.key").write_bytes(private)
    (tls / "tls.crt").write_bytes(certificate)
    signature_security = NodeSecurity(peer_key=key.public.der_base64)
    durabilities = ("FULL",) if bench.quick else _DURABILITIES
    security_by_variant = {
        **dict.fromkeys(durabilities, signature_security),
        "TLS": NodeSecurity(tls=tls),
        "plain": NodeSecurity(),
    }
    node_setups = {
        variant: _prepare_node(bench, variant, security) for variant, security in security_by_variant.items()
    }
    results: dict[str, list[Result]] = {variant: [] for variant in ("REF", *security_by_variant)}
    with ExitStack() as stack:
        reference = stack.enter_context(nodes.reference(bench.directory))
        servers = {variant: stack.enter_context(nodes.emp_node(node)) for variant, node in node_setups.items()}
        for _ in range(bench.rounds):
            results["REF"].append(bench.echoes().run(reference))
            for variant in durabilities:
                results[variant].append(_signed_load(bench, key, node_setups[variant]).run(servers[variant]))
            results["TLS"].append(bench.authorize_starts(bench.seconds, tls=True).run(servers["TLS"]))
            results["plain"].append(bench.authorize_starts(bench.seconds).run(servers["plain"]))
        for variant, node in node_setups.items():
            check_authorized(node, sum(result.requests for result in results[variant]))
    return _rows(results)


def _prepare_node(bench: Bench, variant: str, security: NodeSecurity) -> NodeSetup:
    node = nodes.prepare_node("emp", bench.directory / f"secure-{variant}")
    if security.peer_key:
        keystore.generate(node.directory / "keys")
    synchronous = variant if variant in _DURABILITIES else "FULL"
    nodes.configure_emp(
        node, nodes.prepare_node("cpo", bench.directory / "unused"), synchronous=synchronous, security=security
    )
    return node


def _signed_load(bench: Bench, key: PrivateKey, node: NodeSetup) -> Load:
    load = Load(file=bench.directory / "signed", seconds=bench.seconds)
    return load.with_requests(_signed_starts(bench.numbers(bench.seconds * _MAX_SIGNED_PER_SECOND), key, node))


def _signed_starts(numbers: Iterator[int], key: PrivateKey, node: NodeSetup) -> Iterator[bytes]:
    now = time.time()
    for number in numbers:
        body = messages.authorize_start(number)
        signature_headers = sign_request(
            key, method="POST", authority=f"{LOOPBACK}:{node.peer_port}", path=messages.AUTHORIZE_START, query="",
            body=body, now=now, nonce=secrets.token_urlsafe(16),
        )  # fmt: skip
        yield messages.post(messages.AUTHORIZE_START, body, {**messages.NODE_HEADERS, **signature_headers})


def _rows(results: dict[str, list[Result]]) -> list[Row]:
    tls = median(results["TLS"])
    return [
        *(_signed_row(durability, results) for durability in _DURABILITIES if durability in results),
        Row(
            bar=3, what="AuthorizeStart over TLS, kept alive: CPU against plain", limit=_MAX_TLS_COST,
            measured=cost(results["TLS"], results["plain"]), cpu=tls.cpu, p50=tls.p50, p99=tls.p99,
        ),
    ]  # fmt: skip


def _signed_row(durability: str, results: dict[str, list[Result]]) -> Row:
    signed_median, reference_median = median(results[durability]), median(results["REF"])
    return Row(
        bar=3, what=f"AuthorizeStart, {durability}, signed both ways",
        limit=_MIN_RATIOS[durability], at_least=True, unit="REF", measured=ratio(results[durability], results["REF"]),
        cpu=signed_median.cpu, p50=signed_median.p50, p99=signed_median.p99,
        note=f"{signed_median.rate:,.0f}/s against {reference_median.rate:,.0f}/s",
    )  # fmt: skip
