"""Sessions of OCPI into charging notifications and back, and which session an object of OCPI belongs to.

A session of OCPI is a state that is sent again and again; OICP has events. So what was sent before decides which
events a session leads to (GATEWAY 9.5, 10.6, 13.6).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

from p2p_oicp.ocpi.base import ci, format_time
from p2p_oicp.ocpi.enumerations import AuthMethod, CdrDimensionType, SessionStatus
from p2p_oicp.ocpi_mapping.amounts import decimal_of, energy, limited, number, time_of, utc
from p2p_oicp.ocpi_mapping.identifications import from_identification, path_segment, to_identification
from p2p_oicp.ocpi_mapping.ids import operator_of, party_of_operator, to_evco_id, to_uid
from p2p_oicp.ocpi_mapping.losses import Loss, Losses
from p2p_oicp.ocpi_mapping.terms import Terms
from p2p_oicp.oicp.charging import NotificationType
from p2p_oicp.oicp.enums import ErrorType

NOT_NEWER: Final = "not_newer"
_INVALID_TEXT = "the operator declared the session invalid"
_OVER = frozenset({SessionStatus.COMPLETED, SessionStatus.INVALID})
_LOST_OF_SESSION = ("meter_id", "total_cost", "currency", "connector_id")
_LOST_OF_NOTIFICATION = (
    "MeterValueStart",
    "MeterValueEnd",
    "MeterValueInBetween",
    "ChargingDuration",
    "PenaltyTimeStart",
    "ErrorAdditionalInfo",
)
#: How a session began, as OCPI says it.
AUTH_METHODS: Final[Mapping[str, AuthMethod]] = MappingProxyType(
    {
        "authorize": AuthMethod.AUTH_REQUEST,
        "remote": AuthMethod.COMMAND,
        "reservation": AuthMethod.COMMAND,
        "offline": AuthMethod.WHITELIST,
    }
)
_CHARGING = frozenset({CdrDimensionType.ENERGY, CdrDimensionType.TIME})


@dataclass(frozen=True)
class Notifications:
    """The notifications that a session leads to; ``ignored``: why there are none, where that is worth saying."""

    notifications: list[dict[str, Any]]
    ignored: str | None = None
    losses: tuple[Loss, ...] = ()


@dataclass(frozen=True)
class SessionRequest:
    """A request to the sessions receiver of an eMSP; ``method`` is ``none`` where nothing is sent, for a reason."""

    method: str
    path: str | None = None
    body: dict[str, Any] | None = None
    reason: str | None = None
    losses: tuple[Loss, ...] = ()


@dataclass(frozen=True)
class Correlation:
    """The session that an object belongs to and how that is known, or why the object is held."""

    session_id: str | None = None
    by: str | None = None
    hold: str | None = None


def to_notifications(
    session: dict[str, Any], previous: dict[str, Any] | None, known: dict[str, Any], terms: Terms
) -> Notifications:
    """Return the notifications of a session of OCPI.

    Args:
        session: As received.
        previous: As stored before; None: it is new.
        known: The OICP session: ``SessionID``, ``EvseID``, ``Identification`` if known, ``started``: whether Start was
            sent, ``last_progress`` and ``kwh`` of the last Progress.
        terms: Those of the CPO.
    """
    if previous and time_of(session["last_updated"]) <= time_of(previous["last_updated"]):
        return Notifications([], NOT_NEWER)
    losses = Losses()
    status = session["status"].upper()
    if previous and previous["status"].upper() in _OVER:
        # What is over stays so: a CDR follows, and it counts.
        return Notifications([])
    notifications: list[dict[str, Any]] = []
    if status in {SessionStatus.ACTIVE, SessionStatus.COMPLETED} and not known.get("started"):
        notifications.append(_notification(NotificationType.START, session, known, terms) | _start(session))
        losses.add("/start_date_time", "one-start", "OCPI has no time at which energy began to flow")
    elif status == SessionStatus.ACTIVE and _is_due(session, previous, known, terms):
        progress = _notification(NotificationType.PROGRESS, session, known, terms)
        notifications.append(progress | _start(session) | _progress(session))
    if status == SessionStatus.COMPLETED:
        notifications.append(
            _notification(NotificationType.END, session, known, terms) | _start(session) | _end(session)
        )
    if status == SessionStatus.INVALID:
        error = {"ErrorType": str(ErrorType.CRITICAL_ERROR), "ErrorAdditionalInfo": _INVALID_TEXT}
        notifications.append(_notification(NotificationType.ERROR, session, known, terms) | error)
    if notifications:
        losses.add_members(session, "", _LOST_OF_SESSION)
    return Notifications(notifications, losses=losses.all)


def _is_due(session: dict[str, Any], previous: dict[str, Any] | None, known: dict[str, Any], terms: Terms) -> bool:
    last_kwh = decimal_of(known.get("kwh", (previous or {}).get("kwh")))
    last_time = known.get("last_progress") or (previous or {}).get("last_updated") or session["start_date_time"]
    passed = time_of(session["last_updated"]) - time_of(last_time)
    return decimal_of(session["kwh"]) > last_kwh and passed >= timedelta(seconds=terms.progress_seconds)


def _notification(
    notification_type: NotificationType, session: dict[str, Any], known: dict[str, Any], terms: Terms
) -> dict[str, Any]:
    tariff_id = first_tariff_id(session) if notification_type is not NotificationType.ERROR else None
    members = {
        "Type": str(notification_type),
        "SessionID": known["SessionID"],
        "CPOPartnerSessionID": session["id"],
        "Identification": known.get("Identification") or identification_of(session["cdr_token"]),
        "EvseID": known.get("EvseID"),
        "OperatorID": terms.operator_id,
        "PartnerProductID": tariff_id,
    }
    return {name: value for name, value in members.items() if value is not None}


def identification_of(cdr_token: dict[str, Any]) -> dict[str, Any] | None:
    """Return the Identification of a CdrToken; None: OICP cannot carry it."""
    return to_identification(cdr_token["uid"], cdr_token["type"], cdr_token["contract_id"])


def first_tariff_id(session: dict[str, Any]) -> str | None:
    """Return the first tariff among the charging periods of a session or a CDR."""
    periods = session.get("charging_periods") or []
    return next((period["tariff_id"] for period in periods if period.get("tariff_id")), None)


def _start(session: dict[str, Any]) -> dict[str, Any]:
    start = utc(session["start_date_time"])
    return {"ChargingStart": start, "SessionStart": start}


def _progress(session: dict[str, Any]) -> dict[str, Any]:
    passed = time_of(session["last_updated"]) - time_of(session["start_date_time"])
    return {
        "EventOccurred": utc(session["last_updated"]),
        "ChargingDuration": max(0, passed // timedelta(milliseconds=1)),
        "ConsumedEnergyProgress": energy(session["kwh"]),
    }


def _end(session: dict[str, Any]) -> dict[str, Any]:
    start, end = time_of(session["start_date_time"]), time_of(session.get("end_date_time") or session["last_updated"])
    charging_end = trailing_parking(session.get("charging_periods") or []) or end
    return {
        "ChargingEnd": format_time(limited(charging_end, start, end)),
        "SessionEnd": format_time(end),
        "ConsumedEnergy": energy(session["kwh"]),
    }


def in_order(periods: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return charging periods in the order of their times."""
    return sorted(periods, key=lambda period: time_of(period["start_date_time"]))


