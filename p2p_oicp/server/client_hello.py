"""TLS connections whose ClientHello has not come yet: each costs a file descriptor, and no handshake.

In TLS the client speaks first. Until its first message is whole, a connection waits here. What begins otherwise is
closed: a handshake would find it out as well, for a thousand times the effort.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Final, NamedTuple

from p2p_oicp.server.connections import AddressCounts

# From the accept to the end of the ClientHello.
_TIMEOUT_SECONDS: Final = 10.0
# RFC 8446, sections 4 and 5.1: the header of a record, and the type of the message in it.
_RECORD_HEADER_BYTES, _MAX_RECORD_BYTES = 5, 16 * 1024
_TYPE_OFFSET = _RECORD_HEADER_BYTES
_RECORD_START, _CLIENT_HELLO_TYPE = b"\x16\x03", 1


class NoClientHello(ValueError):
    """What a client has sent is no beginning of a TLS handshake, or it has hung up."""


class _Progress(NamedTuple):
    received: int
    needed: int


class _Waiting(NamedTuple):
    address: str
    needed: int
    timer: asyncio.TimerHandle


def read_progress(accepted: socket.socket) -> _Progress:
    """Return how much of a ClientHello, or of its first record, has come, and is needed; nothing is consumed.

    Raises:
        NoClientHello: it will never be whole.
    """
    try:
        data = accepted.recv(_RECORD_HEADER_BYTES + _MAX_RECORD_BYTES, socket.MSG_PEEK)
    except BlockingIOError:
        return _Progress(0, _TYPE_OFFSET + 1)
    except OSError as error:
        raise NoClientHello(str(error)) from error
    start = data[: len(_RECORD_START)]
    if not data or not _RECORD_START.startswith(start):
        raise NoClientHello(start.hex())
    if len(data) <= _TYPE_OFFSET:
        return _Progress(len(data), _TYPE_OFFSET + 1)
    length = int.from_bytes(data[3:_RECORD_HEADER_BYTES], "big")
    if data[_TYPE_OFFSET] != _CLIENT_HELLO_TYPE or not 0 < length <= _MAX_RECORD_BYTES:
        raise NoClientHello(data[: _TYPE_OFFSET + 1].hex())
    return _Progress(len(data), _RECORD_HEADER_BYTES + length)


class ClientHelloWaiter:
    """Holds connections until their ClientHello is whole.

    Args:
        on_ready: gets such a connection, and the address that it counts for.
    """

    def __init__(self, on_ready: Callable[[socket.socket, str], None]) -> None:
        self._on_ready = on_ready
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[socket.socket, _Waiting] = {}
        self._counts = AddressCounts()
        self._of_address: dict[str, dict[socket.socket, None]] = {}  # the oldest first

    def __len__(self) -> int:
        return len(self._waiting)

    def __repr__(self) -> str:
        return f"<ClientHelloWaiter waiting={len(self)}>"

    def add(self, accepted: socket.socket, address: str) -> None:
        """Pass on, hold or close a connection that has just been accepted."""
        try:
            progress = read_progress(accepted)
        except NoClientHello:
            accepted.close()
            return
        if progress.received >= progress.needed:
            self._on_ready(accepted, address)
            return
        timer = self._loop.call_later(_TIMEOUT_SECONDS, self._close, accepted)
        self._counts.add(address)
        self._of_address.setdefault(address, {})[accepted] = None
        self._wait(accepted, _Waiting(address, progress.needed, timer))
        self._loop.add_reader(accepted, self._continue, accepted)

    def _wait(self, accepted: socket.socket, waiting: _Waiting) -> None:
        # What has come stays in the socket: it is readable, for the event loop, when all has come, or at its end.
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, waiting.needed)
        self._waiting[accepted] = waiting

    def _continue(self, accepted: socket.socket) -> None:
        waiting = self._waiting[accepted]
        try:
            received, needed = read_progress(accepted)
        except NoClientHello:
            self._close(accepted)
            return
        if received >= needed:
            self._remove(accepted)
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            self._on_ready(accepted, waiting.address)
        elif needed > waiting.needed:  # the header has come
            self._wait(accepted, waiting._replace(needed=needed))
        else:  # no more will come
            self._close(accepted)

    def _remove(self, accepted: socket.socket) -> None:
        waiting = self._waiting.pop(accepted)
        waiting.timer.cancel()
        self._counts.remove(waiting.address)
        del self._of_address[waiting.address][accepted]
        if not self._of_address[waiting.address]:
            del self._of_address[waiting.address]
        self._loop.remove_reader(accepted)

    def _close(self, accepted: socket.socket) -> None:
        self._remove(accepted)
        accepted.close()

    def close_oldest(self) -> bool:
        """Close the oldest connection of the address that has most of them; return False if none waits."""
        if not self._waiting:
            return False
        self._close(next(iter(self._of_address[self._counts.largest])))
        return True

    def close(self) -> None:
        """Close all."""
        for accepted in list(self._waiting):
            self._close(accepted)
