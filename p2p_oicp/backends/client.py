"""Calling a backend: a Python object, a system that speaks OICP over HTTP, or none.

All three follow the operations table: its row names the method, the path, the deadline and the type of the response.
`LimitedBackend` is around each of them: a system that hangs occupies a bounded number of requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Protocol

import structlog

from p2p_oicp.client import Endpoint, OicpClient, raise_for_refused_push, whole_answer
from p2p_oicp.errors import OperationNotSupported, PeerBusy, PeerError, PeerProtocolError, PeerRejected, PeerTimeout
from p2p_oicp.oicp import (
    Acknowledgement,
    AuthorizationStart,
    AuthorizationStatus,
    AuthorizationStop,
    InvalidMessage,
    Message,
)
from p2p_oicp.oicp.operations import BASE_PATH, Operation, Retry, sender_party

log = structlog.get_logger(__name__)

# The hub gives a backend 60 s (RULES section 5); where the caller says nothing else, it is at most that.
_MAX_DEADLINE_SECONDS = 60.0
_AUTHORIZATIONS = frozenset({AuthorizationStart, AuthorizationStop})
#: By the operation of a push: the method of a Python backend that is told the change.
PUSH_METHODS: Mapping[str, str] = MappingProxyType(
    {
        "PushEvseData": "evse_data_changed",
        "PushEvseStatus": "evse_status_changed",
        "PushPricingProductData": "pricing_products_changed",
        "PushEVSEPricing": "evse_prices_changed",
        "PushAuthenticationData": "authentication_data_changed",
    }
)


class Backend(Protocol):
    """One of our own company's systems, as the node calls it."""

    def supports(self, operation: Operation) -> bool:
        """Whether the backend offers an operation; reservations are the ones that many do not."""

    async def call(
        self, operation: Operation, message: Message, *, sender: str | None = None, deadline: float | None = None
    ) -> Message:
        """Call an operation and return its response, a message of the type ``operation.response``.

        Args:
            operation: its row of the operations table.
            message: the request.
            sender: the sender's id for the path of HTTP; by default the one that the message names. A hub operator's
                record keeps the hub operator.
            deadline: seconds; None: that of the operations table.

        Raises:
            OperationNotSupported: the backend does not offer the operation.
            PeerError: there is no response in time, or not a usable one.
        """


class DatasetReceiver(Protocol):
    """A backend that is told changes of datasets."""

    async def push(self, operation: Operation, party: str, body: bytes) -> None:
        """Send one push (``party`` is the sender's id in the path); raise PeerError where it is not acknowledged."""


class UnsupportedBackend:
    """The backend of a CPO that has none: every operation is refused with 320."""

    def supports(self, operation: Operation) -> bool:
        del operation
        return False

    async def call(
        self, operation: Operation, message: Message, *, sender: str | None = None, deadline: float | None = None
    ) -> Message:
        del message, sender, deadline
        raise OperationNotSupported("the CPO's backend", operation.name)


class PythonBackend:
    """A backend given as a Python object, with the methods of `CpoBackend` or `EmpBackend` that it supports.

    An object that hangs, raises anything or returns something else is a backend that failed, as one over HTTP would:
    the driver gets a response in time, and a message is delivered again later.

    Args:
        name: for logs and error texts.
        target: the object. Its methods are looked up at each call.
    """

    def __init__(self, name: str, target: object) -> None:
        self._name = name
        self._target = target

    def __repr__(self) -> str:
        return f"<PythonBackend {self._name}: {type(self._target).__name__}>"

    def supports(self, operation: Operation) -> bool:
        return hasattr(self._target, operation.method)

    async def call(
        self, operation: Operation, message: Message, *, sender: str | None = None, deadline: float | None = None
    ) -> Message:
        del sender
        seconds = operation.deadline if deadline is None else deadline
        # At each call: an object may replace its methods, and the public Protocols are structural.
        handler = getattr(self._target, operation.method, None)
        if handler is None:
            raise OperationNotSupported(self._name, operation.name)
        response = await self._await(operation, handler(message), seconds)
        if isinstance(response, Message):
            response = whole_answer(self._name, operation, response)
        if isinstance(response, operation.response):
            return response
        return _refusal_of(self._name, operation, response)

    async def _await(self, operation: Operation, call: Awaitable[object], seconds: float) -> object:
        try:
            async with asyncio.timeout(seconds):
                return await call
        except PeerError:
            raise
        except TimeoutError as error:
            reason = f"no answer to {operation.name} within {seconds:g} s"
            raise PeerTimeout(self._name, reason) from error
        except Exception as error:
            log.exception("backend.failed", backend=self._name, operation=operation.name)
            raise PeerProtocolError(self._name, f"failed at {operation.name}: {type(error).__name__}") from error

    def pushes(self) -> Iterator[str]:
        """Return the names of the pushes that the object has a method for."""
        return (name for name, method in PUSH_METHODS.items() if hasattr(self._target, method))

    async def push(self, operation: Operation, party: str, body: bytes) -> None:
        """Call the object's method with the message; whatever it returns but a refusal acknowledges it."""
        del party
        try:
            message = operation.request.from_json(body)
        except InvalidMessage as error:
            raise PeerRejected(self._name, f"cannot be told {operation.name}: {error}", http_status=400) from error
        handler = getattr(self._target, PUSH_METHODS[operation.name])
        response = await self._await(operation, handler(message), operation.deadline)
        if isinstance(response, Acknowledgement) and not response.result:
            code = str(response.status_code.code)
            raise PeerRejected(self._name, f"refused {operation.name} with {code}", http_status=200, code=code)


