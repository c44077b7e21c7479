"""The configuration files of a cluster's nodes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_Entry = tuple[str, str | int | float | tuple[str, ...] | None]

LOOPBACK = "127.0.0.1"

# A cluster is watched by a person or a test: a node that comes back shall not be waited for long.
_RETRY_FIRST = 0.2
_RETRY_MAX = 1.0


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """What one node of a cluster is; the URLs are those of its backends."""

    name: str
    operators: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    cpo_url: str | None = None
    emp_url: str | None = None


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of a node's two listeners."""

    peer: int
    backend: int


def node_toml(spec: NodeSpec, ports: Ports) -> str:
    """Return the text of a node's ``node.toml``: insecure, on the loopback address."""
    backend: list[_Entry] = [
        ("host", LOOPBACK), ("port", ports.backend), ("cpo_url", spec.cpo_url), ("emp_url", spec.emp_url),
    ]  # fmt: skip
    return "\n".join(
        [
            'peers_file = "peers.toml"\n',
            _table("[node]", [("name", spec.name), ("operators", spec.operators), ("providers", spec.providers)]),
            _table("[peer_api]", [("host", LOOPBACK), ("port", ports.peer)]),
            _table("[backend_api]", backend),
            _table("[security]", [("require", ())]),
            _table("[delivery]", [("retry_first", _RETRY_FIRST), ("retry_max", _RETRY_MAX)]),
        ]
    )


def peers_toml(peers: Iterable[tuple[NodeSpec, str]]) -> str:
    """Return the text of a ``peers.toml``: each peer with the URL of its peer API."""
    return "\n".join(
        _table(
            "[[peer]]",
            [("name", spec.name), ("url", url), ("operators", spec.operators), ("providers", spec.providers)],
        )
        for spec, url in peers
    )


def _table(head: str, entries: Sequence[_Entry]) -> str:
    # What JSON writes for text, numbers and lists of text is TOML as well.
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in entries if value is not None]
    return "\n".join([head, *lines, ""])
