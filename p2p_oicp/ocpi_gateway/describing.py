"""Objects and findings of a partner as people and programs see them: what identifies a driver is masked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from p2p_oicp.clock import format_timestamp
from p2p_oicp.oicp.masking import MASK
from p2p_oicp.storage.ocpi.findings import StoredFinding
from p2p_oicp.storage.ocpi.objects import StoredObject

_SECRET_MEMBERS: Final = ("uid", "contract_id", "visual_number", "group_id")
_TOKEN_MEMBERS: Final = ("cdr_token", "token")


def describe_object(stored: StoredObject) -> dict[str, Any]:
    """Return an object with what became of it."""
    return {
        "kind": str(stored.id.kind),
        "id": stored.object_id,
        "country_code": stored.id.country_code.upper(),
        "party_id": stored.id.party_id.upper(),
        "state": str(stored.state),
        "reason": stored.reason,
        "session_id": stored.session_key or None,
        "last_updated": format_timestamp(stored.last_updated),
        "received_at": format_timestamp(stored.received_at),
        "object": masked(stored.value),
    }


def describe_held(stored: StoredObject) -> dict[str, Any]:
    """Return a CDR that waits for a person: what it takes to find its session."""
    value = stored.value
    location: Mapping[str, Any] = value.get("cdr_location") or {}
    token: Mapping[str, Any] = value.get("cdr_token") or {}
    return {
        "id": stored.object_id,
        "reason": stored.reason,
        "received_at": format_timestamp(stored.received_at),
        "evse_id": str(location.get("evse_id") or ""),
        "start": str(value.get("start_date_time") or ""),
        "end": str(value.get("end_date_time") or ""),
        "energy": float(value.get("total_energy") or 0),
        "ocpi_session": value.get("session_id"),
        "provider": f"{token.get('country_code', '')}-{token.get('party_id', '')}",
        "session_id": stored.session_key or None,
    }


def describe_finding(finding: StoredFinding) -> dict[str, Any]:
    """Return what could not be carried of an object."""
    return {
        "kind": str(finding.kind),
        "id": MASK if str(finding.kind) == "token" else finding.object_id,
        "code": finding.code,
        "pointer": finding.pointer,
        "message": finding.message,
        "at": format_timestamp(finding.at),
    }


def masked(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object without what identifies a driver."""
    result = dict(value)
    for name in _TOKEN_MEMBERS:
        if isinstance(token := result.get(name), Mapping):
            hidden = {member: MASK for member in _SECRET_MEMBERS if token.get(member)}
            result[name] = {**token, **hidden}
    return result
