"""Which refusals are of the message, and bury it, and which a person or time will mend, and hold it."""

import pytest

from p2p_oicp.errors import PeerBroken, PeerRejected, PeerUnauthorized
from p2p_oicp.roles.carriers import _judged
from p2p_oicp.storage.outbox import Letter

CDR, NOTIFICATION = "ChargeDetailRecord", "ChargingNotifications"
REFUSALS = {
    "unknown session": (CDR, 200, "400", PeerRejected),
    "data error": (CDR, 200, "022", PeerRejected),
    "unreadable": (CDR, 400, None, PeerRejected),
    "a web server's words": (CDR, 404, None, PeerBroken),
    "identity not accepted": (CDR, 200, "017", PeerUnauthorized),
    "we are not in its peers file yet": (CDR, 404, "300", PeerUnauthorized),
    "no contract, for money": (CDR, 200, "210", PeerUnauthorized),
    "not offered, for money": (CDR, 200, "320", PeerUnauthorized),
    "no contract for notifications": (NOTIFICATION, 200, "210", PeerRejected),
    "notifications not offered": (NOTIFICATION, 200, "320", PeerRejected),
}


@pytest.mark.parametrize(("operation", "status", "code", "kind"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_is_of_the_message_or_not(operation, status, code, kind):
    letter = Letter(
        id=1, destination="b", operation=operation, party=None, role="cpo", session_key="s", body=b"{}",
        created_at=0.0, attempts=0, next_try_at=0.0,
    )  # fmt: skip
    assert type(_judged(letter, PeerRejected("b", "no", http_status=status, code=code))) is kind
