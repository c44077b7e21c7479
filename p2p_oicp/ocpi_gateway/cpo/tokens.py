"""Tokens for a partner: the authentication data that EMPs have pushed to the node (GATEWAY 9.2).

`TokenPublisher` is what the node replicates authentication data to, as to a peer. It stores each record as a token in
the list that the partner may read (sender interface), and sends the partner what it has not got yet: the newest form of
each token, four at a time. A token that is withdrawn, or whose card has expired, is sent as invalid and stays listed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

import structlog

from p2p_oicp.client.ocpi import NotAnEnvelope
from p2p_oicp.errors import PeerError, PeerProtocolError
from p2p_oicp.ocpi.base import encode_json, format_time
from p2p_oicp.ocpi.envelope import OcpiStatus
from p2p_oicp.ocpi_gateway.cpo.context import CpoContext
from p2p_oicp.ocpi_gateway.requests import ModuleRequest, ModuleResult
from p2p_oicp.ocpi_mapping.amounts import time_of
from p2p_oicp.ocpi_mapping.identifications import from_authentication
from p2p_oicp.ocpi_mapping.ids import Party, party_of
from p2p_oicp.ocpi_mapping.terms import Terms
from p2p_oicp.oicp.enums import ActionType
from p2p_oicp.oicp.identifiers import ProviderID
from p2p_oicp.oicp.message import decode
from p2p_oicp.oicp.operations import Operation
from p2p_oicp.storage import Transaction
from p2p_oicp.storage.ocpi import findings, served
from p2p_oicp.storage.ocpi.findings import StoredFinding
from p2p_oicp.storage.ocpi.objects import ObjectKind
from p2p_oicp.storage.ocpi.served import ServedFilter, ServedObject

log = structlog.get_logger(__name__)

_KIND = ObjectKind.TOKEN
_AT_ONCE: Final = 4
_BATCH: Final = 200


class TokenPublisher:
    """Keeps the partner's tokens as the EMPs have them.

    Args:
        context: of the partner.
    """

    def __init__(self, context: CpoContext) -> None:
        self._context = context

    async def push(self, operation: Operation, party: str, body: bytes) -> None:
        """Take one push of authentication data; raise PeerError if the partner cannot be sent all of it."""
        del operation
        message: Any = decode(body)
        data = message["ProviderAuthenticationData"]
        provider_id = str(data.get("ProviderID") or party)
        if self._is_presented(provider_id):
            records: Sequence[dict[str, Any]] = data.get("AuthenticationDataRecord") or ()
            await self._context.write(lambda tx: self._store(tx, message["ActionType"], provider_id, records))
        await self.send_outstanding()

    def _is_presented(self, provider_id: str) -> bool:
        """Whether the partner knows us as this provider: another one of its partners may have the others."""
        settings, party = self._context.settings, party_of(provider_id)
        own = {(role.country_code, role.party_id) for role in self._context.partners.own_parties(settings)}
        return party is not None and (settings.presents_every_peer or tuple(party) in own)

    def _store(self, tx: Transaction, action: str, provider_id: str, records: Iterable[dict[str, Any]]) -> None:
        terms, group_key = self._context.terms(), ProviderID(provider_id).key
        found: list[StoredFinding] = []
        current: set[str] = set()
        for record in records:
            token = self._served(record, provider_id, group_key, terms, found)
            if token is None:
                continue
            current.add(token.object_id.lower())
            self._put(tx, token if action != ActionType.DELETE else _invalid(token, terms))
        if action == ActionType.FULL_LOAD:
            for token in served.of_group(tx, self._context.name, _KIND, group_key):
                if token.object_id.lower() not in current:
                    self._put(tx, _invalid(token, terms))
        for finding in found:
            findings.add(tx, self._context.name, finding)

    def _served(
        self, record: dict[str, Any], provider_id: str, group_key: str, terms: Terms, found: list[StoredFinding]
    ) -> ServedObject | None:
        made = from_authentication(ActionType.INSERT, provider_id, record, terms)
        uid = str((made.body or {}).get("uid") or provider_id)
        found += self._context.findings_of(_KIND, uid, made.losses)
        if made.body is None:
            found.append(self._context.finding(_KIND, uid, made.reason or "identification", "is no token of OCPI"))
            return None
        card = record["Identification"].get("RFIDIdentification") or {}
        expiry = card.get("ExpiryDate")
        return ServedObject(
            self._context.name,
            _KIND,
            made.body["country_code"],
            made.body["party_id"],
            served_id(made.body["type"], uid),
            group_key,
            encode_json(made.body),
            terms.now.timestamp(),
            # One that has expired already is invalid from the beginning.
            time_of(expiry).timestamp() if expiry and made.body["valid"] else None,
        )

    def _put(self, tx: Transaction, token: ServedObject) -> None:
        """Store a token that is new or another one than before."""
        earlier = served.find(tx, self._context.name, _KIND, token.object_id)
        party = (token.country_code, token.party_id)
        same = next((each for each in earlier if (each.country_code, each.party_id) == party), None)
        if same is None or _content(same) != _content(token):
            served.put(tx, token)

    async def expire(self) -> None:
        """Make tokens invalid whose cards have expired."""
        terms = self._context.terms()

        def job(tx: Transaction) -> None:
            for token in served.expired(tx, self._context.name, _KIND, terms.now.timestamp()):
                served.put(tx, _invalid(token, terms))

        await self._context.write(job)

    async def send_again(self) -> int:
        """Have all tokens sent again; return how many."""
        return await self._context.write(lambda tx: served.send_again(tx, self._context.name, _KIND))

    async def send_outstanding(self) -> int:
        """Send the partner what it has not got yet, and return how many tokens; raise PeerError.

        A partner that is not registered yet, or has no place for tokens, gets nothing and may read the list.
        """
        partner = self._context.partners.get(self._context.name)
        if not partner.is_callable or not partner.has_endpoint("tokens", "RECEIVER"):
            return 0
        sent = 0
        async with self._context.one_at_a_time("tokens"):
            while batch := await served.outstanding(self._context.store, self._context.name, _BATCH):
                for start in range(0, len(batch), _AT_ONCE):
                    await self._send_some(batch[start : start + _AT_ONCE])
                    sent += len(batch[start : start + _AT_ONCE])
        return sent

    async def _send_some(self, tokens: Sequence[ServedObject]) -> None:
        outcomes = await asyncio.gather(*(self._send(token) for token in tokens), return_exceptions=True)
        ended = [
            token for token, outcome in zip(tokens, outcomes, strict=True) if not isinstance(outcome, BaseException)
        ]
        refusals = [outcome for outcome in outcomes if isinstance(outcome, StoredFinding)]

        def job(tx: Transaction) -> None:
            for token in ended:
                served.acknowledge(tx, token)
            for refusal in refusals:
                findings.add(tx, self._context.name, refusal)

        await self._context.write(job)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _send(self, token: ServedObject) -> StoredFinding | None:
        """Send one token; return why the partner refuses it for good. Raises PeerError."""
        body: Any = decode(token.body)
        target = ("tokens", "RECEIVER", token.country_code, token.party_id, str(body["uid"]))
        verb, content = "PUT", body
        if not body["valid"]:
            verb, content = "PATCH", {"valid": False, "last_updated": body["last_updated"]}
        text = await self._try(verb, target, content, body)
        if text is not None and verb == "PATCH":
            # One that it has never had is sent as a whole.
            text = await self._try("PUT", target, body, body)
        return None if text is None else self._context.finding(_KIND, token.object_id, "refused", text)

    async def _try(self, verb: str, target: tuple[str, ...], content: object, body: dict[str, Any]) -> str | None:
        query = {"type": str(body["type"])}
        sender = Party(target[2], target[3])
        try:
            reply = await self._context.call(verb, *target, body=content, query=query, sender=sender)
        except NotAnEnvelope as error:
            if error.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            return error.reason
        if reply.is_success:
            return None
        text = f"the partner refuses the token: {reply.status_code} {reply.message}".strip()
        if (reply.status_code or 0) >= OcpiStatus.SERVER_ERROR:
            raise PeerProtocolError(self._context.settings.destination, text)
        return text

    async def handle(self, request: ModuleRequest) -> ModuleResult:
        """Serve the list of tokens."""
        page = request.page
        if page is None:
            return ModuleResult([], total=0)
        since = page.date_from.timestamp() if page.date_from else None
        until = page.date_to.timestamp() if page.date_to else None
        selection = ServedFilter(self._context.name, _KIND, since, until)
        tokens, total = await served.page(self._context.store, selection, page.offset, page.limit)
        return ModuleResult([decode(token.body) for token in tokens], total=total)


def served_id(token_type: object, uid: object) -> str:
    """Return the id under which a token is served: an EvcoID may be that of an app's user and of a vehicle."""
    return f"{str(token_type).upper()} {uid}"


def _invalid(token: ServedObject, terms: Terms) -> ServedObject:
    body: Any = decode(token.body)
    if not body["valid"]:
        return replace(token, expires_at=None)
    body = {**body, "valid": False, "last_updated": format_time(terms.now)}
    changed = replace(token, body=encode_json(body), last_updated=terms.now.timestamp(), expires_at=None)
    return replace(changed, is_outstanding=True)


def _content(token: ServedObject) -> dict[str, Any]:
    """Return what counts of a token: not the time at which it was written."""
    body: Any = decode(token.body)
    return {name: member for name, member in body.items() if name != "last_updated"}


async def try_to_send(publisher: TokenPublisher, partner: str) -> None:
    """Send what is outstanding; a failure is logged, and the next try sends it."""
    try:
        await publisher.send_outstanding()
    except PeerError as error:
        log.warning("ocpi.tokens_delayed", partner=partner, reason=error.reason)
