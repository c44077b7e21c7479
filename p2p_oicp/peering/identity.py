"""Who this node is to its peers: its keys, its descriptor, and the credentials that it requires of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from p2p_oicp.clock import Clock
from p2p_oicp.crypto import MessageSigner, OwnKeys, PrivateKey, read_own_keys
from p2p_oicp.crypto.keystore import OwnKey
from p2p_oicp.crypto.tls import TlsIdentity
from p2p_oicp.oicp.operations import OPERATIONS, Party
from p2p_oicp.peers import Peer, PeerRegistry
from p2p_oicp.peers.descriptor import Descriptor, publish_keys, sign_descriptor
from p2p_oicp.version import VERSION


class SecurityPolicy:
    """Which credentials the requests of each peer must carry.

    Args:
        require: those of every peer whose entry has no ``security`` of its own: ``signature``, ``mtls``, both or none.
        registry: the peers.
    """

    def __init__(self, require: tuple[str, ...], registry: PeerRegistry) -> None:
        self.require = require
        self._registry = registry

    def required_credentials(self, peer: Peer | None) -> tuple[str, ...]:
        """Return what a peer's requests must carry; None: those of a sender that is no peer."""
        return self.require if peer is None or peer.security is None else peer.security

    def needs_signature(self, name: str) -> bool:
        """Whether messages from and to the peer ``name`` are signed; asked for every message."""
        peer = self._registry.by_name(name)
        return peer is not None and not peer.is_self and "signature" in self.required_credentials(peer)

    def unauthenticated_peers(self) -> list[str]:
        """Return the names of the peers that need no credentials."""
        return [peer.name for peer in self._registry.all() if not peer.is_self and not self.required_credentials(peer)]

    def needs_own_keys(self) -> bool:
        """Whether this node has to sign, so that it cannot start without keys."""
        return "signature" in self.require or any(self.needs_signature(peer.name) for peer in self._registry.all())


def read_signing_keys(path: Path, policy: SecurityPolicy) -> OwnKeys:
    """Return our signing keys; raise ConfigurationError if they are needed and cannot be used."""
    if policy.needs_own_keys() or path.exists():
        return read_own_keys(path)
    # An insecure node needs no keys, but its descriptor has to be signed: by a key that lives as long as the process.
    key = PrivateKey.generate()
    return OwnKeys((OwnKey(key.public, private=key),))


@dataclass(frozen=True, slots=True)
class LocalIdentity:
    """What this node publishes of itself; ``require`` is what it requires of peers in general."""

    local_peer: Peer
    require: tuple[str, ...]
    signer: MessageSigner
    clock: Clock
    tls: TlsIdentity | None = None

    def signed_descriptor(self) -> bytes:
        """Return our descriptor as of now, signed by our newest key."""
        now, keys = self.clock.time(), self.signer.keys
        descriptor = Descriptor(
            name=self.local_peer.name,
            url=self.local_peer.url,
            operators=self.local_peer.operators,
            providers=self.local_peer.providers,
            keys=publish_keys(keys),
            certificates=() if self.tls is None else (self.tls.certificate.der_base64,),
            operations=self._served_operations(),
            require=self.require,
            software=f"p2p-oicp {VERSION}",
            issued_at=now,
        )
        return sign_descriptor(descriptor, keys.signing_key(now))

    def _served_operations(self) -> tuple[str, ...]:
        # Announced for people who inspect a node; what is served is decided by the operations table.
        is_served = {Party.CPO: bool(self.local_peer.operators), Party.EMP: bool(self.local_peer.providers)}
        return tuple(operation.name for operation in OPERATIONS if is_served[operation.server])
