"""What the store knows of one EVSE (RULES B1)."""

import pytest

from p2p_oicp.storage.datasets import evse_search
from p2p_oicp.storage.datasets.coordinator import DatasetCoordinator
from p2p_oicp.storage.datasets.evse_search import EvseKnowledge
from tests.support.changesets import push_of

NOTHING = EvseKnowledge(operator_has_data=False, is_known=False, is_compatible=True)
UNKNOWN = EvseKnowledge(operator_has_data=True, is_known=False, is_compatible=True)
USABLE = EvseKnowledge(operator_has_data=True, is_known=True, is_compatible=True)

# source of the copy, what it has, who is gone, what is evse_key, what is known
CASES = {
    "an EVSE that we know": ("a", "AB", None, "A", USABLE),
    "another EVSE of the operator": ("a", "B", None, "A", UNKNOWN),
    "nothing of the operator": ("a", "", None, "A", NOTHING),
    "one of several, another is gone": ("a", "AB", ["b"], "A", USABLE),
    "the copy of one who is gone": ("a", "AB", ["a"], "A", NOTHING),
    "another EVSE of one who is gone": ("a", "B", ["a"], "A", NOTHING),
}


@pytest.mark.parametrize(("source", "keys", "gone", "evse_key", "expected"), CASES.values(), ids=CASES)
async def test_what_is_known_of_an_evse(store, source, keys, gone, evse_key, expected):
    await DatasetCoordinator(store, lambda: 100.0).apply(push_of("fullLoad", dict.fromkeys(keys, 1), source))
    assert await evse_search.evse_knowledge(store, evse_key, "DEABC", gone) == expected
