"""Python backends at arm's length: what another program's object does wrong is its failure, not this node's.

A backend that hangs, raises whatever it likes or answers something else becomes an ``errors.PeerError``, as it would
over HTTP: the driver gets an answer in time, and what was to be delivered is delivered again later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from p2p_oicp.backends.protocols import CpoBackend, EmpBackend, ReservingCpoBackend
from p2p_oicp.errors import PeerBroken, PeerError, PeerSilent
from p2p_oicp.oicp import (
    Acknowledgement,
    AuthorizationStart,
    AuthorizationStop,
    AuthorizeRemoteReservationStart,
    AuthorizeRemoteReservationStop,
    AuthorizeRemoteStart,
    AuthorizeRemoteStop,
    AuthorizeStart,
    AuthorizeStop,
    ChargeDetailRecord,
    ChargingNotification,
    Message,
)
from p2p_oicp.oicp.operations import OPERATION_BY_NAME

log = structlog.get_logger(__name__)

Q = TypeVar("Q", bound=Message)
M = TypeVar("M", bound=Message)


async def _ask(who: str, operation: str, ask: Callable[[Q], Awaitable[M]], request: Q, answer: type[M]) -> M:
    deadline = OPERATION_BY_NAME[operation].deadline
    try:
        async with asyncio.timeout(deadline):
            told = await ask(request)
    except PeerError:
        raise
    except TimeoutError as error:
        raise PeerSilent(who, f"no answer to {operation} within {deadline:g} s") from error
    except Exception as error:
        log.exception("backend.failed", backend=who, operation=operation)
        raise PeerBroken(who, f"failed at {operation}: {type(error).__name__}") from error
    if not isinstance(told, answer):
        raise PeerBroken(who, f"answered {operation} with {type(told).__name__}, not {answer.__name__}")
    return told


class GuardedCpoBackend:
    """A CSMS given as a Python object."""

    def __init__(self, name: str, backend: CpoBackend) -> None:
        self._name = name
        self._backend = backend

    async def authorize_remote_start(self, request: AuthorizeRemoteStart) -> Acknowledgement:
        """See ``CpoBackend``."""
        ask = self._backend.authorize_remote_start
        return await _ask(self._name, "AuthorizeRemoteStart", ask, request, Acknowledgement)

    async def authorize_remote_stop(self, request: AuthorizeRemoteStop) -> Acknowledgement:
        """See ``CpoBackend``."""
        return await _ask(
            self._name, "AuthorizeRemoteStop", self._backend.authorize_remote_stop, request, Acknowledgement
        )


class GuardedReservingCpoBackend(GuardedCpoBackend):
    """A CSMS given as a Python object that takes reservations."""

    def __init__(self, name: str, backend: ReservingCpoBackend) -> None:
        super().__init__(name, backend)
        self._reserving = backend

    async def authorize_remote_reservation_start(self, request: AuthorizeRemoteReservationStart) -> Acknowledgement:
        """See ``ReservingCpoBackend``."""
        ask = self._reserving.authorize_remote_reservation_start
        return await _ask(self._name, "AuthorizeRemoteReservationStart", ask, request, Acknowledgement)

    async def authorize_remote_reservation_stop(self, request: AuthorizeRemoteReservationStop) -> Acknowledgement:
        """See ``ReservingCpoBackend``."""
        ask = self._reserving.authorize_remote_reservation_stop
        return await _ask(self._name, "AuthorizeRemoteReservationStop", ask, request, Acknowledgement)


def guarded_cpo(name: str, backend: CpoBackend) -> GuardedCpoBackend:
    """Return the guard of a CSMS, which offers what the CSMS offers."""
    if isinstance(backend, ReservingCpoBackend):
        return GuardedReservingCpoBackend(name, backend)
    return GuardedCpoBackend(name, backend)


class GuardedEmpBackend:
    """A contract system given as a Python object."""

    def __init__(self, name: str, backend: EmpBackend) -> None:
        self._name = name
        self._backend = backend

    async def authorize_start(self, request: AuthorizeStart) -> AuthorizationStart:
        """See ``EmpBackend``."""
        return await _ask(self._name, "AuthorizeStart", self._backend.authorize_start, request, AuthorizationStart)

    async def authorize_stop(self, request: AuthorizeStop) -> AuthorizationStop:
        """See ``EmpBackend``."""
        return await _ask(self._name, "AuthorizeStop", self._backend.authorize_stop, request, AuthorizationStop)

    async def charging_notifications(self, notification: ChargingNotification) -> Acknowledgement:
        """See ``EmpBackend``."""
        ask = self._backend.charging_notifications
        return await _ask(self._name, "ChargingNotifications", ask, notification, Acknowledgement)

    async def charge_detail_record(self, record: ChargeDetailRecord) -> Acknowledgement:
        """See ``EmpBackend``."""
        return await _ask(self._name, "ChargeDetailRecord", self._backend.charge_detail_record, record, Acknowledgement)
