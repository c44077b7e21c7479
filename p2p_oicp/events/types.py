"""What an event has, by its type, as systems read it: the members of its JSON object and their JSON Schema.

``storage.event_log`` holds events with keys and ids; these have the names that people know. ``definitions`` has the
sentence and the sample of each.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from p2p_oicp.storage.event_log import EventType

#: Of CloudEvents: before the name of an event.
CLOUD_EVENT_PREFIX = "p2p-oicp."
# Of regular expressions, JSON Schema has what JavaScript has.
_ID_PATTERN = "^([0-9a-f]{12})-([0-9]{1,18})$"
_ID = re.compile(_ID_PATTERN, re.ASCII)

_Id = Annotated[str, Meta(description="The same whenever the event is read: database and number.", pattern=_ID_PATTERN)]
_Number = Annotated[int, Meta(description="Counts from 1, without gaps.", ge=1)]
_At = Annotated[float, Meta(description="When it happened, in seconds since 1970.")]
_Text = Annotated[str, Meta(description="Why, in words.")]
_Count = Annotated[int, Meta(description="How often, since the last event of the same cause.", ge=1)]
_SessionID = Annotated[str, Meta(description="The SessionID as received.")]
_EvseID = Annotated[str, Meta(description="The EvseID as received.")]
_OperatorID = Annotated[str, Meta(description="The operator's id as received.")]
_ProviderID = Annotated[str, Meta(description="The provider's id as received.")]
_Role = Annotated[Literal["cpo", "emp"], Meta(description="The role of this node in the session.")]
_Peer = Annotated[str, Meta(description="The name of the peer, as it is now.")]
_Operation = Annotated[str, Meta(description="The operation of OICP, or what of /p2p/v1.")]
_Listener = Annotated[Literal["backend"], Meta(description="The sender was one of our own systems.")]


class EventData(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What every event has."""

    id: _Id
    number: _Number
    type: str
    what: Annotated[str, Meta(description="What has become of it.")]
    at: _At
    text: _Text = ""
    count: _Count = 1


class SessionEvent(EventData, frozen=True, kw_only=True, omit_defaults=True):
    """An event of a session."""

    session_id: _SessionID
    role: _Role
    evse_id: _EvseID = ""
    operator_id: _OperatorID = ""
    provider_id: _ProviderID = ""
    peer: _Peer = ""


class CdrEvent(SessionEvent, frozen=True, kw_only=True, omit_defaults=True):
    """An event of a charge detail record, with its session."""


class EvseStatusEvent(EventData, frozen=True, kw_only=True, omit_defaults=True):
    """A changed status of an EVSE; ``what`` is the new one."""

    evse: Annotated[str, Meta(description="The canonical EvseID.")]
    peer: Annotated[str, Meta(description="The peer that says so; absent: the EVSE is ours.")] = ""


class PeerEvent(EventData, frozen=True, kw_only=True, omit_defaults=True):
    """An event of a peer."""

    peer_id: Annotated[str, Meta(description="Its id in this database; its name may change.")]
    peer: _Peer = ""


class BackendEvent(EventData, frozen=True, kw_only=True, omit_defaults=True):
    """An event of one of our own systems."""

    backend: Annotated[str, Meta(description="Its name.")]


class WebhookEvent(EventData, frozen=True, kw_only=True, omit_defaults=True):
    """An event of a webhook."""

    webhook: Annotated[str, Meta(description="Its name.")]


class RefusalEvent(EventData, frozen=True, kw_only=True, omit_defaults=True):
    """A request that this node has refused; ``what`` is the status code, or ``invalid`` (HTTP 400)."""

    operation: _Operation
    peer: _Peer = ""
    listener: _Listener | msgspec.UnsetType = msgspec.UNSET


class FindingEvent(EventData, frozen=True, kw_only=True, omit_defaults=True):
    """What was found in a message that was taken: with its session, or with its operation and sender."""

    session_id: _SessionID = ""
    role: _Role | msgspec.UnsetType = msgspec.UNSET
    evse_id: _EvseID = ""
    operator_id: _OperatorID = ""
    provider_id: _ProviderID = ""
    operation: _Operation = ""
    peer: _Peer = ""
    listener: _Listener | msgspec.UnsetType = msgspec.UNSET


