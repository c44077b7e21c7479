"""Every scenario that insecure nodes pass is passed by nodes that sign: the very same tests, other fixtures."""

from tests.node.test_authorization import *  # noqa: F403 - all of them
from tests.node.test_remote import *  # noqa: F403
from tests.node.test_settlement import *  # noqa: F403
from tests.node.test_statuses import *  # noqa: F403

# Whoever proves to be somebody else gets 017 for it, and is not told which parties are known (test_attacks).
del globals()["test_a_record_of_another_operators_session_is_400_at_the_peer_api"]
