"""The configuration files of a cluster's nodes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from p2p_oicp.simulator.loopback_ports import LOOPBACK

_Entry = tuple[str, str | int | float | tuple[str, ...] | None]

#: The folder of a node's secrets, and what stands in it.
KEYS, CERTIFICATE, KEY = "keys", "tls.crt", "tls.key"

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
class Proofs:
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
    backend: list[_Entry] = [
        ("host", LOOPBACK), ("port", ports.backend), ("cpo_url", spec.cpo_url), ("emp_url", spec.emp_url),
    ]  # fmt: skip
    return "\n".join(
        [
            'peers_file = "peers.toml"\n',
            _table("[node]", [("name", spec.name), ("operators", spec.operators), ("providers", spec.providers)]),
            _table("[peer_api]", [("host", LOOPBACK), ("port", ports.peer), ("url", url)]),
            _table("[backend_api]", backend),
            _table("[security]", [("require", spec.require)]),
            *([_table("[tls]", [("certificate", f"{KEYS}/{CERTIFICATE}"), ("key", f"{KEYS}/{KEY}")])] * spec.tls),
            _table("[delivery]", [("retry_first", _RETRY_FIRST), ("retry_max", _RETRY_MAX)]),
        ]
    )


def peers_toml(peers: Iterable[tuple[NodeSpec, str, Proofs]]) -> str:
    """Return the text of a ``peers.toml``: each peer with the URL of its peer API, and what it is known by."""
    return "\n".join(
        _table(
            "[[peer]]",
            [
                ("name", spec.name), ("url", url), ("operators", spec.operators), ("providers", spec.providers),
                ("public_keys", (proofs.public_key,) if proofs.public_key else None),
                ("certificates", (proofs.certificate,) if proofs.certificate else None),
            ],
        )
        for spec, url, proofs in peers
    )  # fmt: skip


def _table(head: str, entries: Sequence[_Entry]) -> str:
    # What JSON writes for text, numbers and lists of text is TOML as well.
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in entries if value is not None]
    return "\n".join([head, *lines, ""])
