"""What a person at a terminal is shown when a node has started: who it is, how it is reached, what is insecure.

A service manager, a container and a pipe get the log alone.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from p2p_oicp.cli.common import echo
from p2p_oicp.cli.terminal import print_fields, print_text
from p2p_oicp.config import Settings
from p2p_oicp.config.backends import BackendSettings
from p2p_oicp.config.base import is_loopback
from p2p_oicp.node import Node
from p2p_oicp.oicp.operations import BASE_PATH
from p2p_oicp.peers.registry import SecurityPolicy
from p2p_oicp.storage import Row, outbox, outbox_lists
from p2p_oicp.version import VERSION

_MAX_NAMES = 6


class StartSummary:
    """Prints a summary of a node that has started, where standard output is a terminal.

    Args:
        config: the settings file, for the commands that are suggested.
        settings: of the node.
        exposed: files that other users of the machine may read.
    """

    def __init__(self, config: Path, settings: Settings, exposed: Sequence[Path]) -> None:
        self._config = shlex.quote(str(config))
        self._settings = settings
        self._exposed = exposed

    async def show(self, node: Node) -> None:
        """Print it; called once, when the node serves."""
        if sys.stdout.isatty():
            waiting = await node.store.query(outbox_lists.DEPTHS) if node.store is not None else []
            self._print(node, waiting)

    def _print(self, node: Node, waiting: Sequence[Row]) -> None:
        echo()
        echo(f"{self._settings.node.name} is up (p2p-oicp {VERSION}). Ctrl-C ends it.")
        print_fields([*self._fields(node, waiting)])
        insecure = [*self._insecure(node)]
        for text in insecure:
            print_text(text, "  INSECURE: ", "    ")
        echo("What next:")
        for command in self._next_steps(node, waiting):
            print_text(command, "  ", "    ")
        echo()

    def _fields(self, node: Node, waiting: Sequence[Row]) -> Iterator[tuple[str, str]]:
        settings, peers = self._settings, _peer_names(node)
        for title, parties in (("CPO for", settings.node.operators), ("EMP for", settings.node.providers)):
            if parties:
                yield title, _listed([party.text for party in parties])
        bound = "" if settings.peer_api.url == node.peer_url else f" (listening on {node.peer_url})"
        yield "peers call", f"{settings.peer_api.url}{bound}"
        yield "own systems call", f"{node.backend_url}{BASE_PATH}"
        yield "peers prove", " and ".join(settings.security.require) or "nothing"
        yield "peers", f"{len(peers)}: {_listed(peers)}" if peers else "none yet"
        for backend in settings.all_backends():
            yield f"backend {backend.name}", _backend_text(backend)
        messages = [f"{row['messages']} {row['state']} for {row['destination']}" for row in waiting]
        yield "outbox", _listed(messages) if messages else "nothing waits"
        yield "data", str(settings.node.data_dir)

    def _insecure(self, node: Node) -> Iterator[str]:
        settings = self._settings
        if not settings.security.require:
            yield "require = []: whoever reaches the peer API can speak for any party."
        elif names := SecurityPolicy(settings.security.require, node.registry).unauthenticated_peers():
            yield f"no credentials are required of {_listed(names)}."
        url = urlsplit(settings.peer_api.url)
        if url.scheme == "http" and not is_loopback(url.hostname or ""):
            yield f"peers call {settings.peer_api.url}: what is sent is not encrypted."
        if settings.backend_api.token is None:
            yield "no token: whoever runs programs on this machine may administer the node."
        if self._exposed:
            yield f"others may read {_listed(list(map(str, self._exposed)))}: chmod go-rwx them."

    def _next_steps(self, node: Node, waiting: Sequence[Row]) -> Iterator[str]:
        if not _peer_names(node):
            yield f"p2p-oicp peers invite --config {self._config}   (a link for a partner; theirs: peers join LINK)"
        for backend in self._settings.all_backends():
            if backend.url is None and backend.role == "cpo":
                yield f"name your charging system in {self._config}: [backend_api] cpo_url"
            elif backend.url is None and backend.name == "emp":
                yield f"name your contract system in {self._config} ([backend_api] emp_url), or list tokens: tokens add"
        if any(row["state"] == outbox.DEAD for row in waiting):
            yield f"p2p-oicp outbox list --dead --config {self._config}"
        yield f"p2p-oicp status --config {self._config}"


def _peer_names(node: Node) -> list[str]:
    return [peer.name for peer in node.registry.all() if not peer.is_self]


def _backend_text(backend: BackendSettings) -> str:
    if backend.url is not None:
        return backend.url
    return "none: remote starts and stops are refused" if backend.role == "cpo" else "the list of `tokens add`"


def _listed(texts: Sequence[str]) -> str:
    shown = ", ".join(texts[:_MAX_NAMES])
    return shown if len(texts) <= _MAX_NAMES else f"{shown} and {len(texts) - _MAX_NAMES} more"
