"""The owner of a certificate is warned before it ends."""

import pytest
from structlog.testing import capture_logs

from p2p_oicp.crypto.tls import TlsIdentity, self_signed
from p2p_oicp.peering.peer_tls import CertificateExpiryJob

DAY = 86_400.0


@pytest.fixture
def job(tmp_path, clock, store) -> CertificateExpiryJob:
    """For a certificate of 60 days."""
    key, certificate = self_signed("node a", ["DE*GEF"], ["127.0.0.1"], now=clock.now, days=60)
    (tmp_path / "tls.key").write_bytes(key)
    (tmp_path / "tls.crt").write_bytes(certificate)
    return CertificateExpiryJob(TlsIdentity(tmp_path / "tls.crt", tmp_path / "tls.key", None), clock, store)


async def test_the_owner_is_warned_30_7_and_1_days_before_the_end_and_then_once(job, clock):
    warned = {}
    start = clock.now
    for hour in range(62 * 24):
        clock.now = start + hour * 3600.0
        with capture_logs() as logs:
            await job.run_once()
        for entry in logs:
            warned[60 - hour // 24] = (entry["event"], entry["subject"])
    ends, ended = ("certificate.ends_soon", "CN=node a"), ("certificate.has_ended", "CN=node a")
    assert warned == {30: ends, 7: ends, 1: ends, 0: ended}


async def test_after_a_restart_the_owner_is_warned_again(job, clock, store):
    clock.now += 55 * DAY
    for _ in range(2):
        with capture_logs() as logs:
            await CertificateExpiryJob(job._identity, clock, store).run_once()
        assert [entry["event"] for entry in logs] == ["certificate.ends_soon"]