def is_charging(period: dict[str, Any]) -> bool:
    """Whether energy flows in a period: it counts energy or charging time."""
    return any(
        dimension["type"].upper() in _CHARGING and decimal_of(dimension["volume"]) > 0
        for dimension in period["dimensions"]
    )


def trailing_parking(periods: Iterable[dict[str, Any]]) -> datetime | None:
    """Return when the parking at the end of a session began; None: no period at its end is one of parking."""
    begin = None
    for period in reversed(in_order(periods)):
        types = {dimension["type"].upper() for dimension in period["dimensions"]}
        if is_charging(period) or CdrDimensionType.PARKING_TIME not in types:
            break
        begin = time_of(period["start_date_time"])
    return begin


def from_notification(notification: dict[str, Any], session: dict[str, Any], terms: Terms) -> SessionRequest:
    """Return the request that tells an eMSP of a charging notification.

    Args:
        notification: A notification of any of the four types.
        session: Our own row: ``id``, ``opened_by``, ``location_id``, ``evse_uid``, ``connector_id``, ``kwh`` so far,
            and what the eMSP itself wrote: ``cdr_token``, ``authorization_reference``.
        terms: Those of the eMSP.
    """
    party = party_of_operator(operator_of(notification), terms)
    if party is None:
        return SessionRequest("none", reason="operator_without_ocpi_party")
    losses = Losses()
    losses.add_members(notification, "", _LOST_OF_NOTIFICATION)
    path = f"{party.path}/{path_segment(session['id'])}"
    if notification["Type"] == NotificationType.START:
        body = _new_session(notification, session, terms)
        if body is None:
            return SessionRequest("none", reason="identification")
        return SessionRequest("PUT", path, party.members | body, losses=losses.all)
    changes = _changes(notification, session, terms)
    if changes is None:
        # An error ends only a session without energy; progress and an end without energy say nothing new.
        reason = "goes_on" if notification["Type"] == NotificationType.ERROR else "no_energy"
        return SessionRequest("none", reason=reason, losses=losses.all)
    return SessionRequest("PATCH", path, changes, losses=losses.all)


