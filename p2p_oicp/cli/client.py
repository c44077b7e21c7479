"""Requests to any OICP endpoint, and to the admin API of a running node (on its backend listener).

`p2p_oicp.client` turns refusals into typed errors; a person at a terminal wants to read the response whole, so
`ApiClient` returns it whatever its status. It is `p2p_oicp.client.HttpTransport` with a bearer token: the same limits,
and the same error texts for what goes wrong below HTTP.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path
from ssl import SSLContext
from types import TracebackType
from typing import Any, Self

import msgspec
import orjson
from pydantic import SecretStr
from yarl import URL

from p2p_oicp.client.transport import HttpTransport, OutboundRequest
from p2p_oicp.config import load_settings
from p2p_oicp.crypto.tls import Certificate, client_context
from p2p_oicp.errors import (
    ConfigurationError,
    FailureCause,
    P2pOicpError,
    PeerProtocolError,
    PeerTimeout,
    PeerUnreachable,
    reason_of,
)
from p2p_oicp.oicp import OperatorID, StatusCodeValue
from p2p_oicp.peers.models import parse_base_url
from p2p_oicp.version import VERSION

# The largest answer of OICP is a page of a national data set, some tens of megabytes.
_MAX_RESPONSE_BYTES = 256 * 1024 * 1024
_SUCCESS_STATUSES = range(200, 300)
_ADMIN_TIMEOUT_SECONDS = 20.0
# A listener on all interfaces is reached on loopback.
_LOOPBACK_BY_WILDCARD = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


@dataclass(frozen=True, slots=True)
class ApiEndpoint:
    """Where to send.

    Attributes:
        url: the base URL, without a trailing slash.
        token: the bearer token that the endpoint asks for.
        operators: the operators of our own node; None if the endpoint is known by its URL only.
        settings_file: the settings of our own node, for messages.
        tls: the context for ``https``; None: certificates of the machine's CAs are accepted.
    """

    url: str
    token: SecretStr | None = None
    operators: tuple[OperatorID, ...] | None = None
    settings_file: Path | None = None
    tls: SSLContext | None = field(default=None, repr=False)

    @classmethod
    def from_options(cls, url: str | None, config: Path | None) -> Self:
        """Return the endpoint of ``--url`` or ``--config``; raise `ConfigurationError` unless exactly one is given."""
        if (url is None) == (config is None):
            raise ConfigurationError("expected either --url BASE or --config FILE, to know where to send")
        return cls._from_url(url) if url is not None else cls.from_settings(config or Path())

    @classmethod
    def from_settings(cls, config: Path) -> Self:
        """Return the backend API of the node with these settings; raise `ConfigurationError`."""
        settings = load_settings(config)
        api = settings.backend_api
        if not api.port:
            raise ConfigurationError("[backend_api] port = 0: a command cannot know the port; choose a fixed one")
        host = _LOOPBACK_BY_WILDCARD.get(api.host, api.host)
        tls = _pinning_context(api.certificate)
        url = URL.build(scheme="https" if tls else "http", host=host, port=api.port)
        return cls(str(url), api.token, settings.node.operators, config, tls)

    @classmethod
    def _from_url(cls, url: str) -> Self:
        try:
            return cls(parse_base_url(url))
        except ValueError as exc:
            raise ConfigurationError(f"--url: {exc}") from exc


def _pinning_context(certificate: Path | None) -> SSLContext | None:
    """Return the context that accepts the certificate of our own listener, under any name, and no other one."""
    if certificate is None:
        return None
    try:
        return client_context([Certificate.from_pem(certificate.read_bytes()).der_base64])
    except (OSError, ValueError) as exc:
        raise ConfigurationError(f"[backend_api] {certificate}: cannot be used: {reason_of(exc)}") from exc


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """One HTTP response; ``duration_ms`` is in milliseconds, from the request's start to the last byte."""

    status: int
    process_id: str | None
    body: bytes
    duration_ms: float

    @property
    def is_positive(self) -> bool:
        """Whether the request was granted: Result true, Authorized, or code 000 (RULES H3: not HTTP 200 alone)."""
        content = self._json_object()
        if not self.is_success or content is None:
            return False
        if "Result" in content:
            return content["Result"] is True
        if "AuthorizationStatus" in content:
            return bool(content["AuthorizationStatus"] == "Authorized")
        return self.code in {None, StatusCodeValue.SUCCESS}

    @property
    def is_success(self) -> bool:
        """Whether the HTTP status is 2xx."""
        return self.status in _SUCCESS_STATUSES

    @property
    def code(self) -> str | None:
        """The OICP status code, None if there is none."""
        status = (self._json_object() or {}).get("StatusCode")
        code = status.get("Code") if isinstance(status, dict) else None
        return f"{code:03}" if isinstance(code, int) else code

    def format_body(self) -> str:
        """Return the body for reading: JSON indented, its numbers unchanged; anything else as text."""
        try:
            return msgspec.json.format(self.body, indent=2).decode()
        except (msgspec.DecodeError, UnicodeDecodeError):
            return self.body.decode(errors="replace")

    def status_line(self) -> str:
        """Return status, Process-ID and duration in one line."""
        return f"HTTP {self.status}, Process-ID {self.process_id or 'none'}, {self.duration_ms:.0f} ms"

    def _json_object(self) -> dict[str, Any] | None:
        try:
            content = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None
        return content if isinstance(content, dict) else None


