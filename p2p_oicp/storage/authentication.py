"""Authentication data that EMPs pushed: who may charge, found without asking anybody (OICP 2.3, EMP-02).

A PIN is checked by the function its hash was made with; checking is slow on purpose and runs beside the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import bindparam, or_, select

from p2p_oicp.identity.pins import pin_matches
from p2p_oicp.oicp import AuthenticationDataRecord, HashedPIN, Identification, ProviderID
from p2p_oicp.storage.state.model import Kind
from p2p_oicp.storage.state.tables import identifications, state_groups, state_records
from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.store import Store

#: Status codes of refusals that this data alone decides (OICP 2.3, CodeType).
QR_CODE_FAILED, RFID_FAILED = "101", "102"
_BCRYPT = "bcrypt"
_MOST_ROUNDS = 14

_r, _i, _g = state_records.c, identifications.c, state_groups.c
_from = identifications.join(state_records, _r.id == _i.record_id).join(
    state_groups, (_g.kind == _r.kind) & (_g.source == _r.source) & (_g.group_key == _r.group_key)
)
_COLUMNS = (_r.key, _r.source, _r.raw, _g.party, _i.expires_at)
_of_source = or_(bindparam("source_").is_(None), _r.source == bindparam("source_"))
_BY_UID = compiled(
    select(*_COLUMNS).select_from(_from).where(_i.uid_key == bindparam("key_"), _of_source).order_by(_r.id)
)
_BY_EVCO = compiled(
    select(*_COLUMNS).select_from(_from).where(_i.evco_key == bindparam("key_"), _of_source).order_by(_r.id)
)
_HASH = compiled(
    select(_r.raw).where(
        _r.kind == int(Kind.AUTHENTICATION),
        _r.key == bindparam("key_"),
        _r.source == bindparam("source_"),
        _r.deleted == 0,
    )
)


@dataclass(frozen=True, slots=True)
class Match:
    """Authentication data that speaks of an identification.

    ``source`` is the peer that pushed it, ``""`` our own EMP. ``refusal`` is the status code where the data says no
    (wrong PIN, expired card), None where the driver may charge.
    """

    provider_id: ProviderID
    source: str
    refusal: str | None = None
    reason: str = ""

    @property
    def is_authorized(self) -> bool:
        """Whether the driver may charge."""
        return self.refusal is None


async def find(
    store: Store,
    identification: Identification,
    now: float,
    *,
    source: str | None = None,
    gone: Collection[str] | None = None,
) -> Match | None:
    """Return what authentication data says of an identification; None where it says nothing: ask the EMP.

    ``source`` narrows it to one peer's data (``""``: our own), None: everybody's, but for those who are ``gone``. An
    authorization wins over a refusal.
    """
    uid, evco_id = identification.uid, identification.evco_id
    if uid is not None:
        rows = store.look_up(_BY_UID, key_=uid.key, source_=source)
    elif evco_id is not None:
        rows = store.look_up(_BY_EVCO, key_=evco_id.key, source_=source)
    else:
        return None
    present = [dict(row) for row in rows if not gone or row["source"] not in gone]
    matches = [match for row in present if (match := await _judge(identification, row, now)) is not None]
    return min(matches, key=lambda match: not match.is_authorized, default=None)


async def _judge(identification: Identification, row: dict[str, object], now: float) -> Match | None:
    provider, source = ProviderID(str(row["party"])), str(row["source"])
    expires_at = row["expires_at"]
    if isinstance(expires_at, float) and expires_at <= now:
        return Match(provider, source, RFID_FAILED, "the card has expired")
    if identification.uid is not None:
        return Match(provider, source)
    stored = AuthenticationDataRecord.from_json(row["raw"]).identification  # type: ignore[arg-type]
    if identification.qr_code is None:
        return Match(provider, source) if _same_medium(identification, stored) else None
    hashed = stored.qr_code.hashed_pin if stored.qr_code else None
    if hashed is None or not _can_be_checked(hashed):
        return None  # the EMP itself decides
    is_right = await asyncio.to_thread(pin_matches, identification.qr_code.pin or "", hashed.value.encode())
    return Match(provider, source) if is_right else Match(provider, source, QR_CODE_FAILED, "the PIN is wrong")


def _same_medium(told: Identification, stored: Identification) -> bool:
    """Whether a contract is stored in the form it is told: an EvcoID from a QR code opens no Plug & Charge session."""
    return (told.plug_and_charge is not None and stored.plug_and_charge is not None) or (
        told.remote is not None and stored.remote is not None
    )


def _can_be_checked(hashed: HashedPIN) -> bool:
    """Whether the hash is bcrypt's, and none that would keep a processor busy for minutes."""
    rounds = hashed.value[4:6]
    return hashed.function.lower() == _BCRYPT and rounds.isdecimal() and int(rounds) <= _MOST_ROUNDS


async def stored_hash(store: Store, source: str, key: str) -> str | None:
    """Return the bcrypt hash that is stored under a key."""
    for row in await store.read(_HASH, source_=source, key_=key):
        code = AuthenticationDataRecord.from_json(row["raw"]).identification.qr_code
        if code and code.hashed_pin and _can_be_checked(code.hashed_pin):
            return code.hashed_pin.value
    return None
