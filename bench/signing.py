"""What signatures cost: AuthorizeStart at an EMP's node, signed both ways and kept as evidence, against unsigned.

``scripts/bench-signing``: both nodes in one run, in turns, 32 requests in flight, made (and signed) beforehand.
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
from bench.nodes import Place
from p2p_oicp.identity import keystore
from p2p_oicp.identity.signatures import sign_request

_ROUNDS = 5
_SECONDS = 3.0
_MOST_A_SECOND = 8_000
_START = f"/api/oicp/charging/v21/operators/{messages.CPO}/authorize/start"


def main() -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="p2p-oicp-bench-") as folder, ExitStack() as stack:
        bench = Bench(Path(folder), quick=False, rounds=_ROUNDS, seconds=_SECONDS)
        places = {kind: _place(bench.directory / kind, kind) for kind in ("unsigned", "signed")}
        servers = {kind: stack.enter_context(nodes.emp_node(at)) for kind, at in places.items()}
        seen: dict[str, list[Result]] = {kind: [] for kind in servers}
        for _ in range(_ROUNDS):
            seen["unsigned"].append(bench.authorize_starts(_SECONDS).run(servers["unsigned"]))
            seen["signed"].append(_signed_starts(bench, places["signed"]).run(servers["signed"]))
    _show(seen)
    return 0


def _place(directory: Path, kind: str) -> Place:
    at, cpo = nodes.place("emp", directory), nodes.place("cpo", directory / "cpo")
    nodes.configure_emp(at, cpo, synchronous="NORMAL")
    if kind == "unsigned":
        return at
    keystore.generate(directory / "keys")
    line = keystore.generate(directory / "cpo" / "keys").entries[0].public.line
    config, peers = directory / "node.toml", directory / "peers.toml"
    text = config.read_text("utf-8").replace("require = []", 'require = ["signature"]')
    config.write_text(text.replace("[peer_api]\n", "[peer_api]\nrequests_per_second = 1000000\n"), "utf-8")
    peers.write_text(peers.read_text("utf-8") + f"public_keys = {json.dumps([line])}\n", "utf-8")
    return at


def _signed_starts(bench: Bench, at: Place) -> Load:
    load = Load(file=bench.directory / "signed-starts", seconds=_SECONDS)
    return load.filled(_requests(at, bench.numbers(_SECONDS * _MOST_A_SECOND)))


def _requests(at: Place, numbers: Iterator[int]) -> Iterator[bytes]:
    key = keystore.read_own_keys(at.directory / "cpo" / "keys").signing(time.time())
    for number in numbers:
        body = messages.authorize_start(number)
        headers = sign_request(
            key, method="POST", authority=f"{nodes.LOOPBACK}:{at.peer}", path=_START, query="", body=body,
            now=time.time(), nonce=f"{number:022d}",
        )  # fmt: skip
        del headers["Content-Type"]
        yield messages.post(_START, body, headers)


def _show(seen: dict[str, list[Result]]) -> None:
    for kind, results in seen.items():
        middle = median(results)
        sys.stdout.write(
            f"{kind:9} {middle.rate:7,.0f}/s  p50 {middle.p50:6.2f} ms  p99 {middle.p99:6.2f} ms  "
            f"CPU {middle.cpu:5.0f} µs a request\n"
        )
    throughput = ratio(seen["signed"], seen["unsigned"])
    by_cpu = cost(seen["signed"], seen["unsigned"])
    sys.stdout.write(f"signed against unsigned: {throughput:.2f} of the throughput, {by_cpu:.2f} times the CPU\n")


if __name__ == "__main__":
    sys.exit(main())
