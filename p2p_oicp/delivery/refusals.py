"""Groups that a peer refuses: each is tried again after a pause of its own, and holds up no other group."""

from __future__ import annotations

from dataclasses import dataclass

from p2p_oicp.clock import Clock
from p2p_oicp.delivery.backoff import Backoff
from p2p_oicp.errors import PeerRejected

# What the peer does not offer today, it will not offer in a minute either.
_NOT_OFFERED = frozenset({"210", "320"})
_PAUSE_WHERE_NOT_OFFERED_SECONDS = 3600.0


@dataclass(slots=True)
class _Refusal:
    times: int = 0
    until: float = 0.0


class Refusals:
    """What one peer refuses of one kind of state."""

    def __init__(self, backoff: Backoff, clock: Clock) -> None:
        self._backoff = backoff
        self._clock = clock
        self._of: dict[str, _Refusal] = {}

    def note(self, group: str, error: PeerRejected) -> None:
        """Take note of a refusal."""
        refusal = self._of.setdefault(group, _Refusal())
        refusal.times += 1
        is_final = error.code in _NOT_OFFERED
        pause = _PAUSE_WHERE_NOT_OFFERED_SECONDS if is_final else self._backoff.wait(refusal.times)
        refusal.until = self._clock.monotonic() + pause

    def forget(self, group: str) -> None:
        """Take note that a group is accepted."""
        self._of.pop(group, None)

    def groups(self) -> set[str]:
        """Return the groups that are not to be tried yet."""
        now = self._clock.monotonic()
        return {group for group, refusal in self._of.items() if refusal.until > now}

    def pause(self) -> float | None:
        """Return the seconds until a group may be tried again, None if none was refused."""
        if not self._of:
            return None
        return max(0.01, min(refusal.until for refusal in self._of.values()) - self._clock.monotonic())
