"""What speaks against a charge detail record or a notification: clock, EVSE data, products, identification (RULES L9).

Such a message is evidence all the same. ``[cdr] implausible`` decides: "report" takes it, and says what speaks against
it in the answer, the log, the session's events and ``cdrs list --doubtful``; "refuse" answers 022, as the hub does.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import ChargeDetailRecord, ChargingNotification, EvseDataRecord, Finding, StatusCodeValue
from p2p_oicp.oicp.cdr_checks import DOUBT_CODES, check_identification, check_plausibility, check_times
from p2p_oicp.peers.models import OWN_PEER_ID
from p2p_oicp.roles.context import OperationRequest, Services
from p2p_oicp.storage import Transaction, sessions
from p2p_oicp.storage.datasets import queries
from p2p_oicp.storage.datasets.models import ALL_PROVIDERS, OWN, DatasetKind
from p2p_oicp.storage.event_log import Event, EventType, emit
from p2p_oicp.storage.sessions import Session

log = structlog.get_logger(__name__)


class Doubts:
    """Finds what speaks against the messages of one role's sessions."""

    def __init__(self, role: str, services: Services) -> None:
        self._role = role
        self._services = services

    def of_record(self, tx: Transaction, request: OperationRequest[ChargeDetailRecord], session: Session) -> str:
        """Return what speaks against a CDR, in words; empty: nothing."""
        record = request.message
        source = OWN if self._role == "cpo" or session.peer == OWN_PEER_ID else session.peer
        tokens = (session.identification_key, *session.stop_identification_keys.split())
        return _in_words(
            [
                *(finding for finding in request.warnings if finding.code in DOUBT_CODES),
                *self._check_times(record, session),
                *check_plausibility(
                    record, _evse_data_record(tx, source, record), _product_ids(tx, source, record, session)
                ),
                *check_identification(record, [token for token in tokens if token]),
            ]
        )

    def of_notification(self, notification: ChargingNotification, session: Session) -> str:
        """Return what speaks against a notification, in words; empty: nothing."""
        return _in_words(self._check_times(notification, session))

    def _check_times(self, message: ChargeDetailRecord | ChargingNotification, session: Session) -> list[Finding]:
        # Where this node has not answered the start itself, it does not know when the driver was authorized.
        authorized_at = _instant(session.created_at) if session.start_response else None
        return check_times(message, _instant(self._services.now()), authorized_at)

    def refuse(self, what: str, session: Session, doubts: str) -> None:
        """Raise Refusal 022 for a doubtful message, if the settings say so."""
        if doubts and self._services.refuses_doubtful:
            log.warning(
                "cdr.implausible_refused", role=self._role, session_id=session.session_id, what=what, doubts=doubts
            )
            raise Refusal(StatusCodeValue.DATA_ERROR, doubts)

    def report(self, tx: Transaction, what: str, session: Session, doubts: str) -> None:
        """Add what speaks against a message that was taken to the events of its session."""
        if doubts:
            now = self._services.now()
            sessions.add_event(tx, self._role, session.session_key, now, f"{what} is doubtful: {doubts}")
            text = f"{what}: {doubts}"
            emit(tx, Event(EventType.FINDING, "doubtful", now, session.session_key, self._role, session.peer, text))

    def log_taken(self, what: str, session: Session, doubts: str) -> None:
        """Log what speaks against a message, once that is stored."""
        log.warning(
            "cdr.plausibility_warning", role=self._role, session_id=session.session_id, what=what, doubts=doubts
        )


def _in_words(findings: Sequence[Finding]) -> str:
    return "; ".join(dict.fromkeys(f"{finding.pointer[1:]}: {finding.message}" for finding in findings))


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _evse_data_record(tx: Transaction, source: str, record: ChargeDetailRecord) -> EvseDataRecord | None:
    key = record.evse_id.key
    row = tx.one(queries.RECORD_OF_SOURCE, dataset_=DatasetKind.EVSE_DATA, key_=key, source_=source)
    return EvseDataRecord.from_json(row["raw"]) if row else None


def _product_ids(tx: Transaction, source: str, record: ChargeDetailRecord, session: Session) -> list[str] | None:
    """Return the ProductIDs that are offered to the session's EMP; None if no pricing products were pushed."""
    if record.partner_product_id is None:
        return None
    group, other_group = (f"{session.operator_key}|{audience}" for audience in (ALL_PROVIDERS, session.provider_key))
    rows = tx.all(
        queries.KEYS_BY_GROUP,
        dataset_=DatasetKind.PRICING_PRODUCT,
        source_=source,
        group_=group,
        other_group_=other_group,
    )
    return [row["key"].removeprefix(f"{row['group_key']}|") for row in rows] or None
