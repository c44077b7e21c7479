"""One bell per worker: rung when there may be something to do."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Sequence

from p2p_oicp.clock import Clock
from p2p_oicp.storage import Store, Transaction, destinations, outbox


class Bell:
    """Wakes one worker, which works for ``destination``; ``paused`` while it waits for a time to come.

    ``brings`` is what the worker brings there: a kind of state, or empty.
    """

    def __init__(self, destination: str, brings: str = "") -> None:
        self.destination = destination
        self.brings = brings
        self.paused = False
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Say that there may be work."""
        self._event.set()

    async def wait(self, seconds: float | None) -> None:
        """Return when rung, or after ``seconds`` (None: only when rung)."""
        self.paused = seconds is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self.paused = False
        self._event.clear()


class Bells:
    """The bells of all workers, by the name of the peer (or backend) that they serve."""

    def __init__(self) -> None:
        self._of: defaultdict[str, list[Bell]] = defaultdict(list)

    def hang(self, name: str, destination: str, brings: str = "") -> Bell:
        """Return a new bell for the worker of ``destination``, which belongs to the peer ``name``."""
        bell = Bell(destination, brings)
        self._of[name].append(bell)
        return bell

    def take_down(self, name: str) -> None:
        """Forget the bells of a peer that is gone."""
        self._of.pop(name, None)

    def ring(self, name: str) -> None:
        """Wake the workers of ``name``."""
        for bell in self._of.get(name, ()):
            bell.ring()

    def ring_all_that_bring(self, what: str) -> None:
        """Wake the workers, for whomever, that bring one kind of state; the others have nothing new to look for."""
        for bells in self._of.values():
            for bell in bells:
                if bell.brings == what:
                    bell.ring()

    def of(self, name: str) -> Sequence[Bell]:
        """Return the bells of the workers of ``name``."""
        return self._of.get(name, ())

    def paused(self, name: str) -> list[str]:
        """Return the destinations of ``name`` that wait before they try again."""
        return [bell.destination for bell in self.of(name) if bell.paused]


class SignsOfLife:
    """A peer that is heard from is up: what waits for it is due now."""

    def __init__(self, bells: Bells, store: Store, clock: Clock) -> None:
        self._bells = bells
        self._store = store
        self._clock = clock

    def are_wanted(self, name: str) -> bool:
        """Say whether anything waits for a peer: asked at each of its requests."""
        return any(bell.paused for bell in self._bells.of(name))

    async def heard_from(self, name: str) -> None:
        """Clear the backoff of a peer's destinations, if there is any."""
        paused = self._bells.paused(name)
        if not paused:
            return

        def clear(tx: Transaction) -> None:
            for destination in paused:
                destinations.clear(tx, destination)
            outbox.hurry(tx, name, self._clock.time())

        await self._store.write(clear)
        self._bells.ring(name)
