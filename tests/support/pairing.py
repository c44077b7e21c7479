"""Two nodes that are paired through their admin APIs, and nodes that join by hand."""

import json
import secrets
import time

import orjson

from p2p_oicp.crypto import PrivateKey
from p2p_oicp.crypto.http_signatures import sign_request
from p2p_oicp.crypto.keystore import OwnKey, OwnKeys
from p2p_oicp.crypto.signers import split_target
from p2p_oicp.crypto.tls import unverified_context
from p2p_oicp.oicp import OperatorID, ProviderID
from p2p_oicp.peers.descriptor import Descriptor, Invitation, publish_keys, sign_descriptor


class Admin:
    """The admin API of one node."""

    def __init__(self, pair, name: str) -> None:
        self._http = pair.http
        self._base = f"http://127.0.0.1:{pair.ports[name + ' backend']}"

    async def ask(self, method: str, path: str, status: int = 200, **members) -> dict:
        async with self._http.request(method, f"{self._base}/admin/v1{path}", json=members) as answer:
            content = await answer.json(content_type=None)
            assert answer.status == status, content
            return content

    async def names(self) -> list[str]:
        return [peer["name"] for peer in (await self.ask("GET", "/peers"))["peers"]]


async def paired(a: Admin, b: Admin, **invitation) -> str:
    link = (await a.ask("POST", "/peers/invitations", **invitation))["link"]
    assert (await b.ask("POST", "/peers/join", link=link))["joined"] == "node a"
    return link


class Forged:
    """A node that joins with a made-up descriptor."""

    def __init__(self, key: PrivateKey | None = None, **changes) -> None:
        self.key = key or PrivateKey.generate()
        members = {"name": "thief", "url": "http://127.0.0.1:9", "operators": [], "providers": ["DE-THF"]} | changes
        members["operators"] = tuple(map(OperatorID, members["operators"]))
        members["providers"] = tuple(map(ProviderID, members["providers"]))
        keys = members.pop("keys", publish_keys(OwnKeys((OwnKey(self.key.public, private=self.key),))))
        self.body = sign_descriptor(Descriptor(keys=keys, **members), self.key)


async def attempt(pair, link: str, forged: Forged, tamper=lambda body: body) -> tuple[int, str]:
    """Join with a link; return the HTTP status, and what is said of it."""
    invitation = Invitation.from_link(link)
    proof = invitation.proof_key()
    body = orjson.dumps({"descriptor": orjson.loads(forged.body), "proof_key": proof.public.der_base64})
    url = f"{invitation.url}/p2p/v1/pairings"
    authority, path, query = split_target(url)
    headers = sign_request(
        proof, method="POST", authority=authority, path=path, query=query, body=body, now=time.time(),
        nonce=secrets.token_urlsafe(),
    )  # fmt: skip
    async with pair.http.post(url, data=tamper(body), headers=headers, ssl=unverified_context()) as answer:
        content = json.loads(await answer.read())
        return answer.status, content.get("StatusCode", {}).get("AdditionalInfo", "")
