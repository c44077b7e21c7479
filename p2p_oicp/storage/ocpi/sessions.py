"""Sessions of OICP at an OCPI partner: how each was opened, its Session.id there, and what the node was sent of it.

A row is inserted before the partner may begin to charge: when a card is authorized, before a command is sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, select, update

from p2p_oicp.storage.schema import ocpi_sessions
from p2p_oicp.storage.statements import compiled, upserting
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.transactions import Transaction


class OpenedBy(StrEnum):
    """What opened a session."""

    AUTHORIZE = "authorize"
    REMOTE = "remote"
    RESERVATION = "reservation"
    OFFLINE = "offline"


class OcpiSessionState(StrEnum):
    """How far a session is: ``opening`` until the node has it, ``closed`` with its CDR or a refusal."""

    OPENING = "opening"
    OPEN = "open"
    CLOSED = "closed"


class SessionFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a session: who, where, and what the node was sent.

    Attributes:
        uid, contract_id: the token, as far as it is known.
        location_id: as the partner writes it.
        evse_uids: where it may begin, as the partner writes them; none: that is not known.
        evse_id, provider_id: of OICP.
        identification: that of OICP.
        emp_partner_session_id: that of the EMP.
        started: whether Start was sent.
        last_progress, kwh: of the last Progress that was sent.
    """

    uid: str = ""
    contract_id: str = ""
    location_id: str = ""
    evse_uids: tuple[str, ...] = ()
    evse_id: str = ""
    provider_id: str = ""
    identification: dict[str, Any] = {}
    emp_partner_session_id: str = ""
    started: bool = False
    last_progress: str = ""
    kwh: str = ""


@dataclass(frozen=True, slots=True)
class OcpiSession:
    """One session; times in seconds since the epoch. ``body`` is the partner's last PUT that was carried."""

    partner: str
    session_id: str
    opened_by: OpenedBy
    opened_at: float
    updated_at: float
    state: OcpiSessionState = OcpiSessionState.OPEN
    ocpi_id: str = ""
    facts: SessionFacts = field(default_factory=SessionFacts)
    body: bytes | None = None

    @property
    def session_key(self) -> str:
        """The key of its SessionID."""
        return key_of(self.session_id)


_c = ocpi_sessions.c
_encode, _decode = msgspec.json.encode, msgspec.json.Decoder(SessionFacts).decode
_COLUMNS = (
    *("partner", "session_key", "session_id", "opened_by", "state", "ocpi_key", "ocpi_id", "facts", "body"),
    *("opened_at", "updated_at"),
)
_by_key = (_c.partner == bindparam("partner_"), _c.session_key == bindparam("session_key_"))
_GET = compiled(select(ocpi_sessions).where(*_by_key))
_BY_OCPI_ID = compiled(
    select(ocpi_sessions).where(_c.partner == bindparam("partner_"), _c.ocpi_key == bindparam("ocpi_key_"))
)
_OPENED_BETWEEN = compiled(
    select(ocpi_sessions).where(
        _c.partner == bindparam("partner_"), _c.opened_at >= bindparam("since_"), _c.opened_at <= bindparam("until_")
    )
)
_UPSERT = upserting(ocpi_sessions, *_COLUMNS, key=("partner", "session_key"))
_BIND = compiled(
    update(ocpi_sessions)
    .where(*_by_key, _c.ocpi_key.is_(None))
    .values(ocpi_key=bindparam("ocpi_key"), ocpi_id=bindparam("ocpi_id"))
)
_DELETE_OLD = compiled(delete(ocpi_sessions).where(_c.updated_at < bindparam("cutoff")))


def key_of(text: str) -> str:
    """Return the key of a SessionID, or of an id of OCPI."""
    return text.strip().lower()


def _session(row: Any) -> OcpiSession:  # noqa: ANN401 - a row
    body = row["body"]
    return OcpiSession(
        partner=row["partner"],
        session_id=row["session_id"],
        opened_by=OpenedBy(row["opened_by"]),
        opened_at=row["opened_at"],
        updated_at=row["updated_at"],
        state=OcpiSessionState(row["state"]),
        ocpi_id=row["ocpi_id"] or "",
        facts=_decode(bytes(row["facts"])),
        body=None if body is None else bytes(body),
    )


async def get_now(store: Store, partner: str, session_id: str) -> OcpiSession | None:
    """Return the session that has a SessionID, as of the last commit."""
    rows = await store.query_inline(_GET, partner_=partner, session_key_=key_of(session_id))
    return next((_session(row) for row in rows), None)


def get(tx: Transaction, partner: str, session_id: str) -> OcpiSession | None:
    """Return the session that has a SessionID."""
    row = tx.one(_GET, partner_=partner, session_key_=key_of(session_id))
    return None if row is None else _session(row)


def candidates(tx: Transaction, partner: str, ids: tuple[str, ...], since: float, until: float) -> list[OcpiSession]:
    """Return the sessions that an object may belong to: those of the ids that it names, and those opened in a time."""
    found: dict[str, OcpiSession] = {}
    for key in (key_of(text) for text in ids if text):
        rows = [
            *tx.all(_GET, partner_=partner, session_key_=key),
            *tx.all(_BY_OCPI_ID, partner_=partner, ocpi_key_=key),
        ]
        found |= {row["session_key"]: _session(row) for row in rows}
    rows = tx.all(_OPENED_BETWEEN, partner_=partner, since_=since, until_=until)
    return list((found | {row["session_key"]: _session(row) for row in rows}).values())


def put(tx: Transaction, session: OcpiSession) -> None:
    """Insert a session, or replace it."""
    tx.run(
        _UPSERT,
        partner=session.partner,
        session_key=session.session_key,
        session_id=session.session_id,
        opened_by=session.opened_by,
        state=session.state,
        ocpi_key=key_of(session.ocpi_id) or None,
        ocpi_id=session.ocpi_id or None,
        facts=_encode(session.facts),
        body=session.body,
        opened_at=session.opened_at,
        updated_at=session.updated_at,
    )


def bind(tx: Transaction, partner: str, session_id: str, ocpi_id: str) -> bool:
    """Record which Session.id a session has; one that has one keeps it."""
    row_count = tx.run(
        _BIND, partner_=partner, session_key_=key_of(session_id), ocpi_key=key_of(ocpi_id), ocpi_id=ocpi_id
    )
    return row_count > 0


def remove_old(tx: Transaction, cutoff: float) -> int:
    """Delete the sessions that have not changed since ``cutoff``; return how many."""
    return tx.run(_DELETE_OLD, cutoff=cutoff)
