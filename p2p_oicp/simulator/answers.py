"""The acknowledgements that simulated backends give, and what they understand of the answers they get."""

from __future__ import annotations

from p2p_oicp.oicp import Acknowledgement, AuthorizationStart, AuthorizationStop, Message, SessionID, StatusCode


def acknowledged(session_id: SessionID | None = None, **partner_session_ids: str) -> Acknowledgement:
    """Return a yes."""
    return Acknowledgement(
        result=True, status_code=StatusCode(code="000"), session_id=session_id, **partner_session_ids
    )


def refused(code: str, session_id: SessionID | None = None) -> Acknowledgement:
    """Return a no, with its code of OICP."""
    return Acknowledgement(result=False, status_code=StatusCode(code=code), session_id=session_id)


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
