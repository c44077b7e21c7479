"""Who is this driver, without asking anybody: the authentication data that EMPs push."""

from __future__ import annotations

from p2p_oicp.oicp import Identification
from p2p_oicp.roles.context import RoleContext
from p2p_oicp.storage import authentication
from p2p_oicp.storage.authentication import Match

#: The source of the data that our own EMP pushed.
OWN_DATA = ""


async def known_driver(context: RoleContext, identification: Identification, source: str | None = None) -> Match | None:
    """Return what the data of ``source`` (a peer's name; None: of everybody) says of an identification, if anything."""
    gone = context.former.names()
    return await authentication.find(context.store, identification, context.now(), source=source, gone=gone)
