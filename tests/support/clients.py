"""HTTP clients that speak OICP to a node, as a backend or as a peer."""

import json
import secrets
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp

from p2p_oicp.crypto import PrivateKey
from p2p_oicp.crypto.http_signatures import sign_request


@dataclass
class Reply:
    """One HTTP answer."""

    status: int
    headers: dict
    json: dict

    @property
    def code(self) -> str:
        return self.json["StatusCode"]["Code"]


class TestClient:
    """Speaks OICP over HTTP to one listener."""

    __test__ = False  # no class of tests

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self._session = session
        self.base = base

    async def post(self, path: str, body, **kwargs) -> Reply:
        data = body if isinstance(body, bytes | AsyncIterator) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"} | kwargs.pop("headers", {})
        async with self._session.post(f"{self.base}/api/oicp/{path}", data=data, headers=headers, **kwargs) as response:
            return Reply(response.status, dict(response.headers), await response.json(content_type=None))

    async def admin(self, path: str, body: dict | None = None) -> Reply:
        async with self._session.post(f"{self.base}/admin/v1/{path}", json=body or {}) as response:
            return Reply(response.status, dict(response.headers), await response.json())

    async def get(self, path: str) -> Reply:
        async with self._session.get(f"{self.base}{path}") as response:
            return Reply(response.status, dict(response.headers), await response.json())


class SigningTestClient(TestClient):
    """Speaks OICP as the node whose key it has."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base: str,
        key: PrivateKey,
        tls: ssl.SSLContext | None = None,
        *,
        signs: bool = True,
    ) -> None:
        super().__init__(session, base)
        self.key = key
        self.tls = tls
        self.signs = signs

    async def post(self, path: str, body, **kwargs) -> Reply:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = (self.signed(path, data) if self.signs else {}) | kwargs.pop("headers", {})
        return await super().post(path, data, headers=headers, **kwargs, ssl=self.tls or True)

    def signed(self, target: str, data: bytes, **changes) -> dict[str, str]:
        path, _, query = target.partition("?")
        parts = {
            "method": "POST",
            "authority": self.base.partition("://")[2],
            "path": f"/api/oicp/{path}",
            "query": query,
            "body": data,
            "now": time.time(),
            "nonce": secrets.token_urlsafe(16),
        }
        return sign_request(self.key, **parts | changes)