class KeyEvent(EventData, frozen=True, kw_only=True, omit_defaults=True):
    """An event of a signing key of this node."""

    key: Annotated[str, Meta(description="The id of our new key.")]


class CertificateEvent(EventData, frozen=True, kw_only=True, omit_defaults=True):
    """An event of a certificate of this node."""

    certificate: Annotated[str, Meta(description="Its subject.")]


class ActionEvent(EventData, frozen=True, kw_only=True, omit_defaults=True):
    """What a person has done by the dashboard; ``text`` says who, as that person has named himself, and why."""

    subject: Annotated[str, Meta(description="What it was done to: a name, an id, or the path of a page.")] = ""


class MissedEvents(msgspec.Struct, frozen=True, kw_only=True):
    """What a listener or receiver gets that goes on after an event whose successors are no more: no event of the log.

    It goes on at ``oldest``.
    """

    type: Literal["events"]
    what: Literal["missed"]
    at: _At
    after: Annotated[str, Meta(description="The id of the last event that it has.")]
    oldest: Annotated[str, Meta(description="The id of the oldest event that comes now.")]
    text: _Text


#: By the type of an event, the members that have its subject; the first one that it has counts.
SUBJECT_MEMBERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        EventType.SESSION: ("session_id",),
        EventType.CDR: ("session_id",),
        EventType.EVSE_STATUS: ("evse",),
        EventType.PEER: ("peer_id",),
        EventType.BACKEND: ("backend",),
        EventType.WEBHOOK: ("webhook",),
        EventType.REFUSAL: ("operation",),
        EventType.FINDING: ("session_id", "operation"),
        EventType.KEY: ("key",),
        EventType.CERTIFICATE: ("certificate",),
        EventType.ACTION: ("subject",),
        "events": ("after",),
    }
)
#: The members of one type of event.
DataType: TypeAlias = type[EventData] | type[MissedEvents]


@dataclass(frozen=True, slots=True)
class EventDefinition:
    """One kind of event.

    Attributes:
        type: a `storage.event_log.EventType`, or ``events``.
        what: empty: one of an open list, such as the status codes.
        sentence: what it means.
        sample: one such event; its class has the members.
    """

    type: str
    what: str
    sentence: str
    sample: EventData | MissedEvents

    @property
    def name(self) -> str:
        """``session.authorized``, or ``refusal``."""
        return f"{self.type}.{self.what}" if self.what else self.type

    @property
    def cloud_event_type(self) -> str:
        """The attribute ``type`` of a CloudEvent."""
        return CLOUD_EVENT_PREFIX + self.name

    @property
    def data(self) -> DataType:
        return type(self.sample)

    def json_schema(self) -> dict[str, Any]:
        """Return the self-contained JSON Schema (2020-12) of its JSON object."""
        _, components = msgspec.json.schema_components([self.data])
        return self._narrowed(components[self.data.__name__])

    def _narrowed(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        properties = {**schema["properties"], "type": {"const": self.type}}
        if self.what:
            properties["what"] = {"const": self.what}
        return {**schema, "title": self.name, "description": self.sentence, "properties": properties}


def format_id(epoch_id: int, number: int) -> str:
    """Return the id of an event: the store epoch in which it was written, and its number."""
    return f"{epoch_id:012x}-{number}"


def parse_id(text: str) -> tuple[int | None, int]:
    """Return store epoch and number of an event's id; of a bare number, the epoch is None. Raises ValueError."""
    if text.isascii() and text.isdecimal() and len(text) <= 18:  # noqa: PLR2004 - what SQLite's integers have
        return None, int(text)
    match = _ID.fullmatch(text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is no id of an event; expected one such as 3f9a12bc77de-1042, or its number")
    return int(match[1], 16), int(match[2])
