"""The one table of modules: who implements which interface, at which paths, with which verbs and objects.

Routes, version details, the client, labels of metrics and the OpenAPI document are drawn from it. A row belongs to one
version of OCPI: 2.1.1 and 2.3.0 get rows of their own, with models of their own, and no second mechanism.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from p2p_oicp.ocpi.base import OcpiObject
from p2p_oicp.ocpi.commands import (
    ActiveChargingProfile,
    ActiveChargingProfileResult,
    CancelReservation,
    ChargingProfileResponse,
    Command,
    CommandResponse,
    CommandResult,
    ReserveNow,
    SetChargingProfile,
    StartSession,
    StopSession,
    UnlockConnector,
)
from p2p_oicp.ocpi.credentials import Credentials
from p2p_oicp.ocpi.enumerations import CommandType, InterfaceRole, ModuleID, Role, VersionNumber
from p2p_oicp.ocpi.locations import Connector, Evse, Location
from p2p_oicp.ocpi.sessions import Cdr, ChargingPreferences, Session
from p2p_oicp.ocpi.tariffs import Tariff
from p2p_oicp.ocpi.tokens import AuthorizationInfo, LocationReferences, Token

V2_2_1: Final = VersionNumber.V2_2_1
_OWNED: Final = "/{country_code}/{party_id}"


@dataclass(frozen=True)
class Endpoint:
    """A verb at a path of an interface.

    Attributes:
        verb: The HTTP method.
        path: Behind the URL of the module, with the names of its parts in braces; empty: that URL itself.
        request: What the body holds; None: there is none. A PATCH holds some members of it.
        response: What ``data`` of the answer holds; None: nothing.
        is_paged: Whether ``data`` is a list in pages.
    """

    verb: str
    path: str = ""
    request: type[OcpiObject] | None = None
    response: type[OcpiObject] | None = None
    is_paged: bool = False


@dataclass(frozen=True)
class Interface:
    """One role of a module in a version of OCPI, and the kind of party that implements it."""

    version: VersionNumber
    module: ModuleID
    role: InterfaceRole
    party: Role
    endpoints: tuple[Endpoint, ...]

    @property
    def path(self) -> str:
        """The path below the address of a party's interfaces: the name of the module."""
        return f"/{self.module}"


#: The object of each command; all are posted to the receiver's ``/{command}``.
COMMANDS: Final[dict[str, type[Command]]] = {
    CommandType.CANCEL_RESERVATION: CancelReservation,
    CommandType.RESERVE_NOW: ReserveNow,
    CommandType.START_SESSION: StartSession,
    CommandType.STOP_SESSION: StopSession,
    CommandType.UNLOCK_CONNECTOR: UnlockConnector,
}


def _object(path: str, model: type[OcpiObject], verbs: str) -> tuple[Endpoint, ...]:
    """Return the endpoints of an object of the other side: it is read, replaced, changed in part, deleted."""
    forms = {
        "GET": Endpoint("GET", path, response=model),
        "PUT": Endpoint("PUT", path, request=model),
        "PATCH": Endpoint("PATCH", path, request=model),
        "DELETE": Endpoint("DELETE", path),
    }
    return tuple(forms[verb] for verb in verbs.split())


_LOCATION, _TARIFF = f"{_OWNED}/{{location_id}}", f"{_OWNED}/{{tariff_id}}"
_EVSE, _CONNECTOR = "/{evse_uid}", "/{evse_uid}/{connector_id}"
_SENDER, _RECEIVER, _CPO, _EMSP = InterfaceRole.SENDER, InterfaceRole.RECEIVER, Role.CPO, Role.EMSP

