"""What is stored of identifications: the token list, uid routes, and the authentication data that EMPs pushed.

- The **token list** is the backend of an EMP that has none: UIDs, and EvcoIDs with or without a PIN.
- A **uid route** is the peer that authorized a UID last time; it is asked first.
- **Authentication data** (OICP 2.3, EMP-02) lets the CPO's node authorize a driver without a request to the EMP.

A PIN is verified by bcrypt, which is slow on purpose, and so in a lane of its own (`PinGuard`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from sqlalchemy import Text, bindparam, delete, or_, select

from p2p_oicp.crypto.pins import PinGuard, pin_matches
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.oicp import UID, AuthenticationDataRecord, EvcoID, HashedPIN, Identification, ProviderID
from p2p_oicp.oicp.enums import StatusCodeValue
from p2p_oicp.storage.datasets.models import DatasetKind
from p2p_oicp.storage.schema import dataset_groups, dataset_records, identifications, tokens, uid_routes
from p2p_oicp.storage.statements import compiled, inserting_named, optional
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.transactions import Transaction

TOKEN_BY_KEY = compiled(select(tokens.c.token, tokens.c.pin_hash).where(tokens.c.token_key == bindparam("key_")))
ALL_TOKENS = compiled(
    select(tokens.c.token, tokens.c.pin_hash.is_not(None).label("has_pin"), tokens.c.added_at).order_by(
        tokens.c.token_key
    )
)
_UPSERT_TOKEN = inserting_named(tokens, "token_key", "token", "pin_hash", "added_at", instead="OR REPLACE")
_DELETE_TOKEN = compiled(delete(tokens).where(tokens.c.token_key == bindparam("key_")))


@dataclass(frozen=True, slots=True)
class Token:
    """An entry of the token list; ``key`` is the canonical id, ``text`` as it was entered, ``pin_hash`` by bcrypt."""

    key: str
    text: str
    pin_hash: bytes | None = None


def key_of(text: str, *, has_pin: bool = False) -> str:
    """Return the canonical key of a UID or EvcoID that a person has written.

    Raises:
        ConfigurationError: it is neither, or a card that has a PIN.
    """
    uid, evco_id = UID(text), EvcoID(text)
    # Card readers print UIDs in either letter case; OICP's pattern has upper case only.
    if uid.is_valid or UID(text.upper()).is_valid:
        if has_pin:
            raise ConfigurationError(f"{text}: a card has no PIN; only an EvcoID has")
        return uid.key
    if evco_id.is_valid:
        return evco_id.key
    raise ConfigurationError(f"{text}: is neither a UID (8, 14 or 20 hex digits) nor an EvcoID (DE-GDF-C12345678-X)")


def upsert_token(tx: Transaction, token: Token, now: float) -> None:
    """Add a token, or replace it."""
    tx.run(_UPSERT_TOKEN, token_key=token.key, token=token.text, pin_hash=token.pin_hash, added_at=now)


def delete_token(tx: Transaction, key: str) -> bool:
    """Delete a token; return whether it was there."""
    return tx.run(_DELETE_TOKEN, key_=key) > 0


_by_uid = uid_routes.c.uid_key == bindparam("uid_")
_UPSERT_UID_ROUTE = inserting_named(uid_routes, "uid_key", "peer", "authorized_at", instead="OR REPLACE")
_DELETE_UID_ROUTE = compiled(delete(uid_routes).where(_by_uid))


def set_preferred_peer(tx: Transaction, uid_key: str, peer: str, now: float) -> None:
    """Record the peer that authorized a UID."""
    tx.run(_UPSERT_UID_ROUTE, uid_key=uid_key, peer=peer, authorized_at=now)


def clear_preferred_peer(tx: Transaction, uid_key: str) -> None:
    """Delete the route of a UID: its peer does not authorize it any more."""
    tx.run(_DELETE_UID_ROUTE, uid_=uid_key)


_BCRYPT = "bcrypt"
# Each step doubles the time: 14 takes 1 to 2 s, 31 would keep a processor busy for days. Peers choose the cost.
_MAX_BCRYPT_COST = 14

_r, _i, _g = dataset_records.c, identifications.c, dataset_groups.c
_joined_tables = identifications.join(dataset_records, _r.id == _i.record_id).join(
    dataset_groups, (_g.dataset == _r.dataset) & (_g.source == _r.source) & (_g.group_key == _r.group_key)
)
_MATCH_COLUMNS = (_r.key, _r.source, _r.raw, _g.party, _i.expires_at)
_by_source = or_(optional("source_", Text).is_(None), _r.source == bindparam("source_"))
_BY_UID = compiled(
    select(*_MATCH_COLUMNS)
    .select_from(_joined_tables)
    .where(_i.uid_key == bindparam("key_"), _by_source)
    .order_by(_r.id)
)
_BY_EVCO_ID = compiled(
    select(*_MATCH_COLUMNS)
    .select_from(_joined_tables)
    .where(_i.evco_id_key == bindparam("key_"), _by_source)
    .order_by(_r.id)
)
_RAW_RECORD = compiled(
    select(_r.raw).where(
        _r.dataset == int(DatasetKind.AUTHENTICATION),
        _r.key == bindparam("key_"),
        _r.source == bindparam("source_"),
        _r.deleted == 0,
    )
)


@dataclass(frozen=True, slots=True)
class AuthenticationMatch:
    """The verdict of stored authentication data on an identification.

    Attributes:
        source: the peer that pushed the data, empty for our own EMP.
        refusal_code: the status code of a refusal (wrong PIN, expired card), None where the driver may charge.
        reason: the refusal in words.

    """

    provider_id: ProviderID
    source: str
    refusal_code: StatusCodeValue | None = None
    reason: str = ""

    @property
    def is_authorized(self) -> bool:
        return self.refusal_code is None


async def find_match(
    store: Store,
    identification: Identification,
    now: float,
    *,
    pins: PinGuard,
    caller: str = "",
    source: str | None = None,
    excluded_sources: Collection[str] | None = None,
) -> AuthenticationMatch | None:
    """Return the verdict of stored authentication data; None where the EMP itself has to be asked.

    Only the data of ``source`` counts (empty: our own EMP's; None: of all but the ``excluded_sources``), and only
    what has not expired at ``now``. A PIN is looked at in the lane of ``pins``, in the turn of ``caller``; raises
    Refusal 021 where too many of that caller's wait.
    """
    uid, evco_id = identification.uid, identification.evco_id
    if uid is not None:
        rows = await store.query_inline(_BY_UID, key_=uid.key, source_=source)
    elif evco_id is not None:
        rows = await store.query_inline(_BY_EVCO_ID, key_=evco_id.key, source_=source)
    else:
        return None

    async def check(pin: str, pin_hash: bytes) -> bool:
        return await pins.run(caller, pin_matches, pin, pin_hash)

    candidates = [dict(row) for row in rows if not excluded_sources or row["source"] not in excluded_sources]
    matches = [
        match for row in candidates if (match := await _match_record(identification, row, now, check)) is not None
    ]
    # Several EMPs may have pushed the same identification: an authorization wins over a refusal.
    return min(matches, key=lambda match: not match.is_authorized, default=None)


async def _match_record(
    identification: Identification,
    row: dict[str, object],
    now: float,
    check_pin: Callable[[str, bytes], Awaitable[bool]],
) -> AuthenticationMatch | None:
    provider, source = ProviderID(str(row["party"])), str(row["source"])
    expires_at = row["expires_at"]
    if isinstance(expires_at, float) and expires_at <= now:
        return AuthenticationMatch(provider, source, StatusCodeValue.RFID_INVALID, "the card has expired")
    if identification.uid is not None:
        return AuthenticationMatch(provider, source)
    stored = AuthenticationDataRecord.from_json(row["raw"]).identification  # type: ignore[arg-type]
    if identification.qr_code is None:
        return AuthenticationMatch(provider, source) if _is_same_identification_type(identification, stored) else None
    hashed_pin = stored.qr_code.hashed_pin if stored.qr_code else None
    if hashed_pin is None or not _is_supported_hash(hashed_pin):
        return None  # the EMP itself decides
    is_correct = await check_pin(identification.qr_code.pin or "", hashed_pin.value.encode())
    return (
        AuthenticationMatch(provider, source)
        if is_correct
        else AuthenticationMatch(provider, source, StatusCodeValue.QR_CODE_INVALID, "the PIN is wrong")
    )


def _is_same_identification_type(requested: Identification, stored: Identification) -> bool:
    # An EvcoID from a QR code, which anyone may read, must open no Plug & Charge session.
    return (requested.plug_and_charge is not None and stored.plug_and_charge is not None) or (
        requested.remote is not None and stored.remote is not None
    )


def _is_supported_hash(hashed_pin: HashedPIN) -> bool:
    cost = hashed_pin.value[4:6]
    return hashed_pin.function.lower() == _BCRYPT and cost.isdecimal() and int(cost) <= _MAX_BCRYPT_COST


async def stored_pin_hash(store: Store, source: str, key: str) -> str | None:
    """Return the bcrypt hash of the PIN that a source pushed for a key, if there is one."""
    for row in await store.query(_RAW_RECORD, source_=source, key_=key):
        qr_code = AuthenticationDataRecord.from_json(row["raw"]).identification.qr_code
        if qr_code and qr_code.hashed_pin and _is_supported_hash(qr_code.hashed_pin):
            return qr_code.hashed_pin.value
    return None
