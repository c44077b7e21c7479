"""All partners with charging stations together: the backend that each is, and what serves their requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

from p2p_oicp.concurrency import Worker
from p2p_oicp.config.ocpi import OcpiPartnerSettings
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.ocpi_gateway.cpo.backend import CpoGateway
from p2p_oicp.ocpi_gateway.cpo.context import CpoContext
from p2p_oicp.ocpi_gateway.node_calls import NodeCalls, SendMessage
from p2p_oicp.ocpi_gateway.partners import OcpiPartners
from p2p_oicp.ocpi_gateway.requests import ModuleRequest, ModuleResult
from p2p_oicp.roles.context import Services
from p2p_oicp.storage.event_log import Event, EventType

_CDR = "ChargeDetailRecord"
#: Takes an event, which is written a moment later (`storage.limited_events`).
AddEvent = Callable[[Event], None]


class CpoPartners:
    """The partners of face A of a node.

    Args:
        partners: who they are, and how each is called.
        services: of the node.
        send: the in-process client of a backend, by which the node is spoken to.
        add_event: takes events.
    """

    def __init__(self, partners: OcpiPartners, services: Services, send: SendMessage, add_event: AddEvent) -> None:
        self.partners = partners
        self._services = services
        self._add_event = add_event
        node = NodeCalls(send)
        settings = [each for each in partners.settings.partners if each.face == "cpo"]
        self._by_name: Mapping[str, CpoGateway] = {
            each.name: CpoGateway(self._context(each, node)) for each in settings
        }
        partners.subscribe(self._on_partner_changed)

    def __repr__(self) -> str:
        return f"<CpoPartners {list(self._by_name)}>"

    def _context(self, settings: OcpiPartnerSettings, node: NodeCalls) -> CpoContext:
        services = self._services
        return CpoContext(
            settings,
            self.partners,
            services.store,
            services.clock,
            services.ids,
            node,
            services.background,
            services.deadlines.remote_backend,
            partial(self._on_held, settings.name),
        )

    def _on_held(self, partner: str, cdr_id: str, reason: str) -> None:
        """Tell that a CDR waits for a person."""
        text = f"{partner}: {cdr_id} is held: {reason}"
        self._add_event(Event(EventType.FINDING, "held_cdr", self._services.now(), _CDR, role="cpo", text=text))

    def _on_partner_changed(self, name: str) -> None:
        cpo = self._by_name.get(name)
        if cpo is not None and self.partners.get(name).is_callable:
            cpo.jobs.on_registered()

    def backend_of(self, settings: OcpiPartnerSettings) -> CpoGateway | None:
        """Return the backend that a partner is; None: its face offers nothing."""
        return self._by_name.get(settings.name)

    def get(self, name: str) -> CpoGateway:
        """Return a partner with charging stations by its name; raise ConfigurationError."""
        if (found := self._by_name.get(name)) is None:
            known = ", ".join(f'"{each}"' for each in self._by_name) or "none"
            raise ConfigurationError(f'"{name}" is no OCPI partner with charging stations; there are: {known}')
        return found

    async def handle(self, request: ModuleRequest) -> ModuleResult:
        """Serve a request of a partner; raise OcpiProblem. See `requests.ModuleHandler`."""
        return await self._by_name[request.partner.name].handle(request)

    def workers(self) -> Iterator[tuple[str, Worker]]:
        """Return the background tasks, with their names."""
        for name, cpo in self._by_name.items():
            yield f"ocpi partner {name}", cpo.jobs