class HttpBackend:
    """A backend that speaks OICP over HTTP, as it would to the clearing house.

    Args:
        name: for logs and error texts.
        url: the base URL; the paths of the clearing house are below it.
        client: sends the requests.
        path: where the paths of OICP begin below ``url``.
        own_paths: see `Endpoint`.
    """

    def __init__(
        self,
        name: str,
        url: str,
        client: OicpClient,
        path: str = BASE_PATH,
        own_paths: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._endpoint = Endpoint(name, url, path, own_paths)
        self._client = client

    def __repr__(self) -> str:
        return f"<HttpBackend {self._endpoint.name}: {self._endpoint.url}>"

    def supports(self, operation: Operation) -> bool:
        # Known only from its response: a backend without an operation refuses it with 320.
        del operation
        return True

    async def call(
        self, operation: Operation, message: Message, *, sender: str | None = None, deadline: float | None = None
    ) -> Message:
        party = sender_party(operation, message)
        reply = await self._client.call(
            self._endpoint,
            operation,
            sender or (party.text if party else None),
            message.to_json(),
            deadline=min(_MAX_DEADLINE_SECONDS, operation.deadline) if deadline is None else deadline,
        )
        if isinstance(reply.message, operation.response):
            return reply.message
        return _refusal_of(self._endpoint.name, operation, reply.message)

    async def push(self, operation: Operation, party: str, body: bytes) -> None:
        """Send one push, as the clearing house would to a partner that wants to be pushed."""
        reply = await self._client.call(self._endpoint, operation, party, body, deadline=operation.deadline)
        raise_for_refused_push(self._endpoint.name, operation, reply)


def _refusal_of(backend: str, operation: Operation, response: object) -> Message:
    """Return a refusal by an Acknowledgement as one of the operation's own type, with its code (RULES L2, D57).

    Raises PeerProtocolError for anything else.
    """
    if isinstance(response, Acknowledgement) and not response.result and operation.response in _AUTHORIZATIONS:
        code = response.status_code.code
        log.warning("backend.refused_by_acknowledgement", backend=backend, operation=operation.name, code=code)
        not_authorized = AuthorizationStatus.NOT_AUTHORIZED
        return operation.response(authorization_status=not_authorized, status_code=response.status_code)
    what = (
        f"an Acknowledgement, {response.status_code.code}"
        if isinstance(response, Acknowledgement)
        else f"{type(response).__name__}, not {operation.response.__name__}"
    )
    raise PeerProtocolError(backend, f"answered {operation.name} with {what}")


#: Learns what became of a call of a backend, by its name and the operation's: an error, or None.
CallOutcome = Callable[[str, str, PeerError | None], None]


def ignore_outcome(_name: str, _operation: str, _error: PeerError | None) -> None:
    """Learn nothing."""


class LimitedBackend:
    """A backend that gets a bounded number of drivers' requests at a time, and has timeouts of its own.

    Notifications, CDRs and pushes are not counted: they come from queues that send a few at a time. A remote operation
    whose answer is late is counted no more: it may be waited for long after its requester has given up.

    Args:
        name: for errors.
        backend: what is called.
        concurrent: how many requests that a driver waits for it gets at a time; one more is `PeerBusy`.
        authorize_timeout: seconds, at most the caller's deadline.
        remote_timeout: seconds after which an answer is late; None: the caller's deadline.
        record_timeout: seconds for all else; None: as the caller or the operations table says.
        observe: learns what became of each call; of a late answer twice, when it is late and when it comes.
    """

    def __init__(
        self,
        name: str,
        backend: Backend,
        *,
        concurrent: int,
        authorize_timeout: float | None = None,
        remote_timeout: float | None = None,
        record_timeout: float | None = None,
        observe: CallOutcome = ignore_outcome,
    ) -> None:
        self._observe = observe
        self._name = name
        self._backend = backend
        self._concurrent = concurrent
        self._authorize_timeout = authorize_timeout
        self._remote_timeout = remote_timeout
        self._record_timeout = record_timeout
        self._counted: set[object] = set()

    def __repr__(self) -> str:
        return f"<LimitedBackend {self._backend!r} in_use={len(self._counted)}/{self._concurrent}>"

    def supports(self, operation: Operation) -> bool:
        return self._backend.supports(operation)

    async def call(
        self, operation: Operation, message: Message, *, sender: str | None = None, deadline: float | None = None
    ) -> Message:
        try:
            reply = await self._call(operation, message, sender=sender, deadline=deadline)
        except PeerError as error:
            self._observe(self._name, operation.name, error)
            raise
        self._observe(self._name, operation.name, None)
        return reply

    async def _call(
        self, operation: Operation, message: Message, *, sender: str | None, deadline: float | None
    ) -> Message:
        # Who may send an operation again says whether a driver waits for it (`oicp.operations`).
        is_remote = operation.retry is Retry.NEVER
        if not is_remote:
            own = self._authorize_timeout if operation.retry is Retry.SAME_SESSION else self._record_timeout
            deadline = own if deadline is None else min(own or deadline, deadline)
        if operation.retry is Retry.SAFE:
            return await self._backend.call(operation, message, sender=sender, deadline=deadline)
        if len(self._counted) >= self._concurrent:
            info = f"{len(self._counted)} requests wait for its answer, and it gets no more at a time"
            raise PeerBusy(self._name, info)
        self._counted.add(request := object())
        seconds = self._remote_timeout if is_remote else None
        loop = asyncio.get_running_loop()
        late = loop.call_later(seconds, self._become_late, operation, request) if seconds else None
        try:
            return await self._backend.call(operation, message, sender=sender, deadline=deadline)
        finally:
            self._counted.discard(request)
            if late is not None:
                late.cancel()

    def _become_late(self, operation: Operation, request: object) -> None:
        self._counted.discard(request)
        self._observe(self._name, operation.name, PeerTimeout(self._name, "no answer in time; it is waited for"))
