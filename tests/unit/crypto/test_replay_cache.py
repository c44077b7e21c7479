"""Each signature is accepted once, and stored only for as long as it is valid."""

import resource
import time

import pytest

from p2p_oicp.crypto import PrivateKey, ReplayCache, VerifiedSignature
from p2p_oicp.errors import StoreError, StoreUnavailable, VerificationError

KEY = PrivateKey.generate().public
NOW = 1_800_000_000.0


def signed(nonce: str, created: float = NOW, key=KEY) -> VerifiedSignature:
    return VerifiedSignature(key, int(created), nonce, "oicp", b"")


def test_a_repeated_nonce_is_refused_and_other_nonces_and_keys_are_accepted():
    cache = ReplayCache(None, time.monotonic)
    cache.check_and_store(signed("a"), NOW)
    with pytest.raises(VerificationError, match="received before"):
        cache.check_and_store(signed("a"), NOW + 299)
    cache.check_and_store(signed("b"), NOW)
    cache.check_and_store(signed("a", key=PrivateKey.generate().public), NOW)


def test_a_nonce_from_before_a_crash_is_refused_after_it(tmp_path):
    with ReplayCache(tmp_path / "nonces", time.monotonic) as cache:
        cache.check_and_store(signed("a"), NOW)
        with ReplayCache(tmp_path / "nonces", time.monotonic) as restarted, pytest.raises(VerificationError):
            restarted.check_and_store(signed("a"), NOW)


def test_a_full_disk_accepts_nothing_and_loses_no_other_nonce(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with ReplayCache(tmp_path, time.monotonic) as cache:
        cache.check_and_store(signed("a"), NOW)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60, hard))
        try:
            for nonce in "bc":  # half a line, and nothing
                with pytest.raises(StoreError, match="cannot be kept"):
                    cache.check_and_store(signed(nonce * 100), NOW)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        cache.check_and_store(signed("d"), NOW)
    for nonce in "ad":
        with ReplayCache(tmp_path, time.monotonic) as restarted, pytest.raises(VerificationError):
            restarted.check_and_store(signed(nonce), NOW)


def test_expired_nonces_are_dropped(tmp_path, clock):
    with ReplayCache(tmp_path, clock.monotonic) as cache:
        for _ in range(60):
            cache.check_and_store(signed("a", clock.now), clock.now)
            clock.now += 60
            assert cache.nonce_count <= 8
        assert len(list(tmp_path.iterdir())) <= 8


def test_a_clock_that_jumps_ahead_and_back_drops_no_nonce():
    cache = ReplayCache(None, lambda: 100.0)
    cache.check_and_store(signed("a"), NOW)
    cache.check_and_store(signed("b", NOW + 86_400), NOW + 86_400)
    with pytest.raises(VerificationError, match="received before"):
        cache.check_and_store(signed("a"), NOW + 60)


def test_an_unusable_directory_stops_the_start(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match="nonces"), ReplayCache(tmp_path / "file", time.monotonic):
        pass
