"""Changes of state that an error, a cancellation or a crash interrupts: wholly applied, or nothing is left of them."""

from dataclasses import replace

import pytest

from p2p_oicp.errors import StoreError
from p2p_oicp.storage import open_store
from p2p_oicp.storage.state import batches
from p2p_oicp.storage.state.intake import Intake
from p2p_oicp.storage.state.keeper import Keeper
from p2p_oicp.storage.state.model import Applied, Replaces

from .state_pushes import many, push
from .test_state import STAGED, living


async def pull(keeper: Keeper, **records: str) -> Applied:
    """Pull everything that a source has."""
    pulled = push("fullLoad", **records)
    intake = Intake(keeper, replace(pulled, replaces=Replaces.SOURCE))
    for record in pulled.records:
        await intake.put(record)
    return await intake.apply(pulled.groups)


@pytest.mark.parametrize("is_pushed_before", [False, True], ids=["after a restart", "before the next push"])
async def test_a_pull_whose_clean_up_was_interrupted_withdraws_nothing_that_it_named(
    database, monkeypatch, is_pushed_before
):
    async with open_store(database) as store:
        keeper = Keeper(store, lambda: 100.0)
        await pull(keeper, **many(450))
        with monkeypatch.context() as patch:
            patch.setattr(batches, "_PIECE_TO_CLEAR", 100)
            fail_from_call(patch, batches, "_clear", 3)
            with pytest.raises(StoreError):
                await pull(keeper, **many(450))
        if is_pushed_before:
            await keeper.apply(push("update", E00000="Available"))
    async with open_store(database) as store:
        await Keeper(store, lambda: 200.0).recover()
        assert await living(store) == many(450, "available")
        assert (await store.read(STAGED))[0]["n"] == 0


def fail_from_call(monkeypatch, module, step: str, number: int) -> None:
    """Let a step fail from this call on."""
    work, left = getattr(module, step), number

    def fail(*args, **kwargs):
        nonlocal left
        left -= 1
        if left <= 0:
            raise StoreError("power failed")
        return work(*args, **kwargs)

    monkeypatch.setattr(module, step, fail)
