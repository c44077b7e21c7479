"""The two nodes of tests/node, now with keys: everything between them is signed."""

import json
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest

from p2p_oicp.identity import PrivateKey, keystore
from p2p_oicp.identity.signatures import sign_request
from tests.node.conftest import Caller, Pair, Reply


class SigningCaller(Caller):
    """Speaks OICP as the node whose key it has."""

    def __init__(self, session: aiohttp.ClientSession, base: str, key: PrivateKey) -> None:
        super().__init__(session, base)
        self.key = key

    async def post(self, path: str, body, **kwargs) -> Reply:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await super().post(path, data, headers=self.signed(path, data) | kwargs.pop("headers", {}), **kwargs)

    def signed(self, target: str, data: bytes, **changes) -> dict[str, str]:
        path, _, query = target.partition("?")
        parts = {
            "method": "POST",
            "authority": self.base.removeprefix("http://"),
            "path": f"/api/oicp/{path}",
            "query": query,
            "body": data,
            "now": time.time(),
            "nonce": secrets.token_urlsafe(16),
        }
        return sign_request(self.key, **parts | changes)


@dataclass
class SignedPair(Pair):
    """A pair of nodes that require signatures of each other."""

    require: str = '["signature"]'

    def write(self) -> None:
        super().write()
        for name in ("a", "b"):
            file = self.folder / name / "node.toml"
            file.write_text(file.read_text().replace("require = []", f"require = {self.require}"))
            if not (self.folder / name / "keys").exists():
                keystore.generate(self.folder / name / "keys")
        for name, other in (("a", "b"), ("b", "a")):
            file = self.folder / name / "peers.toml"
            file.write_text(file.read_text() + f'public_keys = ["{self.key(other).public.line}"]\n')

    @property
    def a_peer(self) -> SigningCaller:
        """Node A's peer API, called as node B."""
        return SigningCaller(self.http, f"http://127.0.0.1:{self.ports['a']}", self.key("b"))

    @property
    def b_peer(self) -> SigningCaller:
        """Node B's peer API, called as node A."""
        return SigningCaller(self.http, f"http://127.0.0.1:{self.ports['b']}", self.key("a"))

    def key(self, name: str) -> PrivateKey:
        """A node's private key."""
        return keystore.read_private_key(self.folder / name / "keys" / "node.key")


@pytest.fixture
async def stopped(tmp_path, unused_tcp_port_factory) -> AsyncIterator[SignedPair]:
    """Two configured nodes that do not run yet."""
    ports = {name: unused_tcp_port_factory() for name in ("a", "a backend", "b", "b backend")}
    async with aiohttp.ClientSession() as http:
        pair = SignedPair(tmp_path, http, ports)
        pair.write()
        yield pair


@pytest.fixture
async def pair(stopped) -> AsyncIterator[SignedPair]:
    """Two running nodes."""
    async with stopped.running("a"), stopped.running("b"):
        yield stopped
