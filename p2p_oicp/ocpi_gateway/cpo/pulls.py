"""Reading a partner's lists: at its registration, when a person says so, and again and again (GATEWAY 9).

A list finds what a lost push would have cost. Locations and tariffs are read as a whole, so that what is gone there is
gone here as well; sessions and CDRs from the last ``last_updated`` that is known, an hour earlier.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Final

import structlog

from p2p_oicp.errors import ConfigurationError, PeerError
from p2p_oicp.ocpi.base import format_time
from p2p_oicp.ocpi_gateway.cpo.cdrs import CdrReceiver
from p2p_oicp.ocpi_gateway.cpo.context import CpoContext
from p2p_oicp.ocpi_gateway.cpo.intake import ObjectIntake, seconds_of
from p2p_oicp.ocpi_gateway.cpo.locations import LocationReceiver
from p2p_oicp.ocpi_gateway.cpo.prices import TariffReceiver
from p2p_oicp.ocpi_gateway.cpo.sessions import SessionReceiver
from p2p_oicp.ocpi_gateway.requests import OcpiProblem
from p2p_oicp.storage.ocpi import findings
from p2p_oicp.storage.ocpi.findings import PullCursor
from p2p_oicp.storage.ocpi.objects import ObjectID, ObjectKind

log = structlog.get_logger(__name__)

#: The modules that are pulled, in this order: prices name EVSEs, and CDRs sessions.
PULLED: Final[Mapping[str, ObjectKind]] = MappingProxyType(
    {
        "locations": ObjectKind.LOCATION,
        "tariffs": ObjectKind.TARIFF,
        "sessions": ObjectKind.SESSION,
        "cdrs": ObjectKind.CDR,
    }
)
_OVERLAP = timedelta(hours=1)

#: Stores one object, and returns whether it was new.
_Receive = Callable[[Mapping[str, Any]], Awaitable[object]]
_RemoveOthers = Callable[[set[ObjectID]], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class PullOutcome:
    """What a pull has read: objects, those that could not be read, and those that are gone."""

    module: str
    objects: int = 0
    refused: int = 0
    removed: int = 0


@dataclass(frozen=True, slots=True)
class _Module:
    """How the objects of a module are taken; ``remove_others``: for lists that are read as a whole."""

    intake: ObjectIntake
    receive: _Receive
    remove_others: _RemoveOthers | None = None


class PartnerPuller:
    """Reads the lists of a partner.

    Args:
        context: of the partner.
        locations, tariffs, sessions, cdrs: take the objects.
    """

    def __init__(
        self,
        context: CpoContext,
        locations: LocationReceiver,
        tariffs: TariffReceiver,
        sessions: SessionReceiver,
        cdrs: CdrReceiver,
    ) -> None:
        self._context = context
        self._modules = {
            "locations": _Module(locations.intake, locations.receive, locations.remove_others),
            "tariffs": _Module(tariffs.intake, tariffs.receive, tariffs.remove_others),
            "sessions": _Module(sessions.intake, sessions.receive),
            "cdrs": _Module(cdrs.intake, cdrs.receive),
        }

    async def pull_all(self) -> list[PullOutcome]:
        """Read all lists that the partner has; raise PeerError."""
        partner = self._context.partners.get(self._context.name)
        return [await self.pull(module) for module in PULLED if partner.has_endpoint(module, "SENDER")]

    async def pull(self, module: str, since: datetime | None = None) -> PullOutcome:
        """Read one list, from a time on, else as far as it is due; raise PeerError, ConfigurationError."""
        if module not in PULLED:
            raise ConfigurationError(
                f'"{module}" cannot be pulled from a charging system; expected {", ".join(PULLED)}'
            )
        async with self._context.one_at_a_time(f"pull {module}"):
            return await self._pull(module, since)

    async def _pull(self, module: str, since: datetime | None) -> PullOutcome:
        taken, kind = self._modules[module], PULLED[module]
        is_whole = taken.remove_others is not None and since is None
        start = None if is_whole else since or await self._due_since(kind)
        query = {} if start is None else {"date_from": format_time(start)}
        ids: set[ObjectID] = set()
        count, refused, latest = 0, 0, 0.0
        began_at = self._context.clock.time()
        async for page in self._context.partners.pages(self._context.name, module, "SENDER", query):
            for value in page.objects:
                count += 1
                latest = max(latest, seconds_of(value) if isinstance(value, Mapping) else 0.0)
                if (id_ := await self._take(taken, kind, value)) is None:
                    refused += 1
                else:
                    ids.add(id_)
        removed = await taken.remove_others(ids) if is_whole and taken.remove_others and not refused else 0
        await self._move_cursor(kind, latest, began_at)
        log.info("ocpi.pulled", partner=self._context.name, module=module, objects=count, refused=refused)
        return PullOutcome(module, count, refused, removed)

    async def _take(self, taken: _Module, kind: ObjectKind, value: object) -> ObjectID | None:
        """Store one object as if it had been pushed; None: it cannot be read, which costs no other."""
        object_id = str(value.get("id", "?")) if isinstance(value, Mapping) else "?"
        try:
            checked = taken.intake.checked(value if isinstance(value, Mapping) else {})
            await taken.receive(checked)
            return taken.intake.id_of(checked)
        except OcpiProblem as problem:
            finding = self._context.finding(kind, object_id, "unreadable", problem.message)
            await self._context.write(lambda tx: findings.add(tx, self._context.name, finding))
            return None

    async def _due_since(self, kind: ObjectKind) -> datetime:
        """Return from when on sessions and CDRs are read; what was before the first pull is not this node's."""
        cursor = await findings.cursor_now(self._context.store, self._context.name, kind)
        known = cursor.last_updated or cursor.pulled_at if cursor is not None else self._context.clock.time()
        return datetime.fromtimestamp(known, UTC) - _OVERLAP

    async def _move_cursor(self, kind: ObjectKind, latest: float, began_at: float) -> None:
        earlier = await findings.cursor_now(self._context.store, self._context.name, kind)
        known = earlier.last_updated if earlier is not None else None
        # A partner's clock may be ahead: what it writes until then must not be missed.
        newest = min(latest, began_at) if latest else None
        cursor = PullCursor(max(filter(None, (known, newest)), default=None), began_at)
        await self._context.write(lambda tx: findings.set_cursor(tx, self._context.name, kind, cursor))

    async def try_all(self) -> None:
        """Read all lists; a failure is logged, and the next time they are read again."""
        try:
            await self.pull_all()
        except PeerError as error:
            log.warning("ocpi.pull_failed", partner=self._context.name, reason=error.reason)
