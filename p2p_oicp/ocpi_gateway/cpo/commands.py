"""Remote operations of OICP as commands of OCPI, whose results come as requests of their own (GATEWAY 9.4).

``START_SESSION`` is answered at once with whether the partner will try, and later, by a request to ``response_url``,
with how it went. The node's request waits for that result, until shortly before its own deadline; what comes later and
is bad becomes a notification. The session is stored before the command is sent, for a car may charge from then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

import structlog

from p2p_oicp.client.ocpi import COMMAND_SECONDS, NotAnEnvelope
from p2p_oicp.errors import PeerError, PeerProtocolError, PeerRejected
from p2p_oicp.ocpi.base import encode_json
from p2p_oicp.ocpi.enumerations import CommandResponseType, CommandType
from p2p_oicp.ocpi.envelope import OcpiReply, single_object
from p2p_oicp.ocpi_gateway.cpo.context import CpoContext
from p2p_oicp.ocpi_gateway.node_calls import NodeRefused, NodeUnavailable
from p2p_oicp.ocpi_gateway.requests import ModuleRequest, ModuleResult, unknown_object
from p2p_oicp.ocpi_mapping.authorizations import code_of
from p2p_oicp.ocpi_mapping.commands import from_remote_request, to_acknowledgement
from p2p_oicp.ocpi_mapping.ids import Party, party_of
from p2p_oicp.oicp import Acknowledgement, EvseID, Message
from p2p_oicp.oicp.charging import ChargingNotification, NotificationType
from p2p_oicp.oicp.enums import ErrorType, StatusCodeValue
from p2p_oicp.oicp.message import decode, encode
from p2p_oicp.storage import Transaction
from p2p_oicp.storage.ocpi import commands, evses, sessions
from p2p_oicp.storage.ocpi.commands import StoredCommand
from p2p_oicp.storage.ocpi.sessions import OcpiSession, OpenedBy, SessionFacts

log = structlog.get_logger(__name__)

#: The command that each remote operation is.
COMMAND_BY_OPERATION: Final[Mapping[str, CommandType]] = MappingProxyType(
    {
        "AuthorizeRemoteStart": CommandType.START_SESSION,
        "AuthorizeRemoteStop": CommandType.STOP_SESSION,
        "AuthorizeRemoteReservationStart": CommandType.RESERVE_NOW,
        "AuthorizeRemoteReservationStop": CommandType.CANCEL_RESERVATION,
    }
)
_OPENED_BY: Mapping[str, OpenedBy] = MappingProxyType(
    {CommandType.START_SESSION: OpenedBy.REMOTE, CommandType.RESERVE_NOW: OpenedBy.RESERVATION}
)
# The node's request is answered so much before its deadline.
_MARGIN_SECONDS = 2.0
_MAX_ERROR_TEXT = 250
_DESCRIPTIONS = {str(known): known.description for known in StatusCodeValue}


class CommandSender:
    """Sends commands, and takes their results.

    Args:
        context: of the partner.
    """

    def __init__(self, context: CpoContext) -> None:
        self._context = context
        self._awaited: dict[str, asyncio.Future[dict[str, Any]]] = {}

    def __repr__(self) -> str:
        return f"<CommandSender {self._context.name} awaited={len(self._awaited)}>"

    async def send(self, operation: str, message: Message) -> Acknowledgement:
        """Carry out a remote operation; raise PeerError where the partner gives no usable answer."""
        command, request = COMMAND_BY_OPERATION[operation], _json_of(message)
        session_id = str(request["SessionID"])
        evse = await self._evse(str(request.get("EvseID") or ""))
        session = await sessions.get_now(self._context.store, self._context.name, session_id)
        command_id = self._context.ids.process_id().lower()
        url = f"{self._context.partners.settings.url}/2.2.1/emsp/commands/{command}/{command_id}"
        made = from_remote_request(
            command, request, evse, (session and session.ocpi_id) or None, url, self._context.terms()
        )
        if made.body is None:
            return _acknowledgement(made.answer or {})
        ends_at = self._context.clock.monotonic() + self._context.remote_seconds - _MARGIN_SECONDS
        await self._store(command_id, command, request, made.body)
        future = self._awaited[command_id] = asyncio.get_running_loop().create_future()
        try:
            sender = self._sender(request)
            if self._context.settings.push_token_before_start and "token" in made.body:
                await self._push_token(made.body["token"])
            reply = await self._post(command, made.body, sender)
            response = single_object(reply.data)
            result = await self._result(command_id, response, ends_at, future)
            return _acknowledgement(to_acknowledgement(command, session_id, reply.status_code, response, result))
        finally:
            self._awaited.pop(command_id, None)

    def _sender(self, request: Mapping[str, Any]) -> Party | None:
        """Return the party in whose name a command is sent: that of the driver's provider."""
        provider = request.get("ProviderID")
        party = party_of(str(provider)) if provider else None
        own = self._context.partners.own_parties(self._context.settings)
        is_ours = party is not None and any((role.country_code, role.party_id) == party for role in own)
        return party if is_ours else None

    async def _evse(self, evse_id: str) -> dict[str, Any] | None:
        stored = await evses.find_now(self._context.store, self._context.name, EvseID(evse_id).key) if evse_id else None
        if stored is None:
            return None
        return {
            "location_id": stored.location_id,
            "uid": stored.uid,
            "connectors": [connector.id for connector in stored.connectors],
            "capabilities": list(stored.capabilities),
        }

    async def _store(
        self, command_id: str, command: CommandType, request: Mapping[str, Any], body: Mapping[str, Any]
    ) -> None:
        """Store the command, and the session that it opens."""
        now = self._context.clock.time()
        session_key = sessions.key_of(str(request["SessionID"]))
        deadline = now + self._context.remote_seconds - _MARGIN_SECONDS
        stored = StoredCommand(command_id, self._context.name, command, session_key, now, deadline)
        opened = self._opened(command, request, body, now) if command in _OPENED_BY else None

        def job(tx: Transaction) -> None:
            commands.insert(tx, stored)
            if opened is not None and sessions.get(tx, self._context.name, opened.session_id) is None:
                sessions.put(tx, opened)

        await self._context.write(job)

    def _opened(
        self, command: CommandType, request: Mapping[str, Any], body: Mapping[str, Any], now: float
    ) -> OcpiSession:
        token = body["token"]
        facts = SessionFacts(
            uid=token["uid"],
            contract_id=token["contract_id"],
            location_id=body["location_id"],
            evse_uids=(body["evse_uid"],),
            evse_id=str(request.get("EvseID") or ""),
            provider_id=str(request.get("ProviderID") or ""),
            identification=request["Identification"],
            emp_partner_session_id=str(request.get("EMPPartnerSessionID") or ""),
        )
        return OcpiSession(self._context.name, str(request["SessionID"]), _OPENED_BY[command], now, now, facts=facts)

    async def _push_token(self, token: Mapping[str, Any]) -> None:
        """Send the driver's token first, for partners that start none but those that they have."""
        path = ("tokens", "RECEIVER", token["country_code"], token["party_id"], token["uid"])
        try:
            await self._context.call("PUT", *path, body=token, query={"type": token["type"]}, deadline=COMMAND_SECONDS)
        except PeerError as error:
            log.warning("ocpi.token_not_sent", partner=self._context.name, reason=str(error))

    async def _post(self, command: CommandType, body: Mapping[str, Any], sender: Party | None) -> OcpiReply:
        try:
            return await self._context.call(
                "POST", "commands", "RECEIVER", command, body=body, deadline=COMMAND_SECONDS, sender=sender
            )
        except NotAnEnvelope as error:
            if error.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            # Without an envelope, but unmistakable: it does nothing.
            code = code_of(error.http_status, None)
            raise PeerRejected(error.peer, error.reason, http_status=error.http_status, code=code) from error

    async def _result(
        self, command_id: str, response: dict[str, Any] | None, ends_at: float, future: asyncio.Future[dict[str, Any]]
    ) -> dict[str, Any] | None:
        """Return the result of a command that the partner has accepted; None: it has not come in time."""
        if response is None:
            return None
        seconds = _seconds_to_wait(response, ends_at - self._context.clock.monotonic())
        deadline, body = self._context.clock.time() + seconds, encode_json(response)
        await self._context.write(lambda tx: commands.set_response(tx, command_id, body, deadline))
        if str(response.get("result", "")).upper() != CommandResponseType.ACCEPTED:
            return None
        await asyncio.wait((future,), timeout=seconds)
        return future.result() if future.done() else None

    async def handle(self, request: ModuleRequest) -> ModuleResult:
        """Take the result of a command."""
        command_id, result = request.segments["id"].lower(), dict(request.body or {})
        stored = await commands.get_now(self._context.store, command_id)
        if stored is None or stored.partner != self._context.name:
            raise unknown_object(f"the command {command_id}")
        is_first = await self._context.write(lambda tx: commands.set_result(tx, command_id, encode_json(result)))
        future = self._awaited.get(command_id)
        if future is not None and not future.done():
            future.set_result(result)
        elif is_first:
            await self._take_late(stored, result)
        return ModuleResult()

    async def _take_late(self, stored: StoredCommand, result: Mapping[str, Any]) -> None:
        """Tell the node of a start that failed after it was answered with yes."""
        word = str(result.get("result", "")).upper()
        log.warning("ocpi.late_result", partner=stored.partner, command=stored.command, result=word)
        if word == CommandResponseType.ACCEPTED or stored.command not in _OPENED_BY:
            return
        session = await sessions.get_now(self._context.store, self._context.name, stored.session_key)
        if session is None or session.facts.started:
            return
        text = "; ".join([f"{stored.command}: {word}", *_texts(result)])
        notification = {
            "Type": NotificationType.ERROR,
            "SessionID": session.session_id,
            "Identification": session.facts.identification,
            "EvseID": session.facts.evse_id,
            "OperatorID": self._context.terms().operator_id,
            "ErrorType": ErrorType.CRITICAL_ERROR,
            "ErrorAdditionalInfo": text[:_MAX_ERROR_TEXT],
        }
        try:
            await self._context.node.deliver(ChargingNotification, notification)
        except (NodeRefused, NodeUnavailable) as error:
            log.warning("ocpi.late_result_not_sent", partner=stored.partner, reason=str(error))


