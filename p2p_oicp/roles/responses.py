"""OICP responses: acknowledgements, authorizations, refusals, pages; and the three ids that every response echoes.

They are built as plain dictionaries: three times cheaper than dumping models, and strict by construction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple, Protocol
from urllib.parse import parse_qs

import msgspec
import orjson
import structlog
from msgspec.structs import replace

from p2p_oicp.errors import PeerBusy, PeerError, PeerRejected, PeerUnreachable, Refusal
from p2p_oicp.oicp import Acknowledgement, Message, ProviderID, SessionID, StatusCodeValue
from p2p_oicp.oicp.answers import is_indeterminate
from p2p_oicp.oicp.enums import INDETERMINATE_CODES
from p2p_oicp.oicp.findings import SIMILAR_NAME
from p2p_oicp.oicp.operations import Operation, Party
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.storage.sessions import Session, SessionState

log = structlog.get_logger(__name__)

# These two refuse the sender, whatever it has asked for (RULES D57).
_CODES_REFUSED_BY_ACKNOWLEDGEMENT = frozenset({StatusCodeValue.UNAUTHORIZED_ACCESS, StatusCodeValue.PARTNER_NOT_FOUND})
# "String (1000)" (OICP 2.3, StatusCodeType, AdditionalInfo).
_MAX_INFO_LENGTH = 1000
# The message was read and is refused, whatever else the answer says (Hubject's HTTP 400 with validationErrors).
_UNPROCESSABLE_STATUSES = frozenset({400, 422})
_DESCRIPTIONS = {str(known): known.description for known in StatusCodeValue}


class _ReplyWithIds(Protocol):
    @property
    def cpo_partner_session_id(self) -> str | None: ...
    @property
    def emp_partner_session_id(self) -> str | None: ...


def valid_session_id(session_id: SessionID | None) -> SessionID | None:
    """Return the SessionID of a message if it can be kept, None otherwise."""
    return session_id if session_id is not None and session_id.is_valid else None


class SessionIds(msgspec.Struct, frozen=True):
    """The three ids of a charging process, as far as they are known; every response echoes them (DESIGN section 5)."""

    session_id: str | None = None
    cpo_partner_session_id: str | None = None
    emp_partner_session_id: str | None = None

    @classmethod
    def from_message(cls, message: object) -> SessionIds:
        """Return the ids of a request; each is None where the message has no such member."""
        session_id = getattr(message, "session_id", None)
        return cls(
            session_id.text if isinstance(session_id, SessionID) else None,
            getattr(message, "cpo_partner_session_id", None),
            getattr(message, "emp_partner_session_id", None),
        )

    @classmethod
    def from_session(cls, session: Session) -> SessionIds:
        """Return the ids of a stored session."""
        return cls(session.session_id, session.cpo_partner_session_id, session.emp_partner_session_id)

    @classmethod
    def from_reply(cls, reply: _ReplyWithIds, session: Session, responder: Party) -> SessionIds:
        """Return the session's ids after a reply: the responder may have set its own partner session id."""
        if responder is Party.EMP:
            emp_partner_session_id = reply.emp_partner_session_id or session.emp_partner_session_id
            return cls(session.session_id, session.cpo_partner_session_id, emp_partner_session_id)
        cpo_partner_session_id = reply.cpo_partner_session_id or session.cpo_partner_session_id
        return cls(session.session_id, cpo_partner_session_id, session.emp_partner_session_id)

    def without_session(self) -> SessionIds:
        """Return the partners' ids only: a refused start has no session (B2)."""
        return replace(self, session_id=None)

    def members(self) -> dict[str, str]:
        """Return the known ids as OICP members."""
        members = {}
        if self.session_id:
            members["SessionID"] = self.session_id
        if self.cpo_partner_session_id:
            members["CPOPartnerSessionID"] = self.cpo_partner_session_id
        if self.emp_partner_session_id:
            members["EMPPartnerSessionID"] = self.emp_partner_session_id
        return members

    def attributes(self) -> dict[str, object]:
        """Return all three as attributes of a message, for ``Message.replace``; None removes a member."""
        return {
            "session_id": SessionID(self.session_id) if self.session_id else None,
            "cpo_partner_session_id": self.cpo_partner_session_id,
            "emp_partner_session_id": self.emp_partner_session_id,
        }


