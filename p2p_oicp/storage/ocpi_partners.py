"""OCPI partners: the state of their registration, their endpoints, and the tokens by which they are recognised.

Of a token that a partner sends, only the SHA-256 is stored: tokens are random and 256 bit, so that nothing slower is
needed, and a copy of the database lets nobody in. The token that we send must be readable: its column holds it sealed.

::

    invited --(POST credentials)--> registered <--> suspended        a partner that registers with us
    registering --(answered)------> registered                       one that we register with

The token before the current one stays valid: until the current one was used, or for a while once the partner is known
to have it. So a refresh that is interrupted anywhere leaves a partner that can still call, and that can be refreshed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, null, or_, select, update

from p2p_oicp.storage.opening import ReadOnlyStore
from p2p_oicp.storage.schema import metadata, ocpi_partners
from p2p_oicp.storage.statements import compiled, inserting_named
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.transactions import Transaction


class PartnerState(StrEnum):
    """How far the registration of a partner is."""

    INVITED = "invited"
    REGISTERING = "registering"
    REGISTERED = "registered"
    SUSPENDED = "suspended"


class Registration(msgspec.Struct, frozen=True):
    """What was agreed on with a partner.

    Attributes:
        versions_url: where its versions are.
        version: the version of OCPI that is used.
        endpoints: module, role and URL of each of its interfaces.
        roles: its parties, as its credentials name them.
        presented: our parties (country, party), as our credentials have named them last.
        missing: modules that it lacks, whose functions are disabled.
        provisioned: its tokens were exchanged by hand: credentials are never sent to it.
    """

    versions_url: str
    version: str = ""
    endpoints: tuple[tuple[str, str, str], ...] = ()
    roles: tuple[dict[str, Any], ...] = ()
    presented: tuple[tuple[str, str], ...] = ()
    missing: tuple[str, ...] = ()
    provisioned: bool = False


@dataclass(frozen=True, slots=True)
class StoredPartner:
    """One partner; ``sealed_token`` is the one that we send (None: not known yet); times in seconds since the epoch."""

    name: str
    state: PartnerState
    registration: Registration
    sealed_token: bytes | None
    last_success_at: float | None
    last_failure_at: float | None
    last_error: str


@dataclass(frozen=True, slots=True)
class TokenOwner:
    """Whom a token is of.

    Attributes:
        partner: the partner.
        token_hash: what is stored of the token.
        is_current: it is no token from before a refresh.
        has_previous: it is the current one, and one before it is still valid.
        is_spent: it is that of an invitation that was used: it opens nothing, and its owner is registered.
    """

    partner: StoredPartner
    token_hash: bytes
    is_current: bool = True
    has_previous: bool = False
    is_spent: bool = False


_encode, _decode = msgspec.json.encode, msgspec.json.Decoder(Registration).decode
_columns = ocpi_partners.c
_by_name = _columns.name == bindparam("name_")
_LIST = compiled(select(ocpi_partners).order_by(_columns.name))
_BY_TOKEN = compiled(
    select(ocpi_partners).where(
        or_(
            _columns.token_hash == bindparam("hash_"),
            _columns.previous_token_hash == bindparam("hash_"),
            _columns.spent_token_hash == bindparam("hash_"),
        )
    )
)
_UPSERT = inserting_named(
    ocpi_partners,
    *("name", "state", "registration", "sealed_token", "token_hash", "token_until", "last_error"),
    instead="OR REPLACE",
)
_SET_REGISTRATION = compiled(
    update(ocpi_partners)
    .where(_by_name)
    .values(
        {name: bindparam(name) for name in ("state", "registration", "sealed_token", "token_hash", "last_success_at")}
    )
    .values(token_until=null(), previous_token_hash=null(), previous_token_until=null(), last_error="")
    .values(spent_token_hash=_columns.token_hash)
)
_SET_AGREED = compiled(
    update(ocpi_partners)
    .where(_by_name)
    .values({name: bindparam(name) for name in ("state", "registration", "sealed_token", "last_success_at")})
    .values(last_error="")
)
_SET_TOKEN = compiled(
    update(ocpi_partners)
    .where(_by_name)
    .values(
        previous_token_hash=bindparam("previous"),
        previous_token_until=bindparam("until"),
        token_hash=bindparam("token_hash"),
    )
)
_BY_NAME = compiled(select(ocpi_partners).where(_by_name))
_LIMIT_PREVIOUS = compiled(
    update(ocpi_partners)
    .where(_by_name, _columns.previous_token_hash.is_not(None))
    .values(previous_token_until=bindparam("until"))
)
_END_PREVIOUS = compiled(
    update(ocpi_partners).where(_by_name).values(previous_token_hash=null(), previous_token_until=null())
)
_SET_STATE = compiled(update(ocpi_partners).where(_by_name).values(state=bindparam("state")))
_SET_SUCCESS = compiled(update(ocpi_partners).where(_by_name).values(last_success_at=bindparam("now"), last_error=""))
_SET_FAILURE = compiled(
    update(ocpi_partners).where(_by_name).values(last_failure_at=bindparam("now"), last_error=bindparam("error"))
)
_DELETE = compiled(delete(ocpi_partners).where(_by_name))
# Whatever is stored of a partner names it in this column.
_FORGET = tuple(
    compiled(delete(table).where(table.c.partner == bindparam("partner_")))
    for table in metadata.sorted_tables
    if table.name.startswith("ocpi_") and "partner" in table.c
)


def hash_token(token: str) -> bytes:
    """Return what is stored of a token that a partner sends."""
    return hashlib.sha256(token.encode()).digest()


async def list_now(store: Store) -> list[StoredPartner]:
    """Return all partners as of the last commit."""
    return [_partner(row) for row in await store.query_inline(_LIST)]


def list_in_file(store: ReadOnlyStore) -> list[StoredPartner]:
    """Return all partners in the database of a node, running or not."""
    return [_partner(row) for row in store.rows(_LIST)]


async def find_by_token(store: Store, token: str, now: float) -> TokenOwner | None:
    """Return whom a token is of, as of the last commit; None for one that is unknown or has expired.

    The token of an invitation has a limited life, and so has the one before a refresh.
    """
    token_hash = hash_token(token)
    for row in await store.query_inline(_BY_TOKEN, hash_=token_hash):
        if row["token_hash"] == token_hash:
            if row["token_until"] is None or row["token_until"] > now:
                return TokenOwner(_partner(row), token_hash, has_previous=row["previous_token_hash"] is not None)
        elif row["previous_token_hash"] == token_hash:
            if row["previous_token_until"] is None or row["previous_token_until"] > now:
                return TokenOwner(_partner(row), token_hash, is_current=False)
        else:
            return TokenOwner(_partner(row), token_hash, is_current=False, is_spent=True)
    return None


def _partner(row: Any) -> StoredPartner:  # noqa: ANN401 - a row
    sealed_token = row["sealed_token"]
    return StoredPartner(
        name=row["name"],
        state=PartnerState(row["state"]),
        registration=_decode(bytes(row["registration"])),
        sealed_token=None if sealed_token is None else bytes(sealed_token),
        last_success_at=row["last_success_at"],
        last_failure_at=row["last_failure_at"],
        last_error=row["last_error"],
    )


def begin(tx: Transaction, name: str, state: PartnerState, token: str, until: float, versions_url: str = "") -> None:
    """Begin a registration anew: nothing of an earlier one stays valid.

    Args:
        tx: the transaction.
        name: that of the configuration.
        state: ``INVITED``: the partner registers with us; ``REGISTERING``: we register with it.
        token: the one that the partner sends until it is registered.
        until: when that token ends.
        versions_url: where the partner's versions are, if that is known.
    """
    tx.run(
        _UPSERT,
        name=name,
        state=state,
        registration=_encode(Registration(versions_url)),
        sealed_token=None,
        token_hash=hash_token(token),
        token_until=until,
        last_error="",
    )


def complete(
    tx: Transaction, name: str, registration: Registration, sealed_token: bytes, token: str, now: float
) -> bool:
    """Register a partner: the token of the invitation is spent, ``token`` is the one that it sends from now on.

    Returns:
        Whether there was such a partner.
    """
    row_count = tx.run(
        _SET_REGISTRATION,
        name_=name,
        state=PartnerState.REGISTERED,
        registration=_encode(registration),
        sealed_token=sealed_token,
        token_hash=hash_token(token),
        last_success_at=now,
    )
    return row_count > 0


def update_agreed(tx: Transaction, name: str, registration: Registration, sealed_token: bytes, now: float) -> None:
    """Set what was agreed on with a registered partner, and the token that we send; it is suspended no more."""
    tx.run(
        _SET_AGREED,
        name_=name,
        state=PartnerState.REGISTERED,
        registration=_encode(registration),
        sealed_token=sealed_token,
        last_success_at=now,
    )


def replace_token(
    tx: Transaction, name: str, token: str, previous_until: float | None, used: bytes | None = None
) -> None:
    """Set the token that a partner sends; one before it stays valid, for it may be in use.

    Args:
        tx: the transaction.
        name: the partner.
        token: the new one.
        previous_until: when the one before it ends; None: once the new one was used.
        used: the hash of the token that the partner is known to have; None: an earlier one whose end is open, else the
            current one.
    """
    (row,) = tx.all(_BY_NAME, name_=name)
    if used is None:
        is_open = row["previous_token_hash"] is not None and row["previous_token_until"] is None
        used = bytes(row["previous_token_hash"] if is_open else row["token_hash"])
    tx.run(_SET_TOKEN, name_=name, token_hash=hash_token(token), previous=used, until=previous_until)


def restore_previous_token(tx: Transaction, name: str) -> None:
    """Take back `replace_token`: the partner has certainly not got the new token."""
    (row,) = tx.all(_BY_NAME, name_=name)
    if row["previous_token_hash"] is not None:
        previous = bytes(row["previous_token_hash"])
        tx.run(_SET_TOKEN, name_=name, token_hash=previous, previous=None, until=None)


def limit_previous_token(tx: Transaction, name: str, until: float) -> None:
    """End the token before the current one at a time: the partner has got the current one."""
    tx.run(_LIMIT_PREVIOUS, name_=name, until=until)


def end_previous_token(tx: Transaction, name: str) -> None:
    """End the token before the current one: the partner has used the current one."""
    tx.run(_END_PREVIOUS, name_=name)


def set_state(tx: Transaction, name: str, state: PartnerState) -> None:
    """Suspend a partner, or let it go on."""
    tx.run(_SET_STATE, name_=name, state=state)


def record_success(tx: Transaction, name: str, now: float) -> None:
    """Record that a call of a partner succeeded."""
    tx.run(_SET_SUCCESS, name_=name, now=now)


def record_failure(tx: Transaction, name: str, now: float, error: str) -> None:
    """Record that a call of a partner failed, and why."""
    tx.run(_SET_FAILURE, name_=name, now=now, error=error)


def remove(tx: Transaction, name: str) -> bool:
    """Delete a partner with its tokens; return whether there was one."""
    return tx.run(_DELETE, name_=name) > 0


def forget(tx: Transaction, name: str) -> int:
    """Delete all objects of a partner; return how many there were."""
    return sum(tx.run(statement, partner_=name) for statement in _FORGET)
