"""The tables ``[[webhooks]]``: who is sent events, and which."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, PlainValidator, SecretStr, model_validator

from p2p_oicp.config.backends import parse_backend_name, require_array_of_tables
from p2p_oicp.config.base import Seconds, SettingsSection, WholeNumber

WEBHOOK_PREFIX = "webhook:"
_MAX_BATCH = 1000
_AUTHORITY_END = re.compile("[/?#]")


def webhook_destination(name: str) -> str:
    """Return the destination (outbox, health) of the webhook ``name``; no peer has such a name."""
    return f"{WEBHOOK_PREFIX}{name}"


def _parse_url(value: object) -> str:
    """Return a whole URL, with its query, as it goes on the wire."""
    text = value if isinstance(value, str) else ""
    try:
        parts = urlsplit(text)
        is_complete = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a malformed port or IPv6 address
        is_complete = False
    # Order: before the message that quotes the text, which may contain a password.
    if "@" in _AUTHORITY_END.split(text.partition("://")[2])[0]:
        raise ValueError("a URL with a user or password in it; expected none, and the secret as token or token_file")
    is_plain = text.isascii() and text.isprintable() and " " not in text
    if not is_complete or not is_plain or "#" in text:
        raise ValueError(f'"{text[:100]}" is no URL to send to; expected one such as "https://crm.example.com/events"')
    return text


class WebhookSettings(SettingsSection):
    """A receiver of events: CloudEvents 1.0 in JSON, by POST. Any number of them, each with a table of its own.

    Filters that are absent select everything. In the environment all tables are one list, as JSON. Others are added
    while the node runs: `p2p-oicp webhooks add`.
    """

    name: Annotated[str, PlainValidator(parse_backend_name)] = Field(
        description="Name of the receiver in logs and on the command line. What waits for it stands at `webhook:NAME`."
    )
    url: Annotated[str, PlainValidator(_parse_url)] = Field(
        description="The URL that events are sent to, http or https. Redirects are not followed."
    )
    types: tuple[str, ...] = Field((), description="Only events of these types: `cdr`, or `cdr.disputed`.")
    peers: tuple[str, ...] = Field((), description="Only events about these peers, by name.")
    parties: tuple[str, ...] = Field((), description="Only events about these OperatorIDs and ProviderIDs.")
    evses: tuple[str, ...] = Field((), description="Only events about these EvseIDs.")
    batch: WholeNumber = Field(
        100,
        ge=1,
        le=_MAX_BATCH,
        description="Events of one request at most, as a list (application/cloudevents-batch+json). 1: one event, and "
        "no list (application/cloudevents+json).",
    )
    signature: bool = Field(
        default=True, description="Whether requests are signed with this node's keys (RFC 9421), as those to peers are."
    )
    token: SecretStr | None = Field(
        None, min_length=8, description='Secret that is sent as "Authorization: Bearer TOKEN"; better in token_file.'
    )
    token_file: Path | None = Field(
        None, description="File of mode 0600 with that secret, relative to the folder of node.toml."
    )
    timeout: Seconds = Field(10.0, gt=0, le=60, description="Seconds for one request, until its answer is whole.")

    @property
    def destination(self) -> str:
        """Where its dead letters and its health stand."""
        return webhook_destination(self.name)

    @model_validator(mode="after")
    def _check_token(self) -> WebhookSettings:
        if self.token is not None and self.token_file is not None:
            raise ValueError("token and token_file: expected one of them")
        return self


def duplicate_webhooks(configured: Sequence[WebhookSettings]) -> Iterator[int]:
    """Return the positions of tables whose name another one before them has."""
    names: set[str] = set()
    for index, webhook in enumerate(configured):
        if webhook.name in names:
            yield index
        names.add(webhook.name)


def _require_array(value: object) -> object:
    return require_array_of_tables(value, "webhooks", "receiver")


WebhooksField = Annotated[tuple[WebhookSettings, ...], BeforeValidator(_require_array)]
