"""Everything that is not a normal OICP answer, as HTTP (DESIGN section 8)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import orjson

from p2p_oicp.errors import P2pOicpError, Refusal
from p2p_oicp.oicp import Finding, InvalidMessage, field_reference
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.roles.responses import acknowledgement_response, status_code

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
DATA_ERROR = "022"


class HttpError(P2pOicpError):
    """A request that is answered with an HTTP error status and a StatusCode body."""

    def __init__(self, http_status: int, code: str, info: str, headers: Mapping[str, str] = _NO_HEADERS) -> None:
        super().__init__(info)
        self.http_status = http_status
        self.code = code
        self.info = info
        self.headers = headers

    def to_response(self) -> OperationResponse:
        """Return the body that other implementations know: a StatusCode, no Result."""
        return OperationResponse(orjson.dumps({"StatusCode": status_code(self.code, self.info)}), self.http_status)


def validation_error_response(error: InvalidMessage, *, as_wwcp: bool) -> OperationResponse:
    """Answer a message that breaks the schema or a rule: HTTP 400 that names each member, as Hubject does.

    A WWCP peer reads only HTTP 200, with code 022 (WIRE.md).
    """
    errors = [finding for finding in error.findings if finding.severity == "error"]
    if as_wwcp:
        return acknowledgement_response(DATA_ERROR, "; ".join(f"{f.pointer or '/'}: {f.message}" for f in errors))
    members = {
        "message": "Error parsing/validating JSON.",
        "extendedInfo": None,
        "validationErrors": [_validation_error(finding) for finding in errors],
    }
    return OperationResponse(orjson.dumps(members), 400)


def as_refusal(error: InvalidMessage) -> Refusal | None:
    """Return the refusal of a readable message that breaks a rule with a status code of its own (101, 018, 019).

    Such a code is an answer of OICP, with HTTP 200; with anything unreadable beside it, the message is just invalid.
    """
    errors = [finding for finding in error.findings if finding.severity == "error"]
    codes = {finding.status_code for finding in errors}
    if len(codes) != 1 or codes == {DATA_ERROR}:
        return None
    return Refusal(codes.pop(), "; ".join(f"{finding.pointer}: {finding.message}" for finding in errors))


def _validation_error(finding: Finding) -> dict[str, str]:
    return {"fieldReference": field_reference(finding.pointer), "errorMessage": finding.message}
