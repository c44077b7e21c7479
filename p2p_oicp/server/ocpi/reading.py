"""What a partner's request holds: its body, the parties that it is from and for, the part of a list.

All of it is bounded: a body has at most 1 MiB, arrives within seconds, and is nested 32 deep at most.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Final

from aiohttp import web

from p2p_oicp.concurrency import offload
from p2p_oicp.ocpi.base import JsonObject, OcpiObject, ci, parse_time, read_object
from p2p_oicp.ocpi.envelope import OcpiStatus
from p2p_oicp.ocpi.modules import COMMANDS, Endpoint
from p2p_oicp.ocpi.paging import read_page_request
from p2p_oicp.ocpi_gateway.partners import OcpiPartner
from p2p_oicp.ocpi_gateway.requests import OcpiProblem, PageFilter
from p2p_oicp.ocpi_mapping.ids import Party
from p2p_oicp.ocpi_mapping.terms import CITRINEOS
from p2p_oicp.oicp.findings import Finding, InvalidMessage, Severity
from p2p_oicp.oicp.message import decode
from p2p_oicp.server.inbound import decode_text, receive_body

MAX_BODY_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 32
#: A location with 2000 EVSEs has some 40,000.
MAX_VALUES: Final = 50_000
# Reading a larger body holds the event loop for more than some milliseconds.
_MIN_OFFLOADED_BYTES: Final = 64 * 1024
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS = re.compile(rb"[][{}]")
_JSON_TYPES = frozenset({"application/json", "text/json"})


async def read_body(request: web.BaseRequest) -> bytes:
    """Return the body in UTF-8; raise `OcpiProblem` 413 or 415, or `HttpError` 400 or 408."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise _problem("a compressed body is not served", HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    if "Content-Type" in request.headers and request.content_type not in _JSON_TYPES:
        raise _problem("expected application/json", HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise _problem(f"the body has more than {MAX_BODY_BYTES} bytes", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    body = decode_text(request, await receive_body(request, MAX_BODY_BYTES, is_urgent=True))
    check_shape(body)
    return body


def check_shape(body: bytes) -> None:
    """Raise `InvalidMessage` for JSON that is nested too deep, or has more values than any object of OCPI.

    Each wrong value costs some 40 µs, which is what a partner could make this node spend on one request.
    """
    structure, depth = _STRINGS.sub(b"", body), 0
    if structure.count(b",") >= MAX_VALUES:
        raise InvalidMessage([Finding(Severity.ERROR, "", "too-many", f"has more than {MAX_VALUES} values")])
    for bracket in _BRACKETS.finditer(structure):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > MAX_DEPTH:
            raise InvalidMessage([Finding(Severity.ERROR, "", "too-deep", f"is nested deeper than {MAX_DEPTH}")])


async def read_message(
    endpoint: Endpoint, segments: Mapping[str, str], body: bytes
) -> tuple[JsonObject | None, tuple[Finding, ...]]:
    """Return the object of a body and its findings; of a PATCH the members to change, with nulls.

    Raises:
        InvalidMessage: it is no such object; the first finding says why.
        OcpiProblem: there is no such command.
    """
    if endpoint.request is None:
        return None, ()
    if not body.strip() and endpoint.path.endswith("/authorize"):
        return None, ()  # LocationReferences are optional (mod_tokens, 12.2.1.2)
    if endpoint.verb == "PATCH":
        members = decode(body)
        if not isinstance(members, dict):
            raise InvalidMessage([Finding(Severity.ERROR, "", "wrong-type", "must be an object")])
        return members, ()
    model = _model(endpoint, segments)
    return read_object(model, body) if len(body) < _MIN_OFFLOADED_BYTES else await offload(read_object, model, body)


def _model(endpoint: Endpoint, segments: Mapping[str, str]) -> type[OcpiObject]:
    command = segments.get("command")
    if command is None or "id" in segments or endpoint.request is None:
        return endpoint.request or OcpiObject
    model = COMMANDS.get(command.upper())
    if model is None:
        text = f"{command[:40]!r} is no command; there are {', '.join(COMMANDS)}"
        raise OcpiProblem(OcpiStatus.INVALID_PARAMETERS, text, http_status=HTTPStatus.BAD_REQUEST)
    return model


def check_owner(partner: OcpiPartner, segments: Mapping[str, str], body: JsonObject | None) -> None:
    """Raise `OcpiProblem` for an object of a party that is not the partner's, by its path or by itself."""
    for names in (segments, body or {}):
        country_code, party_id = names.get("country_code"), names.get("party_id")
        if country_code is None and party_id is None:
            continue
        if not partner.has_party(country_code or "", party_id or ""):
            text = f"{str(country_code)[:10]} {str(party_id)[:10]} is no party of yours"
            raise OcpiProblem(OcpiStatus.INVALID_PARAMETERS, text)
    own = tuple(ci(segments.get(name, "")) for name in ("country_code", "party_id"))
    inner = tuple(ci((body or {}).get(name, segments.get(name, ""))) for name in ("country_code", "party_id"))
    if "country_code" in segments and own != inner:
        raise OcpiProblem(OcpiStatus.INVALID_PARAMETERS, "the object is of another party than its path")


def read_routing(
    request: web.BaseRequest, partner: OcpiPartner, ours: list[Party]
) -> tuple[Party, Party | None, dict[str, str]]:
    """Return who a request is from and whom it is for, and the headers that an answer carries, swapped.

    Without headers: the main parties (transport_and_format, message routing headers). CitrineOS swaps them in its
    callbacks.

    Raises:
        OcpiProblem: 2001 for a party that is not the partner's, or not ours.
    """
    sender, receiver = _party(request, "from"), _party(request, "to")
    swapped = partner.settings.profile == CITRINEOS and sender is not None and not partner.has_party(*sender)
    if swapped:
        sender, receiver = receiver, sender
    if sender is not None and not partner.has_party(*sender):
        raise OcpiProblem(OcpiStatus.INVALID_PARAMETERS, "OCPI-from is no party of yours")
    own = next((each for each in ours if receiver is not None and _same(each, receiver)), None)
    if receiver is not None and own is None:
        raise OcpiProblem(OcpiStatus.INVALID_PARAMETERS, "OCPI-to is no party of ours")
    names = {f"OCPI-{end}-{part}": request.headers.get(f"OCPI-{other}-{part}") for end, other, part in _SWAPPED}
    headers = {name: value for name, value in names.items() if value is not None and _is_plain(value)}
    return sender or partner.settings.own_party, own or (ours[0] if ours else None), headers


_SWAPPED = tuple(
    (end, other, part) for end, other in (("from", "to"), ("to", "from")) for part in ("country-code", "party-id")
)


def _party(request: web.BaseRequest, end: str) -> Party | None:
    country_code = request.headers.get(f"OCPI-{end}-country-code")
    party_id = request.headers.get(f"OCPI-{end}-party-id")
    return None if country_code is None or party_id is None else Party(country_code.strip(), party_id.strip())


def _same(one: Party, other: Party) -> bool:
    return (ci(one.country_code), ci(one.party_id)) == (ci(other.country_code), ci(other.party_id))


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


def read_page(query: Mapping[str, str], max_limit: int) -> PageFilter:
    """Return the part of a list that is asked for; raise `OcpiProblem` 2001 for what is no number or time."""
    page = read_page_request(query, max_limit=max_limit)
    if page is None:
        text = "offset: expected a whole number from 0; limit: expected one from 1"
        raise OcpiProblem(OcpiStatus.INVALID_PARAMETERS, text)
    return PageFilter(page.offset, page.limit, _time(query, "date_from"), _time(query, "date_to"))


def _time(query: Mapping[str, str], name: str) -> datetime | None:
    text = query.get(name)
    if not text:
        return None
    # A "+" of an offset that was not encoded is read as a blank.
    time = parse_time(text.replace(" ", "+"))
    if time is None:
        raise OcpiProblem(OcpiStatus.INVALID_PARAMETERS, f"{name}: expected a time such as 2026-11-10T09:00:00Z")
    return time


def _problem(text: str, status: HTTPStatus) -> OcpiProblem:
    return OcpiProblem(OcpiStatus.CLIENT_ERROR, text, http_status=status)
