"""What the parts of face A share: the partner, and the seams that it is reached and processed by."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from p2p_oicp.clock import Clock, IdGenerator
from p2p_oicp.concurrency import BackgroundTasks
from p2p_oicp.config.ocpi import OcpiPartnerSettings
from p2p_oicp.ocpi.envelope import OcpiReply
from p2p_oicp.ocpi_gateway.node_calls import NodeCalls
from p2p_oicp.ocpi_gateway.partners import OcpiPartners
from p2p_oicp.ocpi_mapping.ids import Party
from p2p_oicp.ocpi_mapping.losses import Loss
from p2p_oicp.ocpi_mapping.terms import Terms
from p2p_oicp.storage import Store, Transaction, job_keys
from p2p_oicp.storage.ocpi.findings import StoredFinding
from p2p_oicp.storage.ocpi.objects import ObjectKind

T = TypeVar("T")
_NO_QUERY: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class CpoContext:
    """One partner with charging stations.

    Attributes:
        settings: its table.
        partners: calls it.
        store: has what it sent.
        clock, ids: the time, and new ids.
        node: takes what its objects are in OICP.
        background: tasks that outlast the request that started them.
        remote_seconds: how long the node waits for the outcome of a remote operation.
        held: learns of a CDR that a person has to look at: its id, and why.
    """

    settings: OcpiPartnerSettings
    partners: OcpiPartners
    store: Store
    clock: Clock
    ids: IdGenerator
    node: NodeCalls
    background: BackgroundTasks
    remote_seconds: float
    held: Callable[[str, str], None]
    _locks: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    @property
    def name(self) -> str:
        """The partner's name."""
        return self.settings.name

    def terms(self) -> Terms:
        """Return what the mapping depends on, now."""
        return self.partners.terms_of(self.settings)

    def now(self) -> datetime:
        """Return the time."""
        return datetime.fromtimestamp(self.clock.time(), UTC)

    async def write(self, job: Callable[[Transaction], T]) -> T:
        """Run a job about the partner in a transaction."""
        return await self.store.write(job, about=(job_keys.ocpi_partner(self.name),))

    async def call(
        self,
        verb: str,
        *target: str,
        body: object | None = None,
        query: Mapping[str, str] = _NO_QUERY,
        deadline: float = 10.0,
        correlation_id: str | None = None,
        sender: Party | None = None,
    ) -> OcpiReply:
        """Call the partner at module, role and the parts of a path; raise PeerError."""
        return await self.partners.call(
            self.name,
            verb,
            target,
            body=body,
            query=query,
            deadline=deadline,
            correlation_id=correlation_id,
            sender=sender,
        )

    @asynccontextmanager
    async def one_at_a_time(self, key: str) -> AsyncIterator[None]:
        """Let one caller of a key work after the other."""
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        async with lock:
            yield

    def findings_of(self, kind: ObjectKind, object_id: str, losses: tuple[Loss, ...]) -> list[StoredFinding]:
        """Return losses as they are stored."""
        now = self.clock.time()
        return [StoredFinding(kind, object_id, loss.code, loss.pointer, loss.message, now) for loss in losses]

    def finding(self, kind: ObjectKind, object_id: str, code: str, message: str, pointer: str = "") -> StoredFinding:
        """Return a finding of now."""
        return StoredFinding(kind, object_id, code, pointer, message, self.clock.time())

    def owner_of(self, value: Mapping[str, Any]) -> Party:
        """Return the party that an object names as its owner, else the partner's main one."""
        own = self.settings.own_party
        return Party(str(value.get("country_code") or own.country_code), str(value.get("party_id") or own.party_id))
