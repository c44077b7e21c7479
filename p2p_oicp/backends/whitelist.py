"""The contract system of an EMP that has none: a list of drivers in the node's own store (``p2p-oicp tokens``)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from p2p_oicp.identity.pins import pin_matches
from p2p_oicp.oicp import (
    Acknowledgement,
    AuthorizationStart,
    AuthorizationStatus,
    AuthorizationStop,
    AuthorizeStart,
    AuthorizeStop,
    ChargeDetailRecord,
    ChargingNotification,
    Code,
    Identification,
    StatusCode,
)
from p2p_oicp.oicp.media import medium_of, refusal_of
from p2p_oicp.storage import Store, Transaction, sessions, tokens

_TAKEN = StatusCode.of(Code.SUCCESS)


class Whitelist:
    """Says yes to who is on the list; keeps nothing of its own, for the node stores sessions and records."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def authorize_start(self, request: AuthorizeStart) -> AuthorizationStart:
        """Refuse with 102 (card), 101 (QR code or PIN) or 105 (Plug & Charge) who is not on the list."""
        code = await self._judge(request.identification)
        return AuthorizationStart(
            authorization_status=_status(code), status_code=StatusCode.of(code), session_id=request.session_id
        )

    def judging(self, identification: Identification) -> Callable[[Transaction], Code] | None:
        """Return what judges within a transaction of the node; None where it takes too long for that (a PIN)."""
        if identification.qr_code is not None:
            return None
        key = identification.uid or identification.evco_id

        def judge(tx: Transaction) -> Code:
            known = key is not None and tx.one(tokens.FIND, key_=key.key) is not None
            return Code.SUCCESS if known else refusal_of(medium_of(identification))

        return judge

    async def authorize_stop(self, request: AuthorizeStop) -> AuthorizationStop:
        """Let the medium that started the session stop it, as long as it is on the list."""
        medium = medium_of(request.identification)
        rows = self._store.look_up(sessions.GET, role_="emp", key_=request.session_id.key)
        started_by = rows[0]["medium"] if rows else ""
        code = await self._judge(request.identification) if medium == started_by else refusal_of(medium)
        return AuthorizationStop(
            authorization_status=_status(code), status_code=StatusCode.of(code), session_id=request.session_id
        )

    async def charging_notifications(self, notification: ChargingNotification) -> Acknowledgement:
        """Take it: the node has stored it."""
        return Acknowledgement(result=True, status_code=_TAKEN, session_id=notification.session_id)

    async def charge_detail_record(self, record: ChargeDetailRecord) -> Acknowledgement:
        """Take it: the node has stored it, and it can be read from the node."""
        return Acknowledgement(result=True, status_code=_TAKEN, session_id=record.session_id)

    async def _judge(self, identification: Identification) -> Code:
        """Return SUCCESS, or why not; one indexed query, however long the list is."""
        key = identification.uid or identification.evco_id
        rows = self._store.look_up(tokens.FIND, key_=key.key) if key else []
        if not rows:
            return refusal_of(medium_of(identification))
        code, pin_hash = identification.qr_code, rows[0]["pin_hash"]
        if code is None:
            return Code.SUCCESS
        if pin_hash is None or code.pin is None:
            return Code.QR_CODE_INVALID
        fits = await asyncio.to_thread(pin_matches, code.pin, pin_hash)
        return Code.SUCCESS if fits else Code.QR_CODE_INVALID


def _status(code: Code) -> AuthorizationStatus:
    return AuthorizationStatus.AUTHORIZED if code is Code.SUCCESS else AuthorizationStatus.NOT_AUTHORIZED
