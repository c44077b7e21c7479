"""What two partners have to agree on before they talk: version, endpoints, roles (OCPI 2.2.1, credentials).

Our own version list, version details and credentials are drawn from the table of modules. A partner's are read
tolerantly; what does not fit is a `RegistrationProblem` with the status code of the answer.

::

    partner (sender)                         we (receiver)
      GET versions, details   with token A ->
      POST credentials {B}    with token A ->
                              <- GET versions, details  with token B      pick_version, read_endpoints, check_modules
                              <- answer {C, our url, our roles}           check_roles, credentials
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from p2p_oicp.errors import P2pOicpError
from p2p_oicp.ocpi.base import JsonObject, ci
from p2p_oicp.ocpi.enumerations import InterfaceRole, ModuleID, Role, VersionNumber
from p2p_oicp.ocpi.envelope import OcpiStatus
from p2p_oicp.ocpi.modules import V2_2_1, interfaces_of, versions

#: The endpoints of a partner: module and role, as version details name them.
Endpoints = Mapping[tuple[str, str], str]
#: Whether a URL of a partner may be called.
UrlRule = Callable[[str], bool]

#: What a partner must have, by its own role: nothing could be done with one that lacks it.
_NEEDED: Final[Mapping[Role, tuple[ModuleID, InterfaceRole]]] = {
    Role.CPO: (ModuleID.LOCATIONS, InterfaceRole.SENDER),
    Role.EMSP: (ModuleID.CDRS, InterfaceRole.RECEIVER),
}
_LOCAL_NAMES = frozenset({"localhost"})


class RegistrationProblem(P2pOicpError):
    """A partner cannot be registered: the status code of the answer, and a text for people on both sides."""

    def __init__(self, status: OcpiStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class PartyRole:
    """A party in its role, with the name of its company."""

    role: Role
    country_code: str
    party_id: str
    name: str

    @property
    def members(self) -> dict[str, Any]:
        """The party as credentials have it (CredentialsRole)."""
        return {
            "role": str(self.role),
            "country_code": self.country_code,
            "party_id": self.party_id,
            "business_details": {"name": self.name},
        }


def version_list(url: str) -> list[dict[str, Any]]:
    """Return the versions that we offer; ``url`` is our own address, without a slash at its end."""
    return [{"version": str(version), "url": f"{url}/{version}"} for version in versions()]


def version_details(url: str, own_role: Role, version: VersionNumber = V2_2_1) -> dict[str, Any]:
    """Return the endpoints of the interfaces that we implement in a role."""
    base = f"{url}/{version}"
    endpoints = [
        {
            "identifier": str(interface.module),
            "role": str(interface.role),
            # Registration is the same for both sides, and stands beside them.
            "url": base + ("" if interface.module is ModuleID.CREDENTIALS else f"/{own_role.lower()}") + interface.path,
        }
        for interface in interfaces_of(own_role, version)
    ]
    return {"version": str(version), "endpoints": endpoints}


def credentials(token: str, url: str, roles: Iterable[PartyRole]) -> dict[str, Any]:
    """Return our credentials: the token that the partner is to use, our versions, and who we are."""
    return {"token": token, "url": f"{url}/versions", "roles": [role.members for role in roles]}


def is_allowed_url(url: str) -> bool:
    """Whether a partner's URL may be called: https, or http on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and _is_local(host)))


def pick_version(offered: object, allows: UrlRule = is_allowed_url) -> tuple[VersionNumber, str]:
    """Return the latest version that both sides have, and where its details are; raise `RegistrationProblem` (3002)."""
    rows = [row for row in offered if isinstance(row, Mapping)] if isinstance(offered, list) else []
    urls = {str(row.get("version")): str(row.get("url")) for row in rows}
    for version in versions():
        if version in urls:
            return version, _checked(urls[version], f"version {version}", allows)
    names = ", ".join(sorted(urls)) or "none"
    raise RegistrationProblem(
        OcpiStatus.UNSUPPORTED_VERSION, f"the partner offers {names}, and {', '.join(versions())} is needed"
    )


def read_endpoints(
    details: object, overrides: Mapping[str, str], partner_role: Role, allows: UrlRule = is_allowed_url
) -> Endpoints:
    """Return the endpoints of version details.

    Args:
        details: As received; rows that cannot be read are left out.
        overrides: URL by module, for what a partner's details leave out or have wrong.
        partner_role: What the partner is: overrides are for the interfaces that it implements.
        allows: Whether a URL may be called; others are a problem.
    """
    rows = details.get("endpoints") if isinstance(details, Mapping) else None
    urls = {
        (ci(row["identifier"]), str(row["role"]).upper()): str(row["url"])
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, Mapping) and {"identifier", "role", "url"} <= row.keys()
    }
    # Order: before the URLs are checked, or what a partner has wrong could not be put right.
    for interface in interfaces_of(partner_role):
        if url := overrides.get(interface.module):
            urls[str(interface.module), str(interface.role)] = url
    return {(module, role): _checked(url, f"endpoint {module} {role}", allows) for (module, role), url in urls.items()}


def check_modules(endpoints: Endpoints, partner_role: Role) -> list[str]:
    """Return the modules that a partner lacks, whose functions are then disabled; raise if one is needed (3003)."""
    missing = [
        (interface.module, interface.role)
        for interface in interfaces_of(partner_role)
        if interface.module is not ModuleID.CREDENTIALS
        and (str(interface.module), str(interface.role)) not in endpoints
    ]
    if _NEEDED[partner_role] in missing:
        module, role = _NEEDED[partner_role]
        raise RegistrationProblem(OcpiStatus.NO_MATCHING_ENDPOINTS, f"the partner has no endpoint {module} {role}")
    return [f"{module} {role}" for module, role in missing]


def check_roles(partner: JsonObject, partner_role: Role, country_code: str, party_id: str) -> None:
    """Raise `RegistrationProblem` (2001) unless credentials are those of the party that is expected in its role."""
    expected = (ci(partner_role), ci(country_code), ci(party_id))
    names = ("role", "country_code", "party_id")
    roles = [tuple(ci(role.get(name, "")) for name in names) for role in partner.get("roles") or []]
    if expected not in roles:
        found = ", ".join(" ".join(role).upper() for role in roles) or "no roles"
        needed = " ".join(expected).upper()
        raise RegistrationProblem(
            OcpiStatus.INVALID_PARAMETERS, f"the credentials name {found}, and {needed} is expected"
        )


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host in _LOCAL_NAMES


def _checked(url: str, what: str, allows: UrlRule) -> str:
    if not allows(url):
        raise RegistrationProblem(OcpiStatus.INVALID_PARAMETERS, f"{what}: {url[:255]} is no URL with https")
    return url.rstrip("/")