NO_IDS = SessionIds()


def answering_provider(
    responder: Peer, named: ProviderID | str | None, default: ProviderID | None, session_id: str
) -> ProviderID | None:
    """Return the ProviderID of an answer: one that the responder owns, else ``default``, and it is logged (RULES L3).

    A clearing house answers for any provider.
    """
    if named is None:
        return default
    named = ProviderID(str(named))  # a Python backend may have given plain text
    if responder.handles_party(named) or responder.default_route:
        return named
    log.warning(
        "authorization.foreign_provider",
        responder=responder.name,
        session_id=session_id,
        named=named.text,
        used=default.text if default else None,
    )
    return default


class StartFailure(NamedTuple):
    """Where a start leads that got no OICP answer: the code that goes out, and the session's state."""

    code: str
    state: SessionState


def state_after_answer(answer: Acknowledgement) -> SessionState:
    """Return where the answer to a start leads its session (RULES L1)."""
    if is_indeterminate(answer):
        return SessionState.UNCERTAIN
    return SessionState.AUTHORIZED if answer.result else SessionState.REFUSED


def start_failure(error: PeerError, *, unreachable_code: str) -> StartFailure:
    """Return where a start without an answer leads: only an unmistakable no refuses it (RULES L1).

    ``unreachable_code``: of a request that did not arrive.
    """
    if (code := refusal_code(error)) is not None:
        return StartFailure(code, SessionState.REFUSED)
    if not error.may_have_arrived:
        return StartFailure(unreachable_code, SessionState.REFUSED)
    code = getattr(error, "code", None)
    is_telling = code in INDETERMINATE_CODES
    return StartFailure(str(code) if is_telling else StatusCodeValue.PARTNER_DID_NOT_RESPOND, SessionState.UNCERTAIN)


def has_arrived(error: PeerError) -> bool:
    """Return whether a refusal is to be remembered: not if the request did not reach whom it was sent to (RULES L5)."""
    return error.may_have_arrived or not isinstance(error, PeerUnreachable | PeerBusy)


def refusal_code(error: PeerError) -> str | None:
    """Return the code with which an HTTP error refuses a request; None where it says nothing about the request."""
    if not isinstance(error, PeerRejected):
        return None
    if error.code is None:
        return StatusCodeValue.DATA_ERROR if error.http_status in _UNPROCESSABLE_STATUSES else None
    return None if error.code in INDETERMINATE_CODES or error.code == StatusCodeValue.SUCCESS else error.code


def status_code(code: str, info: str | None = None) -> dict[str, str]:
    """Return a StatusCode with the standard description of ``code`` (OICP 2.3, StatusCodeType)."""
    members: dict[str, str] = {"Code": code, "Description": _DESCRIPTIONS.get(code, "")}
    info = as_unicode(info or "")
    if info and len(info) > _MAX_INFO_LENGTH:
        info = f"{info[: _MAX_INFO_LENGTH - 1]}…"
    return members | {"AdditionalInfo": info} if info else members


def as_unicode(text: str) -> str:
    """Return a text that can be written as UTF-8: a header may have bytes that are none, and texts quote headers."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def unread_members_note(request: Message) -> str | None:
    """Return what to tell the sender of members that may be meant to be others (RULES L13); None: there are none.

    A pull whose LastCall is misspelt gets everything: never in silence.
    """
    findings = request.field_findings
    return "; ".join(str(finding) for finding in findings if finding.code == SIMILAR_NAME) or None


_SUCCESS_STATUS = status_code(StatusCodeValue.SUCCESS)


def acknowledgement_response(
    code: str = StatusCodeValue.SUCCESS,
    info: str | None = None,
    ids: SessionIds = NO_IDS,
    *,
    extra: Mapping[str, object] = MappingProxyType({}),
) -> OperationResponse:
    """Return an Acknowledgement; its Result is true exactly for 000 (M3). ``extra``: members beside OICP's."""
    is_success = code == StatusCodeValue.SUCCESS
    members = {"Result": is_success, "StatusCode": status_code(code, info), **ids.members(), **extra}
    return OperationResponse(orjson.dumps(members), is_refusal=not is_success)


