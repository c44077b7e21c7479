"""PINs are never stored: a pushed PIN becomes a bcrypt hash before anything else sees it (EMP-02, PIN security; M2).

Hashing is slow on purpose, so it runs beside the event loop, which goes on serving.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast

import bcrypt

from p2p_oicp.oicp import AuthenticationDataRecord, InvalidMessage, Message, decode, encode
from p2p_oicp.roles.context import RoleContext
from p2p_oicp.roles.state import facts
from p2p_oicp.storage import authentication

_BCRYPT_READS_BYTES = 72


async def without_pins(
    context: RoleContext, source: str, records: Sequence[tuple[bytes, Message]]
) -> list[tuple[bytes, Message]]:
    """Return the records with HashedPIN in the place of every PIN; the same PIN again keeps its hash."""
    told = [(raw, cast("AuthenticationDataRecord", record)) for raw, record in records]
    with_pin = [record for _, record in told if _pin(record)]
    known = await authentication.stored_hashes(
        context.store, source, [facts.key_of_identification(record.identification) for record in with_pin]
    )
    return [
        (await asyncio.to_thread(_hashed, raw, record, known, context.pin_rounds)) if _pin(record) else (raw, record)
        for raw, record in told
    ]


def _pin(record: AuthenticationDataRecord) -> str | None:
    code = record.identification.qr_code
    return code.pin if code else None


def _hashed(
    raw: bytes, record: AuthenticationDataRecord, known: Mapping[str, str], rounds: int
) -> tuple[bytes, AuthenticationDataRecord]:
    pin = (_pin(record) or "").encode()[:_BCRYPT_READS_BYTES]
    value = known.get(facts.key_of_identification(record.identification))
    if value is None or not bcrypt.checkpw(pin, value.encode()):
        value = bcrypt.hashpw(pin, bcrypt.gensalt(rounds)).decode()
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
