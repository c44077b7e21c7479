"""Which refusals are final for the message, and which keep it waiting for a person or for time."""

import pytest

from p2p_oicp.errors import PeerProtocolError, PeerRejected, PeerUnauthorized
from p2p_oicp.roles.delivery_targets import _classify_rejection
from p2p_oicp.storage.outbox import OutboxMessage

CDR, NOTIFICATION = "ChargeDetailRecord", "ChargingNotifications"
REFUSALS = {
    "unknown session": (CDR, 200, "400", PeerRejected),
    "data error": (CDR, 200, "022", PeerRejected),
    "unreadable": (CDR, 400, None, PeerRejected),
    "of a web server": (CDR, 404, None, PeerProtocolError),
    "identity not accepted": (CDR, 200, "017", PeerUnauthorized),
    "we are not in its peers file yet": (CDR, 404, "300", PeerUnauthorized),
    "no contract, for money": (CDR, 200, "210", PeerUnauthorized),
    "not offered, for money": (CDR, 200, "320", PeerUnauthorized),
    "no contract for notifications": (NOTIFICATION, 200, "210", PeerRejected),
    "notifications not offered": (NOTIFICATION, 200, "320", PeerRejected),
}


@pytest.mark.parametrize(("operation", "status", "code", "kind"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_is_final_for_the_message_or_not(operation, status, code, kind):
    message = OutboxMessage(
        id=1, destination="b", operation=operation, sender_id=None, role="cpo", session_key="s", body=b"{}",
        created_at=0.0, attempts=0, next_try_at=0.0,
    )  # fmt: skip
    assert type(_classify_rejection(message, PeerRejected("b", "no", http_status=status, code=code))) is kind
