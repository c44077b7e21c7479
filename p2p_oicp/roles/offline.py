"""The seam to the authentication data that EMPs push: it says who a driver is, and nobody need be asked."""

from __future__ import annotations

from dataclasses import dataclass

from p2p_oicp.oicp import Identification, ProviderID
from p2p_oicp.roles.context import RoleContext

#: The source of the data that our own EMP pushed.
OWN_DATA = ""


@dataclass(frozen=True, slots=True)
class Match:
    """Pushed data that speaks of an identification; ``refusal`` is a status code where it says no."""

    provider_id: ProviderID
    source: str
    refusal: str | None = None
    reason: str = ""


async def known_driver(context: RoleContext, identification: Identification, source: str | None = None) -> Match | None:
    """Return what the data of ``source`` (a peer's name; None: of everybody) says of an identification, if anything."""
    del context, identification, source
    return None
