"""The answers of a CPO without a backend: 320, the service is not offered.

Python backends at arm's length: what another program's object does wrong is its failure, not this node's.

A backend that hangs, raises whatever it likes or answers something else becomes an ``errors.PeerError``, as it would
over HTTP: the driver gets an answer in time, and what was to be delivered is delivered again later.

Backends that speak OICP over HTTP, as they would to the clearing house: the same paths below their own base URL.

Which form a company's own system has: a Python object, a URL, or nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

import structlog

from p2p_oicp.backends.protocols import CpoBackend, EmpBackend, ReservingCpoBackend
from p2p_oicp.backends.token_list import TokenListBackend
from p2p_oicp.client import Endpoint, OicpClient
from p2p_oicp.errors import PeerError, PeerProtocolError, PeerTimeout
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
    StatusCode,
    StatusCodeValue,
)
from p2p_oicp.oicp.operations import OPERATION_BY_NAME, Operation, sender_party
from p2p_oicp.storage import Store

_SERVICE_NOT_AVAILABLE = StatusCode.of(StatusCodeValue.SERVICE_NOT_AVAILABLE)


class UnsupportedBackend:
    """No CSMS is connected: nothing can be started."""

    async def authorize_remote_start(self, request: AuthorizeRemoteStart) -> Acknowledgement:
        """Refuse with 320."""
        return Acknowledgement(result=False, status_code=_SERVICE_NOT_AVAILABLE, session_id=request.session_id)

    async def authorize_remote_stop(self, request: AuthorizeRemoteStop) -> Acknowledgement:
        """Refuse with 320."""
        return Acknowledgement(result=False, status_code=_SERVICE_NOT_AVAILABLE, session_id=request.session_id)


log = structlog.get_logger(__name__)

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)


async def _call_backend(
    backend_name: str,
    operation: str,
    handler: Callable[[RequestT], Awaitable[ResponseT]],
    request: RequestT,
    response_type: type[ResponseT],
) -> ResponseT:
    deadline = OPERATION_BY_NAME[operation].deadline
    try:
        async with asyncio.timeout(deadline):
            response = await handler(request)
    except PeerError:
        raise
    except TimeoutError as error:
        raise PeerTimeout(backend_name, f"no answer to {operation} within {deadline:g} s") from error
    except Exception as error:
        log.exception("backend.failed", backend=backend_name, operation=operation)
        raise PeerProtocolError(backend_name, f"failed at {operation}: {type(error).__name__}") from error
    if not isinstance(response, response_type):
        raise PeerProtocolError(
            backend_name, f"answered {operation} with {type(response).__name__}, not {response_type.__name__}"
        )
    return response


class PythonCpoBackend:
    """A CSMS given as a Python object."""

    def __init__(self, name: str, backend: CpoBackend) -> None:
        self._name = name
        self._backend = backend

    async def authorize_remote_start(self, request: AuthorizeRemoteStart) -> Acknowledgement:
        """See ``CpoBackend``."""
        handler = self._backend.authorize_remote_start
        return await _call_backend(self._name, "AuthorizeRemoteStart", handler, request, Acknowledgement)

    async def authorize_remote_stop(self, request: AuthorizeRemoteStop) -> Acknowledgement:
        """See ``CpoBackend``."""
        return await _call_backend(
            self._name, "AuthorizeRemoteStop", self._backend.authorize_remote_stop, request, Acknowledgement
        )


class PythonReservingCpoBackend(PythonCpoBackend):
    """A CSMS given as a Python object that takes reservations."""

    def __init__(self, name: str, backend: ReservingCpoBackend) -> None:
        super().__init__(name, backend)
        self._reservation_backend = backend

    async def authorize_remote_reservation_start(self, request: AuthorizeRemoteReservationStart) -> Acknowledgement:
        """See ``ReservingCpoBackend``."""
        handler = self._reservation_backend.authorize_remote_reservation_start
        return await _call_backend(self._name, "AuthorizeRemoteReservationStart", handler, request, Acknowledgement)

    async def authorize_remote_reservation_stop(self, request: AuthorizeRemoteReservationStop) -> Acknowledgement:
        """See ``ReservingCpoBackend``."""
        handler = self._reservation_backend.authorize_remote_reservation_stop
        return await _call_backend(self._name, "AuthorizeRemoteReservationStop", handler, request, Acknowledgement)


def wrap_cpo_backend(name: str, backend: CpoBackend) -> PythonCpoBackend:
    """Return the guard of a CSMS, which offers what the CSMS offers."""
    if isinstance(backend, ReservingCpoBackend):
        return PythonReservingCpoBackend(name, backend)
    return PythonCpoBackend(name, backend)


class PythonEmpBackend:
    """A contract system given as a Python object."""

    def __init__(self, name: str, backend: EmpBackend) -> None:
        self._name = name
        self._backend = backend

    async def authorize_start(self, request: AuthorizeStart) -> AuthorizationStart:
        """See ``EmpBackend``."""
        return await _call_backend(
            self._name, "AuthorizeStart", self._backend.authorize_start, request, AuthorizationStart
        )

    async def authorize_stop(self, request: AuthorizeStop) -> AuthorizationStop:
        """See ``EmpBackend``."""
        return await _call_backend(
            self._name, "AuthorizeStop", self._backend.authorize_stop, request, AuthorizationStop
        )

    async def charging_notifications(self, notification: ChargingNotification) -> Acknowledgement:
        """See ``EmpBackend``."""
        handler = self._backend.charging_notifications
        return await _call_backend(self._name, "ChargingNotifications", handler, notification, Acknowledgement)

    async def charge_detail_record(self, record: ChargeDetailRecord) -> Acknowledgement:
        """See ``EmpBackend``."""
        return await _call_backend(
            self._name, "ChargeDetailRecord", self._backend.charge_detail_record, record, Acknowledgement
        )


ReplyT = TypeVar("ReplyT", bound=Message)


class _HttpBackend:
    """One backend reached at ``url``; answers within ``deadline`` seconds or raises errors.PeerError."""

    def __init__(self, name: str, url: str, client: OicpClient, *, deadline: float) -> None:
        self._endpoint = Endpoint(name, url)
        self._client = client
        self._deadline = deadline

    async def _call(
        self, operation: Operation, request: Message, response_type: type[ReplyT], sender: str | None = None
    ) -> ReplyT:
        party = sender_party(operation, request)
        reply = await self._client.call(
            self._endpoint,
            operation,
            sender or (party.text if party else None),
            request.to_json(),
            deadline=min(self._deadline, operation.deadline),
        )
        if isinstance(reply.message, response_type):
            return reply.message
        acknowledgement = cast("Acknowledgement", reply.message)
        raise PeerProtocolError(
            self._endpoint.name, f"answered {operation.name} with a general refusal: {acknowledgement.status_code}"
        )


class HttpCpoBackend(_HttpBackend):
    """A CSMS reached over HTTP."""

    async def authorize_remote_start(self, request: AuthorizeRemoteStart) -> Acknowledgement:
        """See ``CpoBackend``."""
        return await self._call(OPERATION_BY_NAME["AuthorizeRemoteStart"], request, Acknowledgement)

    async def authorize_remote_stop(self, request: AuthorizeRemoteStop) -> Acknowledgement:
        """See ``CpoBackend``."""
        return await self._call(OPERATION_BY_NAME["AuthorizeRemoteStop"], request, Acknowledgement)

    async def authorize_remote_reservation_start(self, request: AuthorizeRemoteReservationStart) -> Acknowledgement:
        """See ``CpoBackend``."""
        return await self._call(OPERATION_BY_NAME["AuthorizeRemoteReservationStart"], request, Acknowledgement)

    async def authorize_remote_reservation_stop(self, request: AuthorizeRemoteReservationStop) -> Acknowledgement:
        """See ``CpoBackend``."""
        return await self._call(OPERATION_BY_NAME["AuthorizeRemoteReservationStop"], request, Acknowledgement)


class HttpEmpBackend(_HttpBackend):
    """A contract system reached over HTTP."""

    async def authorize_start(self, request: AuthorizeStart) -> AuthorizationStart:
        """See ``EmpBackend``."""
        return await self._call(OPERATION_BY_NAME["AuthorizeStart"], request, AuthorizationStart)

    async def authorize_stop(self, request: AuthorizeStop) -> AuthorizationStop:
        """See ``EmpBackend``."""
        return await self._call(OPERATION_BY_NAME["AuthorizeStop"], request, AuthorizationStop)

    async def forward(self, operation: Operation, party: str | None, message: Message) -> Acknowledgement:
        """See ``Forwarding``: a hub operator's record keeps the hub operator in its path."""
        return await self._call(operation, message, Acknowledgement, party)

    async def charging_notifications(self, notification: ChargingNotification) -> Acknowledgement:
        """See ``EmpBackend``."""
        return await self._call(OPERATION_BY_NAME["ChargingNotifications"], notification, Acknowledgement)

    async def charge_detail_record(self, record: ChargeDetailRecord) -> Acknowledgement:
        """See ``EmpBackend``."""
        return await self._call(OPERATION_BY_NAME["ChargeDetailRecord"], record, Acknowledgement)


# The hub gives a backend 60 s (CONFORMANCE section 5); each operation's own deadline is at most that.
_DEADLINE_SECONDS = 60.0
_CPO_BACKEND_NAME, _EMP_BACKEND_NAME = "the CPO's backend", "the EMP's backend"


def create_cpo_backend(python_backend: CpoBackend | None, url: str | None, client: OicpClient) -> CpoBackend:
    """Return the CSMS behind this node: given in Python, reached over HTTP, or none."""
    if python_backend is not None:
        return wrap_cpo_backend(_CPO_BACKEND_NAME, python_backend)
    return HttpCpoBackend(_CPO_BACKEND_NAME, url, client, deadline=_DEADLINE_SECONDS) if url else UnsupportedBackend()


def create_emp_backend(
    python_backend: EmpBackend | None, url: str | None, client: OicpClient, store: Store
) -> EmpBackend:
    """Return the contract system behind this node: given in Python, reached over HTTP, or the built-in whitelist."""
    if python_backend is not None:
        return PythonEmpBackend(_EMP_BACKEND_NAME, python_backend)
    return (
        HttpEmpBackend(_EMP_BACKEND_NAME, url, client, deadline=_DEADLINE_SECONDS) if url else TokenListBackend(store)
    )
