"""PINs are never stored.

A pushed PIN becomes a bcrypt hash before anything else sees the record (OICP EMP-02, "PIN security"; RULES M2). Hashing
is slow on purpose and runs in a thread.
"""

from __future__ import annotations

from typing import Any, cast

from p2p_oicp.crypto.pins import hash_pin, pin_matches
from p2p_oicp.oicp import AnyRecord, AuthenticationDataRecord, InvalidMessage, decode, encode
from p2p_oicp.roles.context import Services
from p2p_oicp.roles.datasets import types
from p2p_oicp.storage import tokens


async def hash_pin_in_record(
    context: Services, source: str, raw: bytes, record: AnyRecord
) -> tuple[bytes, AuthenticationDataRecord]:
    """Return a record with a HashedPIN in the place of its PIN, if it has one.

    A PIN that matches the stored hash keeps that hash. Otherwise the record would change at every push, since each
    hash has a salt of its own.
    """
    authentication_record = cast("AuthenticationDataRecord", record)
    if _pin_of(authentication_record) is None:
        return raw, authentication_record
    stored_hash = await tokens.stored_pin_hash(
        context.store, source, types.identification_key(authentication_record.identification)
    )
    return await context.pins.run(
        f"push:{source}", _replace_pin, raw, authentication_record, stored_hash, context.pin_rounds
    )


def _pin_of(record: AuthenticationDataRecord) -> str | None:
    code = record.identification.qr_code
    return code.pin if code else None


def _replace_pin(
    raw: bytes, record: AuthenticationDataRecord, pin_hash: str | None, rounds: int
) -> tuple[bytes, AuthenticationDataRecord]:
    pin = _pin_of(record) or ""
    if pin_hash is None or not pin_matches(pin, pin_hash.encode()):
        pin_hash = hash_pin(pin, rounds).decode()
    members = cast("dict[str, Any]", decode(raw))
    code = members["Identification"]["QRCodeIdentification"]
    code.pop("PIN")
    code["HashedPIN"] = {"Value": pin_hash, "Function": "Bcrypt"}
    encoded = encode(members)
    return encoded, AuthenticationDataRecord.from_json(encoded)


def redact_pins(raw: bytes) -> bytes:
    """Return a record for the quarantine without its PINs; ``null`` if it is not JSON, since a PIN may be anywhere."""
    try:
        members = decode(raw)
    except InvalidMessage:
        return b"null"
    return encode(_remove_pins(members))


def _remove_pins(value: object) -> object:
    if isinstance(value, dict):
        return {name: _remove_pins(member) for name, member in value.items() if name.upper() != "PIN"}
    if isinstance(value, list):
        return [_remove_pins(element) for element in value]
    return value
