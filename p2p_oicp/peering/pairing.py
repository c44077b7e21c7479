"""Pairing: one company invites, the other joins, and each node gets the other's descriptor and key.

(1) The inviting node makes a token and stores the fingerprint of the key that is derived from it (`Pairing.invite`); a
person passes the link on. (2) The joining node fetches the inviting node's descriptor and compares its key with that of
the link (`inspect`); a person agrees. (3) It sends its own descriptor, signed with the token's key (`join`). (4) The
inviting node redeems the invitation and stores the peer, in one transaction, and responds with its own descriptor,
signed by its key for this very request (`accept_join`). (5) The joining node stores the peer.

What was agreed stays so: an invitation is good for the node that has redeemed it, for the parties that it named then,
and as long as it is a peer. Other parties, or a peer that was removed, need another invitation, which a person makes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from functools import partial
from typing import Any

import orjson

from p2p_oicp.client import HttpResponse, HttpTransport, OutboundRequest
from p2p_oicp.client.replies import authenticate_response, raise_for_status
from p2p_oicp.crypto import OneTimeSigner, PublicKey
from p2p_oicp.crypto.tls import unverified_context
from p2p_oicp.errors import ConfigurationError, Unauthorized, VerificationError
from p2p_oicp.oicp.operations import OPERATION_BY_NAME, api_root
from p2p_oicp.peering.directory import PeerDirectory
from p2p_oicp.peering.key_refresh import DescriptorFetcher
from p2p_oicp.peers import Peer, Source
from p2p_oicp.peers.descriptor import (
    PAIRINGS_PATH,
    Descriptor,
    Invitation,
    LocalIdentity,
    SignedDescriptor,
    verify_descriptor,
)
from p2p_oicp.storage import Row, Store, Transaction, job_keys, peers

_JOIN_TIMEOUT_SECONDS = 10.0
_DEFAULT_EXPIRY_SECONDS = 24 * 3600.0
# A link is a secret that lies about in mail: it is not good for ever.
_MAX_EXPIRY_SECONDS = 30 * 24 * 3600.0
_UNUSABLE_INVITATION = "this invitation is not known, or was used, or has expired"


class Pairing:
    """Both sides of pairing.

    Args:
        identity: this node.
        directory: gets the new peer.
        store: keeps invitations.
        transport: calls nodes that are no peers yet, so that nothing but the link authenticates them.
        fetcher: fetches their descriptors.
    """

    def __init__(
        self,
        identity: LocalIdentity,
        *,
        directory: PeerDirectory,
        store: Store,
        transport: HttpTransport,
        fetcher: DescriptorFetcher,
    ) -> None:
        self._identity = identity
        self._directory = directory
        self._store = store
        self._transport = transport
        self._fetcher = fetcher

    async def invite(self, services: list[str] | None, expires_in: float | None) -> tuple[Invitation, float]:
        """Return a new invitation, and until when it can be redeemed, once.

        Args:
            services: the operations that the new peer may use; None for all.
            expires_in: seconds; None for a day.

        Raises:
            ConfigurationError: an unknown operation, or more than 30 days.
        """
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
            ),
            about=(job_keys.PEERS,),
        )
        return invitation, now + seconds

    async def inspect(self, link: str) -> SignedDescriptor:
        """Return the descriptor of the node that made a link, or has a URL.

        Raises:
            ConfigurationError: it is no link.
            VerificationError: the descriptor is not signed by the key of the link.
            PeerError: it cannot be fetched.
        """
        if "#" not in link and link.startswith(("http://", "https://")):
            return await self._fetcher.fetch(link)
        invitation = Invitation.from_link(link)
        if invitation.key_id in {key.public.key_id for key in self._identity.signer.keys.entries}:
            raise ConfigurationError(
                "this link is your own: give it to the other company, or join with a link of theirs"
            )
        signed = await self._fetcher.fetch(invitation.url)
        if signed.key.key_id != invitation.key_id:
            raise VerificationError(
                f"the node at {invitation.url} signs with {signed.key.key_id}; the link is of {invitation.key_id}"
            )
        return signed

    async def join(self, link: str, alias: str | None = None, parties: Collection[str] | None = None) -> Peer:
        """Pair with the node that made ``link``, and return the new peer.

        Args:
            link: an invitation.
            alias: our name for the peer; None for the name in its descriptor.
            parties: the ids that it had when a person agreed; None to agree to any.

        Raises:
            ConfigurationError: it is no link, or the peer cannot be added.
            VerificationError: the node does not have the key of the link, or names other parties than were agreed.
            PeerError: the node could not be called, or refused.
        """
        invitation, remote_descriptor = Invitation.from_link(link), await self.inspect(link)
        agreed = parties_of(remote_descriptor.descriptor)
        if parties is not None and agreed != set(parties):
            raise VerificationError(f"the node names other parties now than you agreed to: {', '.join(sorted(agreed))}")
        # Order: checked before the invitation is redeemed, for it can be redeemed only once.
        self._directory.check_can_add(
            peer_from_descriptor(remote_descriptor, self._identity.require, alias=alias), remote_descriptor
        )
        response = await self._send_join(invitation, remote_descriptor)
        try:
            content = orjson.loads(response.body_as_utf8())
            signed = verify_descriptor(orjson.dumps(content["descriptor"]), self._identity.clock.time())
            if signed.key != remote_descriptor.key or parties_of(signed.descriptor) != agreed:
                raise VerificationError("the node has answered with another descriptor than it had shown before")
            signed = replace(signed, shown_certificate=remote_descriptor.shown_certificate)
            peer = peer_from_descriptor(signed, self._identity.require, services=content["services"], alias=alias)
        except (ValueError, KeyError, TypeError) as exc:
            raise VerificationError(f"the response to our joining cannot be read: {exc}") from exc
        await self._directory.add(peer, signed)
        return peer

    async def _send_join(self, invitation: Invitation, remote: SignedDescriptor) -> HttpResponse:
        """Send our descriptor, signed with the invitation's key; the response has to be signed by the node's own."""
        proof, clock, name = invitation.proof_key(), self._identity.clock, remote.descriptor.name
        signer, url = OneTimeSigner(proof, remote.key, clock), invitation.url + PAIRINGS_PATH
        own_descriptor = orjson.loads(self._identity.signed_descriptor())
        body = orjson.dumps({"descriptor": own_descriptor, "proof_key": proof.public.der_base64})
        headers = signer.sign(to=name, method="POST", url=url, body=body)
        # Any certificate will do: it is the signature of the response that identifies the node.
        request = OutboundRequest("POST", url, body, _JOIN_TIMEOUT_SECONDS, name, headers, unverified_context())
        response = await self._transport.send(request)
        authenticate_response(response, signer, to=name, request_headers=headers, now=clock.time())
        raise_for_status(response, now=clock.time(), is_oicp=False)
        return response

    async def accept_join(self, proof_key: PublicKey, remote_descriptor: SignedDescriptor) -> bytes:
        """Redeem an invitation and add the peer; return the body of the response.

        Args:
            proof_key: the key that the request is signed with.
            remote_descriptor: the descriptor of the joining node.

        Raises:
            Unauthorized: there is no such invitation, or it was redeemed by another node.
            ConfigurationError: the peer cannot be added.
        """
        key_id, now = proof_key.key_id, self._identity.clock.time()
        rows = await self._store.query(peers.INVITATION, key_id_=key_id)
        if not rows or rows[0]["expires_at"] <= now:
            raise Unauthorized(_UNUSABLE_INVITATION)
        services = None if rows[0]["services"] is None else orjson.loads(rows[0]["services"])

        def redeem(tx: Transaction, peer_id: str) -> None:
            # Checked again in the transaction that adds the peer: two nodes may have come with one link.
            redeemer = remote_descriptor.key.key_id
            if not peers.redeem_invitation(tx, key_id=key_id, redeemer=redeemer, peer_id=peer_id, now=now):
                raise Unauthorized("this invitation was used in this very moment")

        if rows[0]["redeemed_by"] is not None:
            self._check_repetition(rows[0], remote_descriptor)
        else:
            peer = peer_from_descriptor(remote_descriptor, self._identity.require, services=services)
            await self._directory.add(peer, remote_descriptor, redeem)
        return orjson.dumps({"descriptor": orjson.loads(self._identity.signed_descriptor()), "services": services})

    async def accept_parties(self, name: str, parties: Collection[str] | None) -> tuple[Peer, Peer]:
        """Agree to the parties that a paired peer names now; return its entry before and after (RULES L18).

        Args:
            name: the peer's.
            parties: the ids that a person has agreed to; None to agree to any.

        Raises:
            ConfigurationError: it stands in the peers file, is no peer, or a party of it is another peer's.
            VerificationError: it names other parties, or its descriptor is not endorsed by a key that is known.
            PeerError: its descriptor cannot be fetched.
        """
        before = self._directory.find_removable(name)
        signed = await self._fetcher.fetch(before.url)
        if parties is not None and parties_of(signed.descriptor) != set(parties):
            raise VerificationError("the node names other parties now than you agreed to")
        changes: dict[str, Any] = {
            "operators": signed.descriptor.operators,
            "providers": signed.descriptor.providers,
        }
        is_proved = bool(self._identity.require if before.security is None else before.security)
        if is_proved:
            await self._directory.update_descriptor(name, signed)
            changes["public_keys"] = (signed.key.der_base64,)
        after = replace(before, **changes)
        await self._directory.add(after, signed if is_proved else None)
        return before, after

    def _check_repetition(self, invitation: Row, signed: SignedDescriptor) -> None:
        """Allow the node that has redeemed an invitation to repeat its request: the response may have been lost.

        Nothing is changed by it. Raises like `accept_join`.
        """
        peer = self._directory.find_by_id(invitation["peer"])
        if peer is None or invitation["redeemed_by"] != signed.key.key_id:
            raise Unauthorized(_UNUSABLE_INVITATION)
        agreed = {party.text for party in (*peer.operators, *peer.providers)}
        if parties_of(signed.descriptor) != agreed:
            raise ConfigurationError(
                f"{', '.join(sorted(agreed))} was agreed; for other parties, ask for a new invitation"
            )


def peer_from_descriptor(
    signed_descriptor: SignedDescriptor,
    require: tuple[str, ...],
    *,
    services: list[str] | None = None,
    alias: str | None = None,
    source: Source = Source.PAIRED,
    pin_credentials: bool = True,
) -> Peer:
    """Return the peer that a descriptor describes.

    Args:
        signed_descriptor: the node's descriptor.
        require: what this node requires; the peer's entry gets these and what the other node requires, so that both
            sides require the same of each other.
        services: the operations that the peer may use; None for all.
        alias: our name for it; None for the name in the descriptor.
        source: how the peer was found.
        pin_credentials: trust the key of the descriptor. Its certificates are never pinned: they count when they are
            shown (`peers.credentials`).

    Raises:
        ConfigurationError: an unknown operation in ``services``.
    """
    descriptor = signed_descriptor.descriptor
    _check_services(services)
    return Peer(
        alias or descriptor.name,
        descriptor.url,
        operators=descriptor.operators,
        providers=descriptor.providers,
        services=None if services is None else frozenset(services),
        may_call=None if services is None else frozenset(services),
        # Sorted backwards: "signature" before "mtls", as people write it.
        security=tuple(sorted({*require, *descriptor.require}, reverse=True)),
        public_keys=(signed_descriptor.key.der_base64,) if pin_credentials else (),
        source=source,
    )


def parties_of(descriptor: Descriptor) -> set[str]:
    """Return the ids of the parties that a descriptor names, as a person agrees to them."""
    return {party.text for party in (*descriptor.operators, *descriptor.providers)}


def _check_services(services: list[str] | None) -> None:
    for name in services or ():
        if name not in OPERATION_BY_NAME:
            raise ConfigurationError(f'"{name}" is no operation; they are {", ".join(OPERATION_BY_NAME)}')
