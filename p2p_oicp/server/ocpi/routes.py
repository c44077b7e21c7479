"""Which path of the OCPI listener is what: drawn from the table of modules (`ocpi.modules`).

Paths are published without a slash at their end; with one, or with several in a row, they are the same. Parts of a path
are decoded one by one, so that a slash in an id stays one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from urllib.parse import unquote

from p2p_oicp.config.ocpi import OCPI_PATH
from p2p_oicp.ocpi.enumerations import ModuleID, Role, VersionNumber
from p2p_oicp.ocpi.modules import Endpoint, Interface, interfaces_of, versions

_MAX_SEGMENTS = 12
_MAX_SEGMENT_LENGTH = 255


class Resource(Enum):
    """What a path is about."""

    VERSIONS = auto()
    DETAILS = auto()
    CREDENTIALS = auto()
    MODULE = auto()


@dataclass(frozen=True, slots=True)
class Match:
    """What was found at a path.

    Attributes:
        resource: what it is about.
        verbs: the HTTP methods that it has.
        version: of OCPI.
        own_role: what we are at this path; None: whatever we are to the partner.
        interface: of a module.
        endpoint: verb and path of the interface; None: the path has no such verb.
        segments: the parts of the path, by their names in ``endpoint.path``.
    """

    resource: Resource
    verbs: tuple[str, ...]
    version: VersionNumber | None = None
    own_role: Role | None = None
    interface: Interface | None = None
    endpoint: Endpoint | None = None
    segments: Mapping[str, str] = field(default_factory=dict)


def find(verb: str, path: str) -> Match | None:
    """Return what is served at a path (without query, slashes collapsed); None: nothing.

    A path that several interfaces serve, by different verbs, is found by its verb.
    """
    steps = _steps(path)
    if not steps:
        return None
    first, *rest = steps
    if first == "versions" and not rest:
        return Match(Resource.VERSIONS, ("GET",))
    version = next((each for each in versions() if each == first), None)
    if version is not None and not rest:
        return Match(Resource.DETAILS, ("GET",), version)
    if version is not None and rest == ["credentials"]:
        return Match(Resource.CREDENTIALS, ("GET", "POST", "PUT", "DELETE"), version)
    return None if version is None else _find_module(verb, version, rest)


def _steps(path: str) -> list[str]:
    """Return the parts of a path behind ``/ocpi``, decoded; none: it is not below it, or longer than any is."""
    if not f"{path}/".startswith(f"{OCPI_PATH}/"):
        return []
    steps = [unquote(step, errors="replace") for step in path.removeprefix(OCPI_PATH).split("/") if step]
    is_usual = len(steps) <= _MAX_SEGMENTS and all(len(step) <= _MAX_SEGMENT_LENGTH for step in steps)
    return steps if is_usual else []


def _find_module(verb: str, version: VersionNumber, steps: list[str]) -> Match | None:
    """Return what a path behind ``/ocpi/2.2.1`` is: ``emsp``, a module, and the path of an endpoint."""
    own_role = {str(role.lower()): role for role in (Role.CPO, Role.EMSP)}.get(steps[0])
    if own_role is None or len(steps) == 1:
        return None
    found = [
        (interface, endpoint, segments)
        for interface in interfaces_of(own_role, version)
        if interface.module is not ModuleID.CREDENTIALS and interface.module == steps[1]
        for endpoint in interface.endpoints
        if (segments := _segments(endpoint.path, steps[2:])) is not None
    ]
    if not found:
        return None
    verbs = tuple(dict.fromkeys(endpoint.verb for _, endpoint, _ in found))
    fitting = [each for each in found if each[1].verb == verb]
    interface, endpoint, segments = fitting[0] if fitting else (found[0][0], None, {})
    return Match(Resource.MODULE, verbs, version, own_role, interface, endpoint, segments)


def _segments(pattern: str, steps: list[str]) -> dict[str, str] | None:
    """Return the parts of a path by their names; None: it is none of this pattern."""
    names = [name for name in pattern.split("/") if name]
    if len(names) != len(steps):
        return None
    if any(not name.startswith("{") and name != step for name, step in zip(names, steps, strict=True)):
        return None
    return {name[1:-1]: step for name, step in zip(names, steps, strict=True) if name.startswith("{")}


def module_paths(own_role: Role, version: VersionNumber) -> Iterator[tuple[str, Interface, Endpoint]]:
    """Return all paths that we serve in a role, with the endpoint of each."""
    for interface in interfaces_of(own_role, version):
        if interface.module is ModuleID.CREDENTIALS:
            continue
        for endpoint in interface.endpoints:
            yield f"{OCPI_PATH}/{version}/{own_role.lower()}{interface.path}{endpoint.path}", interface, endpoint
