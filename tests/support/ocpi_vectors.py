"""The shared vectors of the OCPI gateway, and how each kind of them is put to the mapping.

A vector is one JSON object: ``id``, ``direction``, ``kind``, ``input``, ``config``, ``expected``.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from p2p_oicp.ocpi.credentials import token_candidates
from p2p_oicp.ocpi.envelope import OcpiStatus, apply_patch
from p2p_oicp.ocpi.paging import PageRequest, next_page, read_page_request, serve_page
from p2p_oicp.ocpi_mapping import (
    authorizations,
    cdrs,
    commands,
    evses,
    identifications,
    locations,
    prices,
    sessions,
)
from p2p_oicp.ocpi_mapping.authorizations import OcpiAnswer
from p2p_oicp.ocpi_mapping.terms import Terms
from tests.support.paths import SHARED

VECTORS = SHARED / "ocpi" / "vectors.jsonl"
NEW_SESSION_ID = "5f0c1c7e-3f0a-4d5b-9c1a-0a1b2c3d4e5f"

TERMS = Terms(
    operator_id="DE*GEF",
    operator_name="GEF Charging",
    provider_id="DE-DCB",
    hotline="+4930123456",
    language="de",
    country_code="DE",
    party_id="GEF",
    emsp_country_code="DE",
    emsp_party_id="DCB",
    now=datetime(2026, 12, 1, 10, tzinfo=UTC),
)


def read_vectors() -> list[dict[str, Any]]:
    if not VECTORS.exists():
        return []
    lines = VECTORS.read_text(encoding="utf-8").splitlines()
    return [json.loads(line, parse_float=Decimal) for line in lines]


def terms_of(config: dict[str, Any]) -> Terms:
    """Return the default terms of the vectors with those of one changed."""
    changes = {name: tuple(value) if isinstance(value, list) else value for name, value in config.items()}
    if "now" in changes:
        changes["now"] = datetime.fromisoformat(changes["now"])
    return replace(TERMS, **changes)


def present(members: dict[str, Any]) -> dict[str, Any]:
    """Return a result without what is absent, and without losses, of which the vectors say nothing."""
    return {name: value for name, value in members.items() if value is not None and name != "losses"}


def answer_of(answer: OcpiAnswer) -> dict[str, Any]:
    return present({"http_status": answer.http_status, "status_code": answer.status_code, "data": answer.data})


def location_up(data, terms):
    return present(asdict(locations.to_records(data["location"], terms)))


def location_down(data, terms):
    result = locations.to_locations(data["records"], data.get("statuses") or {}, data.get("products") or {}, terms)
    return present(asdict(result))


def evse_status_up(data, _terms):
    return evses.to_status_action(data["status"])


def evse_status_down(data, _terms):
    return evses.from_status_action(data["EvseStatus"])


def token_up(data, terms):
    return present(asdict(identifications.to_authentication(data["token"], terms)))


def token_down(data, terms):
    request = identifications.from_authentication(data["action"], data["ProviderID"], data["record"], terms)
    return present(asdict(request))


def authorize_up(data, terms):
    result = authorizations.to_authorize_start(
        data["token_uid"],
        data.get("type", "RFID"),
        data.get("location_references"),
        data.get("evses", {}),
        data.get("stored_token"),
        data["minted"],
        terms,
    )
    return answer_of(result) if isinstance(result, OcpiAnswer) else {"request": result}


def authorize_down(data, terms):
    cache, evse_ids = data.get("token_cache") or {}, data.get("evses") or {}
    call = authorizations.from_authorize_start(data["request"], evse_ids, cache, terms)
    if call.answer:
        return {"answer": call.answer}
    return present({"method": "POST", "path": call.path, "query": call.query, "body": call.body})


def authorize_answer_up(data, terms):
    answer, _ = authorizations.to_authorization_start(
        data["SessionID"],
        data.get("http_status", 200),
        data.get("status_code"),
        data.get("data"),
        terms,
        token_type=data.get("type", "RFID"),
        group=data.get("group"),
    )
    return answer


def authorize_answer_down(data, terms):
    references, stored = data.get("location_references"), data.get("stored_token")
    token_type = data.get("type", "RFID")
    return answer_of(
        authorizations.from_authorization_start(
            data["answer"], data["token_uid"], token_type, references, stored, terms
        )
    )


def command_up(data, terms):
    known_locations, known_sessions = data.get("locations", {}), data.get("sessions", {})
    result = commands.to_remote_request(
        data["command"], data["body"], known_locations, known_sessions, data["minted"], terms
    )
    if isinstance(result, OcpiAnswer):
        return answer_of(result)
    return {"operation": result.operation, "request": result.message}


def command_down(data, terms):
    command = commands.from_remote_request(
        data["kind"], data["request"], data.get("evse"), data.get("ocpi_session_id"), data["response_url"], terms
    )
    return present(asdict(command))


def command_result_up(data, _terms):
    return commands.to_acknowledgement(
        data["kind"], data["SessionID"], data.get("status_code"), data.get("response"), data.get("result")
    )


def command_result_down(data, _terms):
    return commands.from_acknowledgement(data["command"], data["ack"])


def session_up(data, terms):
    return present(asdict(sessions.to_notifications(data["session"], data["previous"], data["known"], terms)))


def session_down(data, terms):
    # Nothing is sent: the vectors do not say why.
    return present(asdict(sessions.from_notification(data["notification"], data["session"], terms)) | {"reason": None})


def correlation_up(data, terms):
    result = sessions.correlate(
        data["object"],
        data["open_sessions"],
        data["minted"],
        terms,
        is_token_pushed=data.get("token_whitelisted", False),
    )
    return present({"SessionID": result.session_id, "by": result.by, "hold": result.hold})


def cdr_up(data, _terms):
    return present(asdict(cdrs.to_record(data["cdr"], data["known"])))


def cdr_down(data, terms):
    result = cdrs.from_record(data["record"], data["location"], data, data.get("product"), terms)
    return {"method": "POST", "body": result.body}


def tariff_up(data, terms):
    return present(asdict(prices.to_products(data["tariff"], data["max_power_kw"], terms)))


def tariff_down(data, terms):
    return present(asdict(prices.from_product(data["product"], data["OperatorID"], terms)))


def charging_profile_up(data, _terms):
    outcome = commands.to_profile_request(
        data["method"], data["session_id"], data["sessions"], data["body"], data.get("seconds_since_last")
    )
    return present({"data": outcome.data, "http_status": 200, "status_code": 1000, "forward": outcome.forward})


def paging_down(data, _terms):
    request = read_page_request(data["query"])
    if request is None:
        return {"http_status": 200, "status_code": int(OcpiStatus.INVALID_PARAMETERS)}
    return {"http_status": 200, "status_code": 1000} | asdict(
        serve_page(data["url"], data["query"], request, data["total"])
    )


def paging_client_up(data, _terms):
    request = PageRequest(data["offset"], data["limit"])
    return {"next": next_page(data["url"], request, data["received"], data["headers"])}


def token_header_up(data, _terms):
    return {"candidates": token_candidates(data["header"], accept_plain=data.get("accept_plain_token", False))}


def status_code_up(data, _terms):
    return {"code": authorizations.code_of(data["http_status"], data["status_code"])}


def status_code_down(data, _terms):
    return {"status_code": authorizations.status_of(data["code"])}


def patch_up(data, _terms):
    outcome = apply_patch(data["stored"], data["patch"])
    then = "GET" if outcome.has_to_be_fetched else None
    return present(
        {
            "http_status": outcome.http_status,
            "status_code": outcome.status_code,
            "object": outcome.object,
            "then": then,
        }
    )


def result_of(vector: dict[str, Any]) -> dict[str, Any]:
    """Return what the mapping makes of a vector."""
    direction = "up" if vector["direction"] == "ocpi->oicp" else "down"
    return globals()[f"{vector['kind']}_{direction}"](vector["input"], terms_of(vector["config"]))


def canonical(value: Any) -> Any:
    """Return a JSON value for comparing: numbers by value, a boolean never equal to a number."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | Decimal):
        return Decimal(value)
    if isinstance(value, dict):
        return {str(name): canonical(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(element) for element in value]
    return str(value)
