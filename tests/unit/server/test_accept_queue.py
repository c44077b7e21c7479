"""Which connection is opened next: who attacks from an address keeps nobody else there waiting."""

import socket
from collections import Counter

import pytest

from p2p_oicp.server import accept_queue
from p2p_oicp.server.accept_queue import AcceptQueue
from p2p_oicp.server.connections import AddressCounts

HEAD = b"POST /x HTTP/1.1\r\nHost: b\r\nContent-Length: 10\r\n\r\n"
ATTACKER, OTHER = "192.0.2.1", "192.0.2.2"
MANY = accept_queue._MAX_RECENT * 4


class Clients:
    """The client's ends of connections that wait in a queue."""

    def __init__(self, queue: AcceptQueue) -> None:
        self.queue = queue
        self.names: dict[socket.socket, str] = {}
        self.sockets: list[socket.socket] = []

    def connect(self, name: str, address: str = ATTACKER, data: bytes = b"") -> socket.socket:
        ours, theirs = socket.socketpair()
        theirs.settimeout(0)
        ours.send(data) if data else None
        self.sockets += (ours, theirs)
        self.names[theirs] = name
        self.queue.add(theirs, address)
        return ours

    def opened(self, *, with_late: bool = False) -> str | None:
        taken = self.queue.take(with_late=with_late)
        return taken and self.names[taken[0]]


@pytest.fixture
def clients(clock, request):
    some = Clients(AcceptQueue(10 * MANY, clock.monotonic, is_plain=getattr(request, "param", True)))
    yield some
    for each in some.sockets:
        each.close()


def test_each_address_has_its_turn(clients):
    for number in range(3):
        clients.connect(f"a{number}")
    clients.connect("b", OTHER)
    assert [clients.opened() for _ in range(5)] == ["a0", "b", "a1", "a2", None]


@pytest.mark.parametrize("clients", [True, False], ids=["plain", "TLS"], indirect=True)
def test_a_new_connection_waits_for_few_of_its_address_however_many_wait(clients):
    for _ in range(MANY):
        clients.connect("silent", data=HEAD)
    clients.connect("honest")
    before = 0
    while clients.opened() != "honest":
        before += 1
    assert before < accept_queue._MAX_RECENT
    assert len(clients.queue) == MANY - before


def test_late_ones_are_opened_only_where_there_is_room_and_the_newest_first(clients):
    for number in range(MANY):
        clients.connect(str(number))
    while clients.opened():
        pass
    assert clients.opened() is None
    newest_late = MANY - accept_queue._MAX_RECENT - 1
    assert [clients.opened(with_late=True) for _ in range(2)] == [str(newest_late), str(newest_late - 1)]


WHOLE = {
    "a body": HEAD + b"0123456789",
    "no body": b"GET /healthz HTTP/1.1\r\nHost: b\r\n\r\n",
    "chunks": b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "much of a large body": b"POST /x HTTP/1.1\r\ncontent-length: 9999999\r\n\r\n" + b"x" * 65536,
}
NOT_WHOLE = {
    "nothing": b"",
    "half a head": HEAD[:-2],
    "a head": HEAD,
    "nearly all": HEAD + b"012345678",
    "chunks without end": b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
}


@pytest.mark.parametrize(
    ("data", "is_opened"),
    [(data, True) for data in WHOLE.values()] + [(data, False) for data in NOT_WHOLE.values()],
    ids=[*WHOLE, *NOT_WHOLE],
)
def test_a_late_one_is_opened_when_its_request_is_whole(clients, clock, data, is_opened):
    clients.connect("honest", data=data)
    for _ in range(MANY):
        clients.connect("silent", data=HEAD)
    clock.now += 1
    assert (clients.opened() == "honest") == is_opened


@pytest.mark.parametrize("clients", [False], ids=["TLS"], indirect=True)
def test_with_tls_every_other_turn_is_of_the_late_ones_in_their_order(clients):
    clients.connect("honest")
    for _ in range(MANY):
        clients.connect("attacker")
    assert "honest" in {clients.opened(with_late=True) for _ in range(3)}


