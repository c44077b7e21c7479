"""Makes what the nodes of a cluster prove their identity with: keys, and certificates for a laboratory."""

from __future__ import annotations

import time
from pathlib import Path

from p2p_oicp.identity import keystore
from p2p_oicp.identity.certificates import Certificate, self_signed
from p2p_oicp.simulator.loopback_ports import LOOPBACK
from p2p_oicp.simulator.node_files import CERTIFICATE, KEY, NodeSpec, Proofs

_DAYS = 1


def proofs_of(spec: NodeSpec, folder: Path) -> Proofs:
    """Return what a node proves its identity with; made, and kept in ``folder``, where it is not there yet."""
    if not spec.signs and not spec.tls:
        return Proofs()
    if not (folder / keystore.PRIVATE_KEY_FILE).exists():
        keystore.generate(folder)
    public_key = keystore.read_public_key(folder / keystore.PUBLIC_KEY_FILE).line
    return Proofs(public_key, _certificate(spec, folder) if spec.tls else None)


def _certificate(spec: NodeSpec, folder: Path) -> str:
    if not (folder / CERTIFICATE).exists():
        parties = [*spec.operators, *spec.providers]
        key, certificate = self_signed(spec.name, parties, [LOOPBACK], now=time.time(), days=_DAYS)
        (folder / KEY).touch(mode=0o600)
        (folder / KEY).write_bytes(key)
        (folder / CERTIFICATE).write_bytes(certificate)
    return Certificate.from_pem((folder / CERTIFICATE).read_bytes()).line