INTERFACES: Final[tuple[Interface, ...]] = (
    *(
        Interface(
            V2_2_1,
            ModuleID.CREDENTIALS,
            role,
            party,
            (
                Endpoint("GET", response=Credentials),
                Endpoint("POST", request=Credentials, response=Credentials),
                Endpoint("PUT", request=Credentials, response=Credentials),
                Endpoint("DELETE"),
            ),
        )
        # The role of this module means nothing, and both sides implement the same (version_information_endpoint).
        for role, party in ((_SENDER, _CPO), (_SENDER, _EMSP))
    ),
    Interface(
        V2_2_1,
        ModuleID.LOCATIONS,
        _SENDER,
        _CPO,
        (
            Endpoint("GET", response=Location, is_paged=True),
            Endpoint("GET", "/{location_id}", response=Location),
            Endpoint("GET", f"/{{location_id}}{_EVSE}", response=Evse),
            Endpoint("GET", f"/{{location_id}}{_CONNECTOR}", response=Connector),
        ),
    ),
    Interface(
        V2_2_1,
        ModuleID.LOCATIONS,
        _RECEIVER,
        _EMSP,
        (
            *_object(_LOCATION, Location, "GET PUT PATCH"),
            *_object(_LOCATION + _EVSE, Evse, "GET PUT PATCH"),
            *_object(_LOCATION + _CONNECTOR, Connector, "GET PUT PATCH"),
        ),
    ),
    Interface(
        V2_2_1,
        ModuleID.SESSIONS,
        _SENDER,
        _CPO,
        (
            Endpoint("GET", response=Session, is_paged=True),
            Endpoint("PUT", "/{session_id}/charging_preferences", request=ChargingPreferences),
        ),
    ),
    Interface(
        V2_2_1, ModuleID.SESSIONS, _RECEIVER, _EMSP, _object(f"{_OWNED}/{{session_id}}", Session, "GET PUT PATCH")
    ),
    Interface(V2_2_1, ModuleID.CDRS, _SENDER, _CPO, (Endpoint("GET", response=Cdr, is_paged=True),)),
    # The path of a CDR is the receiver's own: it tells it in the header Location of the answer to POST.
    Interface(
        V2_2_1,
        ModuleID.CDRS,
        _RECEIVER,
        _EMSP,
        (Endpoint("GET", "/{cdr_id}", response=Cdr), Endpoint("POST", request=Cdr)),
    ),
    Interface(V2_2_1, ModuleID.TARIFFS, _SENDER, _CPO, (Endpoint("GET", response=Tariff, is_paged=True),)),
    Interface(V2_2_1, ModuleID.TARIFFS, _RECEIVER, _EMSP, _object(_TARIFF, Tariff, "GET PUT DELETE")),
    Interface(
        V2_2_1,
        ModuleID.TOKENS,
        _SENDER,
        _EMSP,
        (
            Endpoint("GET", response=Token, is_paged=True),
            Endpoint("POST", "/{token_uid}/authorize", request=LocationReferences, response=AuthorizationInfo),
        ),
    ),
    Interface(V2_2_1, ModuleID.TOKENS, _RECEIVER, _CPO, _object(f"{_OWNED}/{{token_uid}}", Token, "GET PUT PATCH")),
    Interface(
        V2_2_1,
        ModuleID.COMMANDS,
        _RECEIVER,
        _CPO,
        (Endpoint("POST", "/{command}", request=Command, response=CommandResponse),),
    ),
    # The paths behind ``response_url`` are the sender's own.
    Interface(V2_2_1, ModuleID.COMMANDS, _SENDER, _EMSP, (Endpoint("POST", "/{command}/{id}", request=CommandResult),)),
    Interface(
        V2_2_1,
        ModuleID.CHARGINGPROFILES,
        _RECEIVER,
        _CPO,
        (
            Endpoint("GET", "/{session_id}", response=ChargingProfileResponse),
            Endpoint("PUT", "/{session_id}", request=SetChargingProfile, response=ChargingProfileResponse),
            Endpoint("DELETE", "/{session_id}", response=ChargingProfileResponse),
        ),
    ),
    Interface(
        V2_2_1,
        ModuleID.CHARGINGPROFILES,
        _SENDER,
        _EMSP,
        (
            Endpoint("POST", "/{session_id}/{id}", request=ActiveChargingProfileResult),
            Endpoint("PUT", "/{session_id}", request=ActiveChargingProfile),
        ),
    ),
)


def versions() -> list[VersionNumber]:
    """Return the versions that the table has, the latest first."""
    return sorted({interface.version for interface in INTERFACES}, reverse=True)


def interfaces_of(party: Role, version: VersionNumber = V2_2_1) -> Iterator[Interface]:
    """Return the interfaces that a party of a role implements."""
    return (interface for interface in INTERFACES if interface.party is party and interface.version is version)


def find_interface(module: str, role: str, party: Role, version: VersionNumber = V2_2_1) -> Interface | None:
    """Return the interface that a party implements in a role; None: it implements none."""
    named = (interface for interface in interfaces_of(party, version) if interface.module == module)
    return next((interface for interface in named if interface.role == role), None)
