"""Who we are to a partner follows the peers that come and go: new credentials are sent (PUT) when it is others.

Only towards partners with ``as = "*"``, and not to those whose tokens were provisioned by hand. A partner that does not
answer is tried again after a growing delay; meanwhile it knows of the parties from before.
"""

from __future__ import annotations

from typing import Final

import structlog

from p2p_oicp.clock import Clock
from p2p_oicp.concurrency import periodic
from p2p_oicp.errors import P2pOicpError, StoreError
from p2p_oicp.ocpi_gateway.partners import OcpiPartner, OcpiPartners, with_parties
from p2p_oicp.ocpi_gateway.registration import Registrar

log = structlog.get_logger(__name__)

# Peers that come together make one PUT.
_INTERVAL_SECONDS: Final = 5.0
_FIRST_RETRY_SECONDS: Final = 30.0
_MAX_RETRY_SECONDS: Final = 3600.0


class PresentedPartiesJob:
    """Sends our credentials to partners that know us by other parties than we have now.

    Args:
        partners: all partners.
        registrar: sends credentials.
        clock: its monotonic time is used.
        interval: seconds between two looks.
    """

    def __init__(
        self, partners: OcpiPartners, registrar: Registrar, clock: Clock, interval: float = _INTERVAL_SECONDS
    ) -> None:
        self._partners = partners
        self._registrar = registrar
        self._clock = clock
        self._interval = interval
        self._retries: dict[str, tuple[float, float]] = {}

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        await periodic("OCPI parties", self._interval, self.run_once)

    async def run_once(self) -> None:
        """Send our credentials to each partner for which it is time."""
        for partner in self._partners.all:
            next_at, delay = self._retries.get(partner.name, (0.0, _FIRST_RETRY_SECONDS))
            if not self._is_outdated(partner) or self._clock.monotonic() < next_at:
                continue
            try:
                await self._registrar.refresh(partner.name)
                self._retries.pop(partner.name, None)
            except StoreError:
                raise
            except P2pOicpError as error:
                log.warning("ocpi.parties_not_sent", partner=partner.name, reason=str(error), next_in=delay)
                self._retries[partner.name] = (self._clock.monotonic() + delay, min(2 * delay, _MAX_RETRY_SECONDS))

    def _is_outdated(self, partner: OcpiPartner) -> bool:
        if not partner.is_callable or partner.stored is None or not partner.settings.presents_every_peer:
            return False
        registration = partner.stored.registration
        present = with_parties(self._partners.own_parties(partner.settings))
        return not registration.provisioned and tuple(map(tuple, registration.presented)) != present
