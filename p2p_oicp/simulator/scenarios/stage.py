"""What the sequences play on: both endpoints, both backends, and how to say what went wrong."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from p2p_oicp.errors import P2pOicpError, PeerRejected, PeerUnauthorized
from p2p_oicp.oicp import Message, OperatorID, ProviderID
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.simulator.scenarios.backends import Backend, Contracts, Json
from p2p_oicp.transport import Endpoint, OicpClient

_BETWEEN_LOOKS = 0.1


class ScenarioFailed(P2pOicpError):
    """An endpoint did not do what OICP says; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Whom to test, and as whom: base URLs, the parties we speak for, the ports where we are called back.

    ``patience`` is in seconds: how long something may take to come from one endpoint to the other.
    """

    cpo: str
    emp: str
    operator: OperatorID
    provider: ProviderID
    cpo_port: int
    emp_port: int
    patience: float = 20.0


@dataclass(frozen=True, slots=True)
class Told:
    """An answer: whether it is a yes, its status code, and its members."""

    is_yes: bool
    code: str | None
    members: Json

    @property
    def session(self) -> str:
        """The SessionID; fails where there is none."""
        session = self.members.get("SessionID")
        expect(isinstance(session, str), f"the answer has no SessionID: {self}")
        return str(session)

    def __str__(self) -> str:
        info = (self.members.get("StatusCode") or {}).get("AdditionalInfo")
        return f"{'yes' if self.is_yes else 'no'} with code {self.code}" + (f" ({info})" if info else "")


@dataclass
class Caller:
    """One of our backends, calling its endpoint."""

    name: str
    url: str
    party: str
    client: OicpClient

    async def ask(
        self, operation: str, message: Json, *, deadline: float | None = None, query: Mapping[str, str] | None = None
    ) -> Told:
        """Send one message; raises PeerError where no answer comes."""
        row = OPERATION_BY_NAME[operation]
        try:
            reply = await self.client.call(
                Endpoint(self.name, self.url),
                row,
                self.party,
                orjson.dumps(message),
                deadline=deadline or row.deadline,
                query=query,
            )
        except PeerRejected as refused:
            return Told(is_yes=False, code=refused.code or f"HTTP {refused.http_status}", members={})
        except PeerUnauthorized as refused:
            raise ScenarioFailed(f"{self.name} does not accept us: {refused.reason}") from refused
        return _told(reply.message, orjson.loads(reply.body))


def _told(message: Message, members: Any) -> Told:  # noqa: ANN401 - any JSON
    body: Json = members if isinstance(members, dict) else {}
    status = getattr(message, "status_code", None)
    code = str(status.code) if status is not None else None
    verdicts = {"Result": body.get("Result"), "AuthorizationStatus": body.get("AuthorizationStatus")}
    is_yes = {True: True, "Authorized": True}.get(next((v for v in verdicts.values() if v is not None), code == "000"))
    return Told(is_yes=bool(is_yes), code=code, members=body)


@dataclass
class Stage:
    """Everything that a sequence needs; ``tag`` is new for every sequence, so that none meets another's remains."""

    ends: Endpoints
    cpo: Caller
    emp: Caller
    csms: Backend
    contracts: Contracts
    emp_backend: Backend
    good_uid: str
    tag: str = field(default_factory=lambda: secrets.token_hex(4).upper())

    def evse(self, number: int) -> str:
        """Return an EvseID of ours."""
        return f"{self.ends.operator}*E{self.tag}*{number}"

    async def until(self, condition: Callable[[], Awaitable[bool]] | Callable[[], bool], otherwise: str) -> None:
        """Wait until a condition holds; fail with ``otherwise`` when patience is at its end."""
        try:
            async with asyncio.timeout(self.ends.patience):
                while not await _holds(condition):  # noqa: ASYNC110 - what we wait for happens in other programs
                    await asyncio.sleep(_BETWEEN_LOOKS)
        except TimeoutError:
            raise ScenarioFailed(f"after {self.ends.patience:g} s, {otherwise}") from None


async def _holds(condition: Callable[[], Awaitable[bool]] | Callable[[], bool]) -> bool:
    found = condition()
    return found if isinstance(found, bool) else await found


def expect(holds: object, otherwise: str) -> None:
    """Fail the sequence with a reason, unless something holds."""
    if not holds:
        raise ScenarioFailed(otherwise)


def expect_yes(told: Told, what: str) -> Told:
    """Fail unless the answer is a yes; return it."""
    expect(told.is_yes, f"{what} was answered {told}")
    return told


def expect_no(told: Told, what: str, *codes: str) -> Told:
    """Fail unless the answer is a no, with one of the codes, where some are given; return it."""
    expect(not told.is_yes, f"{what} was answered {told}")
    expect(not codes or told.code in codes, f"{what} was refused with {told.code}, expected {' or '.join(codes)}")
    return told


def now() -> datetime:
    """Return the time, to the second."""
    return datetime.now(UTC).replace(microsecond=0)
