"""Responses are bounded, before and after decompression."""

from __future__ import annotations

import gzip
import zlib

import pytest

from p2p_oicp.client.bodies import BoundedBody
from p2p_oicp.errors import PeerProtocolError

TEXT = b'{"Result": true}' * 40


def in_chunks(content: bytes, size: int) -> list[bytes]:
    return [content[start : start + size] for start in range(0, len(content), size)]


def read(content: bytes, *, coding: str, limit: int, chunk: int = 7) -> bytes:
    body = BoundedBody("peer", limit=limit, coding=coding)
    for part in in_chunks(content, chunk):
        body.add(part)
    return body.finish()


CODINGS = {
    "none": ("", TEXT),
    "identity": ("identity", TEXT),
    "gzip": ("gzip", gzip.compress(TEXT)),
    "gzip, oddly written": (" X-GZIP ", gzip.compress(TEXT)),
    "deflate": ("deflate", zlib.compress(TEXT)),
}


@pytest.mark.parametrize(("coding", "content"), CODINGS.values(), ids=CODINGS)
def test_a_body_of_exactly_the_limit_is_read_in_any_chunks(coding, content):
    assert read(content, coding=coding, limit=len(TEXT)) == TEXT
    assert read(content, coding=coding, limit=len(TEXT), chunk=10**6) == TEXT


@pytest.mark.parametrize(("coding", "content"), CODINGS.values(), ids=CODINGS)
def test_one_byte_more_than_the_limit_is_refused(coding, content):
    with pytest.raises(PeerProtocolError, match=f"larger than {len(TEXT) - 1} bytes"):
        read(content, coding=coding, limit=len(TEXT) - 1)


def test_a_bomb_is_never_inflated_beyond_the_limit():
    body = BoundedBody("peer", limit=1000, coding="gzip")
    inflated: list[int] = []
    inflater = body._decompressor._decompressor

    class Recording:
        unconsumed_tail = b""

        def decompress(self, chunk: bytes, most: int) -> bytes:
            decoded = inflater.decompress(chunk, most)
            inflated.append(len(decoded))
            return decoded

    body._decompressor._decompressor = Recording()
    with pytest.raises(PeerProtocolError, match="larger than 1000 bytes"):
        body.add(gzip.compress(bytes(10_000_000)))
    assert inflated == [1001]


def test_a_body_that_grows_more_than_a_hundredfold_is_refused_early_and_one_of_like_records_is_not():
    bomb = gzip.compress(bytes(10_000_000))
    with pytest.raises(PeerProtocolError, match="grows more than 100 times"):
        read(bomb, coding="gzip", limit=20_000_000, chunk=len(bomb))
    records = b"".join(b'{"EvseID": "DE*GEF*E%06d", "EvseStatus": "Available"}' % n for n in range(20_000))
    assert read(gzip.compress(records), coding="gzip", limit=len(records), chunk=10**6) == records
    small = bytes(64 * 1024)
    assert read(gzip.compress(small), coding="gzip", limit=10**6, chunk=10**6) == small


def test_an_endless_stream_that_decompresses_to_nothing_is_cut():
    empty_block = b"\x00\x00\x00\xff\xff"
    with pytest.raises(PeerProtocolError, match="larger than"):
        read(gzip.compress(b"")[:10] + empty_block * 1000, coding="gzip", limit=1000)


DAMAGED = {
    "cut off": ("gzip", gzip.compress(TEXT)[:-9], "cut off"),
    "not gzip at all": ("gzip", TEXT, "damaged"),
    "a coding that was not offered": ("br", TEXT, "'br', which was not offered"),
}


@pytest.mark.parametrize(("coding", "content", "reason"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_body_is_a_protocol_error(coding, content, reason):
    with pytest.raises(PeerProtocolError, match=reason) as caught:
        read(content, coding=coding, limit=10_000)
    assert caught.value.peer == "peer"


def test_an_empty_body_is_empty_whatever_its_coding():
    assert read(b"", coding="gzip", limit=10) == b""
