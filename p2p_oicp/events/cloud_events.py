"""Events as CloudEvents 1.0 in JSON (the CNCF's "JSON Event Format", and its binding to HTTP).

``id`` is the event's own, so a receiver that has seen it before knows it again; ``source`` names the node. Structured
mode: one event, or a list of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from p2p_oicp.clock import format_timestamp
from p2p_oicp.events.definitions import cloud_event_type
from p2p_oicp.events.types import SUBJECT_MEMBERS, EventData, MissedEvents
from p2p_oicp.events.view import ViewedEvent

SINGLE_TYPE = "application/cloudevents+json; charset=utf-8"
BATCH_TYPE = "application/cloudevents-batch+json; charset=utf-8"
_encode = msgspec.json.Encoder().encode


class CloudEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """The attributes of a CloudEvent, and its data."""

    specversion: str
    id: str
    source: str
    type: str
    time: str
    datacontenttype: str
    data: msgspec.Raw
    subject: str = ""


class EncodedEvent(msgspec.Struct, frozen=True):
    """A CloudEvent as it is sent; a receiver that has it has all events up to ``number``."""

    number: int
    id: str
    body: bytes


def source_of(url: str, name: str) -> str:
    """Return the attribute ``source`` of the events of a node: its public address, and its name if that has none."""
    return url or f"urn:p2p-oicp:{name}"


def encode_event(event: ViewedEvent, source: str) -> EncodedEvent:
    """Return an event as a CloudEvent."""
    data = event.data
    body = _encode(_cloud_event(data, data.id, source, event.body, subject_of(data)))
    return EncodedEvent(event.number, data.id, body)


def encode_missed(missed: MissedEvents, source: str, number: int) -> EncodedEvent:
    """Return what is missed, up to ``number``, as a CloudEvent; its id is the same each time."""
    event_id = f"missed-{missed.after}"
    return EncodedEvent(number, event_id, _encode(_cloud_event(missed, event_id, source, _encode(missed), "")))


def _cloud_event(data: EventData | MissedEvents, event_id: str, source: str, body: bytes, subject: str) -> CloudEvent:
    return CloudEvent(
        specversion="1.0",
        id=event_id,
        source=source,
        type=cloud_event_type(data.type, data.what),
        time=format_timestamp(data.at),
        datacontenttype="application/json",
        data=msgspec.Raw(body),
        subject=subject,
    )


def subject_of(data: EventData) -> str:
    """Return the id or name of what an event is about."""
    names = SUBJECT_MEMBERS.get(data.type, ())
    return next((str(value) for name in names if (value := getattr(data, name, ""))), "")


def as_batch(events: Sequence[bytes]) -> bytes:
    """Return encoded events as one list."""
    return b"[" + b",".join(events) + b"]"
