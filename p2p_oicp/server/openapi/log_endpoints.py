"""The administration: the event log and the recorded exchanges."""

from __future__ import annotations

from collections.abc import Mapping

from p2p_oicp.oicp.operations import OPERATIONS
from p2p_oicp.server.openapi.asyncapi import AFTER, EVENTS_PATH, STREAM_FILTERS, STREAM_TYPE
from p2p_oicp.server.openapi.endpoints import LIMIT, Endpoint, Parameter, Tag
from p2p_oicp.server.openapi.schemas import (
    ANYTHING,
    NUMBER,
    SECONDS,
    TEXT,
    WHOLE,
    Schema,
    array,
    described,
    members_of,
    nullable,
    one_of,
    record,
    text,
)
from p2p_oicp.storage.event_log import EventType

_EVENT_MEMBERS: Mapping[str, Schema] = {
    "id": text("The same whenever and wherever the event is read: its number, with the database that wrote it."),
    "number": described(WHOLE, "Counted from 1, without gaps."),
    "type": one_of(EventType),
    "what": text("What has become of it: a state, a status, or a status code."),
    "at": SECONDS,
    "role": one_of(("cpo", "emp"), "Of this node, in a session or CDR."),
    "text": text("Why, in words."),
    "count": described(WHOLE, "How often, where it is more than once."),
    "peer": text("The name of the peer that it is about."),
    "session_id": TEXT,
    "evse_id": TEXT,
    "operator_id": TEXT,
    "provider_id": TEXT,
    "evse": text("The canonical EvseID of a status."),
    "peer_id": TEXT,
    "backend": TEXT,
    "webhook": TEXT,
    "key": TEXT,
    "certificate": TEXT,
    "operation": text("Of a refusal or finding."),
    "listener": text("`backend`: of a system of our own."),
    "subject": text("Of an action of a person: what it was done to."),
}
EVENT = record(
    "Event",
    "What happened; empty members are left out.",
    _EVENT_MEMBERS,
    optional=[name for name in _EVENT_MEMBERS if name not in {"id", "number", "type", "what", "at"}],
)
RECORDED_BODY = record(
    "RecordedBody",
    "A body, masked.",
    {
        "bytes": described(WHOLE, "Its size before it was masked."),
        "json": described(ANYTHING, "The body; absent where it is no JSON, or is cut."),
        "start": text("The beginning of one that is larger than the limit."),
    },
    optional=("json", "start"),
)
_EXCHANGE_MEMBERS: Mapping[str, Schema] = {
    "number": WHOLE,
    "at": SECONDS,
    "seconds": described(NUMBER, "Until the answer was there, or was given up."),
    "direction": one_of(("in", "out"), "`in`: we were called."),
    "method": TEXT,
    "path": TEXT,
    "peer": TEXT,
    "backend": text("The name of the system of our own that it is with."),
    "operation": TEXT,
    "party": text("The party that the request names as its sender."),
    "session_id": TEXT,
    "evse_id": TEXT,
    "http_status": WHOLE,
    "code": text("The OICP status code of the answer."),
    "error": text("Why there was no answer."),
    "process_id": TEXT,
    "address": text("Of the client."),
    "request": RECORDED_BODY,
    "response": RECORDED_BODY,
}
EXCHANGE = record(
    "Exchange",
    "One request and its answer; empty members are left out.",
    _EXCHANGE_MEMBERS,
    optional=[name for name in _EXCHANGE_MEMBERS if name not in {"at", "seconds", "direction", "method", "path"}],
)
OPERATION = Parameter(
    "operation", one_of([operation.name for operation in OPERATIONS]), "Only those of this operation."
)

_SELECTION = tuple(
    Parameter(name, array(TEXT), f"{what} It may be given several times.") for name, what in STREAM_FILTERS.items()
)

LIST_EVENTS = Endpoint(
    method="GET",
    path="/admin/v1/events",
    name="listEvents",
    summary="What happened, the oldest first.",
    tag=Tag.EVENTS,
    query=(
        Parameter("after", {**TEXT, "default": "0"}, "The number or id of the last event that is known; 0: all."),
        Parameter("until", WHOLE, "The number of the last event that is looked at."),
        LIMIT,
        *_SELECTION,
    ),
    answer=members_of(
        {
            "events": array(EVENT),
            "next": described(WHOLE, "The number to go on `after`."),
            "oldest": described(WHOLE, "The oldest event that is left: who goes on after an earlier one missed some."),
            "newest": described(WHOLE, "The newest event: where `next` is lower, there may be more."),
            "newest_id": TEXT,
        }
    ),
)
LIST_NEWEST_EVENTS = Endpoint(
    method="GET",
    path="/admin/v1/events/newest",
    name="listNewestEvents",
    summary="What happened, the newest first.",
    tag=Tag.EVENTS,
    query=(Parameter("cursor", TEXT, "That of the page before; absent: the first page."), LIMIT, *_SELECTION),
    answer=members_of(
        {
            "events": array(EVENT),
            "cursor": nullable(TEXT, "Of the next page; null at the end."),
            "newest_id": text("Of the newest event, selected or not: where a listener goes on."),
        }
    ),
)
STREAM_EVENTS = Endpoint(
    method="GET",
    path=EVENTS_PATH,
    name="streamEvents",
    summary="What happens, as it happens: Server-Sent Events, as the AsyncAPI document describes them.",
    description="With the header `Last-Event-ID`, as browsers send it by themselves, everything since that event.",
    tag=Tag.EVENTS,
    query=(Parameter("after", TEXT, AFTER), *_SELECTION),
    answer=TEXT,
    answer_types=(STREAM_TYPE,),
)
LIST_EXCHANGES = Endpoint(
    method="GET",
    path="/admin/v1/exchanges",
    name="listExchanges",
    summary="Recorded requests and answers, as far as the settings let them be recorded.",
    tag=Tag.EVENTS,
    query=(
        Parameter("peer", TEXT, "Only those with this peer, or with a system of our own (`backend:NAME`)."),
        OPERATION,
        Parameter("session", TEXT, "Only those of this SessionID."),
        Parameter("after", WHOLE, "Only those with higher numbers, the oldest first; absent: the newest."),
        LIMIT,
    ),
    answer=members_of(
        {
            "record": one_of(("off", "memory", "disk"), "The setting."),
            "exchanges": array(EXCHANGE),
            "next": described(WHOLE, "The number to go on `after`."),
            "oldest": WHOLE,
            "newest": WHOLE,
        }
    ),
)
SHOW_EXCHANGE = Endpoint(
    method="GET",
    path="/admin/v1/exchanges/{number}",
    name="getExchange",
    summary="One recorded request and its answer.",
    tag=Tag.EVENTS,
    answer=members_of({"exchange": EXCHANGE}),
    errors={404: "It was never recorded, or there were too many since."},
)

LOG_ENDPOINTS = (LIST_EVENTS, LIST_NEWEST_EVENTS, STREAM_EVENTS, LIST_EXCHANGES, SHOW_EXCHANGE)
