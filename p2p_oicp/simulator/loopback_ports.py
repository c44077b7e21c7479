"""Ports of the loopback address for nodes that are started, killed and started again at the same place.

A node's port stands in the files of its peers, so it is chosen before anybody listens there, and it stays the node's
while it is down. Two things could take it meanwhile: an outgoing connection, so the ports lie below the range from
which systems take those; and another process that looks for ports as we do, so each process keeps a block for itself.
"""

from __future__ import annotations

import atexit
import random
import socket
from collections.abc import Iterator
from functools import cache
from itertools import cycle, islice

from p2p_oicp.errors import P2pOicpError

LOOPBACK = "127.0.0.1"

_BLOCK = 200
_FIRST_PORTS = range(10_240, 32_000, _BLOCK)


class NoPortsLeft(P2pOicpError):
    """All ports that a node could have here are taken."""


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on now, all different; no other process is given the same ones.

    Raises ``NoPortsLeft``.
    """
    one_round = islice(_our_ports(), _BLOCK - 1)
    found = list(islice(filter(_is_free, one_round), count))
    if len(found) < count:
        raise NoPortsLeft(f"{len(found)} of {count} ports are free at {LOOPBACK}; end some of the nodes that run here")
    return found


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
def _our_ports() -> Iterator[int]:
    """Return the ports of a block that is ours while this process runs, round and round: no port is used again soon."""
    for first in random.sample(_FIRST_PORTS, len(_FIRST_PORTS)):
        claim = socket.socket()
        try:
            claim.bind((LOOPBACK, first))
        except OSError:
            claim.close()
        else:
            atexit.register(claim.close)
            return cycle(range(first + 1, first + _BLOCK))
    raise NoPortsLeft(f"no block of ports is free at {LOOPBACK}; end some of the programs that start nodes here")
