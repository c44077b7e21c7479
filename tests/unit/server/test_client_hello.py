"""Only a connection whose ClientHello is whole gets a handshake; nothing else costs more than a file descriptor."""

import asyncio
import contextlib
import socket
import ssl

import pytest

from p2p_oicp.crypto.tls import unverified_context
from p2p_oicp.server import client_hello
from p2p_oicp.server.client_hello import ClientHelloWaiter
from tests.support.waiting import eventually

ATTACKER, OTHER = "192.0.2.1", "192.0.2.2"


def hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        unverified_context().wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    return outgoing.read()


HELLO = hello()


class Clients:
    """The client's ends of accepted connections."""

    def __init__(self, listening: socket.socket) -> None:
        self.listening = listening
        self.ready: list[tuple[socket.socket, str]] = []
        self.waiter = ClientHelloWaiter(lambda accepted, address: self.ready.append((accepted, address)))
        self.sockets: list[socket.socket] = []

    def connect(self, data: bytes = b"", address: str = ATTACKER) -> socket.socket:
        client = socket.create_connection(self.listening.getsockname())
        client.send(data)
        accepted, _ = self.listening.accept()
        accepted.settimeout(0)
        self.sockets += (client, accepted)
        self.waiter.add(accepted, address)
        client.settimeout(0)
        return client

    async def is_closed(self, client: socket.socket) -> bool:
        with contextlib.suppress(ConnectionResetError):
            return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 1), 5) == b""
        return True


@pytest.fixture
async def clients():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        some = Clients(listening)
        yield some
        some.waiter.close()
        for each in some.sockets:
            each.close()


async def test_a_whole_one_is_passed_on_and_nothing_of_it_is_consumed(clients):
    clients.connect(HELLO)
    ((accepted, address),) = clients.ready
    assert (accepted.recv(len(HELLO)), address) == (HELLO, ATTACKER)
    assert len(clients.waiter) == 0


@pytest.mark.parametrize("ends", [(0, 3), (3, 5), (5, 9), (9, 50), (50, -1)], ids=str)
async def test_one_that_comes_in_parts_is_passed_on_when_it_is_whole(clients, ends):
    client = clients.connect(HELLO[: ends[0]])
    client.send(HELLO[ends[0] : ends[1]])
    await asyncio.sleep(0)
    assert (len(clients.ready), len(clients.waiter)) == (0, 1)
    client.send(HELLO[ends[1] :])
    await eventually(lambda: clients.ready)
    assert len(clients.waiter) == 0


OTHERS = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: b\r\n\r\n",
    "one byte": b"\x00",
    "an alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "another message": HELLO[:5] + b"\x02" + HELLO[6:],
    "a record that is too large": HELLO[:3] + b"\xff\xff" + HELLO[5:],
    "an empty record": HELLO[:3] + b"\x00\x00" + HELLO[5:],
}


@pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS)
async def test_what_is_no_beginning_of_a_handshake_is_closed(clients, data):
    client = clients.connect(data)
    assert await clients.is_closed(client)


@pytest.mark.parametrize("data", [data for data in OTHERS.values() if len(data) > 1], ids=[*OTHERS][:1] + [*OTHERS][2:])
async def test_so_is_what_comes_later(clients, data):
    client = clients.connect()
    client.send(data)
    assert await clients.is_closed(client)
    assert (len(clients.ready), len(clients.waiter)) == (0, 0)


@pytest.mark.parametrize("length", [0, 3, 50], ids=str)
async def test_who_hangs_up_before_is_closed(clients, length):
    client = clients.connect(HELLO[:length])
    client.shutdown(socket.SHUT_WR)
    assert await clients.is_closed(client)
    await eventually(lambda: not len(clients.waiter))
    assert not clients.ready


async def test_who_is_silent_for_too_long_is_closed(clients, monkeypatch):
    monkeypatch.setattr(client_hello, "_TIMEOUT_SECONDS", 0.05)
    assert await clients.is_closed(clients.connect(HELLO[:50]))


async def test_the_oldest_of_the_largest_address_gives_way(clients):
    other = clients.connect(address=OTHER)
    first, second = clients.connect(), clients.connect()
    assert clients.waiter.close_oldest()
    assert await clients.is_closed(first)
    assert len(clients.waiter) == 2
    clients.waiter.close()
    assert [await clients.is_closed(each) for each in (other, second)] == [True, True]
    assert not clients.waiter.close_oldest()
