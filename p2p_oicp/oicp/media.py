"""What a driver holds to a station, as one comparable text: ``rfid:1234ABCD``, ``qr:DEGDFC12345678X``."""

from __future__ import annotations

from collections.abc import Iterable

from p2p_oicp.oicp.codes import Code
from p2p_oicp.oicp.common import Identification

RFID, QR, PNC, REMOTE = "rfid", "qr", "pnc", "remote"
_JOIN = ":"
#: The code that refuses a medium (CONFORMANCE section 4, AuthorizeStop; OICP 2.3, CodeType).
_REFUSAL = {RFID: Code.RFID_INVALID, QR: Code.QR_CODE_INVALID, PNC: Code.PLC_INVALID, REMOTE: Code.PLC_INVALID}


def medium_of(identification: Identification | None) -> str:
    """Return the canonical text of a medium, empty where nothing is told; both kinds of card are one medium."""
    if identification is None:
        return ""
    uid = identification.uid
    if uid is not None:
        return f"{RFID}{_JOIN}{uid.key}"
    for kind, holder in (
        (QR, identification.qr_code),
        (PNC, identification.plug_and_charge),
        (REMOTE, identification.remote),
    ):
        if holder is not None:
            return f"{kind}{_JOIN}{holder.evco_id.key}"
    return ""


def media_of(identifications: Iterable[Identification]) -> str:
    """Return several media in one text, blank-separated."""
    return " ".join(filter(None, map(medium_of, identifications)))


def refusal_of(medium: str) -> Code:
    """Return the status code that says that this medium is not accepted."""
    return _REFUSAL.get(medium.partition(_JOIN)[0], Code.NO_POSITIVE_AUTHENTICATION)
