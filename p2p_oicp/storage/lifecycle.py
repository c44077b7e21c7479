"""The states of a session, and which one may follow which; pure.

::

    requested ─► authorized ─► charging ─► ended ─► settled
        │  └───► uncertain ──────▲───────────▲
        └──────► refused         │           │
    authorized, uncertain, charging, ended without a record ─► expired ─┘

A session is *uncertain* when its start may have arrived and nobody said so. *Expired* only says that nothing was heard
for too long: what is told late (and what is to be paid) still counts. Nothing ever leads back.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class State(StrEnum):
    """Where a session stands."""

    REQUESTED = "requested"
    AUTHORIZED = "authorized"
    UNCERTAIN = "uncertain"
    CHARGING = "charging"
    ENDED = "ended"
    SETTLED = "settled"
    REFUSED = "refused"
    EXPIRED = "expired"


_GOES_ON = frozenset({State.CHARGING, State.ENDED, State.SETTLED, State.EXPIRED})
TRANSITIONS: Mapping[State, frozenset[State]] = MappingProxyType(
    {
        # A notification may be faster than the answer to the start.
        State.REQUESTED: frozenset({State.AUTHORIZED, State.UNCERTAIN, State.REFUSED}) | _GOES_ON,
        State.UNCERTAIN: frozenset({State.AUTHORIZED, State.REFUSED}) | _GOES_ON,
        State.AUTHORIZED: _GOES_ON,
        State.CHARGING: _GOES_ON - {State.CHARGING},
        State.ENDED: frozenset({State.SETTLED, State.EXPIRED}),
        State.EXPIRED: _GOES_ON - {State.EXPIRED},
        State.SETTLED: frozenset(),
        State.REFUSED: frozenset(),
    }
)
#: What a refused or forgotten start leaves: nobody may speak of it any more (box B2).
NO_SESSION = frozenset({State.REFUSED})
#: A stop is pointless when all is told, and not to be had when nobody knows the session any more.
STOPPABLE = frozenset({State.REQUESTED, State.AUTHORIZED, State.UNCERTAIN, State.CHARGING, State.ENDED})
#: What expires when nothing is heard after the start.
BEFORE_CHARGING = frozenset({State.REQUESTED, State.AUTHORIZED})
#: What expires when nothing is heard for very long.
UNDER_WAY = frozenset({State.UNCERTAIN, State.CHARGING, State.ENDED})
_AFTER_NOTIFICATION = MappingProxyType({"Start": State.CHARGING, "Progress": State.CHARGING, "End": State.ENDED})


def allowed(before: str, after: str) -> bool:
    """Say whether a session may go from one state to the other."""
    return State(after) in TRANSITIONS[State(before)]


def moved(before: str, towards: str) -> State:
    """Return the state after an event that leads ``towards`` a state; one that comes late changes nothing."""
    return State(towards) if allowed(before, towards) else State(before)


def after_notification(before: str, kind: str) -> State:
    """Return the state after a notification of a ``kind`` (Start, Progress, End, Error)."""
    towards = _AFTER_NOTIFICATION.get(kind)
    return State(before) if towards is None else moved(before, towards)
