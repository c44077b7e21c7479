"""No CDR of an OCPI platform is lost or doubled: kill -9, answers that are lost, partners that are away."""

import pytest
import pytest_asyncio

from tests.chaos.ocpi_rounds import FAULT_ACTIONS, run_round, start_testbed

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def testbed(tmp_path_factory):
    async with start_testbed(tmp_path_factory.mktemp("ocpi")) as testbed:
        yield testbed


@pytest.mark.parametrize(("number", "name"), list(enumerate(FAULT_ACTIONS)), ids=list(FAULT_ACTIONS))
async def test_the_books_of_all_four_sides_agree_after_faults(testbed, number, name):
    testbed.rng.seed(number)
    await run_round(testbed, name)
