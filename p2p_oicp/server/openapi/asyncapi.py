"""The AsyncAPI 3.0 document of the events of a node, made of the table of all events (`events.definitions`).

Two channels: ``/events``, the stream (Server-Sent Events), and the webhooks, whose receivers have addresses of their
own and get batches of CloudEvents.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

import msgspec

from p2p_oicp.events import EVENT_DEFINITIONS, EventDefinition
from p2p_oicp.server.openapi.schemas import TEXT, Json, array, described, members_of, text
from p2p_oicp.version import VERSION

ASYNCAPI_VERSION = "3.0.0"
EVENTS_PATH = "/events"
STREAM_TYPE, WEBHOOK_TYPE = "text/event-stream", "application/cloudevents-batch+json"
_STREAM, _WEBHOOK = "events", "webhooks"

#: The parameters of the query of the stream, each with what it selects.
STREAM_FILTERS: Mapping[str, str] = MappingProxyType(
    {
        "type": "Only events of this type, such as `session`, or `session.charging`.",
        "peer": "Only those of this peer, by its name.",
        "party": "Only those of this OperatorID or ProviderID.",
        "evse": "Only those of this EVSE.",
        "session": "Only those of this SessionID.",
    }
)
AFTER = "The id of the last event that is known, as `Last-Event-ID`: everything since. 0: all that are left."


@cache
def asyncapi_document() -> Json:
    """Return the document; the same at every node."""
    return {
        "asyncapi": ASYNCAPI_VERSION,
        "info": {
            "title": "p2p-oicp: the events of a node",
            "version": VERSION,
            "description": (
                "What happens at a node, written in the transaction in which it happens, with ids that stay the same: "
                "who goes on after the last one that it has misses none, and sees none twice."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "backend": {
                "host": "127.0.0.1:8321",
                "protocol": "http",
                "description": "The backend API.",
                "security": [{"$ref": "#/components/securitySchemes/token"}],
            }
        },
        "channels": {_STREAM: _stream(), _WEBHOOK: _webhooks()},
        "operations": _operations(),
        "components": {
            "messages": {**_messages(), **_cloud_messages()},
            "schemas": {each.name: each.json_schema() for each in EVENT_DEFINITIONS},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "The token of the backend API."}
            },
        },
    }


def _stream() -> Json:
    return {
        "address": EVENTS_PATH,
        "title": "The stream of events",
        "description": (
            "Server-Sent Events: `id` is the id of the event, `event` its type, `data` its JSON object. Who comes back "
            "with `Last-Event-ID` gets everything since."
        ),
        "servers": [{"$ref": "#/servers/backend"}],
        "messages": {each.name: _message_reference(each.name) for each in EVENT_DEFINITIONS},
    }


def _webhooks() -> Json:
    names = [_cloud_name(each) for each in EVENT_DEFINITIONS]
    return {
        "address": None,
        "title": "Webhooks",
        "description": (
            "POST to each receiver, signed by RFC 9421: a batch (a JSON list) of CloudEvents 1.0, sent again until it "
            "is acknowledged with 2xx. Each message stands in such a list; with `batch = 1`, by itself "
            "(application/cloudevents+json)."
        ),
        "messages": {name: _message_reference(name) for name in names},
    }


def _operations() -> Json:
    query = {name: array(TEXT, f"{what} It may be given several times.") for name, what in STREAM_FILTERS.items()}
    parameters = members_of({**query, "after": text(AFTER)}, optional=(*query, "after"))
    return {
        "streamEvents": {
            "action": "send",
            "channel": {"$ref": f"#/channels/{_STREAM}"},
            "summary": "Send what happens to whoever listens.",
            "bindings": {"http": {"method": "GET", "query": parameters, "bindingVersion": "0.3.0"}},
        },
        "postEvents": {
            "action": "send",
            "channel": {"$ref": f"#/channels/{_WEBHOOK}"},
            "summary": "Post what happens to the receivers that are configured.",
            "bindings": {"http": {"method": "POST", "bindingVersion": "0.3.0"}},
        },
    }


def _message_reference(name: str) -> Json:
    return {"$ref": f"#/components/messages/{name}"}


def _messages() -> Json:
    return {
        each.name: {
            "name": each.name,
            "title": each.name,
            "summary": each.sentence,
            "contentType": STREAM_TYPE,
            "payload": _schema_reference(each),
            "examples": [{"name": each.name, "payload": _sample(each)}],
        }
        for each in EVENT_DEFINITIONS
    }


def _cloud_messages() -> Json:
    return {
        _cloud_name(each): {
            "name": each.cloud_event_type,
            "title": each.cloud_event_type,
            "summary": each.sentence,
            "contentType": WEBHOOK_TYPE,
            "payload": cloud_event_schema(each),
            "examples": [{"name": each.cloud_event_type, "payload": _cloud_sample(each)}],
        }
        for each in EVENT_DEFINITIONS
    }


def cloud_event_schema(definition: EventDefinition) -> Json:
    """Return the schema of the CloudEvent of an event."""
    return members_of(
        {
            "specversion": {"const": "1.0"},
            "id": text("The id of the event."),
            "source": described({"type": "string", "format": "uri-reference"}, "The node."),
            "type": {"const": definition.cloud_event_type},
            "time": {"type": "string", "format": "date-time"},
            "datacontenttype": {"const": "application/json"},
            "subject": text("What it is about."),
            "data": _schema_reference(definition),
        },
        optional=("time", "datacontenttype", "subject"),
    )


def _cloud_name(definition: EventDefinition) -> str:
    return f"cloudevents.{definition.name}"


def _schema_reference(definition: EventDefinition) -> Json:
    return {"$ref": f"#/components/schemas/{definition.name}"}


def _sample(definition: EventDefinition) -> Any:  # noqa: ANN401 - JSON
    return msgspec.to_builtins(definition.sample)


def _cloud_sample(definition: EventDefinition) -> Json:
    sample = _sample(definition)
    return {
        "specversion": "1.0",
        "id": str(sample.get("id", sample.get("oldest"))),
        "source": "https://node.example",
        "type": definition.cloud_event_type,
        "time": "2026-09-21T14:13:20.250Z",
        "datacontenttype": "application/json",
        "data": sample,
    }
