"""Scripted answers: what a partner under test gets in place of the answer that it would get.

`ScriptPlayer.intercept` looks at every OICP request before its role does. The first rule that fits counts: it waits,
refuses, breaks off, or says that a partner is not asked: then `scripted_answer` answers for the partner's system, and
the session, its notifications and its CDR are as real as any.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from p2p_oicp.config.hub import Script, ScriptRule
from p2p_oicp.errors import Refusal, Unauthorized
from p2p_oicp.oicp import (
    UID,
    Acknowledgement,
    AuthorizationStart,
    AuthorizationStatus,
    AuthorizationStop,
    EvcoID,
    EvseID,
    Message,
    OperatorID,
    ProviderID,
    SessionID,
    StatusCode,
    StatusCodeValue,
)
from p2p_oicp.oicp.operations import Operation, Party
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.inbound import HttpConnection
from p2p_oicp.server.interception import InterceptedRequest, current_connection
from p2p_oicp.server.problems import HttpError

log = structlog.get_logger(__name__)

# A larger message is a list: of a push, only the operation and the sender are compared.
_MAX_COMPARED_BYTES = 64 * 1024
_LOOK_SECONDS = 0.1
_AUTHORIZATIONS = frozenset({AuthorizationStart, AuthorizationStop})

#: The rule that answers for a partner in the request that is being served; it is seen in the tasks of that request.
_CURRENT_RULE: ContextVar[ScriptRule | None] = ContextVar("script rule", default=None)


@dataclass(slots=True)
class _RuleState:
    rule: ScriptRule
    used: int = 0

    @property
    def is_over(self) -> bool:
        return self.rule.times is not None and self.used >= self.rule.times


class ScriptPlayer:
    """Answers by the script; another one may take its place at any time."""

    def __init__(self, script: Script) -> None:
        self._states: list[_RuleState] = []
        self._ended = asyncio.Event()
        self.replace(script)

    def __repr__(self) -> str:
        return f"<ScriptPlayer rules={len(self._states)}>"

    def replace(self, script: Script) -> None:
        """Answer by another script from now on; its rules are counted anew."""
        self._states = [_RuleState(rule) for rule in script.rules]
        if script.rules:
            log.info("script.loaded", rules=len(script.rules))

    def to_json(self) -> list[dict[str, Any]]:
        """Return the rules as they were written, each with how often it was used."""
        return [
            {**state.rule.model_dump(mode="json", exclude_unset=True, fallback=str), "used": state.used}
            for state in self._states
        ]

    def end(self) -> None:
        """Break off all requests that hang: the hub stops."""
        self._ended.set()

    async def intercept(
        self, request: InterceptedRequest, serve: Callable[[], Awaitable[OperationResponse]]
    ) -> OperationResponse:
        """Serve a request by the first rule that fits, or by its role."""
        state = next((each for each in self._states if not each.is_over and fits(each.rule, request)), None)
        if state is None:
            return await serve()
        state.used += 1
        rule = state.rule
        log.info("script.rule_used", operation=request.operation.name, party=request.party, used=state.used)
        if rule.wait:
            await asyncio.sleep(rule.wait)
        if (connection := current_connection()) is not None and (rule.hang or rule.drop):
            if rule.hang:
                await self._hang(connection)
            connection.drop("the script has dropped the connection")
        if rule.http_status is not None:
            raise HttpError(rule.http_status, StatusCodeValue.SYSTEM_ERROR, rule.info)
        if rule.refuse == StatusCodeValue.UNAUTHORIZED_ACCESS:
            raise Unauthorized(rule.info)
        if rule.refuse is not None:
            raise Refusal(rule.refuse, rule.info)
        token = _CURRENT_RULE.set(rule)
        try:
            return await serve()
        finally:
            _CURRENT_RULE.reset(token)

    async def _hang(self, connection: HttpConnection) -> None:
        while connection.is_open and not self._ended.is_set():
            await connection.wait(_LOOK_SECONDS)


def fits(rule: ScriptRule, request: InterceptedRequest) -> bool:
    """Whether a rule is about a request."""
    if rule.operation not in {None, request.operation.name}:
        return False
    party_type = OperatorID if request.operation.sender is Party.CPO else ProviderID
    expected = {
        "party": rule.party and party_type(rule.party).key,
        "uid": rule.uid and UID(rule.uid).key,
        "evco_id": rule.evco_id and EvcoID(rule.evco_id).key,
        "evse_id": rule.evse_id and EvseID(rule.evse_id).key,
        "session_id": rule.session_id and SessionID(rule.session_id).key,
    }
    if not any(expected.values()):
        return True
    actual = _ids_of(request, party_type)
    return all(key in actual[name] for name, key in expected.items() if key)


def _ids_of(request: InterceptedRequest, party_type: type[OperatorID | ProviderID]) -> dict[str, set[str]]:
    """Return the keys of the ids in a request, which may be anything."""
    members: Any = None
    if len(request.body) <= _MAX_COMPARED_BYTES:
        try:
            members = orjson.loads(request.body)
        except orjson.JSONDecodeError:
            members = None
    body: dict[str, Any] = members if isinstance(members, dict) else {}
    identification = body.get("Identification")
    variants = identification.values() if isinstance(identification, dict) else ()
    media = [each for each in variants if isinstance(each, dict)]
    parties = [request.party, body.get("OperatorID"), body.get("ProviderID")]
    return {
        "party": {party_type(each).key for each in parties if isinstance(each, str)},
        "uid": {UID(str(each["UID"])).key for each in media if "UID" in each},
        "evco_id": {EvcoID(str(each["EvcoID"])).key for each in media if "EvcoID" in each},
        "evse_id": {EvseID(str(body["EvseID"])).key} if "EvseID" in body else set(),
        "session_id": {SessionID(str(body["SessionID"])).key} if "SessionID" in body else set(),
    }


def scripted_provider() -> ProviderID | None:
    """Return the provider that authorizes the present request by the script; None: the providers are asked."""
    rule = _CURRENT_RULE.get()
    return rule.authorize if rule is not None else None


def scripted_answer(operation: Operation, message: Message, parties: Peer) -> Message | None:
    """Return what the script has the system of ``parties`` answer; None: it is asked itself."""
    rule, success = _CURRENT_RULE.get(), StatusCode.of(StatusCodeValue.SUCCESS)
    if rule is None:
        return None
    session_id = getattr(message, "session_id", None)
    if operation.response in _AUTHORIZATIONS:
        if rule.authorize is None or not parties.handles_party(rule.authorize):
            return None
        return operation.response(
            authorization_status=AuthorizationStatus.AUTHORIZED,
            status_code=success,
            session_id=session_id,
            provider_id=rule.authorize,
        )
    if rule.accept and operation.sender is Party.EMP:
        return Acknowledgement(result=True, status_code=success, session_id=session_id)
    return None