@pytest.mark.parametrize("clients", [True, False], ids=["plain", "TLS"], indirect=True)
def test_every_other_turn_is_of_addresses_from_which_somebody_has_proved_who_he_is(clients):
    clients.queue.mark_proved(OTHER)
    for number in range(MANY):
        clients.connect("attacker", f"198.51.100.{number}")
    clients.connect("honest", OTHER)
    assert "honest" in {clients.opened() for _ in range(2)}


def test_only_so_many_proved_addresses_are_remembered(clients, monkeypatch):
    monkeypatch.setattr(accept_queue, "_MAX_PROVED_ADDRESSES", 2)
    for address in ("192.0.2.1", OTHER, "192.0.2.1", "192.0.2.3"):
        clients.queue.mark_proved(address)
    assert set(clients.queue._proved_addresses) == {"192.0.2.1", "192.0.2.3"}


@pytest.mark.parametrize("clients", [True, False], ids=["plain", "TLS"], indirect=True)
def test_who_has_hung_up_pushes_out_nobody(clients, clock):
    clients.connect("honest")
    for _ in range(MANY):
        clients.connect("gone").close()
        clock.now += 1
    assert clients.opened() == "honest"
    assert clients.opened(with_late=True) is None
    assert len(clients.queue) == 0


def test_who_sends_no_more_and_has_sent_a_whole_request_is_served(clients):
    clients.connect("half", data=HEAD).shutdown(socket.SHUT_WR)
    clients.connect("honest", data=WHOLE["a body"]).shutdown(socket.SHUT_WR)
    assert [clients.opened(), clients.opened()] == ["honest", None]


def test_beyond_the_limit_the_oldest_late_one_of_the_largest_address_is_closed(clock):
    clients = Clients(AcceptQueue(8, clock.monotonic, is_plain=True))  # of which two of an address are recent
    clients.connect("b", OTHER)
    ends = [clients.connect(f"a{number}") for number in range(10)]
    assert [end.recv(1) for end in ends[:3]] == [b""] * 3
    assert [clients.opened(with_late=True) for _ in range(9)] == ["b", "a8", "a9", "a7", "a6", "a5", "a4", "a3", None]
    for each in clients.sockets:
        each.close()


def test_who_waits_for_too_long_is_closed(clients, clock):
    first = clients.connect("first")
    for _ in range(MANY):
        clients.connect("silent")
    clock.now += accept_queue._MAX_WAIT_SECONDS + 1
    clients.opened()
    assert first.recv(1) == b""


def test_all_are_closed_at_the_end(clients):
    ends = [clients.connect("x", address) for address in (ATTACKER, OTHER) for _ in range(MANY)]
    clients.queue.close()
    assert len(clients.queue) == 0
    assert {end.recv(1) for end in ends} == {b""}


def test_an_address_whose_recent_ones_end_together_leaves_nothing(clients, clock, monkeypatch):
    clock.now += 1
    for number in range(accept_queue._MAX_RECENT):
        clients.connect(str(number))
    answers = iter([False])  # when it is accepted; a moment later, all have ended
    monkeypatch.setattr(clients.queue, "_has_ended", lambda _: next(answers, True))
    clients.connect("last")
    assert (clients.opened(), len(clients.queue), clients.queue.close_oldest()) == (None, 0, False)


def test_whose_turn_it_is_to_give_way_is_right_however_connections_come_and_go():
    counts, expected = AddressCounts(), Counter[str]()
    for number in range(2000):
        address = str(number * number % 7)
        if number % 3 == 2 and expected[address]:
            counts.remove(address)
            expected[address] -= 1
        else:
            counts.add(address)
            expected[address] += 1
        assert not len(counts) or expected[counts.largest] == max(expected.values())
    while len(counts):
        expected[counts.largest] -= 1
        counts.remove(counts.largest)
    assert not any(expected.values())
