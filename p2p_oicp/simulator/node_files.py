"""Ports of the loopback address for nodes that are started, killed and started again at the same place.

A node's port stands in the files of its peers, so it is chosen before anybody listens there, and it stays the node's
while it is down. Two things could take it meanwhile: an outgoing connection, so the ports lie below the range from
which systems take those; and another process that looks for ports as we do, so each process keeps a block for itself.

Makes what the nodes of a cluster prove their identity with: keys, and certificates for a laboratory.

The configuration files of a cluster's nodes.
"""

from __future__ import annotations

import atexit
import json
import random
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import cycle, islice
from pathlib import Path

from p2p_oicp.crypto import keystore
from p2p_oicp.crypto.tls import Certificate, self_signed
from p2p_oicp.errors import P2pOicpError

LOOPBACK = "127.0.0.1"

_PORT_BLOCK_SIZE = 200
_BLOCK_STARTS = range(10_240, 32_000, _PORT_BLOCK_SIZE)


class NoFreePorts(P2pOicpError):
    """All ports that a node could have here are taken."""


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now, all different; no other process is given the same ones.

    Raises ``NoPortsLeft``.
    """
    candidates = islice(_reserved_ports(), _PORT_BLOCK_SIZE - 1)
    ports = list(islice(filter(_is_free, candidates), count))
    if len(ports) < count:
        raise NoFreePorts(f"{len(ports)} of {count} ports are free at {LOOPBACK}; end some of the nodes that run here")
    return ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As a listener does: connections that ended a moment ago are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


@cache
def _reserved_ports() -> Iterator[int]:
    """Return the ports of a block that is ours while this process runs, round and round: no port is used again soon."""
    for block_start in random.sample(_BLOCK_STARTS, len(_BLOCK_STARTS)):
        reservation = socket.socket()
        try:
            reservation.bind((LOOPBACK, block_start))
        except OSError:
            reservation.close()
        else:
            atexit.register(reservation.close)
            return cycle(range(block_start + 1, block_start + _PORT_BLOCK_SIZE))
    raise NoFreePorts(f"no block of ports is free at {LOOPBACK}; end some of the programs that start nodes here")


_CERTIFICATE_DAYS = 1


def ensure_credentials(spec: NodeSpec, folder: Path) -> NodeCredentials:
    """Return what a node proves its identity with; made, and kept in ``folder``, where it is not there yet."""
    if not spec.signs and not spec.tls:
        return NodeCredentials()
    if not (folder / keystore.PRIVATE_KEY_FILE).exists():
        keystore.generate(folder)
    public_key = keystore.read_public_key(folder / keystore.PUBLIC_KEY_FILE).der_base64
    return NodeCredentials(public_key, _ensure_certificate(spec, folder) if spec.tls else None)


def _ensure_certificate(spec: NodeSpec, folder: Path) -> str:
    if not (folder / CERTIFICATE_FILE).exists():
        parties = [*spec.operators, *spec.providers]
        key, certificate = self_signed(spec.name, parties, [LOOPBACK], now=time.time(), days=_CERTIFICATE_DAYS)
        (folder / KEY_FILE).touch(mode=0o600)
        (folder / KEY_FILE).write_bytes(key)
        (folder / CERTIFICATE_FILE).write_bytes(certificate)
    return Certificate.from_pem((folder / CERTIFICATE_FILE).read_bytes()).der_base64


_TomlEntry = tuple[str, str | int | float | tuple[str, ...] | None]

#: The folder of a node's secrets, and what stands in it.
KEYS_DIRECTORY, CERTIFICATE_FILE, KEY_FILE = "keys", "tls.crt", "tls.key"

# A cluster is watched by a person or a test: a node that comes back shall not be waited for long.
_RETRY_FIRST = 0.2
_RETRY_MAX = 1.0


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """What one node of a cluster is; the URLs are those of its backends.

    ``require`` is what it wants its peers to prove: "signature", "mtls", both, or nothing. ``signs`` and ``tls`` say
    what it can prove: it has a key, and a certificate, with which its peer API then listens.
    """

    name: str
    operators: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    cpo_url: str | None = None
    emp_url: str | None = None
    require: tuple[str, ...] = ()
    signs: bool = False
    tls: bool = False


@dataclass(frozen=True, slots=True)
class NodeCredentials:
    """What a node is known by, for the peers files of the others; None where it proves nothing that way."""

    public_key: str | None = None
    certificate: str | None = None


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of a node's two listeners."""

    peer: int
    backend: int


def node_toml(spec: NodeSpec, ports: Ports, url: str | None = None) -> str:
    """Return the text of a node's ``node.toml``, on the loopback address; ``url`` is where its peers find it."""
    backend: list[_TomlEntry] = [
        ("host", LOOPBACK), ("port", ports.backend), ("cpo_url", spec.cpo_url), ("emp_url", spec.emp_url),
    ]  # fmt: skip
    return "\n".join(
        [
            'peers_file = "peers.toml"\n',
            _toml_table("[node]", [("name", spec.name), ("operators", spec.operators), ("providers", spec.providers)]),
            _toml_table("[peer_api]", [("host", LOOPBACK), ("port", ports.peer), ("url", url)]),
            _toml_table("[backend_api]", backend),
            _toml_table("[security]", [("require", spec.require)]),
            *(
                [
                    _toml_table(
                        "[tls]",
                        [
                            ("certificate", f"{KEYS_DIRECTORY}/{CERTIFICATE_FILE}"),
                            ("key", f"{KEYS_DIRECTORY}/{KEY_FILE}"),
                        ],
                    )
                ]
                * spec.tls
            ),
            _toml_table("[delivery]", [("retry_first", _RETRY_FIRST), ("retry_max", _RETRY_MAX)]),
        ]
    )


def peers_toml(peers: Iterable[tuple[NodeSpec, str, NodeCredentials]]) -> str:
    """Return the text of a ``peers.toml``: each peer with the URL of its peer API, and what it is known by."""
    return "\n".join(
        _toml_table(
            "[[peer]]",
            [
                ("name", spec.name), ("url", url), ("operators", spec.operators), ("providers", spec.providers),
                ("public_keys", (credentials.public_key,) if credentials.public_key else None),
                ("certificates", (credentials.certificate,) if credentials.certificate else None),
            ],
        )
        for spec, url, credentials in peers
    )  # fmt: skip


def _toml_table(header: str, entries: Sequence[_TomlEntry]) -> str:
    # What JSON writes for text, numbers and lists of text is TOML as well.
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in entries if value is not None]
    return "\n".join([header, *lines, ""])
