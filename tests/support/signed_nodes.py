"""The two nodes of ``nodes``, now with keys: everything between them is signed.

A folder of tests that wants them imports the fixtures into its ``conftest.py``, where they replace those of ``nodes``.
"""

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from p2p_oicp.crypto import PrivateKey, keystore
from p2p_oicp.crypto.tls import Certificate, self_signed, unverified_context
from tests.support.clients import SigningTestClient
from tests.support.messages import A_CPO, B_EMP
from tests.support.nodes import Pair, configured


@dataclass
class SignedPair(Pair):
    """A pair of nodes that have to prove to each other who they are."""

    require: tuple[str, ...] = ("signature",)

    def write(self) -> None:
        super().write()
        for name in ("a", "b"):
            file = self.folder / name / "node.toml"
            file.write_text(file.read_text().replace("require = []", f"require = {json.dumps(self.require)}"))
            keys = self.folder / name / "keys"
            keystore.generate(keys)
            if "mtls" in self.require:
                text = file.read_text() + '[tls]\ncertificate = "keys/tls.crt"\nkey = "keys/tls.key"\n'
                url = f'url = "https://127.0.0.1:{self.ports[name]}"\n'
                file.write_text(text.replace("[peer_api]\n", f"[peer_api]\n{url}"))
                self.write_certificate(keys, name, {"a": A_CPO, "b": B_EMP}[name])
        for name, other in (("a", "b"), ("b", "a")):
            file = self.folder / name / "peers.toml"
            text = file.read_text() + f'public_keys = ["{self.key(other).public.der_base64}"]\n'
            if "mtls" in self.require:
                text = (
                    text.replace("http://", "https://") + f'certificates = ["{self.certificate(other).der_base64}"]\n'
                )
            file.write_text(text)

    def write_certificate(self, folder: Path, name: str, party: str) -> None:
        key, certificate = self_signed(f"node {name}", [party], ["127.0.0.1"], now=time.time(), days=1)
        (folder / "tls.key").write_bytes(key)
        (folder / "tls.crt").write_bytes(certificate)

    def certificate(self, name: str) -> Certificate:
        """A node's certificate."""
        return Certificate.from_pem((self.folder / name / "keys" / "tls.crt").read_bytes())

    @property
    def a_peer(self) -> SigningTestClient:
        """Node A's peer API, called as node B."""
        return self.caller("a", caller="b")

    @property
    def b_peer(self) -> SigningTestClient:
        """Node B's peer API, called as node A."""
        return self.caller("b", caller="a")

    def caller(self, name: str, caller: str) -> SigningTestClient:
        """The peer API of a node, called as another node: with its key and its certificate."""
        tls = None
        if "mtls" in self.require:
            keys = self.folder / caller / "keys"
            tls = unverified_context()
            tls.load_cert_chain(keys / "tls.crt", keys / "tls.key")
        base = f"{'https' if tls else 'http'}://127.0.0.1:{self.ports[name]}"
        return SigningTestClient(self.http, base, self.key(caller), tls, signs="signature" in self.require)

    def key(self, name: str) -> PrivateKey:
        """A node's private key."""
        return keystore.read_private_key(self.folder / name / "keys" / "node.key")


@pytest.fixture
def require() -> tuple[str, ...]:
    """What the two nodes want of each other."""
    return ("signature",)


@pytest.fixture
async def signed(tmp_path) -> AsyncIterator[SignedPair]:
    """Two configured nodes that sign everything, beside those of a folder that does not."""
    async with configured(SignedPair, tmp_path) as pair:
        yield pair


@pytest.fixture
async def stopped(tmp_path, require) -> AsyncIterator[SignedPair]:
    """Two configured nodes that do not run yet."""
    async with configured(partial(SignedPair, require=require), tmp_path) as pair:
        yield pair
