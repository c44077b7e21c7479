"""Asking several EMPs at once: the first ``Authorized`` wins, a silent one costs nothing but its own deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from p2p_oicp.errors import PeerError
from p2p_oicp.oicp import AuthorizationStart, AuthorizationStatus, Message
from p2p_oicp.peers import Peer


@dataclass(frozen=True, slots=True)
class Refused:
    """Why one peer did not say yes; ``code`` is its own OICP code, None where it did not answer."""

    peer: Peer
    reason: str
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Authorized:
    """The yes of one peer."""

    peer: Peer
    answer: AuthorizationStart


Ask = Callable[[Peer], Awaitable[Message]]


async def first_yes(peers: tuple[Peer, ...], ask: Ask) -> Authorized | list[Refused]:
    """Ask all ``peers`` side by side; return the first yes and cancel the others, or why there was none."""
    waiting = {asyncio.create_task(_ask_one(peer, ask)) for peer in peers}
    refusals: list[Refused] = []
    try:
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                outcome = task.result()
                if isinstance(outcome, Authorized):
                    return outcome
                refusals.append(outcome)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    return refusals


async def _ask_one(peer: Peer, ask: Ask) -> Authorized | Refused:
    try:
        answer = await ask(peer)
    except PeerError as error:
        return Refused(peer, error.reason)
    if isinstance(answer, AuthorizationStart) and answer.authorization_status == AuthorizationStatus.AUTHORIZED:
        return Authorized(peer, answer)
    status = getattr(answer, "status_code", None)
    code = str(status.code) if status is not None else None
    return Refused(peer, f"{code} {getattr(status, 'description', None) or ''}".strip(), code)


def summary(refusals: list[Refused]) -> tuple[str, str]:
    """Return the code and the AdditionalInfo for the backend: 106, or an EMP's own code when it is the only one."""
    if not refusals:
        return "106", "no EMP peer is under contract for AuthorizeStart"
    info = "; ".join(
        f"{refused.peer.name}: {refused.reason}" for refused in sorted(refusals, key=lambda r: r.peer.name)
    )
    answered = [refused for refused in refusals if refused.code is not None]
    if len(answered) == 1 and answered[0].code not in (None, "000"):
        return str(answered[0].code), info
    return "106", info
