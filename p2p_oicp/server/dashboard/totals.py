"""Counts for the tiles of the overview: sessions that charge, and today's charge detail records with their energy.

Today's records are summed up by their ids: each is read once, a day's records in steps, so that no page waits for more
than a step of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from p2p_oicp.clock import Clock
from p2p_oicp.storage import Store
from p2p_oicp.storage.listings import CDR_ENERGY_AFTER, LAST_CDR_BEFORE, SESSIONS_IN_STATE
from p2p_oicp.storage.sessions import SessionState

_DAY_SECONDS = 86_400.0
_STEP = 5000
#: Sessions are not counted any further.
MAX_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class Totals:
    """What the tiles show.

    Attributes:
        charging: how many sessions charge now, at most `MAX_COUNTED`.
        uncertain: how many remote starts nobody has answered.
        cdrs: how many records have come today (UTC).
        energy: of these, in kWh.
        is_complete: whether all of today's records are counted already.
    """

    charging: int
    uncertain: int
    cdrs: int
    energy: Decimal
    is_complete: bool

    def to_json(self) -> dict[str, object]:
        """Return it as JSON."""
        return {
            "charging": self.charging,
            "uncertain": self.uncertain,
            "cdrs_today": self.cdrs,
            "kwh_today": self.energy,
            "is_complete": self.is_complete,
        }


class DayTotals:
    """Counts, and remembers up to where."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._day = -1
        self._last_id = 0
        self._cdrs = 0
        self._energy = Decimal(0)

    async def read(self) -> Totals:
        """Return the counts of now. Raises StoreError."""
        is_complete = await self._count_cdrs()
        charging, uncertain = [
            (await self._store.query(SESSIONS_IN_STATE, state_=state, limit=MAX_COUNTED))[0]["records"]
            for state in (SessionState.CHARGING, SessionState.UNCERTAIN)
        ]
        return Totals(charging, uncertain, self._cdrs, self._energy, is_complete)

    async def _count_cdrs(self) -> bool:
        day = int(self._clock.time() // _DAY_SECONDS)
        if day != self._day:
            rows = await self._store.query_bulk(LAST_CDR_BEFORE, before_=day * _DAY_SECONDS)
            self._day, self._last_id = day, rows[0]["id"] if rows else 0
            self._cdrs, self._energy = 0, Decimal(0)
        rows = await self._store.query(CDR_ENERGY_AFTER, after_=self._last_id, limit=_STEP)
        # Two pages may have read the same rows.
        for row in rows:
            if row["id"] > self._last_id:
                self._last_id = row["id"]
                self._cdrs += 1
                self._energy += Decimal(str(row["energy"] or 0))
        return len(rows) < _STEP
