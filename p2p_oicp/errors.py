"""Every error of the program, in one tree.

::

    P2pOicpError
    ├── ConfigurationError     the operator of this node must change something (file and key are named)
    ├── MessageError           a message cannot be processed; carries what is wrong with it
    ├── NotProven              a signature, digest, certificate or descriptor does not prove what it should
    │   └── UnknownKey         it is signed with a key that nobody we know has
    ├── Refusal                a business refusal: carries the OICP status code and the HTTP status to answer
    │   └── Unauthorized       017, HTTP 401: identity was not proved, or does not match the ids
    ├── PeerError              an outgoing call failed; ``may_have_arrived`` says whether the peer can have seen it
    │   ├── PeerUnreachable    the wire: never connected, so nothing was processed
    │   ├── PeerSilent         the wire: sent, but no answer within the deadline or the connection broke
    │   ├── PeerBusy           they: 429 or 503, ``retry_after`` seconds
    │   ├── PeerUnauthorized   they: 401 or 403, our identity is not accepted
    │   ├── PeerRejected       they: the message is refused for good (4xx)
    │   └── PeerBroken         they, or somebody in their place: 5xx, or an answer that is not OICP
    │       └── PeerUnproven   somebody: an answer that does not prove who gave it
    └── StoreError             the database
        ├── StoreBusy          the write queue is full: answer 503, try again
        └── StoreUnusable      damaged, newer than this program, not writable

A bug stays a bare Python exception. OICP codes are those of ``StatusCodeType`` (OICP 2.3, CPO data types, CodeType).
"""

from __future__ import annotations

from typing import Any, Self


class P2pOicpError(Exception):
    """Root of all errors of this program; the text is for a person and says what to do."""


class ConfigurationError(P2pOicpError):
    """The operator of this node must change something; the text names file, key and what is expected."""


class MessageError(P2pOicpError):
    """A message that cannot be processed."""


class VerificationError(P2pOicpError):
    """Something does not prove what it should; the text says why."""


class UnknownKey(VerificationError):
    """Signed with a key that nobody we know has; fresh keys of the sender may help."""


class Refusal(P2pOicpError):
    """A request is refused with an OICP status code; the text becomes the code's AdditionalInfo."""

    def __init__(self, code: str, info: str, *, http_status: int = 200) -> None:
        super().__init__(info)
        self.code = code
        self.info = info
        self.http_status = http_status


class Unauthorized(Refusal):
    """017 Unauthorized Access, HTTP 401 (OICP 2.3, Communication Paradigms, Security)."""

    def __init__(self, info: str) -> None:
        super().__init__("017", info, http_status=401)


class PeerError(P2pOicpError):
    """An outgoing call failed.

    ``exchange`` is the signed exchange to be recorded as evidence (`client.PreparedExchange`), where the peer has
    signed its refusal; None otherwise.
    """

    may_have_arrived = True
    exchange: Any = None

    def __init__(self, peer: str, reason: str) -> None:
        super().__init__(f"{peer}: {reason}")
        self.peer = peer
        self.reason = reason

    def with_exchange(self, exchange: Any) -> Self:  # noqa: ANN401 - this module imports nothing of ours
        """Set ``exchange`` and return the error, as ``with_traceback`` does."""
        self.exchange = exchange
        return self


class PeerUnreachable(PeerError):
    """No connection could be made: the peer has not seen the request."""

    may_have_arrived = False


class PeerTimeout(PeerError):
    """The request was sent and no whole answer came back in time."""


class PeerBusy(PeerError):
    """The peer asks to come back later."""

    may_have_arrived = False

    def __init__(self, peer: str, reason: str, retry_after: float | None = None) -> None:
        super().__init__(peer, reason)
        self.retry_after = retry_after


class PeerUnauthorized(PeerError):
    """The peer does not accept our identity."""

    may_have_arrived = False


class PeerRejected(PeerError):
    """The peer refuses this message for good; ``code`` is its OICP status code, where it gave one."""

    def __init__(self, peer: str, reason: str, *, http_status: int, code: str | None = None) -> None:
        super().__init__(peer, reason)
        self.http_status = http_status
        self.code = code


class OperationNotSupported(PeerRejected):
    """One of our own backends does not offer the operation (320)."""

    may_have_arrived = False

    def __init__(self, backend: str, operation: str) -> None:
        super().__init__(backend, f"does not offer {operation}", http_status=200, code="320")


class PeerProtocolError(PeerError):
    """The peer failed, or answered something that is not OICP."""


class PeerVerificationError(PeerProtocolError):
    """An answer that does not prove who gave it: it counts as none."""


class StoreError(P2pOicpError):
    """The database of this node."""


class StoreBusy(StoreError):
    """Too much is waiting to be written."""


class StoreUnavailable(StoreError):
    """The database cannot be used; the text says why and what to do, and nothing was changed."""
