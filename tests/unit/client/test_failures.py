"""Every exception of aiohttp is mapped to one of our errors."""

from __future__ import annotations

import socket
import ssl
from unittest.mock import Mock

import aiohttp
import pytest
from aiohttp import client_exceptions, http_exceptions
from aiohttp.client_reqrep import ConnectionKey
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from p2p_oicp.client import HttpTransport
from p2p_oicp.client.transport import TRANSPORT_EXCEPTIONS, map_exception
from p2p_oicp.errors import PeerProtocolError, PeerTimeout, PeerUnreachable

REQUEST = aiohttp.RequestInfo(URL("http://b"), "POST", CIMultiDictProxy(CIMultiDict()), URL("http://b"))
KEY = ConnectionKey("b", 80, is_ssl=False, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None)
SOCKET_ERROR = ConnectionRefusedError(111, "refused")

# How to make one of each; what is not listed is made without arguments.
ARGUMENTS: dict[str, tuple[object, ...]] = {
    **dict.fromkeys(("ClientResponseError", "ContentTypeError", "WSServerHandshakeError"), (REQUEST, ())),
    **dict.fromkeys(("ClientHttpProxyError", "TooManyRedirects"), (REQUEST, ())),
    **dict.fromkeys(
        ("ClientConnectorError", "ClientConnectorDNSError", "ClientProxyConnectionError", "ClientSSLError"),
        (KEY, SOCKET_ERROR),
    ),
    "ClientConnectorSSLError": (KEY, ssl.SSLError(1, "bad handshake")),
    "ClientConnectorCertificateError": (KEY, ssl.SSLCertVerificationError(1, "self-signed")),
    "UnixClientConnectorError": ("/tmp/socket", KEY, SOCKET_ERROR),  # noqa: S108 - never opened
    "ServerFingerprintMismatch": (b"a", b"b", "b", 443),
    **dict.fromkeys(("InvalidURL", "InvalidUrlClientError", "InvalidUrlRedirectClientError"), ("b:x",)),
    **dict.fromkeys(("NonHttpUrlClientError", "NonHttpUrlRedirectClientError"), (URL("ftp://b"),)),
    "HttpProcessingError": (),
    "LineTooLong": (b"x", 1),
    **dict.fromkeys(("InvalidHeader", "BadStatusLine", "BadHttpMethod", "InvalidURLError"), ("x",)),
    **dict.fromkeys(
        ("BadHttpMessage", "HttpBadRequest", "PayloadEncodingError", "ContentEncodingError", "TransferEncodingError"),
        ("x",),
    ),
    **dict.fromkeys(("ContentLengthError", "DecompressSizeError"), ("x",)),
}


def exceptions_of(*modules):
    found = [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Exception) and value.__module__ == module.__name__
    ]
    return sorted(set(found), key=lambda kind: kind.__name__)


AIOHTTP_EXCEPTIONS = exceptions_of(client_exceptions, http_exceptions)
LOWER_EXCEPTIONS = [
    TimeoutError(),
    SOCKET_ERROR,
    socket.gaierror(-2, "Name or service not known"),
    ssl.SSLError(1, "alert"),
    ValueError("Host is required"),
    UnicodeError("label too long"),
]
PROTOCOL_ERRORS = {
    "ClientResponseError", "ContentTypeError", "WSServerHandshakeError", "ClientHttpProxyError", "TooManyRedirects",
    "WSMessageTypeError", *(kind.__name__ for kind in exceptions_of(http_exceptions)),
}  # fmt: skip


def make(kind):
    return kind(*ARGUMENTS.get(kind.__name__, ()))


def test_the_table_of_arguments_names_classes_of_aiohttp():
    assert ARGUMENTS.keys() <= {kind.__name__ for kind in AIOHTTP_EXCEPTIONS}
    assert len(AIOHTTP_EXCEPTIONS) > 30


@pytest.mark.parametrize("exc", [*map(make, AIOHTTP_EXCEPTIONS), *LOWER_EXCEPTIONS], ids=lambda exc: type(exc).__name__)
def test_each_exception_is_mapped(exc):
    assert isinstance(exc, TRANSPORT_EXCEPTIONS)
    assert type(map_exception("peer B", exc, is_sent=False)) is PeerUnreachable
    after = map_exception("peer B", exc, is_sent=True)
    assert type(after) is (PeerProtocolError if type(exc).__name__ in PROTOCOL_ERRORS else PeerTimeout)
    assert after.reason


@pytest.mark.parametrize("exc", [*map(make, AIOHTTP_EXCEPTIONS), *LOWER_EXCEPTIONS], ids=lambda exc: type(exc).__name__)
@pytest.mark.parametrize("sent", [False, True])
@pytest.mark.parametrize("way", ["exchange", "session"])
async def test_no_exception_of_aiohttp_leaves_the_client(transport: HttpTransport, call, exc, sent, way):
    def request(*_args, data, **_kwargs):
        if sent:
            data._progress.start()
        raise exc

    async def post(_target, _headers, _body, progress, **_kwargs):
        if sent:
            progress.start()
        raise exc

    pool = transport._pool
    # A URL that only a session understands has no target.
    exchanges = Mock(post=post, target=Mock(return_value=Mock() if way == "exchange" else None))
    transport._pool = pool._replace(session=Mock(request=request), exchanges=exchanges)
    try:
        with pytest.raises((PeerUnreachable, PeerTimeout, PeerProtocolError)) as caught:
            await call()
    finally:
        transport._pool = pool
    assert caught.value.__cause__ is exc
    assert caught.value.may_have_arrived is sent


REASONS = {
    "refused": (make(client_exceptions.ClientConnectorError), "no connection to b:80: Connection refused"),
    "unknown name": (
        client_exceptions.ClientConnectorDNSError(KEY, socket.gaierror(-2, "Name or service not known")),
        "no connection to b:80: host name not found",
    ),
    "certificate": (
        make(client_exceptions.ClientConnectorCertificateError),
        "its certificate is not accepted: self-signed",
    ),
    "deadline": (TimeoutError(), "no connection within the deadline"),
    "not a URL": (client_exceptions.InvalidURL("b:x"), "not a usable http or https URL: b:x"),
    "another scheme": (make(client_exceptions.NonHttpUrlClientError), "not a usable http or https URL: ftp://b"),
}


@pytest.mark.parametrize(("exc", "reason"), REASONS.values(), ids=REASONS)
def test_the_reason_is_for_a_person(exc, reason):
    assert map_exception("peer B", exc, is_sent=False).reason == reason


def test_a_bug_stays_a_bug():
    assert not issubclass(AttributeError, TRANSPORT_EXCEPTIONS)
    assert not issubclass(KeyError, TRANSPORT_EXCEPTIONS)
    assert not issubclass(RuntimeError, TRANSPORT_EXCEPTIONS)
