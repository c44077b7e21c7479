"""The administration: what is stored (sessions, CDRs, EVSEs, quarantine, tokens), and what people do with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from p2p_oicp.oicp.charging import ChargeDetailRecord
from p2p_oicp.oicp.evse import EvseDataRecord
from p2p_oicp.server.openapi.endpoints import LIMIT, Endpoint, Parameter, Tag
from p2p_oicp.server.openapi.schemas import (
    ANYTHING,
    FLAG,
    OBJECT,
    TEXT,
    TIME,
    WHOLE,
    Component,
    Schema,
    array,
    described,
    mapping,
    members_of,
    nullable,
    one_of,
    record,
    text,
)
from p2p_oicp.storage.cdrs import CdrState
from p2p_oicp.storage.sessions import SessionState

ROLE = one_of(("cpo", "emp"), "The role of this node.")
_NOT_FOUND = {404: "There is none of it here."}
_CURSOR = Parameter("cursor", TEXT, "Of the page before, unchanged; absent: the first page.")
_SINCE = Parameter("since", TIME, "Only those since then, with the offset of the time.", example="2026-03-01T00:00:00Z")
_PEER = Parameter("peer", TEXT, "Only those with this peer, by its name.")
_ROLE = Parameter("role", one_of(("cpo", "emp")), "Only those in which this node has the role.")

WAITING_MESSAGE = record(
    "WaitingMessage",
    "A message that waits because of a session, or that was refused for good.",
    {
        "id": WHOLE,
        "operation": TEXT,
        "destination": text("A peer, or a system of our own."),
        "role": ROLE,
        "state": one_of(("waiting", "dead")),
        "waiting_since": TIME,
        "tries": WHOLE,
        "last_error": nullable(TEXT),
        "next_try": nullable(TIME),
    },
)
_SESSION_MEMBERS: Mapping[str, Schema] = {
    "role": ROLE,
    "session_id": TEXT,
    "kind": text("By what it was opened."),
    "state": one_of(SessionState),
    "operator_id": TEXT,
    "provider_id": TEXT,
    "evse_id": TEXT,
    "peer": text("The other party, by its name."),
    "cpo_partner_session_id": nullable(TEXT),
    "emp_partner_session_id": nullable(TEXT),
    "id_generated_here": FLAG,
    "identification_key": TEXT,
    "stop_identification_keys": TEXT,
    "offline": described(FLAG, "Whether this node authorized it by the list of an EMP."),
    "progress_at": nullable(TIME),
    "unconfirmed": FLAG,
    "created_at": TIME,
    "updated_at": TIME,
}
_CDR_MEMBERS: Mapping[str, Schema] = {
    "session_id": text("The SessionID in its canonical form."),
    "role": ROLE,
    "peer": nullable(TEXT),
    "state": one_of(CdrState),
    "unconfirmed": described(FLAG, "Whether nobody knows its session any more."),
    "doubts": nullable(TEXT, "What speaks against it."),
    "code": nullable(TEXT, "The OICP status code of the verdict."),
    "reason": nullable(TEXT),
    "received_at": TIME,
    "delivered_at": nullable(TIME),
    "verdict_at": nullable(TIME),
}
SESSION = record("Session", "A charging session.", _SESSION_MEMBERS)
CDR = record("Cdr", "A charge detail record without its content: what became of it.", _CDR_MEMBERS)
_SESSION_EVENT = record(
    "SessionEvent",
    "A line of a session's log.",
    {"at": TIME, "event": TEXT, "message": described(ANYTHING, "The whole message; null where there is none.")},
)
_SESSION_DETAILS = record(
    "SessionDetails",
    "A session with its CDRs, what waits because of it, and every event.",
    {
        **_SESSION_MEMBERS,
        "records": array(CDR),
        "messages": array(WAITING_MESSAGE),
        "events": array(_SESSION_EVENT),
    },
)
_CDR_DETAILS = record(
    "CdrDetails",
    "A charge detail record as it was received.",
    {
        **_CDR_MEMBERS,
        "messages": array(WAITING_MESSAGE),
        "record": described(OBJECT, f"The {ChargeDetailRecord.__name__} of OICP."),
    },
)
_EVSE = record(
    "Evse",
    "An EVSE with its status.",
    {
        "source": text("The peer that has sent it; `own`: we."),
        "changed_at": TIME,
        "status": nullable(TEXT, "The EvseStatus of OICP."),
        "status_changed_at": nullable(TIME),
        "record": described(OBJECT, f"The {EvseDataRecord.__name__} of OICP, as it is stored."),
    },
)
_FINDING = described(ANYTHING, "A finding: what is wrong, and where.")
_QUARANTINED = record(
    "QuarantinedRecord",
    "A record of a peer that was rejected.",
    {
        "source": text("The peer."),
        "operation": TEXT,
        "occurrences": WHOLE,
        "first_seen": TIME,
        "last_seen": TIME,
        "findings": array(_FINDING),
        "record": text("As it was received."),
    },
)
_TOKEN = record(
    "Token",
    "A driver's card or contract in the token list.",
    {"token": text("A UID or an EvcoID."), "pin": described(FLAG, "Whether it has a PIN."), "added_at": TIME},
)
MESSAGE_MEMBERS: Mapping[str, Schema] = {
    "id": WHOLE,
    "destination": text("A peer, or a system of our own."),
    "state": one_of(("waiting", "held", "dead")),
    "operation": TEXT,
    "session_key": TEXT,
    "created_at": described({"type": "number"}, "Seconds since 1970."),
    "attempts": WHOLE,
    "next_try_at": described({"type": "number"}, "Seconds since 1970."),
    "last_error": nullable(TEXT),
}
_MESSAGE = record("OutboxMessage", "A message that waits, is held, or was refused for good.", MESSAGE_MEMBERS)
_MESSAGE_DETAILS = record(
    "OutboxMessageDetails",
    "A message with its body.",
    {
        **MESSAGE_MEMBERS,
        "sender_id": nullable(TEXT),
        "role": TEXT,
        "body": described(OBJECT, "The message of OICP."),
    },
)


def _list(name: str, summary: str, items: Component, *filters: Parameter, operation: str) -> Endpoint:
    """Return the endpoint of a list in pages."""
    cursor = nullable(TEXT, "Of the next page; null at the end.")
    return Endpoint(
        method="GET",
        path=f"/admin/v1/{name}",
        name=operation,
        summary=summary,
        tag=Tag.RECORDS,
        query=(*filters, LIMIT, _CURSOR),
        answer=members_of({name: array(items), "cursor": cursor}),
    )


def _show(name: str, identifier: str, summary: str, items: Component, *, operation: str) -> Endpoint:
    return Endpoint(
        method="GET",
        path=f"/admin/v1/{name}/{{{identifier}}}",
        name=operation,
        summary=summary,
        tag=Tag.RECORDS,
        answer=members_of({name: array(items)}),
        errors=_NOT_FOUND,
    )


def _flag(name: str, description: str) -> Parameter:
    return Parameter(name, FLAG, description)


#: The lists, by the name of their member in the answer.
LISTS: Mapping[str, Endpoint] = {
    "sessions": _list(
        "sessions",
        "Charging sessions, the newest first.",
        SESSION,
        Parameter("state", one_of(SessionState), "Only those in this state."),
        _ROLE,
        _PEER,
        Parameter("evse", TEXT, "Only those at this EVSE, by its EvseID.", example="DE*ABC*E1*2"),
        _SINCE,
        operation="listSessions",
    ),
    "cdrs": _list(
        "cdrs",
        "Charge detail records, the newest first.",
        CDR,
        Parameter("state", one_of(CdrState), "Only those in this state."),
        _ROLE,
        _PEER,
        _SINCE,
        _flag("unconfirmed", "Only those whose session nobody knows any more; false: only others."),
        _flag("doubtful", "Only those that something speaks against; false: only others."),
        operation="listCdrs",
    ),
    "evses": _list(
        "evses",
        "EVSE data, each with its status.",
        _EVSE,
        Parameter("operator", TEXT, "Only those of this OperatorID.", example="DE*ABC"),
        Parameter("country", TEXT, "Only those in this country, by its ISO 3166 alpha-3 code.", example="DEU"),
        Parameter("evse", TEXT, "Only those whose EvseID begins so."),
        Parameter("peer", TEXT, "Only those of this peer; `own`: ours."),
        operation="listEvses",
    ),
    "quarantine": _list(
        "quarantine",
        "Records of peers that were rejected, the newest first.",
        _QUARANTINED,
        _PEER,
        Parameter("operation", TEXT, "Only those of this operation.", example="PushEvseData"),
        operation="listQuarantine",
    ),
    "tokens": _list(
        "tokens",
        "The token list; never a PIN.",
        _TOKEN,
        Parameter("token", TEXT, "Only those that begin so."),
        operation="listTokens",
    ),
}
SHOW_SESSION = _show(
    "sessions", "session_id", "One session, with all that is known of it.", _SESSION_DETAILS, operation="getSession"
)
SHOW_CDR = _show("cdrs", "session_id", "The CDRs of a session, each role's.", _CDR_DETAILS, operation="getCdr")
SHOW_EVSE = _show("evses", "evse_id", "An EVSE, from each source that has it.", _EVSE, operation="getEvse")

_OPTIONAL_TEXTS: Mapping[str, Any] = {
    "role": ROLE,
    "peer": text("To confirm: whose session it was, where not even that is known."),
    "reason": text("To refuse: why."),
}
ACT_ON_CDR = Endpoint(
    method="POST",
    path="/admin/v1/cdrs/{session_id}/{action}",
    name="actOnCdr",
    summary="Send a CDR again, confirm one whose session nobody knows, or refuse it.",
    tag=Tag.RECORDS,
    path_schemas={"action": one_of(("retry", "confirm", "refuse"))},
    body=members_of(_OPTIONAL_TEXTS, optional=tuple(_OPTIONAL_TEXTS)),
    body_is_optional=True,
    example={"role": "emp"},
    answer=members_of({"done": text("What was done.")}),
    errors={404: "There is no such action.", 409: "There is no such CDR, or it cannot be done; the answer says why."},
)
RECONCILE = Endpoint(
    method="POST",
    path="/admin/v1/cdrs/reconcile",
    name="reconcileCdrs",
    summary="Ask the CPO peers for CDRs, and take those that are missing here.",
    tag=Tag.RECORDS,
    body=members_of(
        {"since": described(TIME, "Absent: since the last time."), "peer": text("Only this one, by its name.")},
        optional=("since", "peer"),
    ),
    body_is_optional=True,
    example={"since": "2026-03-01T00:00:00Z"},
    answer=members_of(
        {
            "peers": array(
                record(
                    "Reconciliation",
                    "What a peer had.",
                    {
                        "peer": TEXT,
                        "reported": WHOLE,
                        "imported": described(WHOLE, "New ones."),
                        "rejected": WHOLE,
                        "error": nullable(TEXT, "Why it was not read to the end."),
                    },
                )
            )
        }
    ),
    errors={404: "This node is no EMP."},
)
LIST_OUTBOX = Endpoint(
    method="GET",
    path="/admin/v1/outbox",
    name="listOutbox",
    summary="Messages that wait, are held, or are dead, the oldest first.",
    tag=Tag.OUTBOX,
    query=(
        Parameter("state", one_of(("waiting", "held", "dead")), "Only those in this state."),
        Parameter("destination", TEXT, "Only those for this peer, or this system of our own (`backend:NAME`)."),
        LIMIT,
        _CURSOR,
    ),
    answer=members_of({"messages": array(_MESSAGE), "cursor": nullable(TEXT, "Of the next page; null at the end.")}),
)
SHOW_MESSAGE = Endpoint(
    method="GET",
    path="/admin/v1/outbox/{id}",
    name="getMessage",
    summary="A message with its body.",
    tag=Tag.OUTBOX,
    answer=_MESSAGE_DETAILS,
    errors=_NOT_FOUND,
)
RETRY_MESSAGE = Endpoint(
    method="POST",
    path="/admin/v1/outbox/{id}/retry",
    name="retryMessage",
    summary="Send a message now; a dead one again.",
    tag=Tag.OUTBOX,
    answer=members_of({"requeued": WHOLE}),
    errors=_NOT_FOUND,
)
RETRY_DEAD = Endpoint(
    method="POST",
    path="/admin/v1/outbox/retry",
    name="retryDeadMessages",
    summary="Send all dead messages again.",
    tag=Tag.OUTBOX,
    query=(Parameter("destination", TEXT, "Only those for this peer or system of our own."),),
    answer=members_of({"requeued": WHOLE, "destinations": mapping(WHOLE, "How many, by destination.")}),
)
MOVE_MESSAGES = Endpoint(
    method="POST",
    path="/admin/v1/outbox/move",
    name="moveMessages",
    summary="Give messages for a system of our own to another one.",
    tag=Tag.OUTBOX,
    query=(
        Parameter("to", TEXT, "The name of an EMP's system of ours.", required=True),
        Parameter("from", TEXT, "Only those for this system of our own; absent: all that are held."),
        Parameter("id", {**WHOLE, "default": 0}, "Only this message."),
    ),
    answer=members_of({"moved": WHOLE, "to": TEXT}),
)
DISCARD_MESSAGE = Endpoint(
    method="DELETE",
    path="/admin/v1/outbox/{id}",
    name="discardMessage",
    summary="Discard a message.",
    tag=Tag.OUTBOX,
    answer=members_of({"discarded": WHOLE}),
    errors=_NOT_FOUND,
)

RECORD_ENDPOINTS = (
    *LISTS.values(), SHOW_SESSION, SHOW_CDR, SHOW_EVSE, RECONCILE, ACT_ON_CDR, LIST_OUTBOX, RETRY_DEAD, MOVE_MESSAGES,
    SHOW_MESSAGE, RETRY_MESSAGE, DISCARD_MESSAGE,
)  # fmt: skip
