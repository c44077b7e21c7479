"""How OCPI partners are, among peers and backends: what the last calls say, and how far the registration is."""

from __future__ import annotations

from dataclasses import replace

from p2p_oicp.config.ocpi import OCPI_PREFIX
from p2p_oicp.delivery.health import REQUESTS, ChannelHealth, Latency, LiveCalls, Trouble
from p2p_oicp.delivery.health_texts import Condition
from p2p_oicp.ocpi_gateway.partners import OcpiPartner, OcpiPartners
from p2p_oicp.storage.ocpi_partners import PartnerState


class LiveOcpi:
    """The `LiveCalls` of a node with OCPI partners: what no row of a worker tells of them stands in their own.

    Args:
        calls: what became of the last calls of peers and backends.
        partners: the partners; None: there are none.
    """

    def __init__(self, calls: LiveCalls, partners: OcpiPartners | None) -> None:
        self._calls = calls
        self._partners = partners

    def clock_skew(self, name: str) -> float | None:
        return self._calls.clock_skew(name)

    def latency(self, name: str) -> Latency | None:
        return self._calls.latency(name)

    def channel(self, name: str) -> ChannelHealth | None:
        """Return how the last requests to a peer, backend or partner went; None if there were none."""
        channel = self._calls.channel(name)
        partner = self._find(name)
        if partner is None:
            return channel
        channel = channel or ChannelHealth(channel=REQUESTS)
        trouble = self._trouble_of(partner)
        stored = partner.stored
        if channel.last_success_at is None and stored is not None:
            channel = replace(channel, last_success_at=stored.last_success_at)
        return channel if trouble is None else replace(channel, troubles=(trouble,))

    def _trouble_of(self, partner: OcpiPartner) -> Trouble | None:
        """Return what is wrong with a registration, or with the last request; None: nothing."""
        stored = partner.stored
        if stored is None or stored.state in {PartnerState.INVITED, PartnerState.REGISTERING}:
            return Trouble(cause=Condition.NOT_REGISTERED, error="" if stored is None else str(stored.state))
        error, since = stored.last_error, stored.last_failure_at
        if stored.state is PartnerState.SUSPENDED:
            return Trouble(cause=Condition.SUSPENDED, since=since, error=error, tries=1)
        if error and _is_latest(since, stored.last_success_at) and self._partners is not None:
            cause = self._partners.last_cause(partner.name)
            return Trouble(cause=cause, since=since, last_at=since, error=error, tries=1)
        return None

    def _find(self, name: str) -> OcpiPartner | None:
        if self._partners is None or not name.startswith(OCPI_PREFIX):
            return None
        return self._partners.find(name.removeprefix(OCPI_PREFIX))


def _is_latest(failed_at: float | None, succeeded_at: float | None) -> bool:
    return failed_at is not None and failed_at >= (succeeded_at or 0.0)
