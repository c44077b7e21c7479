"""Client-Cert (RFC 9440): who is believed, and what can be read."""

from ipaddress import ip_network
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from multidict import CIMultiDict

from p2p_oicp.crypto.tls import Certificate, self_signed
from p2p_oicp.server.client_certificate import forwarded_certificate
from tests.support.clocks import ManualClock

CLOCK = ManualClock()
CERTIFICATE = Certificate.from_pem(self_signed("node a", ["DE*GEF"], ["a.example"], now=CLOCK.time(), days=1)[1])
ENDED = Certificate.from_pem(self_signed("node a", ["DE*GEF"], ["a.example"], now=CLOCK.time() - 90_000, days=1)[1])
PROXIES = [ip_network("192.0.2.0/28"), ip_network("2001:db8::/64")]
PROXY, STRANGER = "192.0.2.3", "198.51.100.7"
HEADER = f":{CERTIFICATE.der_base64}:"

READABLE = {
    "a byte sequence, as RFC 9440 has it": (PROXY, [HEADER]),
    "PEM, percent-encoded, as nginx writes it": (PROXY, [quote(CERTIFICATE.pem())]),
    "a proxy with an IPv6 address": ("2001:db8::5", [HEADER]),
}
REFUSED = {
    "of nobody that is trusted": (STRANGER, [HEADER]),
    "of an unknown address": (None, [HEADER]),
    "none": (PROXY, []),
    "two, of which a client may have sent one": (PROXY, [HEADER, HEADER]),
    "one that has ended": (PROXY, [f":{ENDED.der_base64}:"]),
    "an empty one": (PROXY, ["::"]),
    "base64 alone": (PROXY, [CERTIFICATE.der_base64]),
    "no base64": (PROXY, [":%%%:"]),
    "no certificate": (PROXY, [":AAAA:"]),
    "PEM of something else": (PROXY, [quote("-----BEGIN NONSENSE-----\nAAAA\n-----END NONSENSE-----\n")]),
    "no UTF-8": (PROXY, ["-----BEGIN%FF"]),
}


def read(remote: str | None, values: list[str]) -> bytes | None:
    request = SimpleNamespace(remote=remote, headers=CIMultiDict([("Client-Cert", value) for value in values]))
    return forwarded_certificate(request, PROXIES, CLOCK)


@pytest.mark.parametrize(("remote", "values"), READABLE.values(), ids=READABLE)
def test_the_certificate_is_read_of_what_a_trusted_proxy_says(remote, values):
    der = read(remote, values)
    assert Certificate(der).fingerprint == CERTIFICATE.fingerprint


@pytest.mark.parametrize(("remote", "values"), REFUSED.values(), ids=REFUSED)
def test_all_else_is_no_certificate(remote, values):
    assert read(remote, values) is None
