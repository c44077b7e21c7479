"""The acknowledgements that simulated backends give, and what they understand of the answers they get."""

from __future__ import annotations

from p2p_oicp.oicp import (
    Acknowledgement,
    AuthorizationStart,
    AuthorizationStop,
    Code,
    EvseID,
    EvseStatuses,
    EvseStatusesById,
    Message,
    SessionID,
    StatusCode,
)


def acknowledged(session_id: SessionID | None = None, **partner_session_ids: str) -> Acknowledgement:
    """Return a yes."""
    return Acknowledgement(
        result=True, status_code=StatusCode.of(Code.SUCCESS), session_id=session_id, **partner_session_ids
    )


def refused(code: Code, session_id: SessionID | None = None) -> Acknowledgement:
    """Return a no, with its code of OICP."""
    return Acknowledgement(result=False, status_code=StatusCode.of(code), session_id=session_id)


def said_yes(answer: Message) -> bool:
    """Whether an answer is positive."""
    match answer:
        case Acknowledgement():
            return answer.result
        case AuthorizationStart() | AuthorizationStop():
            return answer.authorization_status == "Authorized"
    return False


def said_no(answer: Message) -> bool:
    """Whether an answer is a refusal."""
    return isinstance(answer, (Acknowledgement, AuthorizationStart, AuthorizationStop)) and not said_yes(answer)


def code_of(answer: Message) -> str | None:
    """Return the status code of an answer, where it has one."""
    status = getattr(answer, "status_code", None)
    return status.code if isinstance(status, StatusCode) else None


def statuses_in(answer: Message) -> dict[EvseID, str]:
    """Return the status of each EVSE in the answer to a pull; nothing, if it is a refusal."""
    match answer:
        case EvseStatuses():
            operators = answer.evse_statuses.operator_evse_status
            records = [record for operator in operators for record in operator.evse_status_records]
        case EvseStatusesById():
            records = list(answer.evse_status_records.evse_status_record)
        case _:
            records = []
    return {record.evse_id: str(record.evse_status) for record in records}
