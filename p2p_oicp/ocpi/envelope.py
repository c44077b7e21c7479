"""The envelope of all answers, and PATCH (OCPI 2.2.1, transport_and_format, status_codes).

Writing is as the standard has it. Reading takes what partners really send: ``data`` as a list of one where an object
belongs, ``status_code`` as a text, or none beside HTTP 200, no envelope at all beside an HTTP error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from http import HTTPStatus
from typing import Any

from p2p_oicp.ocpi.base import JsonObject, format_time, parse_time, without_nulls
from p2p_oicp.oicp.findings import InvalidMessage
from p2p_oicp.oicp.message import decode


class OcpiStatus(IntEnum):
    """The status codes (status_codes.asciidoc); 4xxx are a hub's."""

    SUCCESS = 1000
    CLIENT_ERROR = 2000
    INVALID_PARAMETERS = 2001
    NOT_ENOUGH_INFORMATION = 2002
    UNKNOWN_LOCATION = 2003
    UNKNOWN_TOKEN = 2004
    SERVER_ERROR = 3000
    CANNOT_USE_CLIENT_API = 3001
    UNSUPPORTED_VERSION = 3002
    NO_MATCHING_ENDPOINTS = 3003


_LAST_SUCCESS = 1999
_CODE = re.compile("[0-9]{4}", re.ASCII)


@dataclass(frozen=True)
class OcpiReply:
    """An answer as it was read; ``status_code`` None: it has no envelope, so that the HTTP status decides.

    ``headers`` are those of HTTP, for pages and the address of a CDR.
    """

    http_status: int
    status_code: int | None
    data: Any = None
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_success(self) -> bool:
        """Whether the partner did what it was to do."""
        return self.status_code is not None and OcpiStatus.SUCCESS <= self.status_code <= _LAST_SUCCESS


def write_envelope(
    now: datetime, data: object = None, status_code: int = OcpiStatus.SUCCESS, message: str | None = None
) -> dict[str, Any]:
    """Return an answer; ``data`` and ``status_message`` are left out where there is none."""
    members = {"data": data, "status_code": int(status_code), "status_message": message, "timestamp": format_time(now)}
    return {name: value for name, value in members.items() if value is not None}


def read_envelope(http_status: int, body: bytes) -> OcpiReply:
    """Read an answer, tolerantly; never raises."""
    try:
        value = decode(body)
    except InvalidMessage:
        return OcpiReply(http_status, None)
    if not isinstance(value, dict) or not ({"status_code", "data"} & value.keys()):
        return OcpiReply(http_status, None)
    status_code = _status_code(value.get("status_code"))
    if status_code is None and http_status == HTTPStatus.OK:
        status_code = OcpiStatus.SUCCESS
    message = value.get("status_message")
    return OcpiReply(
        http_status, status_code, without_nulls(value.get("data")), message if isinstance(message, str) else ""
    )


def _status_code(value: object) -> int | None:
    if isinstance(value, str) and _CODE.fullmatch(value.strip()):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def single_object(data: object) -> dict[str, Any] | None:
    """Return the object of an answer, which some partners put into a list of one; None: there is none."""
    if isinstance(data, list) and len(data) == 1:
        data = data[0]
    return dict(data) if isinstance(data, Mapping) and data else None


@dataclass(frozen=True)
class PatchOutcome:
    """What a PATCH leads to: the answer, the object as it is now, and whether it has to be fetched first."""

    http_status: int
    status_code: OcpiStatus
    object: JsonObject | None = None
    has_to_be_fetched: bool = False


def apply_patch(stored: JsonObject | None, patch: JsonObject) -> PatchOutcome:
    """Apply a PATCH: members replace members, lists as a whole, null removes one (transport_and_format, PATCH).

    One without ``last_updated`` is refused. One that is older than what is stored is acknowledged and not applied.
    """
    if stored is None:
        return PatchOutcome(HTTPStatus.NOT_FOUND, OcpiStatus.CLIENT_ERROR, has_to_be_fetched=True)
    patched_at = parse_time(str(patch.get("last_updated")))
    if patched_at is None:
        return PatchOutcome(HTTPStatus.OK, OcpiStatus.INVALID_PARAMETERS)
    stored_at = parse_time(str(stored.get("last_updated")))
    if stored_at is not None and patched_at < stored_at:
        return PatchOutcome(HTTPStatus.OK, OcpiStatus.SUCCESS, stored)
    merged = {name: value for name, value in {**stored, **patch}.items() if value is not None}
    return PatchOutcome(HTTPStatus.OK, OcpiStatus.SUCCESS, merged)
