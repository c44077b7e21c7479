"""Pairing, both sides of it: one company invites, the other joins.

The plan: (1) the inviting node makes a token and keeps the fingerprint of the key that follows from it; a person hands
the link over. (2) The joining node fetches the inviting node's descriptor and holds it to the key in the link; a person
agrees. (3) It sends its own descriptor, signed with the token's key. (4) The inviting node uses the invitation up and
stores the peer, in one transaction, and answers with its own descriptor, in an answer signed by its key for this very
request. (5) The joining node stores the peer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import orjson

from p2p_oicp.client import HttpTransport
from p2p_oicp.clock import Clock
from p2p_oicp.crypto import MessageSigner, OneTimeSigner, PublicKey
from p2p_oicp.crypto.tls import TlsIdentity, unverified_context
from p2p_oicp.errors import ConfigurationError, Unauthorized, VerificationError
from p2p_oicp.oicp.operations import OPERATION_BY_NAME, OPERATIONS, Party, api_root
from p2p_oicp.peering.directory import PeerDirectory
from p2p_oicp.peering.key_refresh import fetch_descriptor
from p2p_oicp.peers import Peer, Source
from p2p_oicp.peers.descriptor import (
    PAIRINGS_PATH,
    Descriptor,
    Invitation,
    SignedDescriptor,
    publish_keys,
    sign_descriptor,
    verify_descriptor,
)
from p2p_oicp.storage import Store, peers
from p2p_oicp.version import VERSION

_DEADLINE_SECONDS = 10.0
_DEFAULT_EXPIRY_SECONDS = 24 * 3600.0
_MAX_EXPIRY_SECONDS = 30 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class LocalIdentity:
    """What this node says of itself to others."""

    local_peer: Peer
    require: tuple[str, ...]
    signer: MessageSigner
    clock: Clock
    tls: TlsIdentity | None = None

    def signed_descriptor(self) -> bytes:
        """Return our signed descriptor, as of now."""
        now, keys = self.clock.time(), self.signer.keys
        descriptor = Descriptor(
            name=self.local_peer.name,
            url=self.local_peer.url,
            operators=self.local_peer.operators,
            providers=self.local_peer.providers,
            keys=publish_keys(keys),
            certificates=() if self.tls is None else (self.tls.certificate.der_base64,),
            operations=self._operations(),
            require=self.require,
            software=f"p2p-oicp {VERSION}",
            issued_at=now,
        )
        return sign_descriptor(descriptor, keys.signing_key(now))

    def _operations(self) -> tuple[str, ...]:
        """Return the names of the operations that this node serves to peers."""
        is_served = {Party.CPO: bool(self.local_peer.operators), Party.EMP: bool(self.local_peer.providers)}
        return tuple(operation.name for operation in OPERATIONS if is_served[operation.server])


class Pairing:
    """Invites, joins, and parts."""

    def __init__(
        self, identity: LocalIdentity, *, directory: PeerDirectory, store: Store, client: HttpTransport
    ) -> None:
        self._identity = identity
        self._directory = directory
        self._store = store
        self._client = client

    async def invite(self, services: list[str] | None, expires_in: float | None) -> tuple[Invitation, float]:
        """Return an invitation, and until when (seconds since the epoch) it can be used, once."""
        _check_services(services)
        seconds = _DEFAULT_EXPIRY_SECONDS if expires_in is None else expires_in
        if not 0 < seconds <= _MAX_EXPIRY_SECONDS:
            raise ConfigurationError(f"an invitation is good for up to 30 days, not {seconds:g} s")
        now = self._identity.clock.time()
        invitation = Invitation.new(
            api_root(self._identity.local_peer.url), self._identity.signer.keys.signing_key(now).key_id
        )
        await self._store.write(
            partial(
                peers.insert_invitation,
                key_id=invitation.proof_key().key_id,
                services=None if services is None else orjson.dumps(services).decode(),
                now=now,
                expires_at=now + seconds,
            )
        )
        return invitation, now + seconds

    async def inspect(self, link: str) -> SignedDescriptor:
        """Return who stands behind a link, or a node's URL; raise ConfigurationError, NotProven, PeerError."""
        if "#" not in link:
            return await fetch_descriptor(self._client, link, self._identity.clock)
        invitation = Invitation.from_link(link)
        signed = await fetch_descriptor(self._client, invitation.url, self._identity.clock)
        if signed.key.key_id != invitation.key_id:
            raise VerificationError(
                f"the node at {invitation.url} signs with {signed.key.key_id}; the link is of {invitation.key_id}"
            )
        return signed

    async def join(self, link: str, alias: str | None = None) -> Peer:
        """Pair with the node that has given us ``link``; it is then known as ``alias``, or as it calls itself."""
        invitation, remote_descriptor = Invitation.from_link(link), await self.inspect(link)
        self._directory.check_can_add(
            peer_from_descriptor(remote_descriptor, self._identity.require, alias=alias), remote_descriptor
        )
        proof, own_descriptor = invitation.proof_key(), orjson.loads(self._identity.signed_descriptor())
        body = orjson.dumps({"descriptor": own_descriptor, "proof_key": proof.public.der_base64})
        _, response_body = await self._client.request_json(
            "POST",
            f"{invitation.url}{PAIRINGS_PATH}",
            body,
            deadline=_DEADLINE_SECONDS,
            peer=remote_descriptor.descriptor.name,
            signer=OneTimeSigner(proof, remote_descriptor.key, self._identity.clock),
            tls=unverified_context(),
        )
        try:
            content = orjson.loads(response_body)
            signed = verify_descriptor(orjson.dumps(content["descriptor"]), self._identity.clock.time())
            peer = peer_from_descriptor(signed, self._identity.require, services=content["services"], alias=alias)
        except (ValueError, KeyError, TypeError) as exc:
            raise VerificationError(f"the answer to our joining is none: {exc}") from exc
        await self._directory.add(peer, signed)
        return peer

    async def accept_join(self, proof_key: PublicKey, remote_descriptor: SignedDescriptor) -> bytes:
        """Answer a node that joins, whose request is signed with ``proof_key``.

        Raises Unauthorized where there is no such invitation, ConfigurationError where the peer cannot be added.
        """
        key_id, now = proof_key.key_id, self._identity.clock.time()
        rows = await self._store.query(peers.INVITATION, key_id_=key_id)
        is_open = (
            bool(rows)
            and rows[0]["expires_at"] > now
            and rows[0]["redeemed_by"] in {None, remote_descriptor.key.key_id}
        )
        if not is_open:
            raise Unauthorized("this invitation is not known, or was used, or has expired")
        services = None if rows[0]["services"] is None else orjson.loads(rows[0]["services"])

        def redeem(tx: object) -> None:
            if not peers.redeem_invitation(tx, key_id=key_id, redeemer=remote_descriptor.key.key_id, now=now):  # type: ignore[arg-type]
                raise Unauthorized("this invitation was used in this very moment")

        await self._directory.add(
            peer_from_descriptor(remote_descriptor, self._identity.require, services=services),
            remote_descriptor,
            redeem,
        )
        return orjson.dumps({"descriptor": orjson.loads(self._identity.signed_descriptor()), "services": services})


def peer_from_descriptor(
    signed_descriptor: SignedDescriptor,
    require: tuple[str, ...],
    *,
    services: list[str] | None = None,
    alias: str | None = None,
    source: Source = Source.PAIRED,
    pin_credentials: bool = True,
) -> Peer:
    """Return the peer that a descriptor describes; both sides then want what either of them wants (``require``)."""
    descriptor = signed_descriptor.descriptor
    _check_services(services)
    return Peer(
        alias or descriptor.name,
        descriptor.url,
        operators=descriptor.operators,
        providers=descriptor.providers,
        services=None if services is None else frozenset(services),
        security=tuple(sorted({*require, *descriptor.require}, reverse=True)),
        public_keys=(signed_descriptor.key.der_base64,) if pin_credentials else (),
        certificates=descriptor.certificates if pin_credentials else (),
        source=source,
    )


def _check_services(services: list[str] | None) -> None:
    for name in services or ():
        if name not in OPERATION_BY_NAME:
            raise ConfigurationError(f'"{name}" is no operation; they are {", ".join(OPERATION_BY_NAME)}')
