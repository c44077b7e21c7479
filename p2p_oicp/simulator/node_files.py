"""What the nodes of a cluster need before they start: configuration files, credentials, and loopback ports.

**Ports.** A node's port is in the files of its peers, so it is chosen before the node listens, and has to stay free
while the node is down. Two things could take it meanwhile: an outgoing connection, so the ports lie below the range
that systems use for those; and another process that chooses ports in this way, so each process reserves a block.
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
    """All ports of the range are taken."""


def free_ports(count: int) -> list[int]:
    """Return different ports that are free now, and that no other process gets from here; raise `NoFreePorts`."""
    candidates = islice(_reserved_ports(), _PORT_BLOCK_SIZE - 1)
    ports = list(islice(filter(_is_free, candidates), count))
    if len(ports) < count:
        raise NoFreePorts(f"{len(ports)} of {count} ports are free at {LOOPBACK}; end some of the nodes that run here")
    return ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As a listener does: connections in TIME_WAIT do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


@cache
def _reserved_ports() -> Iterator[int]:
    """Return an endless cycle over a block that is reserved for this process, so that no port is reused soon."""
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


# A folder may be used again on another day.
_CERTIFICATE_DAYS = 365


def ensure_credentials(spec: NodeSpec, folder: Path) -> NodeCredentials:
    """Return a node's public key and certificate; created in ``folder`` if they are not there yet."""
    if not spec.signs and not spec.tls:
        return NodeCredentials()
    if not (folder / keystore.PRIVATE_KEY_FILE).exists():
        keystore.generate(folder)
    public_key = keystore.read_public_key(folder / keystore.PUBLIC_KEY_FILE).der_base64
    return NodeCredentials(public_key, _ensure_certificate(spec, folder) if spec.tls else None)


def ensure_token(folder: Path) -> str:
    """Return the name of the file of the backend API's token; created in ``folder`` if it is not there yet."""
    file = folder / TOKEN_FILE
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(keystore.new_token(), encoding="utf-8")
    return TOKEN_FILE


def _ensure_certificate(spec: NodeSpec, folder: Path) -> str:
    if not (folder / CERTIFICATE_FILE).exists():
        parties = [*spec.operators, *spec.providers]
        key, certificate = self_signed(spec.name, parties, [LOOPBACK], now=time.time(), days=_CERTIFICATE_DAYS)
        (folder / KEY_FILE).touch(mode=0o600)
        (folder / KEY_FILE).write_bytes(key)
        (folder / CERTIFICATE_FILE).write_bytes(certificate)
    return Certificate.from_pem((folder / CERTIFICATE_FILE).read_bytes()).der_base64


_TomlEntry = tuple[str, str | int | float | tuple[str, ...] | None]

#: The folder of a node's secrets, and the files of its certificate in it.
KEYS_DIRECTORY, CERTIFICATE_FILE, KEY_FILE = "keys", "tls.crt", "tls.key"
#: Beside ``node.toml``: a folder of keys makes a node look for its key there.
TOKEN_FILE = "backend.token"  # noqa: S105 - a name

# Far shorter than a node's defaults: a person or a test waits for a node that comes back.
_RETRY_FIRST = 0.2
_RETRY_MAX = 1.0


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """The configuration of one node of a cluster.

    Attributes:
        cpo_url: the CPO backend's URL, if there is one; likewise ``emp_url``.
        require: the credentials that it requires of its peers: "signature", "mtls", both, or none.
        signs: whether it has a signing key.
        tls: whether its peer API listens with TLS, with a certificate of its own.
        records: whether it records what is said to whom, in memory.
        extra: further tables of ``node.toml``.
    """

    name: str
    operators: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    cpo_url: str | None = None
    emp_url: str | None = None
    require: tuple[str, ...] = ()
    signs: bool = False
    tls: bool = False
    records: bool = False
    extra: str = ""


@dataclass(frozen=True, slots=True)
class NodeCredentials:
    """A node's credentials for the peers files of the others, base64 of DER; None: it has none of that kind."""

    public_key: str | None = None
    certificate: str | None = None


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of a node's two listeners."""

    peer: int
    backend: int


def node_toml(spec: NodeSpec, ports: Ports, url: str | None = None, token_file: str | None = None) -> str:
    """Return the text of a node's ``node.toml``, on the loopback address; ``url`` is the one that its peers call."""
    backend: list[_TomlEntry] = [
        ("host", LOOPBACK), ("port", ports.backend), ("cpo_url", spec.cpo_url), ("emp_url", spec.emp_url),
        ("token_file", token_file),
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
            *([_toml_table("[exchanges]", [("record", "memory")])] * spec.records),
            _toml_table("[delivery]", [("retry_first", _RETRY_FIRST), ("retry_max", _RETRY_MAX)]),
            spec.extra,
        ]
    )


def peers_toml(peers: Iterable[tuple[NodeSpec, str, NodeCredentials]]) -> str:
    """Return the text of a ``peers.toml``: each peer with the URL of its peer API and its credentials."""
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
    # JSON of texts, numbers and lists of texts is TOML as well.
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in entries if value is not None]
    return "\n".join([header, *lines, ""])
