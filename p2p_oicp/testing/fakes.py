"""Fake backends of a company: they answer by a script, record what they were sent, and speak to a node.

`FakeCsms` is a charge point operator's, `FakeEmp` a mobility provider's. They are HTTP servers on loopback, in a thread
of their own, for nodes and clearing houses in any language: give them ``url``.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import ClassVar, Self

import aiohttp
from aiohttp import web

from p2p_oicp.concurrency import offload
from p2p_oicp.oicp import OPERATION_BY_NAME, Operation, Route, find
from p2p_oicp.simulator.node_files import LOOPBACK, free_ports
from p2p_oicp.testing import samples
from p2p_oicp.testing.background import BackgroundLoop
from p2p_oicp.testing.requests import Condition, Json, RecordedRequest, Reply, RequestLog
from p2p_oicp.testing.script import Answer, Rule, Script, acknowledgement, authorization

_MAX_BODY_BYTES = 256 * 1024 * 1024
_AUTHORIZATIONS = ("AuthorizeStart", "AuthorizeStop")
_TIMEOUT_SECONDS = 10.0
_EXCHANGE_SECONDS = 65.0


class FakeBackend:
    """What both backends share; a context manager. Members of messages are given by their names in OICP.

    Args:
        party: its OperatorID or ProviderID.

    Attributes:
        url: where it is reached, while the block lasts.
    """

    name: ClassVar[str] = "backend"

    def __init__(self, party: str) -> None:
        self.party = party
        self.url = ""
        self._node_url: str | None = None
        self._headers: dict[str, str] = {}
        self._log = RequestLog(f"{self.name} of {party}")
        self._script = Script()
        self._loop = BackgroundLoop(f"fake {self.name} {party}")
        self._session: aiohttp.ClientSession | None = None
        self._port = 0
        self._runner: web.AppRunner | None = None

    def __enter__(self) -> Self:
        self._loop.__enter__()
        self._session = self._loop.enter(self._serving())
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.__exit__(exc_type, exc, traceback)

    @property
    def requests(self) -> list[RecordedRequest]:
        """All that it was sent so far, in order."""
        return self._log.all()

    def connect(self, url: str, *, token: str | None = None) -> None:
        """Set whom it speaks to: the base URL of its node or clearing house, and the bearer token if it needs one."""
        self._node_url = url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def answer(
        self,
        operation: str,
        answer: Answer | None = None,
        *,
        status: int = 200,
        delay: float = 0.0,
        times: int | None = None,
        where: Condition | None = None,
    ) -> None:
        """Answer an operation so from now on, or ``times`` times; the newest rule counts.

        Args:
            operation: its name in OICP, such as AuthorizeRemoteStart.
            answer: a JSON object, or a function that makes it of the request; None: the usual one.
            status: the HTTP status.
            delay: seconds to wait before.
            times: how often; None: always.
            where: only for requests whose JSON object fulfils it.
        """
        _check_operation(operation)
        self._script.add(Rule(operation, answer, status=status, delay=delay, times=times, condition=where))

    def refuse(self, operation: str, code: str, info: str | None = None, *, times: int | None = None) -> None:
        """Refuse an operation with an OICP status code."""
        make = authorization if operation in _AUTHORIZATIONS else acknowledgement
        self.answer(operation, make(code, info), times=times)

    def hang(self, operation: str, *, times: int | None = None) -> None:
        """Never answer an operation."""
        _check_operation(operation)
        self._script.add(Rule(operation, hangs=True, times=times))

    def drop_connection(self, operation: str, *, times: int | None = None) -> None:
        """Close the connection instead of an answer; the request is recorded."""
        _check_operation(operation)
        self._script.add(Rule(operation, drops=True, times=times))

    def stop(self) -> None:
        """Be away: close all connections and listen no more, until `start`."""
        self._loop.run(self._stop_listening())

    def start(self) -> None:
        """Be back after `stop`, at the same URL."""
        self._loop.run(self._listen())

    def reset(self) -> None:
        """Forget what it was sent, and all rules."""
        self._log.clear()
        self._script.clear()

    def send(self, operation: str, message: Json, *, party: str | None = None) -> Reply:
        """Send one message to the node and return its answer, also a refusal; raise `OSError` if there is none."""
        return self._loop.run(self._send(operation, message, party or self.party))

    async def send_async(self, operation: str, message: Json, *, party: str | None = None) -> Reply:
        """As `send`, for tests with an event loop, which goes on meanwhile."""
        return await offload(self.send, operation, message, party=party)

    def wait_for(
        self,
        operation: str,
        *,
        count: int = 1,
        timeout: float = _TIMEOUT_SECONDS,
        where: Condition | None = None,
        **members: object,
    ) -> RecordedRequest:
        """Wait until it was sent an operation with these members ``count`` times; return the newest.

        Raises:
            AssertionError: ``timeout`` seconds have passed; the text has what it was sent instead.
        """
        _check_operation(operation)
        return self._log.wait_for(operation, members, where, count=count, timeout=timeout)

    async def wait_for_async(
        self,
        operation: str,
        *,
        count: int = 1,
        timeout: float = _TIMEOUT_SECONDS,  # noqa: ASYNC109 - as in wait_for
        where: Condition | None = None,
        **members: object,
    ) -> RecordedRequest:
        """As `wait_for`, for tests with an event loop, which goes on meanwhile."""
        _check_operation(operation)
        return await offload(self._log.wait_for, operation, members, where, count=count, timeout=timeout)

    def assert_received(
        self, operation: str, *, count: int | None = None, where: Condition | None = None, **members: object
    ) -> list[RecordedRequest]:
        """Return the requests of an operation with these members; there have to be ``count``, or one at least."""
        _check_operation(operation)
        return self._log.check_count(operation, members, where, count)

    def assert_not_received(self, operation: str, *, where: Condition | None = None, **members: object) -> None:
        """Fail if it was sent an operation with these members."""
        self.assert_received(operation, count=0, where=where, **members)

    def usual_answer(self, operation: str, _body: Json) -> Json:
        """Return what it answers without a rule; a subclass may know better."""
        return authorization() if operation in _AUTHORIZATIONS else acknowledgement()

    @asynccontextmanager
    async def _serving(self) -> AsyncIterator[aiohttp.ClientSession]:
        self._port = free_ports(1)[0]
        self.url = f"http://{LOOPBACK}:{self._port}"
        await self._listen()
        try:
            async with aiohttp.ClientSession() as session:
                yield session
        finally:
            await self._stop_listening()

    async def _listen(self) -> None:
        app = web.Application(client_max_size=_MAX_BODY_BYTES)
        app.router.add_post("/{path:.*}", self._handle)
        # What hangs is cancelled at the end.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, self._port).start()

    async def _stop_listening(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        route, content = _find_route(request.path), await request.read()
        body: Json = json.loads(content)
        operation = "" if route is None else route.choose(content).name
        party = None if route is None else route.party
        rule = self._script.choose(operation, body)
        self._log.add(RecordedRequest(operation, party, request.path_qs, request.headers, body))
        if route is None:
            return web.json_response(acknowledgement("320"), status=404)
        if rule.hangs:
            await asyncio.Event().wait()
        await asyncio.sleep(rule.delay)
        if rule.drops and request.transport is not None:
            request.transport.abort()
        answer = rule.answer_to(body, lambda: self.usual_answer(operation, body))
        return web.json_response(answer, status=rule.status)

    async def _send(self, operation: str, message: Json, party: str) -> Reply:
        if self._node_url is None or self._session is None:
            raise RuntimeError(f"{self.name} of {self.party}: connect(url) has to say whom it speaks to")
        url = _check_operation(operation).url(self._node_url, party)
        timeout = aiohttp.ClientTimeout(total=_EXCHANGE_SECONDS)
        # A stream: aiohttp warns of large bytes, and a test may take warnings for errors.
        body, headers = io.BytesIO(json.dumps(message).encode()), {"Content-Type": "application/json", **self._headers}
        async with self._session.post(url, data=body, headers=headers, timeout=timeout) as response:
            return Reply(response.status, response.headers, await response.json(content_type=None))


class FakeCsms(FakeBackend):
    """A charge point operator's backend (CSMS): it starts and stops what it is sent, and has drivers charge.

    Args:
        operator: its OperatorID.
    """

    name: ClassVar[str] = "CSMS"

    def __init__(self, operator: str = samples.OPERATOR) -> None:
        super().__init__(operator)

    def authorize_start(self, uid: str, *, evse_id: str = "", **members: object) -> Reply:
        """Have a driver swipe a card; return the node's answer, with the SessionID of a granted one."""
        message = samples.request("AuthorizeStart", operator=self.party, uid=uid, evse_id=evse_id)
        return self.send("AuthorizeStart", message | members)

    def charge(self, uid: str, *, evse_id: str = "", **members: object) -> str:
        """Have a driver charge, from the card to the charge detail record; return the SessionID.

        Args:
            uid: of the card.
            evse_id: where; by default at the first EVSE.
            members: of the charge detail record, other than those of the sample.

        Raises:
            AssertionError: the node has refused one of the messages.
        """
        started = self.authorize_start(uid, evse_id=evse_id)
        _check_positive("AuthorizeStart", started)
        about = {"operator": self.party, "uid": uid, "evse_id": evse_id, "session_id": str(started["SessionID"])}
        record = samples.request("ChargeDetailRecord", **about) | members
        for operation, message in (
            ("ChargingNotifications", samples.notification("Start", **about)),
            ("ChargingNotifications", samples.notification("End", **about)),
            ("ChargeDetailRecord", record),
        ):
            _check_positive(operation, self.send(operation, message))
        return about["session_id"]


