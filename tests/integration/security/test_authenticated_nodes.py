"""What insecure nodes pass is passed by nodes that prove who they are: the same tests, other fixtures."""

import pytest

from tests.integration.datasets.test_evse_statuses import *  # noqa: F403
from tests.integration.sessions.test_authorization import *  # noqa: F403 - all of them
from tests.integration.sessions.test_remote import *  # noqa: F403
from tests.integration.sessions.test_settlement import *  # noqa: F403


@pytest.fixture(params=["signature", "mtls", "signature and mtls"])
def require(request) -> tuple[str, ...]:
    """What the two nodes want of each other."""
    return tuple(request.param.split(" and "))


# Whoever proves to be somebody else gets 017 for it, and is not told which parties are known (test_attacks).
del globals()["test_a_record_of_another_operators_session_is_400_at_the_peer_api"]
