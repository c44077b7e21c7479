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

from p2p_oicp.clock import Clock
from p2p_oicp.errors import ConfigurationError, NotProven, Unauthorized
from p2p_oicp.identity import MessageSigner, OneTimeSigner, PublicKey
from p2p_oicp.identity.tls import TlsIdentity, unverified_context
from p2p_oicp.oicp.operation import Party, root_of
from p2p_oicp.oicp.operations import OPERATION_BY_NAME, OPERATIONS
from p2p_oicp.peers import Peer, Source
from p2p_oicp.peers.descriptor import Descriptor, SignedDescriptor, described, open_descriptor, sign_descriptor
from p2p_oicp.peers.invitation import PAIRINGS_PATH, Invitation
from p2p_oicp.storage import Store, pairings
from p2p_oicp.transport import OicpClient
from p2p_oicp.trust.directory import Directory
from p2p_oicp.trust.fresh_keys import fetch_descriptor
from p2p_oicp.version import VERSION

_DEADLINE_SECONDS = 10.0
_DEFAULT_EXPIRY_SECONDS = 24 * 3600.0
_LONGEST_EXPIRY_SECONDS = 30 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class OurSide:
    """What this node says of itself to others."""

    me: Peer
    require: tuple[str, ...]
    signer: MessageSigner
    clock: Clock
    tls: TlsIdentity | None = None

    def descriptor(self) -> bytes:
        """Return our signed descriptor, as of now."""
        now, keys = self.clock.time(), self.signer.keys
        descriptor = Descriptor(
            name=self.me.name,
            url=self.me.url,
            operators=self.me.operators,
            providers=self.me.providers,
            keys=described(keys),
            certificates=() if self.tls is None else (self.tls.certificate.line,),
            operations=self._operations(),
            require=self.require,
            software=f"p2p-oicp {VERSION}",
            issued_at=now,
        )
        return sign_descriptor(descriptor, keys.signing(now))

    def _operations(self) -> tuple[str, ...]:
        """Return the names of the operations that this node serves to peers."""
        ours = {Party.CPO: bool(self.me.operators), Party.EMP: bool(self.me.providers)}
        return tuple(operation.name for operation in OPERATIONS if ours[operation.server])


class Pairing:
    """Invites, joins, and parts."""

    def __init__(self, ours: OurSide, *, directory: Directory, store: Store, client: OicpClient) -> None:
        self._ours = ours
        self._directory = directory
        self._store = store
        self._client = client

    async def invite(self, services: list[str] | None, expires_in: float | None) -> tuple[Invitation, float]:
        """Return an invitation, and until when (seconds since the epoch) it can be used, once."""
        _check_services(services)
        seconds = _DEFAULT_EXPIRY_SECONDS if expires_in is None else expires_in
        if not 0 < seconds <= _LONGEST_EXPIRY_SECONDS:
            raise ConfigurationError(f"an invitation is good for up to 30 days, not {seconds:g} s")
        now = self._ours.clock.time()
        invitation = Invitation.new(root_of(self._ours.me.url), self._ours.signer.keys.signing(now).key_id)
        await self._store.write(
            partial(
                pairings.invite,
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
            return await fetch_descriptor(self._client, link, self._ours.clock)
        invitation = Invitation.of_link(link)
        signed = await fetch_descriptor(self._client, invitation.url, self._ours.clock)
        if signed.key.key_id != invitation.key_id:
            raise NotProven(
                f"the node at {invitation.url} signs with {signed.key.key_id}; the link is of {invitation.key_id}"
            )
        return signed

    async def join(self, link: str, alias: str | None = None) -> Peer:
        """Pair with the node that has given us ``link``; it is then known as ``alias``, or as it calls itself."""
        invitation, theirs = Invitation.of_link(link), await self.inspect(link)
        self._directory.check(peer_of(theirs, self._ours.require, alias=alias), theirs)
        proof, ours = invitation.proof_key(), orjson.loads(self._ours.descriptor())
        body = orjson.dumps({"descriptor": ours, "proof_key": proof.public.line})
        _, answer = await self._client.request_json(
            "POST",
            f"{invitation.url}{PAIRINGS_PATH}",
            body,
            deadline=_DEADLINE_SECONDS,
            peer=theirs.descriptor.name,
            signer=OneTimeSigner(proof, theirs.key, self._ours.clock),
            tls=unverified_context(),
        )
        try:
            content = orjson.loads(answer)
            signed = open_descriptor(orjson.dumps(content["descriptor"]), self._ours.clock.time())
            peer = peer_of(signed, self._ours.require, services=content["services"], alias=alias)
        except (ValueError, KeyError, TypeError) as exc:
            raise NotProven(f"the answer to our joining is none: {exc}") from exc
        await self._directory.add(peer, signed)
        return peer

    async def welcome(self, proof_key: PublicKey, theirs: SignedDescriptor) -> bytes:
        """Answer a node that joins, whose request is signed with ``proof_key``.

        Raises Unauthorized where there is no such invitation, ConfigurationError where the peer cannot be added.
        """
        key_id, now = proof_key.key_id, self._ours.clock.time()
        rows = await self._store.read(pairings.INVITATION, key_id_=key_id)
        is_open = bool(rows) and rows[0]["expires_at"] > now and rows[0]["used_by"] in {None, theirs.key.key_id}
        if not is_open:
            raise Unauthorized("this invitation is not known, or was used, or has expired")
        services = None if rows[0]["services"] is None else orjson.loads(rows[0]["services"])

        def use_up(tx: object) -> None:
            if not pairings.use(tx, key_id=key_id, by=theirs.key.key_id, now=now):  # type: ignore[arg-type]
                raise Unauthorized("this invitation was used in this very moment")

        await self._directory.add(peer_of(theirs, self._ours.require, services=services), theirs, use_up)
        return orjson.dumps({"descriptor": orjson.loads(self._ours.descriptor()), "services": services})


def peer_of(
    theirs: SignedDescriptor,
    require: tuple[str, ...],
    *,
    services: list[str] | None = None,
    alias: str | None = None,
    source: Source = Source.PAIRED,
    pinned: bool = True,
) -> Peer:
    """Return the peer that a descriptor describes; both sides then want what either of them wants (``require``)."""
    said = theirs.descriptor
    _check_services(services)
    return Peer(
        alias or said.name,
        said.url,
        operators=said.operators,
        providers=said.providers,
        services=None if services is None else frozenset(services),
        security=tuple(sorted({*require, *said.require}, reverse=True)),
        public_keys=(theirs.key.line,) if pinned else (),
        certificates=said.certificates if pinned else (),
        source=source,
    )


def _check_services(services: list[str] | None) -> None:
    for name in services or ():
        if name not in OPERATION_BY_NAME:
            raise ConfigurationError(f'"{name}" is no operation; they are {", ".join(OPERATION_BY_NAME)}')
