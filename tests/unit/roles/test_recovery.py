"""The order in which a restored node asks its peers."""

import asyncio
from types import SimpleNamespace
from unittest.mock import AsyncMock

from p2p_oicp.roles.recovery import RecoveryJob


async def test_a_peer_that_does_not_answer_holds_up_no_other(monkeypatch):
    silent, quick = (SimpleNamespace(name=name, is_self=False) for name in ("silent", "quick"))
    quick_has_answered = asyncio.Event()

    async def recover(_job, _role, peer, _since):
        if peer is silent:
            await quick_has_answered.wait()
        else:
            quick_has_answered.set()

    async def query(*_, **__):
        return []

    monkeypatch.setattr(RecoveryJob, "_recover", recover)
    services = SimpleNamespace(
        registry=SimpleNamespace(all=lambda: [silent, quick]), store=SimpleNamespace(query=query)
    )
    epochs = SimpleNamespace(lost_since=AsyncMock(return_value=0.0))
    job = RecoveryJob(services, epochs, None, [SimpleNamespace(name="emp")])
    async with asyncio.timeout(5):
        await job.run_once()
