"""A partner as people and programs see it: what its table says, and what is registered. No token is part of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from p2p_oicp.clock import format_timestamp
from p2p_oicp.config import Settings
from p2p_oicp.config.ocpi import OcpiPartnerSettings
from p2p_oicp.ocpi_gateway.partners import OcpiPartners
from p2p_oicp.storage import Store, open_readonly
from p2p_oicp.storage.ocpi.counts import PARTNER_COUNTS, PartnerCounts, read_counts
from p2p_oicp.storage.ocpi_partners import Registration, StoredPartner, list_in_file

_NOTHING = Registration("")


def describe_partner(
    settings: OcpiPartnerSettings, stored: StoredPartner | None, counts: Mapping[str, PartnerCounts]
) -> dict[str, Any]:
    """Return a partner as JSON; ``counts``: of all partners, by name."""
    own_counts = counts.get(settings.name, PartnerCounts())
    registration = _NOTHING if stored is None else stored.registration
    return {
        "name": settings.name,
        "face": settings.face,
        "profile": settings.profile,
        "state": "none" if stored is None else str(stored.state),
        "parties": list(settings.parties),
        "as": list(settings.presented),
        "presented": [{"country_code": country, "party_id": party} for country, party in registration.presented],
        "version": registration.version,
        "versions_url": registration.versions_url or settings.versions_url or "",
        "provisioned": registration.provisioned,
        "endpoints": [{"module": module, "role": role, "url": url} for module, role, url in registration.endpoints],
        "missing": list(registration.missing),
        "last_success": _timestamp(stored.last_success_at if stored is not None else None),
        "last_failure": _timestamp(stored.last_failure_at if stored is not None else None),
        "last_error": stored.last_error if stored is not None else "",
        "waiting": own_counts.waiting,
        "held": own_counts.held,
        "dropped": own_counts.dropped,
    }


async def describe_all(partners: OcpiPartners, store: Store) -> Sequence[dict[str, Any]]:
    """Return all partners of a running node."""
    counts = read_counts(await store.query(PARTNER_COUNTS))
    return [describe_partner(each.settings, each.stored, counts) for each in partners.all]


def describe_in_file(settings: Settings) -> Sequence[dict[str, Any]]:
    """Return all partners of a node, running or not; raises StoreUnavailable."""
    with open_readonly(settings.storage.location) as store:
        stored = {each.name: each for each in list_in_file(store)}
        counts = read_counts(store.rows(PARTNER_COUNTS))
    return [describe_partner(each, stored.get(each.name), counts) for each in settings.ocpi_partners]


def _timestamp(at: float | None) -> str | None:
    return None if at is None else format_timestamp(at)
