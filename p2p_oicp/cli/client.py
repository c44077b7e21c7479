"""One request to any OICP endpoint, and its answer as it came.

The node's own client (`p2p_oicp.client`) turns refusals into typed errors; a person wants to read them whole.

Calls of the admin API of a running node, on its backend listener.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec
import orjson
from pydantic import SecretStr
from yarl import URL

from p2p_oicp.config import load_settings
from p2p_oicp.errors import ConfigurationError, P2pOicpError, PeerProtocolError, PeerTimeout, PeerUnreachable
from p2p_oicp.oicp import OperatorID
from p2p_oicp.peers.models import base_url

_MAX_RESPONSE_BYTES = 256 * 1024 * 1024
_SUCCESS_STATUSES = range(200, 300)
_LOOPBACK_BY_WILDCARD = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # what listens everywhere is called on loopback


@dataclass(frozen=True, slots=True)
class ApiEndpoint:
    """Where to send; ``operators`` are those of the node, None if the target is not known from its settings."""

    url: str
    token: SecretStr | None = None
    operators: tuple[OperatorID, ...] | None = None
    settings_file: Path | None = None

    @classmethod
    def from_options(cls, url: str | None, config: Path | None) -> Self:
        """Return the target of ``--url`` or ``--config``; raise `ConfigurationError` unless exactly one is given."""
        if (url is None) == (config is None):
            raise ConfigurationError("expected either --url BASE or --config FILE, to know where to send")
        return cls._from_url(url) if url is not None else cls._from_settings(config or Path())

    @classmethod
    def _from_url(cls, url: str) -> Self:
        try:
            return cls(base_url(url))
        except ValueError as exc:
            raise ConfigurationError(f"--url: {exc}") from exc

    @classmethod
    def _from_settings(cls, config: Path) -> Self:
        settings = load_settings(config)
        api = settings.backend_api
        if not api.port:
            raise ConfigurationError("[backend_api] port = 0: a command cannot know the port; choose a fixed one")
        host = _LOOPBACK_BY_WILDCARD.get(api.host, api.host)
        url = URL.build(scheme="http", host=host, port=api.port)
        return cls(str(url), api.token, settings.node.operators, config)


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """What came back."""

    status: int
    process_id: str | None
    body: bytes
    duration_ms: float

    @property
    def is_positive(self) -> bool:
        """Say whether the request was granted: Result true, Authorized, or code 000 (RULES H3: not HTTP 200 alone)."""
        content = self._json_object()
        if self.status not in _SUCCESS_STATUSES or content is None:
            return False
        if "Result" in content:
            return content["Result"] is True
        if "AuthorizationStatus" in content:
            return bool(content["AuthorizationStatus"] == "Authorized")
        return self.code in {None, "000"}

    @property
    def code(self) -> str | None:
        """The OICP status code, None if there is none."""
        status = (self._json_object() or {}).get("StatusCode")
        code = status.get("Code") if isinstance(status, dict) else None
        return f"{code:03}" if isinstance(code, int) else code

    def format_body(self) -> str:
        """Return the body for reading: JSON indented with every number as it came, anything else as text."""
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
    """Posts JSON over one kept connection; an async context manager. Raises only `PeerError`."""

    def __init__(self, endpoint: ApiEndpoint, *, timeout: float) -> None:
        self._endpoint = endpoint
        headers = {"Content-Type": "application/json; charset=utf-8", "Accept": "application/json"}
        if endpoint.token is not None:
            headers["Authorization"] = f"Bearer {endpoint.token.get_secret_value()}"
        self._headers = headers
        self._timeout = timeout
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=aiohttp.ClientTimeout(total=self._timeout))
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()

    async def post(self, url: str, body: bytes) -> ApiResponse:
        """Send ``body`` unchanged to an encoded URL and return the answer, whatever its status."""
        peer_name, started = self._endpoint.url, time.perf_counter()
        try:
            async with self._session.post(URL(url, encoded=True), data=body, allow_redirects=False) as response:
                content = await _read_limited(response)
        except aiohttp.ClientConnectorError as exc:
            reason = os.strerror(exc.os_error.errno) if exc.os_error.errno else exc.os_error
            raise PeerUnreachable(peer_name, f"no connection: {reason}") from exc
        except TimeoutError as exc:
            raise PeerTimeout(peer_name, f"no answer within {self._timeout:g} s") from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise PeerTimeout(peer_name, f"the connection broke: {exc}") from exc
        duration_ms = 1000 * (time.perf_counter() - started)
        return ApiResponse(response.status, response.headers.get("Process-ID"), content, duration_ms)


async def _read_limited(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > _MAX_RESPONSE_BYTES:
            raise PeerProtocolError(
                str(response.url.origin()), f"the answer is larger than {_MAX_RESPONSE_BYTES} bytes"
            )
    return bytes(content)


_ADMIN_TIMEOUT_SECONDS = 20.0
_ADMIN_SUCCESS_STATUSES = range(200, 300)


class AdminRequestRejected(P2pOicpError):
    """The node refuses what was asked; the text is its own."""


def call_admin(config: Path, method: str, path: str, payload: dict[str, object] | None = None) -> dict[str, Any]:
    """Return the answer of the node of ``config``; raise PeerUnreachable if it does not run, AdminRefused."""
    return asyncio.run(_send_admin_request(ApiEndpoint.from_options(None, config), method, path, payload or {}))


async def _send_admin_request(
    endpoint: ApiEndpoint, method: str, path: str, payload: dict[str, object]
) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    if endpoint.token is not None:
        headers["Authorization"] = f"Bearer {endpoint.token.get_secret_value()}"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ADMIN_TIMEOUT_SECONDS)) as session,
            session.request(method, endpoint.url + path, data=orjson.dumps(payload), headers=headers) as response,
        ):
            content = orjson.loads(await response.read())
    except (aiohttp.ClientError, TimeoutError, OSError) as exc:
        reason = f"the node does not run, or does not answer ({exc or 'timeout'}); start it: p2p-oicp run"
        raise PeerUnreachable(endpoint.url, reason) from exc
    except orjson.JSONDecodeError as exc:
        raise AdminRequestRejected(f"{endpoint.url}{path}: this is no p2p-oicp node") from exc
    if response.status not in _ADMIN_SUCCESS_STATUSES:
        raise AdminRequestRejected(
            str(content.get("StatusCode", {}).get("AdditionalInfo") or f"HTTP {response.status}")
        )
    return dict(content)
