"""The nodes that are measured: their files, and how they are started."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.messages import CPO, EMP, TOKENS, token
from bench.processes import PACKAGE_ROOT, Server, run_server
from p2p_oicp.simulator.node_files import free_ports

LOOPBACK = "127.0.0.1"
#: No node is faster: a load of this size is never used up, and a rate limit of this size is never reached.
MAX_REQUESTS_PER_SECOND = 25_000


@dataclass(frozen=True, slots=True)
class NodeSetup:
    """Folder and ports of a node."""

    name: str
    directory: Path
    peer_port: int
    backend_port: int

    @property
    def database(self) -> Path:
        """The node's database."""
        return self.directory / "data" / "node.sqlite3"

    def count(self, sql: str) -> int:
        """Return the one number of a query on the node's database."""
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as database:
            return int(database.execute(sql).fetchone()[0])


def prepare_node(name: str, directory: Path) -> NodeSetup:
    """Return a node with free ports, not configured yet."""
    directory.mkdir(parents=True, exist_ok=True)
    return NodeSetup(name, directory, *free_ports(2))


def provider_id(number: int) -> str:
    """Return the ProviderID of one of many EMPs; the one with number 0 is the usual one."""
    return EMP if number == 0 else f"DE-X{number:02d}"


@dataclass(frozen=True, slots=True)
class NodeSecurity:
    """How nodes authenticate: the public key of the only peer, and the folder of our own TLS key and certificate."""

    peer_key: str | None = None
    tls: Path | None = None

    def node_toml(self) -> str:
        """Return the tables of ``node.toml``."""
        require = '["signature"]' if self.peer_key else "[]"
        tls = f'[tls]\ncertificate = "{self.tls}/tls.crt"\nkey = "{self.tls}/tls.key"\n' if self.tls else ""
        return f"[security]\nrequire = {require}\n{tls}"

    def peer_entry(self) -> str:
        """Return the lines of the peer's entry in ``peers.toml``."""
        return f'public_keys = ["{self.peer_key}"]\n' if self.peer_key else ""


INSECURE = NodeSecurity()


def configure_cpo(node: NodeSetup, emps: Sequence[NodeSetup], *, synchronous: str = "FULL") -> None:
    """Write the files of a CPO's node that knows these EMPs' nodes."""
    peers = [(emp, "providers", provider_id(number)) for number, emp in enumerate(emps)]
    _write_config(node, ("operators", CPO), peers, synchronous, INSECURE)


def configure_emp(
    node: NodeSetup, cpo: NodeSetup, *, number: int = 0, synchronous: str = "FULL", security: NodeSecurity = INSECURE
) -> None:
    """Write the files of an EMP's node that knows this CPO's node."""
    _write_config(node, ("providers", provider_id(number)), [(cpo, "operators", CPO)], synchronous, security)


def configure_with_absent_peers(node: NodeSetup, peers: Sequence[tuple[str, str, str]]) -> None:
    """Write the files of a node that is CPO and EMP, with peers that nobody answers for.

    Args:
        node: the node.
        peers: of each its name, ``operators`` or ``providers``, and its party.
    """
    (port,) = free_ports(1)
    absent = [(NodeSetup(name, node.directory, port, port), table, party) for name, table, party in peers]
    _write_config(node, ("operators", CPO), absent, "NORMAL", INSECURE)
    file = node.directory / "node.toml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace("[node]\n", f'[node]\nproviders = ["{EMP}"]\n'), encoding="utf-8")


def _write_config(
    node: NodeSetup,
    own_party: tuple[str, str],
    peers: Sequence[tuple[NodeSetup, str, str]],
    synchronous: str,
    security: NodeSecurity,
) -> None:
    (node.directory / "node.toml").write_text(
        f'peers_file = "peers.toml"\n'
        f'[node]\nname = "{node.name}"\n{own_party[0]} = ["{own_party[1]}"]\ndata_dir = "data"\n'
        f'[peer_api]\nhost = "{LOOPBACK}"\nport = {node.peer_port}\nrequests_per_second = {MAX_REQUESTS_PER_SECOND}\n'
        f'[backend_api]\nhost = "{LOOPBACK}"\nport = {node.backend_port}\n'
        f'{security.node_toml()}[storage]\nsynchronous = "{synchronous}"\n',
        encoding="utf-8",
    )
    entries = (
        f'[[peer]]\nname = "{peer.name}"\nurl = "http://{LOOPBACK}:{peer.peer_port}"\n{table} = ["{party}"]\n'
        f"{security.peer_entry()}"
        for peer, table, party in peers
    )
    (node.directory / "peers.toml").write_text("".join(entries), encoding="utf-8")


@contextlib.contextmanager
def cpo_node(node: NodeSetup) -> Iterator[Server]:
    """Run the CPO's node; the load goes to its backend API."""
    with _run_node(node, node.backend_port) as server:
        yield server


@contextlib.contextmanager
def running_node(node: NodeSetup) -> Iterator[Server]:
    """Run a node as it is configured; the load goes to its backend API."""
    with _run_node(node, node.backend_port) as server:
        yield server


@contextlib.contextmanager
def emp_node(node: NodeSetup, *, with_tokens: bool = True) -> Iterator[Server]:
    """Run the EMP's node, with a token list of 100,000 UIDs if ``with_tokens``; the load goes to its peer API."""
    if with_tokens:
        _fill_token_list(node)
    with _run_node(node, node.peer_port) as server:
        yield server


@contextlib.contextmanager
def _run_node(node: NodeSetup, port: int) -> Iterator[Server]:
    arguments = ["-m", "p2p_oicp", "run", "--config", str(node.directory / "node.toml")]
    ready = f"http://{LOOPBACK}:{node.backend_port}/readyz"
    with run_server(
        node.name, arguments, port=port, ready=ready, directory=node.directory, root=PACKAGE_ROOT
    ) as server:
        yield server


def _fill_token_list(node: NodeSetup) -> None:
    if node.database.exists():
        return
    token_file = node.directory / "tokens"
    token_file.write_text("".join(f"{token(number)}\n" for number in range(TOKENS)), encoding="ascii")
    command = [sys.executable, "-m", "p2p_oicp", "tokens", "add", "--config", str(node.directory / "node.toml")]
    subprocess.run([*command, "--from", str(token_file)], check=True, stdout=subprocess.DEVNULL, cwd=PACKAGE_ROOT)


@contextlib.contextmanager
def reference(directory: Path, *, page_bytes: int = 0) -> Iterator[Server]:
    """Run REF."""
    (port,) = free_ports(1)
    arguments = ["-m", "bench.reference", str(port), str(page_bytes)]
    ready = f"http://{LOOPBACK}:{port}/readyz"
    with run_server("reference", arguments, port=port, ready=ready, directory=directory) as server:
        yield server
