"""Each signature is accepted once, and only for as long as it must be is it remembered."""

import resource

import pytest

from p2p_oicp.crypto import PrivateKey, ReplayCache, VerifiedSignature
from p2p_oicp.errors import StoreError, StoreUnavailable, VerificationError

KEY = PrivateKey.generate().public
NOW = 1_800_000_000.0


def signed(nonce: str, created: float = NOW, key=KEY) -> VerifiedSignature:
    return VerifiedSignature(key, int(created), nonce, "oicp", b"")


def test_the_second_time_is_refused_and_other_nonces_and_keys_are_not():
    guard = ReplayCache()
    guard.check_and_store(signed("a"), NOW)
    with pytest.raises(VerificationError, match="received before"):
        guard.check_and_store(signed("a"), NOW + 299)
    guard.check_and_store(signed("b"), NOW)
    guard.check_and_store(signed("a", key=PrivateKey.generate().public), NOW)


def test_what_was_seen_before_a_crash_is_refused_after_it(tmp_path):
    with ReplayCache(tmp_path / "nonces") as guard:
        guard.check_and_store(signed("a"), NOW)
        with ReplayCache(tmp_path / "nonces") as after_a_kill, pytest.raises(VerificationError):
            after_a_kill.check_and_store(signed("a"), NOW)


def test_on_a_full_disk_nothing_is_accepted_and_what_was_before_and_comes_after_is_remembered(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with ReplayCache(tmp_path) as guard:
        guard.check_and_store(signed("a"), NOW)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60, hard))
        try:
            for nonce in "bc":  # half a line, and nothing
                with pytest.raises(StoreError, match="cannot be kept"):
                    guard.check_and_store(signed(nonce * 100), NOW)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        guard.check_and_store(signed("d"), NOW)
    for nonce in "ad":
        with ReplayCache(tmp_path) as after_a_kill, pytest.raises(VerificationError):
            after_a_kill.check_and_store(signed(nonce), NOW)


def test_what_would_be_too_old_anyway_is_forgotten(tmp_path, clock):
    with ReplayCache(tmp_path, clock.monotonic) as guard:
        for _ in range(60):
            guard.check_and_store(signed("a", clock.now), clock.now)
            clock.now += 60
            assert guard.nonce_count <= 8
        assert len(list(tmp_path.iterdir())) <= 8


def test_a_clock_that_jumps_a_day_ahead_and_back_makes_it_forget_nothing():
    guard = ReplayCache(monotonic=lambda: 100.0)
    guard.check_and_store(signed("a"), NOW)
    guard.check_and_store(signed("b", NOW + 86_400), NOW + 86_400)
    with pytest.raises(VerificationError, match="received before"):
        guard.check_and_store(signed("a"), NOW + 60)


def test_a_folder_that_cannot_be_used_stops_the_start(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match="nonces"), ReplayCache(tmp_path / "file"):
        pass
