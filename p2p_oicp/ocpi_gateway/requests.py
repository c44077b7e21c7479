"""A partner's request of a module, as `server.ocpi` has read and checked it, and what answers it.

A handler gets requests of one face only, all of them of interfaces in `ocpi.modules`. It raises `OcpiProblem`, or
returns a `ModuleResult`; the envelope, the headers of pages and the ids of the request are added by the server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Protocol

from p2p_oicp.config.ocpi import OcpiPartnerSettings
from p2p_oicp.errors import P2pOicpError
from p2p_oicp.ocpi.base import JsonObject
from p2p_oicp.ocpi.envelope import OcpiStatus
from p2p_oicp.ocpi.modules import Endpoint, Interface
from p2p_oicp.ocpi_mapping.ids import Party
from p2p_oicp.oicp.findings import Finding

_NOTHING: Mapping[str, str] = MappingProxyType({})


class OcpiProblem(P2pOicpError):
    """A request is refused: OCPI's status code, a text for people, and the HTTP status."""

    def __init__(self, status_code: int, message: str, *, http_status: int = HTTPStatus.OK) -> None:
        super().__init__(message)
        self.status_code = status_code
        self.message = message
        self.http_status = http_status


def unknown_object(what: str) -> OcpiProblem:
    """Return the refusal of an object that is not there."""
    return OcpiProblem(OcpiStatus.CLIENT_ERROR, f"{what} is unknown", http_status=HTTPStatus.NOT_FOUND)


@dataclass(frozen=True, slots=True)
class PageFilter:
    """Which part of a list is asked for: ``date_from`` inclusive, ``date_to`` exclusive, on ``last_updated``."""

    offset: int
    limit: int
    date_from: datetime | None = None
    date_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class ModuleRequest:
    """One request.

    Attributes:
        partner: who sends it.
        interface: the module, the role that we have in it, and the version.
        endpoint: verb and path of the interface.
        segments: the parts of the path by their names in ``endpoint.path``, decoded, as the partner wrote them.
        query: parameters; of a repeated one, the first.
        body: the object, without nulls; of a PATCH the members to change, with nulls; None: there is none.
        raw_body: the bytes of the body, in UTF-8.
        findings: what is wrong with the object, all of it tolerable.
        page: the part of a list that is asked for; None: it is no list.
        sender: the partner's party that sends it.
        receiver: our party that it is for; None: it names none, and there is no main one.
        correlation_id: of what the request belongs to; made if the partner sent none.
    """

    partner: OcpiPartnerSettings
    interface: Interface
    endpoint: Endpoint
    segments: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    query: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    body: JsonObject | None = None
    raw_body: bytes = b""
    findings: Sequence[Finding] = ()
    page: PageFilter | None = None
    sender: Party | None = None
    receiver: Party | None = None
    correlation_id: str = ""

    @property
    def module(self) -> str:
        """The module, ``locations``."""
        return str(self.interface.module)

    @property
    def verb(self) -> str:
        """The HTTP method."""
        return self.endpoint.verb


@dataclass(frozen=True, slots=True)
class ModuleResult:
    """What a request is answered with.

    Attributes:
        data: JSON; None: there is none. Of a list: the objects of the page.
        total: how many objects match, of all pages; for lists only.
        status_code: OCPI's.
        message: for people.
        http_status: HTTP's.
        headers: further ones, such as ``Location``.
    """

    data: Any = None
    total: int | None = None
    status_code: int = OcpiStatus.SUCCESS
    message: str | None = None
    http_status: int = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=lambda: _NOTHING)


class ModuleHandler(Protocol):
    """Serves the modules of one face."""

    async def handle(self, request: ModuleRequest) -> ModuleResult:
        """Serve a request; raise `OcpiProblem`."""


class NoModules:
    """Serves nothing: for a face that this node does not have."""

    async def handle(self, request: ModuleRequest) -> ModuleResult:
        raise OcpiProblem(OcpiStatus.CLIENT_ERROR, f"the module {request.module} is not served here")
