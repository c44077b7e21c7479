"""What a sequence runs in: both endpoints, both backends, and the expectations that end it with a reason."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from p2p_oicp.client import Endpoint, OicpClient
from p2p_oicp.errors import P2pOicpError, PeerRejected, PeerUnauthorized
from p2p_oicp.oicp import Message, OperatorID, ProviderID
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.simulator.scenarios.backends import Json, ScriptedBackend, ScriptedContracts

_POLL_SECONDS = 0.1


class ScenarioFailed(P2pOicpError):
    """An endpoint deviated from OICP; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The endpoints under test.

    Attributes:
        cpo: base URL of the endpoint that the CSMS uses; likewise ``emp``.
        operator: the party of the CSMS; likewise ``provider``.
        cpo_port: loopback port where the endpoint calls the CSMS; likewise ``emp_port``.
        timeout: seconds for something to get from one endpoint to the other.
    """

    cpo: str
    emp: str
    operator: OperatorID
    provider: ProviderID
    cpo_port: int
    emp_port: int
    timeout: float = 20.0


@dataclass(frozen=True, slots=True)
class EndpointResponse:
    """A response: whether it is positive, its status code, and its JSON members."""

    is_accepted: bool
    code: str | None
    members: Json

    @property
    def session_id(self) -> str:
        """The SessionID; the sequence fails if there is none."""
        session_id = self.members.get("SessionID")
        expect(isinstance(session_id, str), f"the answer has no SessionID: {self}")
        return str(session_id)

    def __str__(self) -> str:
        info = (self.members.get("StatusCode") or {}).get("AdditionalInfo")
        return f"{'yes' if self.is_accepted else 'no'} with code {self.code}" + (f" ({info})" if info else "")


@dataclass
class TestClient:
    """The client side of one scripted backend; ``party`` is its OperatorID or ProviderID."""

    name: str
    url: str
    party: str
    client: OicpClient

    async def send(
        self, operation: str, message: Json, *, deadline: float | None = None, query: Mapping[str, str] | None = None
    ) -> EndpointResponse:
        """Send one message; raise PeerError if there is no response."""
        operation_spec = OPERATION_BY_NAME[operation]
        try:
            reply = await self.client.call(
                Endpoint(self.name, self.url),
                operation_spec,
                self.party,
                orjson.dumps(message),
                deadline=deadline or operation_spec.deadline,
                query=query,
            )
        except PeerRejected as exc:
            return EndpointResponse(is_accepted=False, code=exc.code or f"HTTP {exc.http_status}", members={})
        except PeerUnauthorized as exc:
            raise ScenarioFailed(f"{self.name} does not accept us: {exc.reason}") from exc
        return _to_response(reply.message, orjson.loads(reply.body))


def _to_response(message: Message, members: Any) -> EndpointResponse:  # noqa: ANN401 - any JSON
    body: Json = members if isinstance(members, dict) else {}
    status = getattr(message, "status_code", None)
    code = str(status.code) if status is not None else None
    verdicts = {"Result": body.get("Result"), "AuthorizationStatus": body.get("AuthorizationStatus")}
    is_accepted = {True: True, "Authorized": True}.get(
        next((value for value in verdicts.values() if value is not None), code == "000")
    )
    return EndpointResponse(is_accepted=bool(is_accepted), code=code, members=body)


@dataclass
class ScenarioContext:
    """What one sequence uses; ``tag`` is new for every sequence, so that its EVSEs and sessions are its own."""

    endpoints: Endpoints
    cpo_client: TestClient
    emp_client: TestClient
    csms: ScriptedBackend
    contracts: ScriptedContracts
    emp_backend: ScriptedBackend
    valid_uid: str
    tag: str = field(default_factory=lambda: secrets.token_hex(4).upper())

    def evse(self, number: int) -> str:
        """Return the EvseID of this sequence with a number."""
        return f"{self.endpoints.operator}*E{self.tag}*{number}"

    async def wait_until(self, condition: Callable[[], Awaitable[bool]] | Callable[[], bool], failure: str) -> None:
        """Wait until a condition holds; after the timeout, fail with ``failure``."""
        try:
            async with asyncio.timeout(self.endpoints.timeout):
                while not await _evaluate(condition):  # noqa: ASYNC110 - it happens in other processes
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise ScenarioFailed(f"after {self.endpoints.timeout:g} s, {failure}") from None


async def _evaluate(condition: Callable[[], Awaitable[bool]] | Callable[[], bool]) -> bool:
    result = condition()
    return result if isinstance(result, bool) else await result


def expect(condition: object, failure: str) -> None:
    """Fail the sequence with a reason, unless the condition is true."""
    if not condition:
        raise ScenarioFailed(failure)


def expect_accepted(response: EndpointResponse, action: str) -> EndpointResponse:
    """Fail unless the response is positive; return it."""
    expect(response.is_accepted, f"{action} was answered {response}")
    return response


def expect_refused(response: EndpointResponse, action: str, *codes: str) -> EndpointResponse:
    """Fail unless the response is a refusal, with one of the codes if some are given; return it."""
    expect(not response.is_accepted, f"{action} was answered {response}")
    expect(
        not codes or response.code in codes, f"{action} was refused with {response.code}, expected {' or '.join(codes)}"
    )
    return response


def now() -> datetime:
    """Return the time, to the second."""
    return datetime.now(UTC).replace(microsecond=0)