class FakeEmp(FakeBackend):
    """A mobility provider's backend (contract system): it authorizes its cards, and everything with an EvcoID.

    Args:
        provider: its ProviderID.
        uids: its cards; by default one, ``uid``.

    Attributes:
        uid: the first of its cards, ``evco_id`` its first contract.
    """

    name: ClassVar[str] = "EMP"

    def __init__(self, provider: str = samples.PROVIDER, uids: Iterable[str] = ()) -> None:
        super().__init__(provider)
        self._uids = list(uids) or [samples.uid_of(provider)]
        self.evco_id = samples.evco_id_of(provider)

    @property
    def uid(self) -> str:
        """The first of its cards."""
        return self._uids[0]

    def remote_start(self, evse_id: str, **members: object) -> Reply:
        """Start charging from the app; return the node's answer, with the SessionID of a granted one."""
        message = samples.request("AuthorizeRemoteStart", provider=self.party, evse_id=evse_id)
        return self.send("AuthorizeRemoteStart", message | members)

    def remote_stop(self, evse_id: str, session_id: str) -> Reply:
        """Stop charging from the app."""
        message = samples.request("AuthorizeRemoteStop", provider=self.party, evse_id=evse_id, session_id=session_id)
        return self.send("AuthorizeRemoteStop", message)

    def usual_answer(self, operation: str, body: Json) -> Json:
        card = body.get("Identification", {}).get("RFIDMifareFamilyIdentification")
        if operation in _AUTHORIZATIONS and card is not None and card.get("UID") not in self._uids:
            return authorization("102")
        return super().usual_answer(operation, body)


def _find_route(path: str) -> Route | None:
    """Return the route of a path, whatever stands before OICP's own part: a node may be set to another prefix."""
    parts = path.strip("/").split("/")
    routes = (find("/".join(parts[index:])) for index in range(len(parts)))
    return next((route for route in routes if route is not None), None)


def _check_operation(operation: str) -> Operation:
    if operation not in OPERATION_BY_NAME:
        raise ValueError(f"{operation}: no operation of OICP; expected one of {', '.join(OPERATION_BY_NAME)}")
    return OPERATION_BY_NAME[operation]


def _check_positive(operation: str, reply: Reply) -> None:
    if not reply.is_positive:
        raise AssertionError(f"{operation} was refused: HTTP {reply.status} {json.dumps(reply.body)}")
