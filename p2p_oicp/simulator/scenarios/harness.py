"""What a sequence runs in: both endpoints, both backends, and the expectations that end it with a reason.

A reason names the operation, its path, what was expected and what came, for whoever has to look into the endpoint.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import orjson

from p2p_oicp.client import HttpTransport, OutboundRequest
from p2p_oicp.crypto.tls import client_context
from p2p_oicp.errors import P2pOicpError, PeerError
from p2p_oicp.oicp import InvalidMessage, OperatorID, ProviderID
from p2p_oicp.oicp.operations import BASE_PATH, OPERATION_BY_NAME, Operation, api_root
from p2p_oicp.oicp.validation import read, response_model
from p2p_oicp.simulator.scenarios.backends import Json, ScriptedBackend, ScriptedContracts, ScriptedCsms

_POLL_SECONDS = 0.1
_MAX_BODY_LENGTH, _MAX_FINDINGS = 160, 3
_EVSE_PREFIX, _DIN_PREFIX = "ESCENARIO", "909090*"
_AUTHORIZATIONS = frozenset({"AuthorizeStart", "AuthorizeStop"})


class ScenarioFailed(P2pOicpError):
    """An endpoint deviated from OICP; the text is the reason."""


class ScenarioSkipped(P2pOicpError):
    """A sequence would destroy data that is not its own; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The endpoints under test.

    Attributes:
        cpo: base URL of the endpoint that the CSMS uses; likewise ``emp``.
        operator: the party of the CSMS; likewise ``provider``.
        cpo_port: loopback port where the endpoint calls the CSMS; likewise ``emp_port``.
        timeout: seconds for something to get from one endpoint to the other.
        late: seconds after which a CSMS answers too late.
        replace: replace the operator's data by fullLoad, also where it has other EVSEs than those of the sequences.
    """

    cpo: str
    emp: str
    operator: OperatorID
    provider: ProviderID
    cpo_port: int
    emp_port: int
    timeout: float = 20.0
    late: float = 52.0
    replace: bool = False


@dataclass(frozen=True)
class EndpointResponse:
    """A response to one request: where it was sent, the HTTP status, and what stands in the body.

    Attributes:
        request: operation and path of the request, for people.
        operation: what was asked for.
        http_status: of the response.
        body: as it came.
    """

    request: str
    operation: Operation
    http_status: int
    body: bytes

    @cached_property
    def members(self) -> Json:
        """The JSON members; empty where the body is no JSON object."""
        try:
            members = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        return members if isinstance(members, dict) else {}

    @property
    def status_code(self) -> Json:
        status = self.members.get("StatusCode")
        return status if isinstance(status, dict) else {}

    @property
    def code(self) -> str | None:
        code = self.status_code.get("Code")
        return None if code is None else str(code)

    @property
    def info(self) -> str:
        """The AdditionalInfo."""
        return str(self.status_code.get("AdditionalInfo") or "")

    @property
    def is_accepted(self) -> bool:
        if self.http_status != HTTPStatus.OK:
            return False
        if self.operation.name in _AUTHORIZATIONS:
            return self.members.get("AuthorizationStatus") == "Authorized"
        if "Result" in self.members or not self.operation.name.startswith(("Pull", "Get")):
            return self.members.get("Result") is True
        return bool(self.members) and self.code in {None, "000"}

    @property
    def session_id(self) -> str:
        """The SessionID; the sequence fails if there is none."""
        session_id = self.members.get("SessionID")
        self.expect(isinstance(session_id, str), "a SessionID")
        return str(session_id)

    def expect(self, condition: object, expected: str, actual: str | None = None) -> EndpointResponse:
        """Fail the sequence unless the condition is true; return the response."""
        if not condition:
            raise ScenarioFailed(f"{self.request}: expected {expected}; came {actual or self}")
        return self

    def expect_accepted(self, what: str = "") -> EndpointResponse:
        """Fail unless the response is positive, and a message of OICP."""
        positive = "Authorized" if self.operation.name in _AUTHORIZATIONS else "Result true"
        is_list = self.operation.name.startswith(("Pull", "Get"))
        self.expect(self.is_accepted, f"{'a list' if is_list else positive}{what and f' {what}'}, code 000")
        if not is_list:
            self._expect_readable()
        return self

    def expect_refused(self, *codes: str, what: str = "") -> EndpointResponse:
        """Fail unless the response is a refusal, with one of the codes if some are given; return it."""
        negative = "NotAuthorized" if self.operation.name in _AUTHORIZATIONS else "Result false"
        code = f", code {' or '.join(codes)}" if codes else ""
        expected = f"{negative}{what and f' {what}'}{code}"
        return self.expect(not self.is_accepted and (not codes or self.code in codes), expected)

    def _expect_readable(self) -> None:
        try:
            read(response_model(self.operation, self.body), self.body)
        except InvalidMessage as error:
            findings = "; ".join(str(finding) for finding in error.findings[:_MAX_FINDINGS])
            self.expect(condition=False, expected="a message of OICP 2.3", actual=f"{self}: {findings}")

    def __str__(self) -> str:
        members, status = self.members, f"HTTP {self.http_status}"
        if not members:
            text = self.body[:_MAX_BODY_LENGTH].decode(errors="replace")
            return f"{status} without a JSON object: {text!r}" if text else f"{status} without a body"
        verdict = [f"{name} {orjson.dumps(members[name]).decode()}" for name in _VERDICTS if name in members]
        code = f"code {self.code}" if self.code else "no StatusCode"
        return ", ".join([status, *verdict, code]) + (f" ({self.info})" if self.info else "")


_VERDICTS = ("Result", "AuthorizationStatus")


@dataclass
class TestClient:
    """The client side of one scripted backend.

    Attributes:
        name: of the endpoint, for people.
        url: its base URL.
        party: our OperatorID or ProviderID.
        transport: sends the requests.
        token: the bearer token of the endpoint.
        request: the last request, for people.
        last: what came last; None: nothing has come yet.
    """

    name: str
    url: str
    party: str
    transport: HttpTransport
    token: str | None = None
    request: str = ""
    last: EndpointResponse | None = None

    def latest(self) -> EndpointResponse:
        """Return what came last."""
        if self.last is None:
            raise ScenarioFailed(self.unexpected("an answer"))
        return self.last

    def unexpected(self, expected: str, actual: str | None = None) -> str:
        """Return of the last request what was expected and what came."""
        last = "no answer" if self.last is None else f"{actual or self.last}"
        return f"{self.request}: expected {expected}; came {last}"

    async def send(
        self,
        operation: str,
        message: Json,
        *,
        deadline: float | None = None,
        query: Mapping[str, str] | None = None,
        at_alias: bool = False,
    ) -> EndpointResponse:
        """Send one message, and return what came.

        Args:
            operation: its name.
            message: the request.
            deadline: seconds; None: that of the operations table.
            query: the query's parameters.
            at_alias: at the operation's other path.

        Raises:
            NoAnswer: nothing came.
        """
        row = OPERATION_BY_NAME[operation]
        path = row.aliases[0].replace("{providerID}", self.party) if at_alias else row.path_for(self.party)
        path = f"{BASE_PATH}/{path}{f'?{urlencode(query)}' if query else ''}"
        url, self.request, self.last = f"{api_root(self.url)}{path}", f"{operation}, POST {path} at {self.name}", None
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        tls = client_context() if url.startswith("https:") else None
        outbound = OutboundRequest(
            "POST", url, orjson.dumps(message), deadline or row.deadline, self.name, headers, tls, row.is_remote
        )
        try:
            response = await self.transport.send(outbound)
        except PeerError as error:
            raise NoAnswer(f"{self.request}: expected an answer; came none: {error.reason}") from error
        self.last = EndpointResponse(self.request, row, response.status, response.body)
        return self.last


class NoAnswer(ScenarioFailed):
    """Nothing came within the deadline."""


@dataclass
class Published:
    """What a sequence has published and not withdrawn yet; it is deleted when the sequence ends."""

    evses: set[int] = field(default_factory=set)
    statuses: set[int] = field(default_factory=set)
    products: list[Json] = field(default_factory=list)
    prices: list[Json] = field(default_factory=list)
    tokens: list[Json] = field(default_factory=list)

    def change(self, numbers: set[int], action: str, pushed: Iterable[int]) -> None:
        """Apply an accepted push to ``evses`` or ``statuses``."""
        if action == "delete":
            numbers.difference_update(pushed)
        elif action == "fullLoad":
            numbers.intersection_update(pushed)
        numbers.update(() if action == "delete" else pushed)


@dataclass
class ScenarioContext:
    """What one sequence uses; ``tag`` is new for every sequence, so that its EVSEs and sessions are its own.

    ``operator_name`` is what the EMP finds as the operator's OperatorName; empty where it finds none.
    """

    endpoints: Endpoints
    cpo_client: TestClient
    emp_client: TestClient
    csms: ScriptedCsms
    contracts: ScriptedContracts
    emp_backend: ScriptedBackend
    valid_uid: str
    operator_name: str = ""
    tag: str = field(default_factory=lambda: secrets.token_hex(4).upper())
    published: Published = field(default_factory=Published)

    @property
    def operator(self) -> str:
        return str(self.endpoints.operator)

    @property
    def provider(self) -> str:
        return str(self.endpoints.provider)

    def evse(self, number: int) -> str:
        """Return the EvseID of this sequence with a number."""
        if self.operator.startswith("+"):  # DIN SPEC 91286: digits and stars
            return f"{self.evse_prefix}{int(self.tag, 16)}*{number}"
        return f"{self.evse_prefix}{self.tag}*{number}"

    @property
    def evse_prefix(self) -> str:
        """What the EvseIDs of all sequences begin with: whatever begins in another way is not of this test."""
        return f"{self.operator}*{_DIN_PREFIX if self.operator.startswith('+') else _EVSE_PREFIX}"

    async def wait_until(
        self,
        condition: Callable[[], Awaitable[bool]] | Callable[[], bool],
        failure: Callable[[], str],
        seconds: float | None = None,
    ) -> None:
        """Wait until a condition holds; after the timeout, fail with the text of ``failure``."""
        seconds = self.endpoints.timeout if seconds is None else seconds
        try:
            async with asyncio.timeout(seconds):
                while not await _evaluate(condition):  # noqa: ASYNC110 - it happens in other processes
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise ScenarioFailed(f"{failure()} within {seconds:g} s") from None

    async def wait_for_request(self, backend: ScriptedBackend, operation: str, **members: object) -> Json:
        """Return the first request that an endpoint sends to a backend with these members; fail if none comes."""
        found: list[Json] = []

        def has_come() -> bool:
            found[:] = backend.received_messages(operation, **members)
            return bool(found)

        await self.wait_until(has_come, lambda: backend.missing(operation, **members))
        return found[0]

    def expect_requests(self, backend: ScriptedBackend, count: int, operation: str, **members: object) -> None:
        """Fail unless an endpoint has sent so many such requests to a backend."""
        received = len(backend.received_messages(operation, **members))
        if received != count:
            raise ScenarioFailed(
                f"{backend.describe(operation, **members)}: expected {count} request(s); came {received}"
            )


async def _evaluate(condition: Callable[[], Awaitable[bool]] | Callable[[], bool]) -> bool:
    result = condition()
    return result if isinstance(result, bool) else await result


def dicts_in(value: Any) -> list[Json]:  # noqa: ANN401 - any JSON
    """Return the objects of a JSON list; an endpoint under test may have put anything there."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def now() -> datetime:
    """Return the time, to the second."""
    return datetime.now(UTC).replace(microsecond=0)