def authorized_response(provider_id: str, ids: SessionIds) -> OperationResponse:
    """Return an AuthorizationStart or AuthorizationStop with status Authorized, of the provider ``provider_id``."""
    members = {"AuthorizationStatus": "Authorized", "ProviderID": provider_id, "StatusCode": _SUCCESS_STATUS}
    return OperationResponse(orjson.dumps({**members, **ids.members()}))


def not_authorized_response(code: str, info: str | None = None, ids: SessionIds = NO_IDS) -> OperationResponse:
    """Return an AuthorizationStart or AuthorizationStop with status NotAuthorized; both have these members."""
    members = {"AuthorizationStatus": "NotAuthorized", "StatusCode": status_code(code, info), **ids.members()}
    return OperationResponse(orjson.dumps(members), is_refusal=True)


def refusal_response(operation: Operation, refusal: Refusal, ids: SessionIds = NO_IDS) -> OperationResponse:
    """Return a refusal as the message that its operation has for it (RULES D57).

    That is an AuthorizationStop for AuthorizeStop, an AuthorizationStart for AuthorizeStart (but not for 017 and 300),
    and an Acknowledgement for all others.
    """
    has_own_type = operation.name == "AuthorizeStop" or (
        operation.name == "AuthorizeStart" and refusal.code not in _CODES_REFUSED_BY_ACKNOWLEDGEMENT
    )
    response = (not_authorized_response if has_own_type else acknowledgement_response)(refusal.code, refusal.info, ids)
    return replace(response, http_status=refusal.http_status)


# "default 20, maximum 2000" (EMP-02, eRoamingGetChargeDetailRecords; the integration guide for EVSE data).
_DEFAULT_PAGE_SIZE = 20
_MAX_PAGE_SIZE = 2000
_BAD_REQUEST = 400
# 10¹² times 2,000 is an offset that SQLite's 64-bit integers hold.
_MAX_DIGITS = 12


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A page of a response (P1, P2).

    Attributes:
        number: from 0.
        size: at most so many records; 1 to 2,000.
    """

    number: int = 0
    size: int = _DEFAULT_PAGE_SIZE

    @property
    def offset(self) -> int:
        """Number of records on the pages before it."""
        return self.number * self.size

    @classmethod
    def from_query(cls, query: str) -> PageRequest:
        """Parse ``page`` and ``size`` of a query string; a size over 2,000 is reduced. Raises Refusal 022, HTTP 400."""
        return _parse_page_request(query)

    def response(self, records: Sequence[bytes], total: int) -> OperationResponse:
        """Return the page of these records; ``total`` counts the records of all pages."""
        return self.response_from_parts([b",".join(records)], len(records), total)

    def response_from_parts(
        self, parts: Sequence[bytes], count: int, total: int, info: str | None = None
    ) -> OperationResponse:
        """Return the page; ``parts`` joined are ``count`` records with commas between them."""
        # All members of the envelope: another implementation requests pages for ever without ``last``.
        pages = max(1, -(-total // self.size))
        envelope = {
            "number": self.number,
            "size": self.size,
            "totalElements": total,
            "last": self.number + 1 >= pages,
            "totalPages": pages,
            "first": self.number == 0,
            "numberOfElements": count,
            "StatusCode": status_code(StatusCodeValue.SUCCESS, info),
        }
        # One join of records and envelope: a page of some megabytes is copied once.
        return OperationResponse(b"".join((b'{"content":[', *parts, b"],", orjson.dumps(envelope)[1:])))


@lru_cache(maxsize=1024)
def _parse_page_request(query: str) -> PageRequest:
    parameters = parse_qs(query)
    number, size = _parse_number(parameters, "page", 0), _parse_number(parameters, "size", _DEFAULT_PAGE_SIZE)
    return PageRequest(number, min(max(size, 1), _MAX_PAGE_SIZE))


def _parse_number(parameters: dict[str, list[str]], name: str, default: int) -> int:
    text = parameters.get(name, [str(default)])[-1]
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        expected = f"expected a whole number from 0, of {_MAX_DIGITS} digits at most"
        raise Refusal(StatusCodeValue.DATA_ERROR, f"{name}={text[:20]}: {expected}", http_status=_BAD_REQUEST)
    return int(text)
