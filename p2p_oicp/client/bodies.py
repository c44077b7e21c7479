"""HTTP bodies, bounded while they are read and decompressed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from enum import Enum, auto

from p2p_oicp.errors import PeerProtocolError

#: The value of ``Accept-Encoding``.
ACCEPTED_CONTENT_CODINGS = "gzip, deflate"

# zlib's own flag: "deflate" is the zlib format (RFC 9110, 8.4.1.2), and the decompressor tells it from gzip.
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
# JSON of thousands of like records shrinks to a thirtieth; deflate itself reaches 1032.
_MAX_RATIO = 100
# What is smaller may have any ratio. Also the size of the first step: nearly all messages are one.
_SMALL_BODY_BYTES = 64 * 1024
# Decompressed in less than a millisecond.
_STEP_BYTES = 256 * 1024


class BodyProblem(Enum):
    """Why a body cannot be decoded."""

    TOO_LARGE = auto()
    BOMB = auto()
    DAMAGED = auto()
    INCOMPLETE = auto()
    UNKNOWN_CODING = auto()


class BodyError(Exception):
    """A body that cannot be decoded; only the callers in ``client`` and ``server`` see it."""

    def __init__(self, problem: BodyProblem, reason: str = "") -> None:
        super().__init__(reason or problem.name)
        self.problem = problem


class BoundedDecompressor:
    """Undoes a ``Content-Encoding`` step by step, and never produces more than ``limit`` bytes.

    A body that is not small may be 100 times as large as what it was compressed to: with more, it is a bomb.

    Args:
        coding: the header's value; empty for none.
        limit: the most bytes of the body, before and after decompression.

    Raises:
        BodyError: here and in the methods, with the reason.
    """

    def __init__(self, coding: str, limit: int) -> None:
        self._limit = limit
        self._received_size = 0
        self._decoded_size = 0
        match coding.strip().lower():
            case "" | "identity":
                self._decompressor = None
            case "gzip" | "x-gzip" | "deflate":
                self._decompressor = zlib.decompressobj(_GZIP_OR_ZLIB)
            case _:
                raise BodyError(BodyProblem.UNKNOWN_CODING)

    def add(self, chunk: bytes) -> bytes:
        """Return the next chunk, which is as it was on the wire, decoded."""
        return b"".join(self.steps(chunk))

    def steps(self, chunk: bytes) -> Iterator[bytes]:
        """Decode the next chunk; the first part is what fits a small body, the others have 256 KiB at most."""
        self._received_size += len(chunk)
        if self._decompressor is None:
            self._count(chunk, self._received_size)
            yield chunk
            return
        while True:
            first = _SMALL_BODY_BYTES - self._decoded_size
            # One byte more than allowed shows that the body is too large; a bomb is never inflated further.
            size = min(first if first > 0 else _STEP_BYTES, self._limit - self._decoded_size + 1)
            try:
                decoded = self._decompressor.decompress(chunk, size)
            except zlib.error as exc:
                raise BodyError(BodyProblem.DAMAGED, str(exc)) from exc
            chunk = self._decompressor.unconsumed_tail
            self._count(decoded, self._received_size - len(chunk))
            yield decoded
            if len(decoded) < size:  # nothing is left, in the chunk or in the decompressor
                return

    def finish(self) -> None:
        """Check that the compressed stream has come to its end."""
        if self._decompressor is not None and not self._decompressor.eof:
            raise BodyError(BodyProblem.INCOMPLETE)

    def _count(self, decoded: bytes, consumed: int) -> None:
        self._decoded_size += len(decoded)
        # The received size counts too: an endless stream may decompress to nothing.
        if max(self._decoded_size, self._received_size) > self._limit:
            raise BodyError(BodyProblem.TOO_LARGE)
        if self._decoded_size > max(_SMALL_BODY_BYTES, _MAX_RATIO * consumed):
            raise BodyError(BodyProblem.BOMB, f"it grows more than {_MAX_RATIO} times")


class BoundedBody:
    """Collects the chunks of one response, decompressed, and never holds more than ``limit`` bytes of it.

    Args:
        peer: who responds, for errors.
        limit: the most bytes of the body, before and after decompression.
        coding: its ``Content-Encoding``; empty for none.

    Raises:
        PeerProtocolError: the body is too large or damaged, or its coding was not offered.
    """

    def __init__(self, peer: str, *, limit: int, coding: str = "") -> None:
        self._peer = peer
        self._chunks: list[bytes] = []
        self._reasons = {
            BodyProblem.TOO_LARGE: f"the response is larger than {limit} bytes",
            BodyProblem.BOMB: f"the compressed response grows more than {_MAX_RATIO} times",
            BodyProblem.DAMAGED: "the compressed response is damaged",
            BodyProblem.INCOMPLETE: "the compressed response is cut off",
            BodyProblem.UNKNOWN_CODING: f"the response is coded as '{coding}', which was not offered",
        }
        try:
            self._decompressor = BoundedDecompressor(coding, limit)
        except BodyError as exc:
            raise self._protocol_error(exc) from exc

    def add(self, chunk: bytes) -> None:
        """Add the next chunk as it was on the wire."""
        try:
            self._chunks.append(self._decompressor.add(chunk))
        except BodyError as exc:
            self._chunks.clear()
            raise self._protocol_error(exc) from exc

    def finish(self) -> bytes:
        """Return the whole decoded body."""
        if self._chunks:  # a response without a body may name a coding all the same
            try:
                self._decompressor.finish()
            except BodyError as exc:
                raise self._protocol_error(exc) from exc
        return b"".join(self._chunks)

    def _protocol_error(self, error: BodyError) -> PeerProtocolError:
        return PeerProtocolError(self._peer, self._reasons[error.problem])
