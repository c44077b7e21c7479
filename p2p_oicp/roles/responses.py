"""Answers built as plain dictionaries: three times cheaper than dumping models, and strict by construction.

Pages of an answer (boxes P1 and P2): which one is wanted, and the envelope around its records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qs

import msgspec
import orjson
from msgspec.structs import replace

from p2p_oicp.errors import Refusal
from p2p_oicp.oicp import SessionID, StatusCodeValue
from p2p_oicp.oicp.operations import Operation
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.storage.sessions import Session

SUCCESS = "000"
_CODES_REFUSED_BY_ACKNOWLEDGEMENT = frozenset({"017", "300"})
_MAX_INFO_LENGTH = 1000
_DESCRIPTIONS = {str(known): known.description for known in StatusCodeValue}


class SessionIds(msgspec.Struct, frozen=True):
    """The three ids of a process, as far as they are known; echoed in every answer."""

    session_id: str | None = None
    cpo_partner_session_id: str | None = None
    emp_partner_session_id: str | None = None

    @classmethod
    def from_message(cls, message: object) -> SessionIds:
        """Take the ids of a message."""
        session_id = getattr(message, "session_id", None)
        return cls(
            session_id.text if isinstance(session_id, SessionID) else None,
            getattr(message, "cpo_partner_session_id", None),
            getattr(message, "emp_partner_session_id", None),
        )

    @classmethod
    def from_session(cls, session: Session) -> SessionIds:
        """Take the ids of a stored session."""
        return cls(session.session_id, session.cpo_partner_session_id, session.emp_partner_session_id)

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


NO_IDS = SessionIds()


def status_code(code: str, info: str | None = None) -> dict[str, str]:
    """Return a StatusCode with the standard description of ``code`` (OICP 2.3, StatusCodeType)."""
    members = {"Code": code, "Description": _DESCRIPTIONS.get(code, "")}
    return members | {"AdditionalInfo": info[:_MAX_INFO_LENGTH]} if info else members


_SUCCESS_STATUS = status_code(SUCCESS)


def acknowledgement_response(
    code: str = SUCCESS, info: str | None = None, ids: SessionIds = NO_IDS
) -> OperationResponse:
    """Return an Acknowledgement; its Result is true exactly for 000 (box M3)."""
    members = {"Result": code == SUCCESS, "StatusCode": status_code(code, info), **ids.members()}
    return OperationResponse(orjson.dumps(members), is_refusal=code != SUCCESS)


def authorized_response(provider_id: str, ids: SessionIds) -> OperationResponse:
    """Return an AuthorizationStart or AuthorizationStop that says yes, in the name of ``provider_id``."""
    members = {"AuthorizationStatus": "Authorized", "ProviderID": provider_id, "StatusCode": _SUCCESS_STATUS}
    return OperationResponse(orjson.dumps({**members, **ids.members()}))


def not_authorized_response(code: str, info: str | None = None, ids: SessionIds = NO_IDS) -> OperationResponse:
    """Return a refusing AuthorizationStart or AuthorizationStop; both have these members."""
    members = {"AuthorizationStatus": "NotAuthorized", "StatusCode": status_code(code, info), **ids.members()}
    return OperationResponse(orjson.dumps(members), is_refusal=True)


def refusal_response(operation: Operation, refusal: Refusal, ids: SessionIds = NO_IDS) -> OperationResponse:
    """Return a refusal in the form its operation has for it (CONFORMANCE D57).

    AuthorizeStop always answers with its own form, AuthorizeStart except for 017 and 300, all others with an
    Acknowledgement.
    """
    has_own_type = operation.name == "AuthorizeStop" or (
        operation.name == "AuthorizeStart" and refusal.code not in _CODES_REFUSED_BY_ACKNOWLEDGEMENT
    )
    response = (not_authorized_response if has_own_type else acknowledgement_response)(refusal.code, refusal.info, ids)
    return replace(response, http_status=refusal.http_status)


# "default 20, maximum 2000" (EMP-02, eRoamingGetChargeDetailRecords; the integration guide for EVSE data).
_DEFAULT_PAGE_SIZE = 20
_MAX_PAGE_SIZE = 2000
_DATA_ERROR = "022"
_BAD_REQUEST = 400
# So that what it is multiplied with is still a number for the database.
_MAX_DIGITS = 12


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A page: ``number`` from 0, at most ``size`` records."""

    number: int = 0
    size: int = _DEFAULT_PAGE_SIZE

    @property
    def offset(self) -> int:
        """How many records come before it."""
        return self.number * self.size

    @classmethod
    def from_query(cls, query: str) -> PageRequest:
        """Read ``page`` and ``size``; a larger size than 2000 is clamped. Raises Refusal 022."""
        return _parse_page_request(query)

    def response(self, records: Sequence[bytes], total: int) -> OperationResponse:
        """Return the page with all members of the envelope: another implementation loops forever without ``last``."""
        return self.response_from_parts([b",".join(records)], len(records), total)

    def response_from_parts(self, parts: Sequence[bytes], count: int, total: int) -> OperationResponse:
        """Return the page; ``texts`` in a row are ``count`` records with commas between."""
        pages = max(1, -(-total // self.size))
        envelope = {
            "number": self.number,
            "size": self.size,
            "totalElements": total,
            "last": self.number + 1 >= pages,
            "totalPages": pages,
            "first": self.number == 0,
            "numberOfElements": count,
            "StatusCode": status_code(SUCCESS),
        }
        # What stands around them is joined with the records: a page of some megabytes is copied once.
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
        raise Refusal(_DATA_ERROR, f"{name}={text[:20]}: {expected}", http_status=_BAD_REQUEST)
    return int(text)
