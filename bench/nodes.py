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
from bench.processes import ROOT, Server, running
from p2p_oicp.simulator.loopback_ports import free_ports

LOOPBACK = "127.0.0.1"
#: No node is faster, so a load of this many requests a second is never used up, or refused for coming too fast.
MOST_A_SECOND = 25_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node stands: its folder and its ports."""

    name: str
    directory: Path
    peer: int
    backend: int

    @property
    def database(self) -> Path:
        """The node's database."""
        return self.directory / "data" / "node.sqlite3"

    def count(self, sql: str) -> int:
        """Return the one number of a query on the node's database."""
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as database:
            return int(database.execute(sql).fetchone()[0])


def place(name: str, directory: Path) -> Place:
    """Return a place with free ports."""
    directory.mkdir(parents=True, exist_ok=True)
    return Place(name, directory, *free_ports(2))


def provider(number: int) -> str:
    """Return the ProviderID of one of many EMPs; the one with number 0 is the usual one."""
    return EMP if number == 0 else f"DE-X{number:02d}"


@dataclass(frozen=True, slots=True)
class Security:
    """How nodes prove who they are: the key of the one peer that there is, and the folder of our own."""

    peer_key: str | None = None
    tls: Path | None = None

    def of_node(self) -> str:
        """Return the tables of ``node.toml``."""
        require = '["signature"]' if self.peer_key else "[]"
        tls = f'[tls]\ncertificate = "{self.tls}/tls.crt"\nkey = "{self.tls}/tls.key"\n' if self.tls else ""
        return f"[security]\nrequire = {require}\n{tls}"

    def of_peer(self) -> str:
        """Return what stands in the peer's entry."""
        return f'public_keys = ["{self.peer_key}"]\n' if self.peer_key else ""


INSECURE = Security()


def configure_cpo(at: Place, emps: Sequence[Place], *, synchronous: str = "FULL") -> None:
    """Write the files of a CPO's node that knows these EMPs' nodes."""
    peers = [(emp, "providers", provider(number)) for number, emp in enumerate(emps)]
    _write(at, ("operators", CPO), peers, synchronous, INSECURE)


def configure_emp(
    at: Place, cpo: Place, *, number: int = 0, synchronous: str = "FULL", security: Security = INSECURE
) -> None:
    """Write the files of an EMP's node that knows this CPO's node."""
    _write(at, ("providers", provider(number)), [(cpo, "operators", CPO)], synchronous, security)


def _write(
    at: Place, me: tuple[str, str], peers: Sequence[tuple[Place, str, str]], synchronous: str, security: Security
) -> None:
    (at.directory / "node.toml").write_text(
        f'peers_file = "peers.toml"\n[node]\nname = "{at.name}"\n{me[0]} = ["{me[1]}"]\ndata_dir = "data"\n'
        f'[peer_api]\nhost = "{LOOPBACK}"\nport = {at.peer}\nrequests_per_second = {MOST_A_SECOND}\n'
        f'[backend_api]\nhost = "{LOOPBACK}"\nport = {at.backend}\n'
        f'{security.of_node()}[storage]\nsynchronous = "{synchronous}"\n',
        encoding="utf-8",
    )
    entries = (
        f'[[peer]]\nname = "{peer.name}"\nurl = "http://{LOOPBACK}:{peer.peer}"\n{table} = ["{party}"]\n'
        f"{security.of_peer()}"
        for peer, table, party in peers
    )
    (at.directory / "peers.toml").write_text("".join(entries), encoding="utf-8")


@contextlib.contextmanager
def cpo_node(at: Place) -> Iterator[Server]:
    """Run the CPO's node; the load goes to its backend API."""
    arguments = ["-m", "p2p_oicp", "run", "--config", str(at.directory / "node.toml")]
    ready = f"http://{LOOPBACK}:{at.backend}/readyz"
    with running(at.name, arguments, port=at.backend, ready=ready, directory=at.directory) as server:
        yield server


@contextlib.contextmanager
def emp_node(at: Place, *, with_cards: bool = True) -> Iterator[Server]:
    """Run the EMP's node, which has a whitelist of 100,000 cards, if wanted; the load goes to its peer API."""
    if with_cards:
        _fill_whitelist(at)
    arguments = ["-m", "p2p_oicp", "run", "--config", str(at.directory / "node.toml")]
    ready = f"http://{LOOPBACK}:{at.backend}/readyz"
    with running(at.name, arguments, port=at.peer, ready=ready, directory=at.directory) as server:
        yield server


def _fill_whitelist(at: Place) -> None:
    if at.database.exists():
        return
    cards = at.directory / "cards"
    cards.write_text("".join(f"{token(number)}\n" for number in range(TOKENS)), encoding="ascii")
    command = [sys.executable, "-m", "p2p_oicp", "tokens", "add", "--config", str(at.directory / "node.toml")]
    subprocess.run([*command, "--from", str(cards)], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)


@contextlib.contextmanager
def reference(directory: Path, *, page_bytes: int = 0) -> Iterator[Server]:
    """Run REF."""
    (port,) = free_ports(1)
    arguments = ["-m", "bench.reference", str(port), str(page_bytes)]
    ready = f"http://{LOOPBACK}:{port}/readyz"
    with running("reference", arguments, port=port, ready=ready, directory=directory) as server:
        yield server
