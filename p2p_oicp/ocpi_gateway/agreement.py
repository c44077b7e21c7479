"""What a partner offers, found out: its version, its endpoints, and what its credentials are (credentials, 7.1).

The partner is called with the token that it has just given; each server that it names is judged before it is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from p2p_oicp.client.ocpi import REGISTRATION_SECONDS, OcpiCall, OcpiClient, OcpiConnection, OcpiRefused, origin_of
from p2p_oicp.client.ocpi_origins import OriginRule
from p2p_oicp.config.ocpi import OcpiPartnerSettings
from p2p_oicp.errors import PeerError
from p2p_oicp.ocpi.enumerations import ModuleID
from p2p_oicp.ocpi.envelope import OcpiStatus, single_object
from p2p_oicp.ocpi.registration import RegistrationProblem, check_modules, check_roles, pick_version, read_endpoints

_MAX_TOKEN_LENGTH: Final = 64
_MAX_ENDPOINTS: Final = 100
_MAX_ROLES: Final = 1000


@dataclass(frozen=True, slots=True)
class Offer:
    """What a partner offers.

    Attributes:
        versions_url: where its versions are.
        version: the one that is used.
        endpoints: module, role and URL.
        missing: modules that it lacks, whose functions are disabled.
        origins: the servers that may be called.
    """

    versions_url: str
    version: str
    endpoints: tuple[tuple[str, str, str], ...]
    missing: tuple[str, ...]
    origins: frozenset[str]

    def credentials_url(self) -> str:
        """Return where credentials are exchanged; raise `RegistrationProblem` (3003) if it is nowhere."""
        for module, _, url in self.endpoints:
            if module == ModuleID.CREDENTIALS:
                return url
        raise RegistrationProblem(OcpiStatus.NO_MATCHING_ENDPOINTS, "the partner has no endpoint credentials")


@dataclass(frozen=True, slots=True)
class PartnerCredentials:
    """The credentials of a partner, checked: the token that we send, its versions, its parties."""

    token: str
    url: str
    roles: tuple[dict[str, Any], ...]


async def discover(
    client: OcpiClient, settings: OcpiPartnerSettings, token: str, versions_url: str, rule: OriginRule
) -> Offer:
    """Read the versions of a partner and the details of ours.

    Raises:
        RegistrationProblem: 2001 for a server that may not be called, 3002 without a common version, 3003 without a
            module that is needed.
        PeerError: it does not answer.
    """
    await _check(rule, versions_url)
    offered = await _get(client, settings, token, versions_url)
    version, details_url = pick_version(offered, rule.allows)
    await _check(rule, details_url)
    details = single_object(await _get(client, settings, token, details_url)) or {}
    overrides = {str(module): url for module, url in settings.endpoints.items()}
    trusted = frozenset(map(origin_of, overrides.values()))

    def allows(url: str) -> bool:
        return origin_of(url) in trusted or rule.allows(url)

    endpoints = read_endpoints(details, overrides, settings.role, allows)
    if len(endpoints) > _MAX_ENDPOINTS:
        raise RegistrationProblem(OcpiStatus.INVALID_PARAMETERS, f"more than {_MAX_ENDPOINTS} endpoints")
    for url in {origin_of(url): url for url in endpoints.values()}.values():
        if origin_of(url) not in trusted:
            await _check(rule, url)
    missing = tuple(check_modules(endpoints, settings.role))
    rows = tuple((module, role, url) for (module, role), url in endpoints.items())
    origins = frozenset(map(origin_of, (versions_url, *endpoints.values())))
    return Offer(versions_url, str(version), rows, missing, origins)


async def _check(rule: OriginRule, url: str) -> None:
    reason = await rule.check(url)
    if reason is not None:
        raise RegistrationProblem(OcpiStatus.INVALID_PARAMETERS, f"{_without_query(url)} is not called: {reason}")


def _without_query(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"[:200]


async def _get(client: OcpiClient, settings: OcpiPartnerSettings, token: str, url: str) -> object:
    connection = OcpiConnection(settings.destination, token, origins=frozenset({origin_of(url)}))
    return await client.fetch(connection, OcpiCall("GET", url, deadline=REGISTRATION_SECONDS))


def read_credentials(value: object, settings: OcpiPartnerSettings) -> PartnerCredentials:
    """Return credentials that a partner has sent, tolerantly; raise `RegistrationProblem` (2001)."""
    members = single_object(value) or {}
    token, url, roles = members.get("token"), members.get("url"), members.get("roles")
    if not isinstance(token, str) or not token.strip() or len(token) > _MAX_TOKEN_LENGTH or not token.isascii():
        text = f"expected a token of 1 to {_MAX_TOKEN_LENGTH} printable characters"
        raise RegistrationProblem(OcpiStatus.INVALID_PARAMETERS, text)
    rows = [dict(each) for each in roles if isinstance(each, Mapping)] if isinstance(roles, list) else []
    if not isinstance(url, str) or not 1 <= len(rows) <= _MAX_ROLES:
        raise RegistrationProblem(OcpiStatus.INVALID_PARAMETERS, "expected url and roles in the credentials")
    party = settings.own_party
    check_roles({"roles": rows}, settings.role, party.country_code, party.party_id)
    names = ("role", "country_code", "party_id", "business_details")
    return PartnerCredentials(token.strip(), url, tuple({name: row.get(name) for name in names} for row in rows))


def as_problem(error: PeerError) -> RegistrationProblem:
    """Return what a partner is answered whose own interface does not answer us (3001)."""
    if isinstance(error, OcpiRefused):
        reason = f"your versions cannot be read: {error.reason}"
    else:
        reason = f"your versions cannot be read with the token of these credentials: {error.reason}"
    return RegistrationProblem(OcpiStatus.CANNOT_USE_CLIENT_API, reason)