def _changes(notification: dict[str, Any], session: dict[str, Any], terms: Terms) -> dict[str, Any] | None:
    match notification["Type"]:
        case NotificationType.PROGRESS:
            kwh, time = notification.get("ConsumedEnergyProgress"), notification.get("EventOccurred")
        case NotificationType.END:
            # The car may still stand there: the session is over with its CDR.
            kwh, time = notification.get("ConsumedEnergy"), notification.get("SessionEnd")
            time = time or notification.get("ChargingEnd")
        case _:
            is_dead = decimal_of(session.get("kwh")) == 0
            now = format_time(terms.now)
            return {"status": str(SessionStatus.INVALID), "last_updated": now} if is_dead else None
    return None if kwh is None else {"kwh": number(kwh), "last_updated": utc(time)}


def _new_session(notification: dict[str, Any], session: dict[str, Any], terms: Terms) -> dict[str, Any] | None:
    cdr_token = session.get("cdr_token") or from_identification(
        notification.get("Identification"), session.get("contract_id"), terms
    )
    if cdr_token is None:
        return None
    return {
        "id": session["id"],
        "start_date_time": utc(notification.get("SessionStart") or notification["ChargingStart"]),
        "kwh": 0,
        "cdr_token": cdr_token,
        **authorization_of(session.get("opened_by"), session.get("authorization_reference") or session["id"]),
        "location_id": session["location_id"],
        "evse_uid": session["evse_uid"],
        "connector_id": session.get("connector_id") or "1",
        "currency": session.get("currency") or terms.currency,
        "status": str(SessionStatus.ACTIVE),
        "last_updated": format_time(terms.now),
    }


def authorization_of(opened_by: str | None, reference: str) -> dict[str, Any]:
    """Return how a session was authorized; one that began offline has no reference."""
    method = AUTH_METHODS.get(opened_by or "", AuthMethod.AUTH_REQUEST)
    members = {"auth_method": str(method)}
    return members if method is AuthMethod.WHITELIST else members | {"authorization_reference": reference}


def correlate(
    ocpi_object: dict[str, Any],
    open_sessions: list[dict[str, Any]],
    session_id: str,
    terms: Terms,
    *,
    is_token_pushed: bool = False,
) -> Correlation:
    """Return which session a Session or a CDR of OCPI belongs to; never a guess (GATEWAY 9).

    Args:
        ocpi_object: The Session or CDR.
        open_sessions: ``SessionID``, ``uid``, ``contract_id``, ``evse_uid``, ``authorized_at``, and ``ocpi_id`` once a
            session is bound to a Session.id.
        session_id: A new SessionID, for one that began offline.
        terms: Those of the CPO.
        is_token_pushed: Whether its token is among those that were pushed to the CPO, which may accept them offline.
    """
    reference = ci(ocpi_object.get("authorization_reference") or "")
    own_id = ci(ocpi_object.get("session_id") or ocpi_object["id"])
    for by, name, value in (("authorization_reference", "SessionID", reference), ("session_id", "ocpi_id", own_id)):
        if match := next(
            (session for session in open_sessions if value and ci(session.get(name) or "") == value), None
        ):
            return Correlation(match["SessionID"], by)
    matches = [session for session in open_sessions if _fits(ocpi_object, session, terms)]
    if matches:
        is_only = len(matches) == 1
        return Correlation(matches[0]["SessionID"], "token_evse_time") if is_only else Correlation(hold="ambiguous")
    if is_token_pushed and ocpi_object["auth_method"].upper() == AuthMethod.WHITELIST:
        return Correlation(session_id, "whitelist")
    return Correlation(hold="unknown")


def _fits(ocpi_object: dict[str, Any], session: dict[str, Any], terms: Terms) -> bool:
    """Whether token, EVSE and time of an object are those of an open session that is not bound yet."""
    location = ocpi_object.get("cdr_location") or ocpi_object
    if session.get("ocpi_id") or ci(location["evse_uid"]) != ci(session.get("evse_uid") or ""):
        return False
    token = ocpi_object["cdr_token"]
    if not (
        _same(token["uid"], session.get("uid"), to_uid)
        or _same(token["contract_id"], session.get("contract_id"), to_evco_id)
    ):
        return False
    distance = abs(time_of(ocpi_object["start_date_time"]) - time_of(session["authorized_at"]))
    return distance <= timedelta(seconds=terms.match_seconds)


def _same(one: str, other: str | None, canonical: Any) -> bool:  # noqa: ANN401 - a function of text
    return bool(other) and (canonical(one) or ci(one)) == (canonical(other) or ci(other))
