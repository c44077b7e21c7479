"""One partner with charging stations, as a backend of the node and as what answers its requests."""

from __future__ import annotations

from p2p_oicp.errors import OperationNotSupported
from p2p_oicp.ocpi.enumerations import ModuleID
from p2p_oicp.ocpi_gateway.cpo.authorization import TokenAuthorizer
from p2p_oicp.ocpi_gateway.cpo.cdrs import CdrReceiver
from p2p_oicp.ocpi_gateway.cpo.commands import COMMAND_BY_OPERATION, CommandSender
from p2p_oicp.ocpi_gateway.cpo.context import CpoContext
from p2p_oicp.ocpi_gateway.cpo.correlation import Correlator
from p2p_oicp.ocpi_gateway.cpo.jobs import PartnerJobs
from p2p_oicp.ocpi_gateway.cpo.location_export import LocationExporter
from p2p_oicp.ocpi_gateway.cpo.locations import LocationReceiver
from p2p_oicp.ocpi_gateway.cpo.prices import PriceExporter, TariffReceiver
from p2p_oicp.ocpi_gateway.cpo.pulls import PartnerPuller
from p2p_oicp.ocpi_gateway.cpo.sessions import SessionReceiver
from p2p_oicp.ocpi_gateway.cpo.tokens import TokenPublisher
from p2p_oicp.ocpi_gateway.requests import ModuleRequest, ModuleResult
from p2p_oicp.ocpi_mapping.terms import CITRINEOS
from p2p_oicp.oicp import Message
from p2p_oicp.oicp.operations import Operation

_RESERVATIONS = frozenset({"AuthorizeRemoteReservationStart", "AuthorizeRemoteReservationStop"})


class CpoGateway:
    """A partner of face A.

    Args:
        context: of the partner.
    """

    #: What the node replicates to it.
    pushes = ("PushAuthenticationData",)

    def __init__(self, context: CpoContext) -> None:
        self.context = context
        self._correlator = Correlator(context)
        self.tokens = TokenPublisher(context)
        self.sessions = SessionReceiver(context, self._correlator)
        self.cdrs = CdrReceiver(context, self._correlator, self.sessions)
        self.locations = LocationReceiver(context, self._wake)
        self.tariffs = TariffReceiver(context, self._on_prices_changed)
        self.location_exporter = LocationExporter(context, self._on_prices_changed)
        self.prices = PriceExporter(context)
        self.puller = PartnerPuller(context, self.locations, self.tariffs, self.sessions, self.cdrs)
        self._commands = CommandSender(context)
        self._authorizer = TokenAuthorizer(context)
        self.jobs = PartnerJobs(
            context, self.location_exporter, self.prices, self.tokens, self.sessions, self.cdrs, self.puller
        )

    def __repr__(self) -> str:
        return f"<CpoGateway {self.context.name}>"

    def _wake(self) -> None:
        self.jobs.wakeup.set()

    def _on_prices_changed(self) -> None:
        self.jobs.on_prices_changed()

    # The node's side

    def supports(self, operation: Operation) -> bool:
        """Whether the partner offers an operation."""
        if operation.name in _RESERVATIONS:
            settings = self.context.settings
            return settings.reservations and settings.profile != CITRINEOS
        return operation.name in COMMAND_BY_OPERATION

    async def call(
        self, operation: Operation, message: Message, *, sender: str | None = None, deadline: float | None = None
    ) -> Message:
        """Carry out a remote operation; see `backends.Backend`."""
        del sender, deadline  # the result of a command is waited for as long as the node's requester waits
        if not self.supports(operation):
            raise OperationNotSupported(self.context.settings.destination, operation.name)
        return await self._commands.send(operation.name, message)

    async def push(self, operation: Operation, party: str, body: bytes) -> None:
        """Take authentication data; see `backends.DatasetReceiver`."""
        await self.tokens.push(operation, party, body)

    # The partner's side

    async def handle(self, request: ModuleRequest) -> ModuleResult:
        """Serve a request of the partner; raise OcpiProblem."""
        if request.module == ModuleID.TOKENS and request.verb == "POST":
            return await self._authorizer.handle(request)
        handlers = {
            ModuleID.LOCATIONS: self.locations.handle,
            ModuleID.TARIFFS: self.tariffs.handle,
            ModuleID.SESSIONS: self.sessions.handle,
            ModuleID.CDRS: self.cdrs.handle,
            ModuleID.TOKENS: self.tokens.handle,
            ModuleID.COMMANDS: self._commands.handle,
        }
        return await handlers[ModuleID(request.module)](request)
