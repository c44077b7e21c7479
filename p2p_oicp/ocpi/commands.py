"""Commands and charging profiles, with their asynchronous results (OCPI 2.2.1, mod_commands, mod_charging_profiles)."""

from __future__ import annotations

from typing import Annotated

from p2p_oicp.ocpi.base import ANY_NUMBER, Ci36, Integer, Number, OcpiObject, Timestamp, Url, WordField
from p2p_oicp.ocpi.enumerations import (
    ChargingProfileResponseType,
    ChargingProfileResultType,
    ChargingRateUnit,
    CommandResponseType,
    CommandResultType,
)
from p2p_oicp.ocpi.locations import DisplayTexts
from p2p_oicp.ocpi.tokens import Token


class Command(OcpiObject):
    """Base of the five commands; the result is posted to ``response_url``."""

    response_url: Url


class CancelReservation(Command):
    """End a reservation (CancelReservation)."""

    reservation_id: Ci36


class ReserveNow(Command):
    """Reserve an EVSE, or any of a location (ReserveNow)."""

    token: Token
    expiry_date: Timestamp
    reservation_id: Ci36
    location_id: Ci36
    evse_uid: Ci36 | None = None
    authorization_reference: Ci36 | None = None


class StartSession(Command):
    """Start a session (StartSession)."""

    token: Token
    location_id: Ci36
    evse_uid: Ci36 | None = None
    connector_id: Ci36 | None = None
    authorization_reference: Ci36 | None = None


class StopSession(Command):
    """Stop a session (StopSession)."""

    session_id: Ci36


class UnlockConnector(Command):
    """Unlock a connector (UnlockConnector)."""

    location_id: Ci36
    evse_uid: Ci36
    connector_id: Ci36


class CommandResponse(OcpiObject):
    """The answer to a command; seconds until its result is too late (CommandResponse)."""

    result: Annotated[str, WordField(CommandResponseType)]
    timeout: Integer
    message: DisplayTexts = ()


class CommandResult(OcpiObject):
    """What the charging station answered (CommandResult)."""

    result: Annotated[str, WordField(CommandResultType)]
    message: DisplayTexts = ()


class ChargingProfilePeriod(OcpiObject):
    """A limit from a second on (ChargingProfilePeriod)."""

    start_period: Integer
    limit: Number


class ChargingProfile(OcpiObject):
    """Limits of current or power in the course of time (ChargingProfile)."""

    start_date_time: Timestamp | None = None
    duration: Integer | None = None
    charging_rate_unit: Annotated[str, WordField(ChargingRateUnit)]
    min_charging_rate: Number | None = None
    charging_profile_period: Annotated[tuple[ChargingProfilePeriod, ...], ANY_NUMBER] = ()


class ActiveChargingProfile(OcpiObject):
    """The profile as the charging station follows it (ActiveChargingProfile)."""

    start_date_time: Timestamp
    charging_profile: ChargingProfile


class SetChargingProfile(OcpiObject):
    """A profile that is to be followed (SetChargingProfile)."""

    charging_profile: ChargingProfile
    response_url: Url


class ChargingProfileResponse(OcpiObject):
    """The answer to a request about a profile (ChargingProfileResponse)."""

    result: Annotated[str, WordField(ChargingProfileResponseType)]
    timeout: Integer


class ChargingProfileResult(OcpiObject):
    """The result of setting or clearing a profile (ChargingProfileResult, ClearProfileResult)."""

    result: Annotated[str, WordField(ChargingProfileResultType)]


class ActiveChargingProfileResult(ChargingProfileResult):
    """The result of asking for the active profile (ActiveChargingProfileResult)."""

    profile: ActiveChargingProfile | None = None
