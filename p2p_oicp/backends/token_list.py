"""The contract system of an EMP that has none: a list of drivers in the node's own store (``p2p-oicp tokens``)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from p2p_oicp.crypto.pins import pin_matches
from p2p_oicp.oicp import (
    Acknowledgement,
    AuthorizationStart,
    AuthorizationStatus,
    AuthorizationStop,
    AuthorizeStart,
    AuthorizeStop,
    ChargeDetailRecord,
    ChargingNotification,
    Identification,
    StatusCode,
    StatusCodeValue,
)
from p2p_oicp.oicp.common import rejection_code, token_key
from p2p_oicp.storage import Store, Transaction, sessions, tokens

_SUCCESS = StatusCode.of(StatusCodeValue.SUCCESS)


class TokenListBackend:
    """Says yes to who is on the list; keeps nothing of its own, for the node stores sessions and records."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def authorize_start(self, request: AuthorizeStart) -> AuthorizationStart:
        """Refuse with 102 (card), 101 (QR code or PIN) or 105 (Plug & Charge) who is not on the list."""
        code = await self._authorize(request.identification)
        return AuthorizationStart(
            authorization_status=_authorization_status(code),
            status_code=StatusCode.of(code),
            session_id=request.session_id,
        )

    def transactional_check(self, identification: Identification) -> Callable[[Transaction], StatusCodeValue] | None:
        """Return what judges within a transaction of the node; None where it takes too long for that (a PIN)."""
        if identification.qr_code is not None:
            return None
        key = identification.uid or identification.evco_id

        def check(tx: Transaction) -> StatusCodeValue:
            is_listed = key is not None and tx.one(tokens.TOKEN_BY_KEY, key_=key.key) is not None
            return StatusCodeValue.SUCCESS if is_listed else rejection_code(token_key(identification))

        return check

    async def authorize_stop(self, request: AuthorizeStop) -> AuthorizationStop:
        """Let the medium that started the session stop it, as long as it is on the list."""
        stop_token = token_key(request.identification)
        rows = self._store.query_inline(sessions.GET, role_="emp", key_=request.session_id.key)
        start_token = rows[0]["identification_key"] if rows else ""
        code = (
            await self._authorize(request.identification) if stop_token == start_token else rejection_code(stop_token)
        )
        return AuthorizationStop(
            authorization_status=_authorization_status(code),
            status_code=StatusCode.of(code),
            session_id=request.session_id,
        )

    async def charging_notifications(self, notification: ChargingNotification) -> Acknowledgement:
        """Take it: the node has stored it."""
        return Acknowledgement(result=True, status_code=_SUCCESS, session_id=notification.session_id)

    async def charge_detail_record(self, record: ChargeDetailRecord) -> Acknowledgement:
        """Take it: the node has stored it, and it can be read from the node."""
        return Acknowledgement(result=True, status_code=_SUCCESS, session_id=record.session_id)

    async def _authorize(self, identification: Identification) -> StatusCodeValue:
        """Return SUCCESS, or why not; one indexed query, however long the list is."""
        key = identification.uid or identification.evco_id
        rows = self._store.query_inline(tokens.TOKEN_BY_KEY, key_=key.key) if key else []
        if not rows:
            return rejection_code(token_key(identification))
        code, pin_hash = identification.qr_code, rows[0]["pin_hash"]
        if code is None:
            return StatusCodeValue.SUCCESS
        if pin_hash is None or code.pin is None:
            return StatusCodeValue.QR_CODE_INVALID
        is_pin_valid = await asyncio.to_thread(pin_matches, code.pin, pin_hash)
        return StatusCodeValue.SUCCESS if is_pin_valid else StatusCodeValue.QR_CODE_INVALID


def _authorization_status(code: StatusCodeValue) -> AuthorizationStatus:
    return AuthorizationStatus.AUTHORIZED if code is StatusCodeValue.SUCCESS else AuthorizationStatus.NOT_AUTHORIZED
