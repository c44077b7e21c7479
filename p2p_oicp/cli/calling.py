"""One request to any OICP endpoint, and its answer as it came.

The node's own client (`p2p_oicp.transport`) turns refusals into typed errors; a person wants to read them whole.
"""

from __future__ import annotations

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

from p2p_oicp.errors import ConfigurationError, PeerBroken, PeerSilent, PeerUnreachable
from p2p_oicp.oicp import OperatorID
from p2p_oicp.peers.fields import base_url
from p2p_oicp.settings import load_settings

_LARGEST_ANSWER = 256 * 1024 * 1024
_OK = range(200, 300)
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # what listens everywhere is called on loopback


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send; ``operators`` are those of the node, None if the target is not known from its settings."""

    url: str
    token: SecretStr | None = None
    operators: tuple[OperatorID, ...] | None = None
    settings_file: Path | None = None

    @classmethod
    def of(cls, url: str | None, config: Path | None) -> Self:
        """Return the target of ``--url`` or ``--config``; raise `ConfigurationError` unless exactly one is given."""
        if (url is None) == (config is None):
            raise ConfigurationError("expected either --url BASE or --config FILE, to know where to send")
        return cls._of_url(url) if url is not None else cls._of_node(config or Path())

    @classmethod
    def _of_url(cls, url: str) -> Self:
        try:
            return cls(base_url(url))
        except ValueError as exc:
            raise ConfigurationError(f"--url: {exc}") from exc

    @classmethod
    def _of_node(cls, config: Path) -> Self:
        settings = load_settings(config)
        api = settings.backend_api
        if not api.port:
            raise ConfigurationError("[backend_api] port = 0: a command cannot know the port; choose a fixed one")
        host = _ANY_ADDRESS.get(api.host, api.host)
        url = URL.build(scheme="http", host=host, port=api.port)
        return cls(str(url), api.token, settings.node.operators, config)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    process_id: str | None
    body: bytes
    milliseconds: float

    @property
    def is_positive(self) -> bool:
        """Say whether the request was granted: Result true, Authorized, or code 000 (RULES H3: not HTTP 200 alone)."""
        content = self._content()
        if self.status not in _OK or content is None:
            return False
        if "Result" in content:
            return content["Result"] is True
        if "AuthorizationStatus" in content:
            return bool(content["AuthorizationStatus"] == "Authorized")
        return self.code in {None, "000"}

    @property
    def code(self) -> str | None:
        """The OICP status code, None if there is none."""
        status = (self._content() or {}).get("StatusCode")
        code = status.get("Code") if isinstance(status, dict) else None
        return f"{code:03}" if isinstance(code, int) else code

    def pretty(self) -> str:
        """Return the body for reading: JSON indented with every number as it came, anything else as text."""
        try:
            return msgspec.json.format(self.body, indent=2).decode()
        except (msgspec.DecodeError, UnicodeDecodeError):
            return self.body.decode(errors="replace")

    def headline(self) -> str:
        """Return status, Process-ID and duration in one line."""
        return f"HTTP {self.status}, Process-ID {self.process_id or 'none'}, {self.milliseconds:.0f} ms"

    def _content(self) -> dict[str, Any] | None:
        try:
            content = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return None
        return content if isinstance(content, dict) else None


class Caller:
    """Posts JSON over one kept connection; an async context manager. Raises only `PeerError`."""

    def __init__(self, target: Target, *, seconds: float) -> None:
        self._target = target
        headers = {"Content-Type": "application/json; charset=utf-8", "Accept": "application/json"}
        if target.token is not None:
            headers["Authorization"] = f"Bearer {target.token.get_secret_value()}"
        self._headers = headers
        self._seconds = seconds
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=aiohttp.ClientTimeout(total=self._seconds))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def post(self, url: str, body: bytes) -> Answer:
        """Send ``body`` unchanged to an encoded URL and return the answer, whatever its status."""
        name, begin = self._target.url, time.perf_counter()
        try:
            async with self._session.post(URL(url, encoded=True), data=body, allow_redirects=False) as response:
                content = await _bounded(response)
        except aiohttp.ClientConnectorError as exc:
            reason = os.strerror(exc.os_error.errno) if exc.os_error.errno else exc.os_error
            raise PeerUnreachable(name, f"no connection: {reason}") from exc
        except TimeoutError as exc:
            raise PeerSilent(name, f"no answer within {self._seconds:g} s") from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise PeerSilent(name, f"the connection broke: {exc}") from exc
        duration = 1000 * (time.perf_counter() - begin)
        return Answer(response.status, response.headers.get("Process-ID"), content, duration)


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > _LARGEST_ANSWER:
            raise PeerBroken(str(response.url.origin()), f"the answer is larger than {_LARGEST_ANSWER} bytes")
    return bytes(content)
