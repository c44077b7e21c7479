"""Requests that stay in the process: those of a Python program, and of a company that is both CPO and EMP."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlencode

from p2p_oicp.client import HttpResponse, OicpReply, read_reply
from p2p_oicp.errors import PeerProtocolError, PeerTimeout
from p2p_oicp.oicp import Message, OperatorID, ProviderID
from p2p_oicp.oicp.operations import OPERATIONS, Operation, Party, sender_party
from p2p_oicp.peers import Peer
from p2p_oicp.server.dispatcher import OperationDispatcher
from p2p_oicp.server.inbound import InboundRequest
from p2p_oicp.server.problems import HttpError

_JSON_HEADERS = MappingProxyType({"Content-Type": "application/json"})


async def _execute(
    dispatcher: OperationDispatcher,
    authority: str,
    operation: Operation,
    party: str | None,
    body: bytes,
    query: str = "",
) -> OicpReply:
    request = InboundRequest("POST", authority, operation.path, query, _JSON_HEADERS)
    try:
        response = await dispatcher.execute_in_process(operation, party, request, body)
    except HttpError as error:
        response = error.to_response()
    return read_reply(HttpResponse(authority, response.http_status, _JSON_HEADERS, response.body), operation, now=0.0)


class InProcessPeerClient:
    """The `PeerClient` of this very node: a company's CPO role calls its EMP role, and vice versa."""

    def __init__(self, dispatcher: OperationDispatcher) -> None:
        self._dispatcher = dispatcher

    async def call(
        self,
        peer: Peer,
        operation: Operation,
        party: str | None,
        body: bytes,
        *,
        deadline: float,
        query: Mapping[str, str] | None = None,
    ) -> OicpReply:
        try:
            async with asyncio.timeout(deadline):
                return await _execute(self._dispatcher, peer.name, operation, party, body, urlencode(query or {}))
        except TimeoutError as error:
            raise PeerTimeout(peer.name, "no answer within the deadline") from error


class LocalBackendClient:
    """Sends messages to this node as our backend does over HTTP."""

    def __init__(self, dispatcher: OperationDispatcher, local_peer: Peer) -> None:
        self._dispatcher = dispatcher
        self._local_peer = local_peer

    async def send(self, request: Message) -> Message:
        """Return the response; raise PeerRejected where the node refuses ``request`` as invalid."""
        operation = _operation_of(request)
        party = sender_party(operation, request) or self._default_party(operation)
        body = request.to_json()
        reply = await _execute(self._dispatcher, self._local_peer.name, operation, party.text, body)
        return type(reply.message).from_json(reply.body) if operation.paged else reply.message

    def _default_party(self, operation: Operation) -> OperatorID | ProviderID:
        parties = self._local_peer.operators if operation.sender is Party.CPO else self._local_peer.providers
        if not parties:
            raise PeerProtocolError(
                self._local_peer.name,
                f"is not authorized for any {operation.sender.upper()}, which {operation.name} needs",
            )
        return parties[0]


def _operation_of(request: Message) -> Operation:
    for operation in OPERATIONS:
        if isinstance(request, operation.request):
            return operation
    raise TypeError(f"{type(request).__name__} is not the request of an operation")
