"""The built-in EMP backend, for an EMP without a contract system: a list of drivers (``p2p-oicp tokens``)."""

from __future__ import annotations

from collections.abc import Callable

from p2p_oicp.crypto.pins import PinGuard, pin_matches
from p2p_oicp.errors import OperationNotSupported
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
    Message,
    StatusCode,
    StatusCodeValue,
)
from p2p_oicp.oicp.common import rejection_code, token_key
from p2p_oicp.oicp.operations import Operation, Party
from p2p_oicp.storage import Store, Transaction, sessions, tokens

_SUCCESS = StatusCode.of(StatusCodeValue.SUCCESS)


class TokenListBackend:
    """Authorizes the UIDs and EvcoIDs on the list.

    Notifications and CDRs are acknowledged and not stored a second time: they are in the node's store already, where
    ``p2p-oicp sessions`` and ``p2p-oicp cdrs`` read them.

    Args:
        store: has the list.
        pins: runs bcrypt; operators take turns.
    """

    def __init__(self, store: Store, pins: PinGuard) -> None:
        self._store = store
        self._pins = pins

    def supports(self, operation: Operation) -> bool:
        return operation.sender is Party.CPO

    async def call(
        self, operation: Operation, message: Message, *, sender: str | None = None, deadline: float | None = None
    ) -> Message:
        """See `Backend.call`."""
        del sender, deadline
        match message:
            case AuthorizeStart():
                return await self._authorize_start(message)
            case AuthorizeStop():
                return await self._authorize_stop(message)
            case ChargingNotification() | ChargeDetailRecord():
                return Acknowledgement(result=True, status_code=_SUCCESS, session_id=message.session_id)
            case _:
                raise OperationNotSupported("the token list", operation.name)

    def transactional_check(self, identification: Identification) -> Callable[[Transaction], StatusCodeValue] | None:
        """Return a check that runs inside a transaction; None if it would take too long there.

        A PIN does: comparing it with its bcrypt hash takes some 50 ms on purpose.
        """
        if identification.qr_code is not None:
            return None
        key = identification.uid or identification.evco_id

        def check(tx: Transaction) -> StatusCodeValue:
            is_listed = key is not None and tx.one(tokens.TOKEN_BY_KEY, key_=key.key) is not None
            return StatusCodeValue.SUCCESS if is_listed else rejection_code(token_key(identification))

        return check

    async def _authorize_start(self, request: AuthorizeStart) -> AuthorizationStart:
        """Refuse an unlisted token with 102 (card), 101 (QR code or PIN) or 105 (Plug & Charge)."""
        code = await self._authorize(request.identification, request.operator_id.key)
        return AuthorizationStart(
            authorization_status=_authorization_status(code),
            status_code=StatusCode.of(code),
            session_id=request.session_id,
        )

    async def _authorize_stop(self, request: AuthorizeStop) -> AuthorizationStop:
        """Allow the token that started the session, as long as it is on the list."""
        # The list says who may charge, not whose session it is: another listed driver must not stop it.
        stop_token = token_key(request.identification)
        session = await sessions.get_now(self._store, "emp", request.session_id.key)
        is_same_token = session is not None and session.identification_key == stop_token
        operator = request.operator_id.key
        code = await self._authorize(request.identification, operator) if is_same_token else rejection_code(stop_token)
        return AuthorizationStop(
            authorization_status=_authorization_status(code),
            status_code=StatusCode.of(code),
            session_id=request.session_id,
        )

    async def _authorize(self, identification: Identification, operator: str) -> StatusCodeValue:
        """Return SUCCESS or the code of the refusal; raise Refusal 021 where too many PINs of the operator wait."""
        key = identification.uid or identification.evco_id
        rows = await self._store.query_inline(tokens.TOKEN_BY_KEY, key_=key.key) if key else []
        if not rows:
            return rejection_code(token_key(identification))
        code, pin_hash = identification.qr_code, rows[0]["pin_hash"]
        if code is None:
            return StatusCodeValue.SUCCESS
        # A token without a PIN was not listed for QR codes.
        if pin_hash is None or code.pin is None:
            return StatusCodeValue.QR_CODE_INVALID
        is_pin_valid = await self._pins.run(operator, pin_matches, code.pin, pin_hash)
        return StatusCodeValue.SUCCESS if is_pin_valid else StatusCodeValue.QR_CODE_INVALID


def _authorization_status(code: StatusCodeValue) -> AuthorizationStatus:
    return AuthorizationStatus.AUTHORIZED if code is StatusCodeValue.SUCCESS else AuthorizationStatus.NOT_AUTHORIZED
