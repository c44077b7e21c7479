"""Requests that never leave the process: a Python program's own, and those of a company that is both CPO and EMP."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlencode

from p2p_oicp.errors import PeerBroken, PeerSilent
from p2p_oicp.identity import SignedParts
from p2p_oicp.oicp import Message, OperatorID, ProviderID
from p2p_oicp.oicp.operation import Operation, Party
from p2p_oicp.oicp.operations import OPERATIONS, sender_party
from p2p_oicp.peers import Peer
from p2p_oicp.transport import Reply, WireAnswer, read_reply
from p2p_oicp.web.gate import Arrival
from p2p_oicp.web.problems import HttpProblem
from p2p_oicp.web.service import Api

_NO_HEADERS = MappingProxyType({"Content-Type": "application/json"})


async def _ask(api: Api, who: str, operation: Operation, party: str | None, body: bytes, query: str = "") -> Reply:
    parts = SignedParts("POST", who, operation.path, query, _NO_HEADERS, body)
    try:
        answer = await api.answer(operation, party, Arrival(parts, body, is_own=True))
    except HttpProblem as problem:
        answer = problem.answer()
    return read_reply(WireAnswer(who, answer.http_status, _NO_HEADERS, answer.body), operation, now=0.0)


class Loopback:
    """A courier to our own peer API (``delivery.Courier``)."""

    def __init__(self, peer_api: Api) -> None:
        self._api = peer_api

    async def call(
        self,
        peer: Peer,
        operation: Operation,
        party: str | None,
        body: bytes,
        *,
        deadline: float,
        query: Mapping[str, str] | None = None,
    ) -> Reply:
        """Serve the request as if a peer had sent it."""
        try:
            async with asyncio.timeout(deadline):
                return await _ask(self._api, peer.name, operation, party, body, urlencode(query or {}))
        except TimeoutError as error:
            raise PeerSilent(peer.name, "no answer within the deadline") from error


class OwnCalls:
    """Sends messages the way our backend does over HTTP."""

    def __init__(self, backend_api: Api, me: Peer) -> None:
        self._api = backend_api
        self._me = me

    async def send(self, request: Message) -> Message:
        """Return the answer to ``request``; raises PeerRejected where the node refuses it as invalid."""
        operation = _operation_of(request)
        party = sender_party(operation, request) or self._first_party(operation)
        body = request.to_json()
        reply = await _ask(self._api, self._me.name, operation, party.text, body)
        return type(reply.message).from_json(reply.body) if operation.paged else reply.message

    def _first_party(self, operation: Operation) -> OperatorID | ProviderID:
        parties = self._me.operators if operation.sender is Party.CPO else self._me.providers
        if not parties:
            raise PeerBroken(self._me.name, f"speaks for no {operation.sender.upper()}, which {operation.name} needs")
        return parties[0]


def _operation_of(request: Message) -> Operation:
    for operation in OPERATIONS:
        if isinstance(request, operation.request):
            return operation
    raise TypeError(f"{type(request).__name__} is not the request of an operation")
