"""Real-time authorization (GATEWAY 9.3): a partner asks whether a card may charge; an EMP answers through the node."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from p2p_oicp.ocpi.enumerations import AllowedType, TokenType
from p2p_oicp.ocpi.envelope import OcpiStatus
from p2p_oicp.ocpi_gateway.cpo.context import CpoContext
from p2p_oicp.ocpi_gateway.cpo.tokens import served_id
from p2p_oicp.ocpi_gateway.node_calls import NodeRefused, NodeUnavailable
from p2p_oicp.ocpi_gateway.requests import ModuleRequest, ModuleResult
from p2p_oicp.ocpi_mapping.authorizations import (
    OcpiAnswer,
    from_authorization_start,
    status_of,
    to_authorize_start,
)
from p2p_oicp.oicp import AuthorizeStart
from p2p_oicp.oicp.enums import AuthorizationStatus
from p2p_oicp.oicp.message import decode
from p2p_oicp.storage.ocpi import evses, served, sessions
from p2p_oicp.storage.ocpi.objects import ObjectKind
from p2p_oicp.storage.ocpi.sessions import OcpiSession, OpenedBy, SessionFacts

#: Seconds for the whole answer; the node's own deadline is shorter.
_DEADLINE_SECONDS: Final = 8.0


class TokenAuthorizer:
    """Answers ``POST tokens/{uid}/authorize``.

    Args:
        context: of the partner.
    """

    def __init__(self, context: CpoContext) -> None:
        self._context = context

    async def handle(self, request: ModuleRequest) -> ModuleResult:
        """Serve one question. A session is stored before the partner may begin to charge."""
        uid = request.segments["token_uid"]
        # extrawest writes the name of the parameter in its own way.
        token_type = (request.query.get("type") or request.query.get("token_type") or TokenType.RFID).upper()
        references = dict(request.body) if request.body else None
        places = await self._evses(references)
        stored_token = await self._stored_token(uid, token_type)
        terms = self._context.terms()
        question = to_authorize_start(
            uid, token_type, references, places, stored_token, self._context.ids.session_id(), terms
        )
        if isinstance(question, OcpiAnswer):
            return _result(question)
        answer = await self._ask(question)
        if isinstance(answer, OcpiAnswer):
            return _result(answer)
        result = from_authorization_start(answer, uid, token_type, references, stored_token, terms)
        if result.data is not None and result.data["allowed"] == AllowedType.ALLOWED:
            await self._store(question, answer, result.data["token"], uid, references, places)
        return _result(result)

    async def _ask(self, question: dict[str, Any]) -> dict[str, Any] | OcpiAnswer:
        unavailable = OcpiAnswer(200, OcpiStatus.SERVER_ERROR)
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS):
                return await self._context.node.ask(AuthorizeStart, question)
        except NodeRefused as refused:
            code = refused.code
            if not code.isdigit():
                return OcpiAnswer(200, OcpiStatus.INVALID_PARAMETERS)
            return {"AuthorizationStatus": AuthorizationStatus.NOT_AUTHORIZED, "StatusCode": {"Code": code}}
        except (NodeUnavailable, TimeoutError):
            return unavailable

    async def _evses(self, references: Mapping[str, Any] | None) -> dict[str, str]:
        """Return the EvseIDs of a location, by uid."""
        if references is None:
            return {}
        stored = await evses.of_location_now(self._context.store, self._context.name, str(references["location_id"]))
        return {evse.uid: evse.evse_id for evse in stored}

    async def _stored_token(self, uid: str, token_type: str) -> dict[str, Any] | None:
        """Return a token as we serve it; None: nobody has pushed it."""
        name = served_id(token_type, uid)
        found = await served.find_now(self._context.store, self._context.name, ObjectKind.TOKEN, name)
        token: dict[str, Any] | None = decode(found[0].body) if found else None  # type: ignore[assignment]
        return token

    async def _store(
        self,
        question: Mapping[str, Any],
        answer: Mapping[str, Any],
        token: Mapping[str, Any],
        uid: str,
        references: Mapping[str, Any] | None,
        places: Mapping[str, str],
    ) -> None:
        """Store the session that begins now: its Session and CDR are recognised by what is known of it."""
        named = [str(each) for each in (references or {}).get("evse_uids") or ()]
        facts = SessionFacts(
            uid=uid,
            contract_id=str(token.get("contract_id") or ""),
            location_id=str((references or {}).get("location_id") or ""),
            # A partner that names the location alone may mean any of its EVSEs.
            evse_uids=tuple(named or places),
            evse_id=str(question.get("EvseID") or ""),
            provider_id=str(answer.get("ProviderID") or ""),
            identification=question["Identification"],
            emp_partner_session_id=str(answer.get("EMPPartnerSessionID") or ""),
        )
        now = self._context.clock.time()
        session_id = str(answer.get("SessionID") or question["SessionID"])
        session = OcpiSession(self._context.name, session_id, OpenedBy.AUTHORIZE, now, now, facts=facts)
        await self._context.write(lambda tx: sessions.put(tx, session))


def _result(answer: OcpiAnswer) -> ModuleResult:
    return ModuleResult(
        answer.data, status_code=answer.status_code, http_status=answer.http_status, message=_text_of(answer)
    )


def _text_of(answer: OcpiAnswer) -> str | None:
    if answer.status_code == OcpiStatus.UNKNOWN_TOKEN:
        return "the token is unknown"
    if answer.status_code == OcpiStatus.UNKNOWN_LOCATION:
        return "none of the EVSEs is known"
    return "no provider has answered" if answer.status_code >= status_of("021") else None
