"""The table of all events: what each means, and a sample of it.

docs/events.md, the stream of events, the attribute ``type`` of CloudEvents and the AsyncAPI document come from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from p2p_oicp.events.types import (
    CLOUD_EVENT_PREFIX,
    ActionEvent,
    BackendEvent,
    CdrEvent,
    CertificateEvent,
    EventDefinition,
    EvseStatusEvent,
    FindingEvent,
    KeyEvent,
    MissedEvents,
    PeerEvent,
    RefusalEvent,
    SessionEvent,
    WebhookEvent,
    format_id,
)

_AT = 1_790_000_000.25
_EPOCH, _NUMBER = 0x3F9A12BC77DE, 1042
_ID = format_id(_EPOCH, _NUMBER)
_SESSION_ID = "0199c1c2-7b1f-7c3a-9d52-4f1f0a6a8c11"
_PEER_ID = "8c1f0e52d9a7"


def _session(what: str, sentence: str) -> EventDefinition:
    sample = SessionEvent(
        id=_ID,
        number=_NUMBER,
        type="session",
        what=what,
        at=_AT,
        session_id=_SESSION_ID,
        evse_id="DE*ABC*E1234*1",
        operator_id="DE*ABC",
        provider_id="DE-XYZ",
        peer="emp-x",
        role="cpo",
    )
    return EventDefinition("session", what, sentence, sample)


def _cdr(what: str, sentence: str, text: str = "") -> EventDefinition:
    sample = CdrEvent(
        id=_ID,
        number=_NUMBER,
        type="cdr",
        what=what,
        at=_AT,
        session_id=_SESSION_ID,
        evse_id="DE*ABC*E1234*1",
        operator_id="DE*ABC",
        provider_id="DE-XYZ",
        peer="emp-x",
        role="cpo",
        text=text,
    )
    return EventDefinition("cdr", what, sentence, sample)


def _peer(what: str, sentence: str, text: str) -> EventDefinition:
    sample = PeerEvent(
        id=_ID,
        number=_NUMBER,
        type="peer",
        what=what,
        at=_AT,
        peer_id=_PEER_ID,
        peer="emp-x",
        text=text,
    )
    return EventDefinition("peer", what, sentence, sample)


def _backend(what: str, sentence: str, text: str = "") -> EventDefinition:
    sample = BackendEvent(id=_ID, number=_NUMBER, type="backend", what=what, at=_AT, backend="emp", text=text)
    return EventDefinition("backend", what, sentence, sample)


def _webhook(what: str, sentence: str, text: str = "") -> EventDefinition:
    sample = WebhookEvent(id=_ID, number=_NUMBER, type="webhook", what=what, at=_AT, webhook="warehouse", text=text)
    return EventDefinition("webhook", what, sentence, sample)


def _finding_of_session(what: str, sentence: str, text: str = "") -> EventDefinition:
    sample = FindingEvent(
        id=_ID,
        number=_NUMBER,
        type="finding",
        what=what,
        at=_AT,
        session_id=_SESSION_ID,
        evse_id="DE*ABC*E1234*1",
        operator_id="DE*ABC",
        provider_id="DE-XYZ",
        peer="emp-x",
        role="cpo",
        text=text,
    )
    return EventDefinition("finding", what, sentence, sample)


def _finding_of_message(what: str, sentence: str, operation: str, text: str, count: int) -> EventDefinition:
    sample = FindingEvent(
        id=_ID,
        number=_NUMBER,
        type="finding",
        what=what,
        at=_AT,
        operation=operation,
        peer="emp-x",
        text=text,
        count=count,
    )
    return EventDefinition("finding", what, sentence, sample)


def _certificate(what: str, sentence: str) -> EventDefinition:
    sample = CertificateEvent(
        id=_ID,
        number=_NUMBER,
        type="certificate",
        what=what,
        at=_AT,
        certificate="CN=node.example",
        text="ends at 2026-10-01T00:00:00.000Z",
    )
    return EventDefinition("certificate", what, sentence, sample)


def _open_lists() -> Iterator[EventDefinition]:
    """Return the events whose ``what`` is one of an open list."""
    yield EventDefinition(
        "evse_status",
        "",
        "The status of an EVSE has changed; what is the new one, such as Available.",
        EvseStatusEvent(id=_ID, number=_NUMBER, type="evse_status", what="Available", at=_AT, evse="DE*ABC*E12341"),
    )
    yield EventDefinition(
        "refusal",
        "",
        "This node has refused a request; what is the status code of its answer, or invalid for HTTP 400.",
        RefusalEvent(
            id=_ID,
            number=_NUMBER,
            type="refusal",
            what="017",
            at=_AT,
            operation="AuthorizeStart",
            peer="emp-x",
            text="Unauthorized Access",
            count=3,
        ),
    )


#: All events, in the order of docs/events.md.
EVENT_DEFINITIONS: tuple[EventDefinition, ...] = (
    _session("requested", "A session was opened, and the other side is being asked."),
    _session("authorized", "The session may begin: the other side has said yes."),
    _session("charging", "The charging process has begun, as a notification says."),
    _session("uncertain", "A remote start got no answer in time: the car may charge or not."),
    _session("refused", "The session may not begin: the other side has said no."),
    _session("ended", "The charging process is over; its charge detail record may still be missing."),
    _session("settled", "The charge detail record of the session is accepted."),
    _session("expired", "Nothing more was received of the session for a long time."),
    _cdr("received", "A charge detail record was taken, and is stored; text says what speaks against it, if anything."),
    _cdr("delivered", "The peer has the charge detail record, and its backend has not judged it yet."),
    _cdr("accepted", "The EMP's backend has accepted the charge detail record."),
    _cdr("disputed", "The EMP's backend has refused the charge detail record; text says why.", "022 Data transaction"),
    _cdr("dead", "The charge detail record cannot be delivered; text says why.", "the peer's node refuses it: 018"),
    _cdr("waiting", "The charge detail record waits again to be delivered: a person has asked for it."),
    *_open_lists(),
    _peer("added", "There is a new peer; text is its name.", "emp-x"),
    _peer("changed", "What is published to a peer, or pulled from it, has changed; text says what.", "publish"),
    _peer("removed", "A peer was removed; text is its name.", "emp-x"),
    _peer("restored", "The peer's database was replaced by another one; text is its name.", "emp-x"),
    _peer("down", "Something that is sent to a peer, or pulled from it, fails; text says what and why.", "outbox: …"),
    _peer("up", "Nothing that is sent to the peer, or pulled from it, fails any more.", ""),
    _peer("not_answering", "The peer does not answer what a driver waits for; text says why.", "no response"),
    _peer("answering", "The peer answers again what a driver waits for.", ""),
    _peer("refuses", "The peer refuses one group of a dataset, and takes others; text says which and why.", "DE*ABC"),
    _peer("accepts", "The peer takes a group of a dataset again; text says which.", "EVSE data: DE*ABC"),
    _peer("paused", "A person has paused deliveries to a peer; text says why.", "maintenance at their side"),
    _peer("resumed", "A person has resumed deliveries to a peer; text says why.", "they are back"),
    _peer("held", "What a peer says of itself does not count until a person has agreed; text has the cure.", "FR*NEW"),
    _peer("agreed", "What was held counts now; text is the party, or its descriptor.", "FR*NEW"),
    _backend("down", "Something that is sent to one of our own systems fails; text says what and why.", "outbox: …"),
    _backend("up", "Nothing that is sent to the system fails any more."),
    _backend("not_answering", "One of our own systems does not answer what a driver waits for.", "no response"),
    _backend("answering", "The system answers again what a driver waits for."),
    _backend("refuses", "The system refuses one group of a dataset, and takes others; text says which and why."),
    _backend("registered", "An OCPI partner is registered; its name begins with `ocpi:`, as in all events about it."),
    _backend("unregistered", "An OCPI partner is registered no more; text: by whom, if not by us.", "by the partner"),
    _backend("suspended", "An OCPI partner refuses our credentials: nothing is sent to it any more.", "HTTP 401"),
    _backend("accepts", "The system takes a group of a dataset again; text says which."),
    _webhook("down", "A webhook's receiver does not take events; text says why. They are sent again.", "events: …"),
    _webhook("up", "The webhook's receiver takes events again."),
    _webhook("test", "A person has had this event sent, to see whether it is received."),
    _finding_of_session("doubtful", "A message was taken that something speaks against; text says what."),
    _finding_of_session("conflicting_cdr", "Another charge detail record was received for a session that has one."),
    _finding_of_message(
        "quarantined", "New records of a peer are invalid; count says how many.", "PushEvseData", "EvseID: …", 12
    ),
    _finding_of_message(
        "warning", "A message was taken, with deviations; text names them.", "AuthorizeStart", "unknown member", 1
    ),
    _finding_of_message(
        "held_cdr",
        "A CDR of an OCPI partner waits for a person; text says of whom, which and why.",
        "ChargeDetailRecord",
        "citrine: 8412 is held: uncorrelated",
        1,
    ),
    EventDefinition(
        "key",
        "rotated",
        "This node has a new signing key; text says from when it signs.",
        KeyEvent(id=_ID, number=_NUMBER, type="key", what="rotated", at=_AT, key="ed25519-8c1f", text="signs at once"),
    ),
    _certificate("ends_soon", "A certificate of this node ends soon; text says when."),
    _certificate("has_ended", "A certificate of this node has ended; text says when."),
    EventDefinition(
        "action",
        "",
        "A person has done something by the dashboard, such as `retry-message`, or was shown what identifies a driver "
        "(`reveal`); text says who and why.",
        ActionEvent(
            id=_ID, number=_NUMBER, type="action", what="remove-peer", at=_AT, subject="Beta", text="Kim: left us"
        ),
    ),
    EventDefinition(
        "events",
        "missed",
        "Events after the last one that the listener has were deleted, or lost with a database that was restored.",
        MissedEvents(
            type="events",
            what="missed",
            at=_AT,
            after=format_id(_EPOCH, 17),
            oldest=_ID,
            text="older events are deleted after 7 days",
        ),
    ),
)
_BY_NAME: Mapping[str, EventDefinition] = MappingProxyType({each.name: each for each in EVENT_DEFINITIONS})


def cloud_event_type(event_type: str, what: str) -> str:
    """Return the attribute ``type`` of an event as a CloudEvent."""
    return CLOUD_EVENT_PREFIX + (event_type if event_type in _BY_NAME else f"{event_type}.{what}")


def definition_of(event_type: str, what: str) -> EventDefinition:
    """Return what the table has of an event. Raises KeyError."""
    return _BY_NAME.get(event_type) or _BY_NAME[f"{event_type}.{what}"]
