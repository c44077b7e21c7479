"""Remote start at an EVSE that the EMP's node knows, or knows not to be there (box B1)."""

import pytest

from tests.support.dataset_messages import PUSH_DATA, evse, push_data
from tests.support.messages import REMOTE_START, remote_start


@pytest.mark.parametrize(
    ("pushed", "evse_id", "code"),
    [
        ([], "DE*GEF*E1", "000"),
        ([evse("1")], "de*gef*E1", "000"),
        ([evse("1")], "DE*GEF*E2", "603"),
        ([evse("1", IsHubjectCompatible=False)], "DE*GEF*E1", "604"),
    ],
    ids=["an operator without data", "a known EVSE", "an unknown EVSE", "an EVSE that takes no remote requests"],
)
async def test_what_the_emps_node_knows_of_an_evse_decides_first(pair, pushed, evse_id, code):
    if pushed:
        assert (await pair.b_peer.post(PUSH_DATA, push_data(*pushed))).json["Result"] is True
    answer = await pair.b.post(REMOTE_START, remote_start(evse_id))
    assert answer.code == code
    assert len(pair.csms.starts) == (code == "000")
