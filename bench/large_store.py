"""The database of a large node: a million EVSEs and sessions, a hundred peers, and all that goes with them.

It is written through the tables of the package, in bulk: indexes are dropped before, and made again behind. What is in
it is spread as in a company's year: most sessions are settled, a few charge, most CDRs are accepted, some peers are
away and messages wait for them. All is determined by numbers, so that two runs fill the same.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import orjson

from bench import evses, messages
from p2p_oicp.oicp.geo import cell_of
from p2p_oicp.storage import schema
from p2p_oicp.storage.datasets.models import DatasetKind
from p2p_oicp.storage.event_log import Event, EventType

PEERS = 100
_DAY = 86_400.0
_SESSION_DAYS = 180
_REFUSED_DAYS, _EXPIRED_DAYS, _EVENT_DAYS = 6, 80, 6
_COUNTRIES = ("DEU",) * 14 + ("FRA", "NLD", "AUT", "CHE", "POL", "LUX")
_STATUSES = ("Available",) * 6 + ("Occupied",) * 3 + ("OutOfService",)
_AWAY_PEERS = 5
_OWN_SHARE = 4
_EVENTS_PER_BATCH = 5


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is in the database."""

    evses: int = 1_000_000
    sessions: int = 1_000_000
    messages: int = 50_000
    quarantined: int = 20_000
    events: int = 1_000_000
    tokens: int = 100_000

    def divided(self, by: int) -> Sizes:
        """Return the same spread, smaller."""
        return Sizes(*(getattr(self, name) // by for name in self.__slots__))


def operator_id(peer: int) -> str:
    """Return the OperatorID of a peer; peers with even numbers are CPOs'."""
    return f"DE*P{peer:02d}"


def provider_id(peer: int) -> str:
    """Return the ProviderID of a peer; peers with odd numbers are EMPs'."""
    return f"DE-P{peer:02d}"


class StoreFiller:
    """Fills the database of a node that has been started once, and knows its peers.

    Args:
        file: the database.
        sizes: how much is put into it.
        now: seconds since the epoch.
    """

    def __init__(self, file: Path, sizes: Sizes, now: float) -> None:
        self._file = file
        self._sizes = sizes
        self._now = now
        self._changes = itertools.count(1000)

    def fill(self) -> None:
        """Fill all tables."""
        with contextlib.closing(sqlite3.connect(self._file)) as database:
            database.execute("PRAGMA synchronous = OFF")
            names = dict(database.execute("SELECT name, id FROM peers"))
            self._peers = [names[f"peer {number:02d}"] for number in range(PEERS)]
            with _without_indexes(database):
                for make in (self._fill_datasets, self._fill_sessions, self._fill_outbox, self._fill_others):
                    make(database)
                    database.commit()
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _fill_datasets(self, database: sqlite3.Connection) -> None:
        records = schema.dataset_records
        columns = ("id", "dataset", "key", "source", "group_key", "filter_value", "digest", "created_change", "change",
                   "changed_at", "deleted", "raw")  # fmt: skip
        count, kinds = self._sizes.evses, DatasetKind
        _insert(database, records.name, columns, map(self._evse_row, range(count)))
        _insert(database, records.name, columns, map(self._status_row, range(count)))
        _insert(database, records.name, columns, map(self._price_row, range(0, count, 10)))
        index_columns = [column.name for column in schema.evse_index.columns]
        _insert(database, "evse_index", index_columns, map(self._index_row, range(count)))
        version_columns = ("dataset", "key", "source", "group_key", "change", "since", "until", "deleted", "raw")
        _insert(database, "dataset_versions", version_columns, self._versions())
        _insert(database, "dataset_groups", [c.name for c in schema.dataset_groups.columns], self._groups())
        cursor_rows = (
            (peer, int(kind), key, 10**9)
            for peer in self._peers[_AWAY_PEERS:]
            for kind in kinds
            for key in self._own_groups(kind)
        )
        _insert(database, "cursors", ("peer", "dataset", "group_key", "change"), cursor_rows)
        _insert(
            database,
            "counters",
            ("name", "value"),
            [("record", 4 * count), ("change", 10**9)],
            verb="INSERT OR REPLACE",
        )

    def _owner(self, number: int) -> tuple[str, str]:
        """Return the source and the operator of an EVSE."""
        if number % _OWN_SHARE == 0:
            return "", messages.CPO
        peer = number % PEERS // 2 * 2
        return self._peers[peer], operator_id(peer)

    def _key(self, number: int) -> tuple[str, str, str]:
        source, operator = self._owner(number)
        group = operator.replace("*", "")
        return source, group, f"{group}E{number}1"

    def _evse_row(self, number: int) -> tuple[object, ...]:
        source, group, key = self._key(number)
        raw = evses.evse(number).replace(messages.CPO.encode(), self._owner(number)[1].encode())
        raw = raw.replace(b'"DEU"', b'"%s"' % _country(number).encode())
        return self._record(number + 1, DatasetKind.EVSE_DATA, key, source, group, "", raw)

    def _status_row(self, number: int) -> tuple[object, ...]:
        source, group, key = self._key(number)
        status = _STATUSES[number * 7 % len(_STATUSES)]
        evse = f"{self._owner(number)[1]}*E{number}*1"
        raw = orjson.dumps({"EvseID": evse, "EvseStatus": status})
        return self._record(self._sizes.evses + number + 1, DatasetKind.EVSE_STATUS, key, source, group, status, raw)

    def _price_row(self, number: int) -> tuple[object, ...]:
        source, group, key = self._key(number)
        evse = f"{self._owner(number)[1]}*E{number}*1"
        raw = orjson.dumps({"EvseID": evse, "ProviderID": "*", "EvseIDProductList": ["AC 1"]})
        record_id = 2 * self._sizes.evses + number + 1
        return self._record(record_id, DatasetKind.EVSE_PRICING, f"{key}|*", source, f"{group}|*", "*", raw)

    def _record(
        self, record_id: int, kind: DatasetKind, key: str, source: str, group: str, value: str, raw: bytes
    ) -> tuple[object, ...]:
        change, at = next(self._changes), self._now - record_id % 1000 * 60.0
        digest = record_id.to_bytes(16, "big")
        return (record_id, int(kind), key, source, group, value, digest, change, change, at, 0, raw)

    def _index_row(self, number: int) -> tuple[object, ...]:
        source, group, key = self._key(number)
        latitude, longitude = 47.5 + number % 1000 / 150, 6.2 + number // 1000 % 1000 / 120
        return (
            number + 1, key, source, group, group, _country(number), latitude, longitude, cell_of(latitude, longitude),
            "Free publicly accessible", "Local", "\nREMOTE\n", 1, 1, 1, self._now - number % 1000 * 60.0, 0,
        )  # fmt: skip

    def _versions(self) -> Iterator[tuple[object, ...]]:
        """Return earlier statuses of every tenth EVSE, and earlier data of every fiftieth."""
        for number in range(0, self._sizes.evses, 10):
            source, group, key = self._key(number)
            for step in range(3):
                raw = orjson.dumps({"EvseID": key, "EvseStatus": _STATUSES[(number + step) % len(_STATUSES)]})
                since = self._now - (4 - step) * _DAY
                yield (2, key, source, group, step + 1, since, since + _DAY, 0, raw)
            if number % 50 == 0:
                since = self._now - 30 * _DAY
                yield (1, key, source, group, 1, since, since + _DAY, 0, evses.evse(number, revision=1))

    def _groups(self) -> Iterator[tuple[object, ...]]:
        owners = [("", messages.CPO)] + [(self._peers[peer], operator_id(peer)) for peer in range(0, PEERS, 2)]
        for source, operator in owners:
            group = operator.replace("*", "")
            for kind in (DatasetKind.EVSE_DATA, DatasetKind.EVSE_STATUS, DatasetKind.EVSE_PRICING):
                key = f"{group}|*" if kind is DatasetKind.EVSE_PRICING else group
                wrapper = orjson.dumps({"OperatorID": operator, "OperatorName": operator})
                yield (int(kind), source, key, operator, "*", wrapper, 1, self._now, 10**9, self._now, None)

    def _own_groups(self, kind: DatasetKind) -> Sequence[str]:
        group = messages.CPO.replace("*", "")
        found = {DatasetKind.EVSE_DATA: (group,), DatasetKind.EVSE_STATUS: (group,)}
        return found.get(kind, (f"{group}|*",) if kind is DatasetKind.EVSE_PRICING else ())

    def _fill_sessions(self, database: sqlite3.Connection) -> None:
        count = self._sizes.sessions
        _insert(
            database, "sessions",
            ("role", "session_key", "session_id", "kind", "state", "operator_key", "operator_id", "provider_key",
             "provider_id", "evse_key", "evse_id", "peer", "request_digest", "start_response", "identification_key",
             "created_at", "updated_at"),
            map(self._session_row, range(count)),
        )  # fmt: skip
        _insert(
            database, "session_events", ("role", "session_key", "at", "event", "body"),
            (row for number in range(count * 3 // 4, count) for row in self._session_events(number)),
        )  # fmt: skip
        _insert(
            database, "cdrs",
            ("role", "session_key", "peer", "operator_key", "provider_key", "session_end", "received_at", "digest",
             "body", "forwarded_at", "state", "unconfirmed", "doubts", "verdict_code", "verdict_text", "verdict_at"),
            (self._cdr_row(number) for number in range(count) if session_state(number, count) == "settled"),
        )  # fmt: skip

    def _created_at(self, number: int) -> float:
        return self._now - (self._sizes.sessions - number) * (_SESSION_DAYS * _DAY / self._sizes.sessions)

    def _side(self, number: int) -> tuple[str, int]:
        """Return our role in a session, and the number of the peer: a few have most of them."""
        peer = (number * 37 % PEERS) if number % 3 else number % 7
        return ("emp" if peer % 2 == 0 else "cpo"), peer

    def _session_row(self, number: int) -> tuple[object, ...]:
        role, peer = self._side(number)
        operator = operator_id(peer) if role == "emp" else messages.CPO
        provider = messages.EMP if role == "emp" else provider_id(peer)
        key, at, evse = messages.session_id(number), self._created_at(number), f"{operator}*E{number % 90_000}*1"
        response = orjson.dumps({"SessionID": key, "AuthorizationStatus": "Authorized", "ProviderID": provider})
        return (
            role, key, key, "authorize" if number % 5 else "remote", session_state(number, self._sizes.sessions),
            operator.replace("*", ""), operator, provider.replace("-", ""), provider, evse.replace("*", ""), evse,
            self._peers[peer], number.to_bytes(16, "big"), response, f"uid:{messages.token(number)}", at, at + 3600.0,
        )  # fmt: skip

    def _session_events(self, number: int) -> Iterator[tuple[object, ...]]:
        role, _ = self._side(number)
        key, at = messages.session_id(number), self._created_at(number)
        yield (role, key, at, "AuthorizeStart", messages.authorize_start(number))
        yield (role, key, at + 60, "ChargingNotification Start", b'{"Type":"Start","SessionID":"%s"}' % key.encode())

    def _cdr_row(self, number: int) -> tuple[object, ...]:
        role, peer = self._side(number)
        at, state = self._created_at(number) + 3600.0, cdr_state(number)
        operator = operator_id(peer) if role == "emp" else messages.CPO
        provider = messages.EMP if role == "emp" else provider_id(peer)
        body = _cdr_body(number, f"{operator}*E{number % 90_000}*1")
        refusal = ("017", "the driver is not known") if state in {"dead", "disputed"} else (None, None)
        doubts = "the energy is more than the station can give" if number % 211 == 0 else None
        return (
            role, messages.session_id(number), self._peers[peer], operator.replace("*", ""), provider.replace("-", ""),
            at, at, number.to_bytes(16, "big"), body, at, state, int(number % 50_021 == 0), doubts, *refusal, at,
        )  # fmt: skip

    def _fill_outbox(self, database: sqlite3.Connection) -> None:
        count = self._sizes.messages
        columns = ("destination", "state", "operation", "role", "session_key", "body", "created_at", "attempts",
                   "next_try_at", "last_error", "last_cause")  # fmt: skip
        _insert(database, "outbox", columns, map(self._message_row, range(count)))
        failing = [(peer, "", 9, self._now + 600, "Connection refused", "cannot connect", self._now - _DAY)
                   for peer in self._peers[:_AWAY_PEERS]]  # fmt: skip
        names = ("peer", "dataset", "failures", "next_try_at", "last_error", "last_cause", "failing_since")
        _insert(database, "destinations", names, failing, verb="INSERT OR REPLACE")

    def _message_row(self, number: int) -> tuple[object, ...]:
        is_dead = number % 50 == 0
        destination = self._peers[number % PEERS if is_dead else number % _AWAY_PEERS]
        at = self._now - (self._sizes.messages - number)
        session = self._sizes.sessions - 1 - number % self._sizes.sessions
        error, cause = ("017", "message refused") if is_dead else ("Connection refused", "cannot connect")
        return (
            destination, "dead" if is_dead else "waiting", "ChargeDetailRecord", "cpo", messages.session_id(session),
            _cdr_body(session, f"{messages.CPO}*E1*1"), at, 1 if is_dead or number % 5 == 0 else 0, self._now + 600,
            error, cause,
        )  # fmt: skip

    def _fill_others(self, database: sqlite3.Connection) -> None:
        findings = orjson.dumps([{"severity": "error", "pointer": "/Plugs", "code": "empty-list", "message": "has 0"}])
        quarantined = (
            (self._peers[number % 40 // 2 * 2], "PushEvseData", number.to_bytes(16, "big"), findings,
             evses.evse(number), self._now - _DAY, self._now - number, 1)
            for number in range(self._sizes.quarantined)
        )  # fmt: skip
        names = ("source", "operation", "digest", "findings", "record", "first_seen_at", "last_seen_at", "occurrences")
        _insert(database, "quarantine", names, quarantined)
        batches = map(self._batch_row, range(self._sizes.events // _EVENTS_PER_BATCH))
        (first,) = database.execute("SELECT coalesce(max(first_number + count), 1) FROM event_batches").fetchone()
        rows = ((first + number * _EVENTS_PER_BATCH, *row) for number, row in enumerate(batches))
        _insert(database, "event_batches", ("first_number", "count", "at", "events"), rows)
        tokens = ((text, text, self._now) for text in map(messages.token, range(self._sizes.tokens)))
        _insert(database, "tokens", ("token_key", "token", "added_at"), tokens)

    def _batch_row(self, number: int) -> tuple[object, ...]:
        batches = self._sizes.events // _EVENTS_PER_BATCH
        at = self._now - (batches - number) * (_EVENT_DAYS * _DAY / batches)
        found = [Event(EventType.EVSE_STATUS, "Available", at, self._key(number * 7 % self._sizes.evses)[2])] * 3
        found += [
            Event(EventType.SESSION, "settled", at, messages.session_id(number % self._sizes.sessions), "cpo")
        ] * 2
        if number == 0:
            found[0] = Event(EventType.ACTION, "reload", at, "", text="Kim: the only action, long ago")
        return _EVENTS_PER_BATCH, at, msgspec.json.encode(found)


def session_state(number: int, count: int) -> str:
    """Return the state of a session: the newest are open, of the others a few have come to nothing.

    Those are no older than a node stores them, so that it deletes nothing while it is measured.
    """
    age = count - number
    if age <= max(5, count // 100):
        return "uncertain" if age <= 5 else ("charging", "authorized", "ended")[number % 3]
    days = age * _SESSION_DAYS / count
    if number % 40 == 0 and days < _REFUSED_DAYS:
        return "refused"
    return "expired" if number % 40 == 1 and days < _EXPIRED_DAYS else "settled"


def cdr_state(number: int) -> str:
    """Return the state of the CDR of a session."""
    return {3: "disputed", 4: "dead", 5: "delivered", 6: "waiting"}.get(number % 997, "accepted")


def _country(number: int) -> str:
    return _COUNTRIES[number % len(_COUNTRIES)]


def _cdr_body(number: int, evse: str) -> bytes:
    return orjson.dumps(
        {
            "SessionID": messages.session_id(number), "CPOPartnerSessionID": f"csms-{number}", "EvseID": evse,
            "Identification": {"RFIDMifareFamilyIdentification": {"UID": messages.token(number)}},
            "PartnerProductID": "AC 1", "ChargingStart": "2026-03-01T10:00:00Z", "ChargingEnd": "2026-03-01T11:00:00Z",
            "SessionStart": "2026-03-01T10:00:00Z", "SessionEnd": "2026-03-01T11:00:00Z",
            "ConsumedEnergy": 5 + number % 400 / 10, "MeterValueStart": 100.0, "MeterValueEnd": 140.0,
        }
    )  # fmt: skip


def _insert(
    database: sqlite3.Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]],
    verb: str = "INSERT",
) -> None:  # fmt: skip
    marks = ", ".join("?" * len(columns))
    database.executemany(f"{verb} INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)


@contextlib.contextmanager
def _without_indexes(database: sqlite3.Connection) -> Iterator[None]:
    """Drop all indexes but those of keys, and make them again: rows at random keys cost a page each otherwise."""
    found = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL").fetchall()
    for name, _ in found:
        database.execute(f"DROP INDEX {name}")
    yield
    for _, sql in found:
        database.execute(sql)
    database.commit()
