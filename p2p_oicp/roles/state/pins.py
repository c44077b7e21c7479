"""PINs are never stored: a pushed PIN becomes a bcrypt hash before anything else sees it (EMP-02, PIN security; M2).

Hashing is slow on purpose, so it runs beside the event loop, which goes on serving.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from p2p_oicp.identity.pins import hash_pin, pin_matches
from p2p_oicp.oicp import AuthenticationDataRecord, InvalidMessage, Readable, decode, encode
from p2p_oicp.roles.context import RoleContext
from p2p_oicp.roles.state import facts
from p2p_oicp.storage import authentication


async def without_pin(
    context: RoleContext, source: str, raw: bytes, record: Readable
) -> tuple[bytes, AuthenticationDataRecord]:
    """Return a record with HashedPIN in the place of its PIN, if it has one; the same PIN again keeps its hash."""
    told = cast("AuthenticationDataRecord", record)
    if _pin(told) is None:
        return raw, told
    known = await authentication.stored_hash(context.store, source, facts.key_of_identification(told.identification))
    return await asyncio.to_thread(_hashed, raw, told, known, context.pin_rounds)


def _pin(record: AuthenticationDataRecord) -> str | None:
    code = record.identification.qr_code
    return code.pin if code else None


def _hashed(
    raw: bytes, record: AuthenticationDataRecord, value: str | None, rounds: int
) -> tuple[bytes, AuthenticationDataRecord]:
    pin = _pin(record) or ""
    if value is None or not pin_matches(pin, value.encode()):
        value = hash_pin(pin, rounds).decode()
    members = cast("dict[str, Any]", decode(raw))
    code = members["Identification"]["QRCodeIdentification"]
    code.pop("PIN")
    code["HashedPIN"] = {"Value": value, "Function": "Bcrypt"}
    kept = encode(members)
    return kept, AuthenticationDataRecord.from_json(kept)


def redacted(raw: bytes) -> bytes:
    """Return a record that is set aside, without its PIN; what cannot be read at all is not kept."""
    try:
        members = decode(raw)
    except InvalidMessage:
        return b"null"
    return encode(_without(members))


def _without(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without(found) for name, found in value.items() if name.upper() != "PIN"}
    if isinstance(value, list):
        return [_without(element) for element in value]
    return value