def _seconds_to_wait(response: Mapping[str, Any], longest: float) -> float:
    """Return how long a result is waited for: the partner's own timeout, if that is sooner than ours."""
    timeout = response.get("timeout")
    if isinstance(timeout, bool) or not isinstance(timeout, int) or timeout <= 0:
        return max(0.0, longest)
    return max(0.0, min(longest, float(timeout)))


def _texts(result: Mapping[str, Any]) -> list[str]:
    """Return the texts of a result's message, which some partners send as an object."""
    message = result.get("message")
    entries = message if isinstance(message, list) else [message]
    return [str(entry["text"]) for entry in entries if isinstance(entry, Mapping) and entry.get("text")]


def _json_of(message: Message) -> dict[str, Any]:
    value: dict[str, Any] = decode(encode(message))  # type: ignore[assignment]
    return value


def _acknowledgement(value: Mapping[str, Any]) -> Acknowledgement:
    """Return an Acknowledgement with its description; raise PeerError for one that says nothing."""
    code = str(value["StatusCode"]["Code"])
    if code == StatusCodeValue.PARTNER_DID_NOT_RESPOND:
        raise PeerProtocolError("the OCPI partner", "does not say whether it will do it")
    status = {"Code": code, "Description": _DESCRIPTIONS[code]}
    return Acknowledgement.from_json(encode_json({**value, "StatusCode": status}))
