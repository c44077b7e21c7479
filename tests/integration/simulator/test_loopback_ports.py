"""Ports for nodes that are started, killed and started again."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from contextlib import ExitStack

import pytest

from p2p_oicp.simulator.node_files import LOOPBACK, NoFreePorts, free_ports

PROGRAM = "from p2p_oicp.simulator.node_files import free_ports; print(free_ports(100))"


def test_the_ports_are_different_and_can_be_listened_on():
    ports = free_ports(20)
    assert len(set(ports)) == 20
    with ExitStack() as stack:
        for port in ports:
            stack.enter_context(socket.create_server((LOOPBACK, port)))


def test_a_port_that_somebody_listens_on_is_not_given():
    with socket.create_server((LOOPBACK, free_ports(1)[0])) as listener:
        given = {port for _ in range(3) for port in free_ports(150)}
        assert listener.getsockname()[1] not in given
        assert len(given) > 150


def test_another_process_is_given_other_ports():
    ours = {port for _ in range(3) for port in free_ports(150)}
    theirs = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True, timeout=30)
    assert ours.isdisjoint(json.loads(theirs.stdout))


def test_no_ports_left_says_what_to_do():
    with pytest.raises(NoFreePorts, match=r"of 200 ports are free .*; end some of the nodes"):
        free_ports(200)
