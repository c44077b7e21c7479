"""What the head of a request says: its target, and whose address counts behind proxies."""

from ipaddress import ip_network

import pytest
from multidict import CIMultiDict

from p2p_oicp.server.inbound import client_address, origin_form

PROXIES = (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))
PROXY, CLIENT = "10.0.0.1", "192.0.2.7"
HEADERS = {
    "nothing": ({}, PROXY),
    "one address": ({"X-Forwarded-For": CLIENT}, CLIENT),
    "what the client has sent too": ({"X-Forwarded-For": f"198.51.100.9, {CLIENT}"}, CLIENT),
    "a chain of proxies": ({"X-Forwarded-For": f"198.51.100.9, {CLIENT}, 10.1.1.1"}, CLIENT),
    "proxies only": ({"X-Forwarded-For": "10.2.2.2, 10.1.1.1"}, "10.2.2.2"),
    "a port": ({"X-Forwarded-For": f"{CLIENT}:4711"}, CLIENT),
    "IPv6": ({"X-Forwarded-For": "2a00:db8::7"}, "2a00:db8::7"),
    "IPv6 with a port": ({"X-Forwarded-For": "[2a00:db8::7]:4711"}, "2a00:db8::7"),
    "no address": ({"X-Forwarded-For": f"{CLIENT}, unknown"}, PROXY),
    "nothing readable behind a proxy": ({"X-Forwarded-For": "<script>, 10.1.1.1"}, "10.1.1.1"),
    "an empty header": ({"X-Forwarded-For": ""}, PROXY),
    "Forwarded": ({"Forwarded": f"for=198.51.100.9, for={CLIENT};proto=https;by=10.1.1.1"}, CLIENT),
    "Forwarded, quoted": ({"Forwarded": 'proto=http; For="[2a00:db8::7]:4711"'}, "2a00:db8::7"),
    "Forwarded, an address in another part": ({"Forwarded": f'for={CLIENT};host="a;for=198.51.100.9"'}, CLIENT),
    "Forwarded, an open quote": ({"Forwarded": f'host=", for={CLIENT};host="a"'}, PROXY),
    "Forwarded without for": ({"Forwarded": "for=198.51.100.9, proto=https"}, PROXY),
    "both, the same": ({"Forwarded": f"for={CLIENT}", "X-Forwarded-For": CLIENT}, CLIENT),
    "both, different": ({"Forwarded": "for=198.51.100.9", "X-Forwarded-For": CLIENT}, PROXY),
}


@pytest.mark.parametrize(("headers", "address"), HEADERS.values(), ids=HEADERS)
def test_a_trusted_proxy_tells_the_address_of_the_client(headers, address):
    assert client_address(PROXY, CIMultiDict(headers), PROXIES) == address


def test_several_lines_of_the_header_are_one_list():
    headers = CIMultiDict([("X-Forwarded-For", "198.51.100.9"), ("X-Forwarded-For", CLIENT)])
    assert client_address(PROXY, headers, PROXIES) == CLIENT


def test_nobody_else_is_believed():
    headers = CIMultiDict({"X-Forwarded-For": CLIENT})
    assert client_address("198.51.100.9", headers, PROXIES) == "198.51.100.9"
    assert client_address(None, headers, PROXIES) is None


TARGETS = {
    "/api/oicp/x?page=1": "/api/oicp/x?page=1",
    "http://node.example:8320/api/oicp/x?page=1": "/api/oicp/x?page=1",
    "HTTPS://[2001:db8::1]/x": "/x",
    "http://node.example": "/",
    "http://node.example?page=1": "/?page=1",
    "*": "*",
    "//x/y": "//x/y",
}


@pytest.mark.parametrize(("target", "path"), TARGETS.items())
def test_a_target_in_absolute_form_stands_for_its_path(target, path):
    assert origin_form(target) == path
