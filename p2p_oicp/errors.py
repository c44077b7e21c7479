"""Every error of the program, in one tree.

::

    P2pOicpError
    ├── ConfigurationError         the operator of this node has to change something (file and key are named)
    ├── MessageError               a message cannot be processed; carries its findings (`oicp.InvalidMessage`)
    ├── VerificationError          a signature, digest, certificate or descriptor is missing or invalid
    │   ├── UnknownKey             it is signed with an unknown key
    │   └── ClockMismatch          it was signed at another time than now
    ├── Refusal                    a business refusal: carries the OICP status code and the HTTP status to respond with
    │   └── Unauthorized           017, HTTP 401: not authenticated, or not authorized for the ids
    ├── PeerError                  an outgoing call failed; ``may_have_arrived``: the peer may have processed it
    │   ├── PeerUnreachable        the network: not connected, so nothing was processed
    │   ├── PeerTimeout            the network: sent, but no response within the deadline, or the connection broke
    │   ├── PeerBusy               the peer: 408, 429 or 503, ``retry_after`` seconds
    │   ├── PeerUnauthorized       the peer: 401 or 403, our credentials are not accepted
    │   ├── PeerRejected           the peer: the message is refused for good (4xx)
    │   │   └── OperationNotSupported  one of our own backends does not offer the operation
    │   └── PeerProtocolError      the peer, or a system in its place: 5xx, or a response that is not OICP
    │       └── PeerVerificationError  its signature is missing or invalid
    └── StoreError                 the database
        ├── StoreBusy              the write queue is full: respond with 503, so that the client tries again
        └── StoreUnavailable       damaged, newer than this program, or not writable

A bug stays a bare Python exception.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Self


class FailureCause(StrEnum):
    """Why a call failed, as far as its caller can tell; `delivery.health_texts` has a sentence and a cure for each."""

    CANNOT_CONNECT = "cannot connect"
    UNKNOWN_HOST = "unknown host"
    TIMEOUT = "timeout"
    BUSY = "busy"
    UNTRUSTED_CERTIFICATE = "untrusted certificate"
    WRONG_HOST_NAME = "wrong host name"
    EXPIRED_CERTIFICATE = "expired certificate"
    CERTIFICATE_NOT_YET_VALID = "certificate not yet valid"
    TLS_FAILED = "TLS failed"
    CLOCK_OFF = "clock off"
    UNKNOWN_KEY = "unknown key"
    SIGNATURE_INVALID = "signature invalid"
    CREDENTIALS_REFUSED = "credentials refused"
    PARTY_REFUSED = "party refused"
    MESSAGE_REFUSED = "message refused"
    BODY_TOO_LARGE = "body too large"
    FORBIDDEN_BY_PROXY = "forbidden by a proxy"
    BAD_GATEWAY = "bad gateway"
    SERVER_ERROR = "server error"
    NOT_OICP = "not OICP"
    REDIRECTED = "redirected"
    ANOTHER_SYSTEM = "another system"
    INTERNAL_ERROR = "internal error"
    OTHER = "other"


# 017 Unauthorized Access, 300 Partner not found; this module is below ``oicp``, and imports nothing.
_PARTY_CODES = frozenset({"017", "300"})


class P2pOicpError(Exception):
    """Root of all errors of this program; the text is for a person, and states what to do."""


class ConfigurationError(P2pOicpError):
    """The operator of this node has to change something; the text names file, key and what is expected."""


class MessageError(P2pOicpError):
    """A message that cannot be processed."""


class VerificationError(P2pOicpError):
    """A signature, digest, certificate or descriptor is missing or invalid; the text states why."""


class UnknownKey(VerificationError):
    """The signing key is unknown; refreshing the keys of the sender may help."""


class ClockMismatch(VerificationError):
    """A signature is of the past or of the future: one of the two clocks is wrong."""


class Refusal(P2pOicpError):
    """A request is refused with an OICP status code.

    Args:
        code: of ``StatusCodeType`` (OICP 2.3, CPO data types); `oicp.StatusCodeValue` has those of the specification.
        info: the AdditionalInfo of the response.
        http_status: 200 for business refusals (OICP 2.3, Communication Paradigms).
    """

    def __init__(self, code: str, info: str, *, http_status: int = 200) -> None:
        super().__init__(info)
        self.code = code
        self.info = info
        self.http_status = http_status


class Unauthorized(Refusal):
    """017 Unauthorized Access, HTTP 401 (OICP 2.3, Communication Paradigms, Security)."""

    def __init__(self, info: str) -> None:
        # StatusCodeValue.UNAUTHORIZED_ACCESS, as above.
        super().__init__("017", info, http_status=401)


class PeerError(P2pOicpError):
    """An outgoing call failed.

    ``cause`` is why, for people. ``exchange`` is the signed exchange to be recorded as evidence
    (`crypto.exchange.PreparedExchange`), where the peer has signed its refusal; None otherwise.
    """

    may_have_arrived = True
    exchange: Any = None
    cause: FailureCause = FailureCause.OTHER

    def __init__(self, peer: str, reason: str) -> None:
        super().__init__(f"{peer}: {reason}")
        self.peer = peer
        self.reason = reason

    def with_exchange(self, exchange: Any) -> Self:  # noqa: ANN401 - this module imports nothing of ours
        """Set ``exchange`` and return the error, as ``with_traceback`` does."""
        self.exchange = exchange
        return self

    def because_of(self, cause: FailureCause) -> Self:
        """Set ``cause`` and return the error."""
        self.cause = cause
        return self


class PeerUnreachable(PeerError):
    """No connection could be made: the peer has not received the request."""

    may_have_arrived = False
    cause = FailureCause.CANNOT_CONNECT


class PeerTimeout(PeerError):
    """The request was sent, and no whole response was received in time."""

    cause = FailureCause.TIMEOUT


class PeerBusy(PeerError):
    """The peer is overloaded; ``retry_after`` is the number of seconds it asks to wait, None if it states none."""

    cause = FailureCause.BUSY

    def __init__(
        self, peer: str, reason: str, retry_after: float | None = None, *, may_have_arrived: bool = False
    ) -> None:
        super().__init__(peer, reason)
        self.retry_after = retry_after
        self.may_have_arrived = may_have_arrived


class PeerUnauthorized(PeerError):
    """The peer does not accept our credentials; it has processed nothing."""

    may_have_arrived = False
    cause = FailureCause.CREDENTIALS_REFUSED


class PeerRejected(PeerError):
    """The peer refuses this message for good; ``code`` is its OICP status code, None if it states none."""

    cause = FailureCause.MESSAGE_REFUSED

    def __init__(self, peer: str, reason: str, *, http_status: int, code: str | None = None) -> None:
        super().__init__(peer, reason)
        self.http_status = http_status
        self.code = code
        if code in _PARTY_CODES:
            self.cause = FailureCause.PARTY_REFUSED


class OperationNotSupported(PeerRejected):
    """One of our own backends does not offer the operation (320)."""

    may_have_arrived = False

    def __init__(self, backend: str, operation: str) -> None:
        super().__init__(backend, f"does not offer {operation}", http_status=200, code="320")


class PeerProtocolError(PeerError):
    """The peer failed, or its response is not OICP."""

    cause = FailureCause.NOT_OICP


class PeerContradiction(PeerProtocolError):
    """The peer is up, and its answer is a yes and a no in one."""


class PeerVerificationError(PeerProtocolError):
    """The signature of the response is missing or invalid, so it counts as no response."""

    cause = FailureCause.SIGNATURE_INVALID


class StoreError(P2pOicpError):
    """The database of this node."""


class StoreBusy(StoreError):
    """The queue of writes is full."""


class StoreUnavailable(StoreError):
    """The database cannot be used; the text states why and what to do, and nothing was changed."""


def reason_of(error: Exception) -> str:
    """Return why data cannot be read, for people, without numbers of errors and names of classes."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # The error of an absent member has its name only.
    return f"{error} is absent" if isinstance(error, KeyError) else str(error)