class ApiClient:
    """Sends JSON over one kept-alive connection; an async context manager. Raises only `PeerError`.

    Args:
        endpoint: whose bearer token goes along, and who is named in errors.
        timeout: seconds for each whole exchange.
    """

    def __init__(self, endpoint: ApiEndpoint, *, timeout: float) -> None:
        self._endpoint = endpoint
        self._timeout = timeout
        token = endpoint.token
        self._headers = {} if token is None else {"Authorization": f"Bearer {token.get_secret_value()}"}
        self._transport = HttpTransport(user_agent=f"p2p-oicp/{VERSION}", max_body=_MAX_RESPONSE_BYTES)

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._transport.__aexit__(exc_type, exc, traceback)

    async def post(self, url: str, body: bytes) -> ApiResponse:
        """Send ``body`` unchanged to an encoded URL; return the response, whatever its status."""
        return await self.request("POST", url, body)

    async def request(self, method: str, url: str, body: bytes = b"") -> ApiResponse:
        """As `post`, with any method; only a POST has a body."""
        started = time.perf_counter()
        response = await self._transport.send(
            OutboundRequest(method, url, body, self._timeout, self._endpoint.url, self._headers, self._endpoint.tls)
        )
        duration_ms = 1000 * (time.perf_counter() - started)
        return ApiResponse(response.status, response.headers.get("Process-ID"), response.body, duration_ms)


class AdminRequestRejected(P2pOicpError):
    """The node refused an admin request; the text is the node's own."""


def call_admin(
    config: Path,
    method: str,
    path: str,
    payload: dict[str, object] | None = None,
    *,
    timeout: float = _ADMIN_TIMEOUT_SECONDS,
) -> dict[str, Any]:
    """Send one request to the admin API of the node with these settings and return the JSON object of its response.

    Args:
        config: the node's settings file.
        method: the HTTP method.
        path: the path and query, percent-encoded.
        payload: the JSON body of a POST; None sends an empty object.
        timeout: seconds for the whole exchange.

    Raises:
        PeerUnreachable: the node does not run, or did not respond in time.
        AdminRequestRejected: the node refused the request, or this is no node.
    """
    return asyncio.run(send_to_admin(ApiEndpoint.from_settings(config), method, path, payload, timeout=timeout))


async def send_to_admin(
    endpoint: ApiEndpoint,
    method: str,
    path: str,
    payload: dict[str, object] | None = None,
    *,
    timeout: float = _ADMIN_TIMEOUT_SECONDS,  # noqa: ASYNC109 - HTTP's own, of each exchange
) -> dict[str, Any]:
    """As `call_admin`, for commands that send several requests at a time."""
    response = await _send_admin_request(endpoint, method, path, orjson.dumps(payload or {}), timeout)
    try:
        content = orjson.loads(response.body)
    except orjson.JSONDecodeError as exc:
        raise AdminRequestRejected(f"{endpoint.url}{path}: this is no p2p-oicp node") from exc
    if not response.is_success:
        raise AdminRequestRejected(
            str(content.get("StatusCode", {}).get("AdditionalInfo") or f"HTTP {response.status}")
        )
    return dict(content)


async def _send_admin_request(
    endpoint: ApiEndpoint, method: str, path: str, body: bytes, timeout_seconds: float
) -> ApiResponse:
    try:
        async with ApiClient(endpoint, timeout=timeout_seconds) as client:
            return await client.request(method, endpoint.url + path, body)
    except (PeerUnreachable, PeerTimeout, PeerProtocolError) as exc:
        if exc.cause is FailureCause.UNTRUSTED_CERTIFICATE:
            reason = "the node shows another certificate than [backend_api] certificate names; send it SIGHUP"
            raise PeerUnreachable(endpoint.url, reason) from exc
        reason = (
            f"the node does not run, or does not respond ({exc.reason}); "
            f"start it: p2p-oicp run --config {endpoint.settings_file}"
        )
        raise PeerUnreachable(endpoint.url, reason) from exc
