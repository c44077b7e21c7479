"""Messages of every operation: JSON objects, as on the wire, invented for tests.

All are faultless. Whatever a test cares about is given by its name in OICP: ``request("AuthorizeStart", EvseID="…")``.
Times are of the last minutes, so that nothing is found against them. `fleet` makes a whole network of stations.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import uuid4

from p2p_oicp.clock import SystemClock
from p2p_oicp.oicp.sample_fleets import Fleet, Json, evse_id_of, fleet
from p2p_oicp.oicp.samples import ENERGY, OPERATOR, PROVIDER, REQUESTS, SampleContext, evco_id_of, response_of
from p2p_oicp.simulator.day import driver_card

__all__ = [
    "OPERATIONS", "OPERATOR", "PROVIDER", "Fleet", "evco_id_of", "evse_id_of", "fleet", "notification", "request",
    "response", "uid_of",
]  # fmt: skip


def uid_of(provider: str = PROVIDER) -> str:
    """Return the UID of a provider's card: another one for each provider."""
    return driver_card(provider).text


def request(
    operation: str,
    *,
    operator: str = OPERATOR,
    provider: str = PROVIDER,
    evse_id: str = "",
    uid: str = "",
    session_id: str = "",
    **members: object,
) -> Json:
    """Return a request of an operation, by its name in OICP.

    Args:
        operation: such as AuthorizeStart; `OPERATIONS` has all.
        operator: the OperatorID, ``provider`` the ProviderID.
        evse_id: by default one of the operator's.
        uid: the card; by default the provider's.
        session_id: by default a new one.
        members: further members, or others in the place of the sample's; None takes one away.
    """
    message = REQUESTS[operation](_context(operator, provider, evse_id, uid, session_id)) | members
    return {name: value for name, value in message.items() if value is not None}


def notification(kind: str, **options: str) -> Json:
    """Return a charging notification: Start, Progress, End or Error; ``options`` as of `request`."""
    message = request("ChargingNotifications", **options)
    common = {name: message[name] for name in ("SessionID", "EvseID", "OperatorID", "Identification")}
    start, end = message["ChargingStart"], message["EventOccurred"]
    own: Mapping[str, Json] = {
        "Start": {"ChargingStart": start},
        "Progress": {"ChargingStart": start, "EventOccurred": end, "ConsumedEnergyProgress": 0.625},
        "End": {"ChargingEnd": end, "ConsumedEnergy": ENERGY},
        "Error": {"ErrorType": "ConnectorError"},
    }
    return common | {"Type": kind} | own[kind]


def response(operation: str, **options: str) -> Json:
    """Return a positive answer to an operation; ``options`` as of `request`, without further members."""
    context = _context(*(options.get(name, "") for name in ("operator", "provider", "evse_id", "uid", "session_id")))
    return response_of(operation, context)


def _context(operator: str, provider: str, evse_id: str, uid: str, session_id: str) -> SampleContext:
    operator, provider = operator or OPERATOR, provider or PROVIDER
    evse_id, uid = evse_id or evse_id_of(operator), uid or uid_of(provider)
    return SampleContext(operator, provider, evse_id, uid, session_id or str(uuid4()), SystemClock().time())


#: The names of all operations.
OPERATIONS = tuple(REQUESTS)
