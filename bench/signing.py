"""What signatures cost: AuthorizeStart at an EMP's node, signed both ways and kept as evidence, against unsigned.

``scripts/bench-signing``: both nodes in one run, in turns, 32 requests in flight, signed beforehand.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench import messages, nodes
from bench.bench import Bench
from bench.load import Load, Result, cost, median, ratio
from bench.nodes import NodeSetup
from p2p_oicp.crypto import keystore
from p2p_oicp.crypto.http_signatures import sign_request

_ROUNDS = 5
_SECONDS = 3.0
_MAX_SIGNED_PER_SECOND = 8_000
_AUTHORIZE_START_PATH = f"/api/oicp/charging/v21/operators/{messages.CPO}/authorize/start"


def main() -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="p2p-oicp-bench-") as folder, ExitStack() as stack:
        bench = Bench(Path(folder), quick=False, rounds=_ROUNDS, seconds=_SECONDS)
        node_setups = {variant: _prepare_node(bench.directory / variant, variant) for variant in ("unsigned", "signed")}
        servers = {variant: stack.enter_context(nodes.emp_node(node)) for variant, node in node_setups.items()}
        results: dict[str, list[Result]] = {variant: [] for variant in servers}
        for _ in range(_ROUNDS):
            results["unsigned"].append(bench.authorize_starts(_SECONDS).run(servers["unsigned"]))
            results["signed"].append(_signed_starts(bench, node_setups["signed"]).run(servers["signed"]))
    _print_results(results)
    return 0


def _prepare_node(directory: Path, variant: str) -> NodeSetup:
    node, cpo = nodes.prepare_node("emp", directory), nodes.prepare_node("cpo", directory / "cpo")
    nodes.configure_emp(node, cpo, synchronous="NORMAL")
    if variant == "unsigned":
        return node
    keystore.generate(directory / "keys")
    public_key = keystore.generate(directory / "cpo" / "keys").entries[0].public.der_base64
    config, peers = directory / "node.toml", directory / "peers.toml"
    config.write_text(config.read_text("utf-8").replace("require = []", 'require = ["signature"]'), "utf-8")
    peers.write_text(peers.read_text("utf-8") + f"public_keys = {json.dumps([public_key])}\n", "utf-8")
    return node


def _signed_starts(bench: Bench, node: NodeSetup) -> Load:
    load = Load(file=bench.directory / "signed-starts", seconds=_SECONDS)
    return load.with_requests(_signed_requests(node, bench.numbers(_SECONDS * _MAX_SIGNED_PER_SECOND)))


def _signed_requests(node: NodeSetup, numbers: Iterator[int]) -> Iterator[bytes]:
    key = keystore.read_own_keys(node.directory / "cpo" / "keys").signing_key(time.time())
    for number in numbers:
        body = messages.authorize_start(number)
        headers = sign_request(
            key, method="POST", authority=f"{nodes.LOOPBACK}:{node.peer_port}", path=_AUTHORIZE_START_PATH, query="",
            body=body, now=time.time(), nonce=f"{number:022d}",
        )  # fmt: skip
        del headers["Content-Type"]
        yield messages.post(_AUTHORIZE_START_PATH, body, headers)


def _print_results(results_by_variant: dict[str, list[Result]]) -> None:
    for variant, results in results_by_variant.items():
        median_result = median(results)
        sys.stdout.write(
            f"{variant:9} {median_result.rate:7,.0f}/s  p50 {median_result.p50:6.2f} ms  "
            f"p99 {median_result.p99:6.2f} ms  CPU {median_result.cpu:5.0f} µs a request\n"
        )
    throughput = ratio(results_by_variant["signed"], results_by_variant["unsigned"])
    cpu_ratio = cost(results_by_variant["signed"], results_by_variant["unsigned"])
    sys.stdout.write(f"signed against unsigned: {throughput:.2f} of the throughput, {cpu_ratio:.2f} times the CPU\n")


if __name__ == "__main__":
    sys.exit(main())
