"""Signed exchanges that are to be recorded as evidence: prepared where they happen, committed by whoever decides.

The client (for requests that this node sends) and the server (for those it receives) prepare; nothing is written here.
``peering.evidence_recorder.ExchangeRecorder`` inserts a prepared exchange in the transaction of the decision it proves.
"""

from __future__ import annotations

import msgspec

from p2p_oicp.crypto import SignedRequestParts, SignedResponseParts
from p2p_oicp.crypto.evidence_file import RecordedExchange

#: The operations that may cost one of the two companies money: only their exchanges are recorded.
RECORDED_OPERATIONS = frozenset(
    {"AuthorizeStart", "AuthorizeStop", "AuthorizeRemoteStart", "AuthorizeRemoteStop", "ChargeDetailRecord"}
)


class _SessionReference(msgspec.Struct, rename={"session_id": "SessionID"}):
    session_id: str | None = None


# Reads one member and skips the rest: 0.5 µs, where the model of the message costs 13.
_decode_session_reference = msgspec.json.Decoder(_SessionReference).decode


class PreparedExchange(msgspec.Struct, frozen=True):
    """A signed request with its signed response, and the session (its SessionID as sent) that they belong to."""

    session_id: str
    exchange: RecordedExchange


def prepare_exchange(
    operation: str,
    peer: str,
    request: SignedRequestParts,
    response: SignedResponseParts,
    decoded_body: bytes,
    *,
    sent_by_us: bool,
    now: float,
) -> PreparedExchange | None:
    """Return the exchange to be recorded; None if the operation costs no money, or no session is named.

    Args:
        operation: its name in the operations table.
        peer: the name of the other node's peer entry.
        request: the request as it was on the wire.
        response: the response as it was on the wire.
        decoded_body: the response's body without its content coding.
        sent_by_us: this node is the client.
        now: the time of the exchange, in seconds since the epoch.
    """
    if operation not in RECORDED_OPERATIONS:
        return None
    # Order: the response first, for the responder may answer with another SessionID, which then is the session's.
    session_id = _session_id(decoded_body) or _session_id(request.body)
    if session_id is None:
        return None
    return PreparedExchange(session_id, RecordedExchange(now, operation, sent_by_us, peer, request, response))


def _session_id(body: bytes) -> str | None:
    try:
        return _decode_session_reference(body).session_id
    except msgspec.MsgspecError:
        return None
