"""Asking several EMPs at once: the first ``Authorized`` wins, a silent one costs nothing but its own deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Self

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


async def first_yes(
    peers: Sequence[Peer], ask: Ask, *, favourite: Peer | None = None, head_start: float = 0.0
) -> Authorized | list[Refused]:
    """Ask all ``peers`` side by side; return the first yes and cancel the others, or why there was none.

    A ``favourite`` among them is asked alone at first: the others when it says no, or after ``head_start`` seconds.
    """
    if len(peers) == 1:  # nobody to wait for beside it
        outcome = await _ask_one(peers[0], ask)
        return outcome if isinstance(outcome, Authorized) else [outcome]
    async with _Round(ask) as asked:
        if favourite is not None:
            asked.begin([favourite])
            yes = await asked.next_yes(head_start)
            if yes is not None:
                return yes
        asked.begin([peer for peer in peers if peer is not favourite])
        return await asked.next_yes(None) or asked.refusals


class _Round:
    """The peers being asked; an async context manager that cancels those whose answer is not waited for."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._waiting: set[asyncio.Task[Authorized | Refused]] = set()
        self.refusals: list[Refused] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._waiting:
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)

    def begin(self, peers: Sequence[Peer]) -> None:
        self._waiting |= {asyncio.create_task(_ask_one(peer, self._ask)) for peer in peers}

    async def next_yes(self, seconds: float | None) -> Authorized | None:
        """Return the first yes; None when all have answered or the time is over."""
        while self._waiting:
            done, self._waiting = await asyncio.wait(
                self._waiting, return_when=asyncio.FIRST_COMPLETED, timeout=seconds
            )
            if not done:
                return None
            for outcome in [task.result() for task in done]:
                if isinstance(outcome, Authorized):
                    return outcome
                self.refusals.append(outcome)
        return None


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
