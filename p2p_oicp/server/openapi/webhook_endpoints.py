"""The administration: webhooks."""

from __future__ import annotations

from p2p_oicp.server.openapi.endpoints import Endpoint, Tag
from p2p_oicp.server.openapi.schemas import (
    FLAG,
    NUMBER,
    TEXT,
    WHOLE,
    array,
    described,
    members_of,
    one_of,
    record,
    text,
)

_SETTINGS = {
    "name": text("Its dead letters and its health stand at `webhook:NAME`."),
    "url": text("http or https; redirects are not followed."),
    "types": array(TEXT, "Only events of these types: `cdr`, or `cdr.disputed`."),
    "peers": array(TEXT, "Only events about these peers."),
    "parties": array(TEXT, "Only events about these parties."),
    "evses": array(TEXT, "Only events about these EVSEs."),
    "batch": described(WHOLE, "Events of one request at most; 1: no lists."),
    "signature": described(FLAG, "Whether requests are signed (RFC 9421)."),
    "timeout": described(NUMBER, "Seconds for one request."),
}
_FILTERS = ("types", "peers", "parties", "evses")
WEBHOOK = record(
    "Webhook",
    "A receiver of events.",
    {
        **_SETTINGS,
        "has_token": described(FLAG, "Whether a bearer token is sent; it is never shown."),
        "source": one_of(("file", "added"), "Whether it stands in node.toml, or was added while the node ran."),
        "position": described(WHOLE, "The number of the last event that it has, or that is not for it."),
        "behind": described(WHOLE, "Events that it has not got yet."),
        "last_error": text("Why the last request failed; absent if it did not."),
    },
    optional=("last_error",),
)
NEW_WEBHOOK = members_of(
    {**_SETTINGS, "token": text("Sent as a bearer token.")},
    optional=(*_FILTERS, "batch", "signature", "timeout", "token"),
)
_NAME = {"name": described(TEXT, "The name of the webhook.")}

LIST_WEBHOOKS = Endpoint(
    method="GET",
    path="/admin/v1/webhooks",
    name="listWebhooks",
    summary="All receivers of events, and how far each is.",
    tag=Tag.EVENTS,
    answer=members_of({"webhooks": array(WEBHOOK)}),
)
ADD_WEBHOOK = Endpoint(
    method="POST",
    path="/admin/v1/webhooks",
    name="addWebhook",
    summary="Add a receiver, which gets what happens from now on.",
    tag=Tag.EVENTS,
    body=NEW_WEBHOOK,
    answer=members_of({"added": TEXT}),
    errors={400: "A member is missing or wrong, or the name is in use."},
    example={"name": "warehouse", "url": "https://warehouse.example/events", "types": ["cdr"]},
)
REMOVE_WEBHOOK = Endpoint(
    method="DELETE",
    path="/admin/v1/webhooks/{name}",
    name="removeWebhook",
    summary="Remove a receiver that was added, with its dead letters.",
    tag=Tag.EVENTS,
    path_schemas=_NAME,
    answer=members_of({"removed": TEXT}),
    errors={404: "There is none of that name, or it stands in node.toml."},
)
TEST_WEBHOOK = Endpoint(
    method="POST",
    path="/admin/v1/webhooks/{name}/test",
    name="testWebhook",
    summary="Send an event `webhook.test` now, and say whether it was taken.",
    tag=Tag.EVENTS,
    path_schemas=_NAME,
    answer=members_of(
        {"taken": FLAG, "event": text("Its id."), "error": text("Why it was not taken.")}, optional=("event", "error")
    ),
    errors={404: "There is none of that name."},
)

WEBHOOK_ENDPOINTS = (LIST_WEBHOOKS, ADD_WEBHOOK, REMOVE_WEBHOOK, TEST_WEBHOOK)
