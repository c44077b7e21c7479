"""Face A of the OCPI gateway without sockets: a partner and a node that answer by a script and record what they get."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from p2p_oicp.client.ocpi import OcpiPage
from p2p_oicp.clock import UuidGenerator
from p2p_oicp.concurrency import BackgroundTasks
from p2p_oicp.config.ocpi import OcpiPartnerSettings
from p2p_oicp.errors import PeerError
from p2p_oicp.ocpi.base import encode_json
from p2p_oicp.ocpi.envelope import OcpiReply
from p2p_oicp.ocpi.modules import INTERFACES
from p2p_oicp.ocpi.registration import PartyRole
from p2p_oicp.ocpi_gateway.cpo import CpoGateway
from p2p_oicp.ocpi_gateway.cpo.context import CpoContext
from p2p_oicp.ocpi_gateway.node_calls import NodeCalls
from p2p_oicp.ocpi_gateway.requests import ModuleRequest, ModuleResult
from p2p_oicp.oicp import Acknowledgement, AuthorizationStart, AuthorizeStart, Message
from p2p_oicp.oicp.message import decode
from p2p_oicp.storage import Store
from tests.support.clocks import ManualClock

URL = "https://node.example/ocpi"
ACCEPTED = {"Result": True, "StatusCode": {"Code": "000"}}
#: What a call is answered with: data, or an error.
Answers = dict[tuple[str, ...], Any]


@dataclass
class FakePartner:
    """What the partner is sent, in `calls`, and what it answers, by verb and module; by default with success."""

    settings: OcpiPartnerSettings
    clock: ManualClock
    calls: list[SimpleNamespace] = field(default_factory=list)
    answers: Answers = field(default_factory=dict)
    lists: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    is_callable: bool = True
    on_call: Callable[[SimpleNamespace], object] | None = None

    async def call(self, _name: str, verb: str, target: tuple[str, ...], **given: Any) -> OcpiReply:
        call = SimpleNamespace(verb=verb, target=target, **given)
        self.calls.append(call)
        if self.on_call is not None:
            await self.on_call(call)  # type: ignore[misc]
        answer = self.answers.get((verb, target[0]), None)
        if isinstance(answer, PeerError):
            raise answer
        return answer if isinstance(answer, OcpiReply) else OcpiReply(200, 1000, answer)

    async def pages(self, _name: str, module: str, _role: str, query: Mapping[str, str]) -> AsyncIterator[OcpiPage]:
        self.calls.append(SimpleNamespace(verb="GET", target=(module, "SENDER"), query=query))
        if isinstance(self.lists.get(module), PeerError):
            raise self.lists[module]
        yield OcpiPage(self.lists.get(module, []), None)

    def sent(self, module: str) -> list[SimpleNamespace]:
        return [call for call in self.calls if call.target[0] == module]


class FakePartners:
    """`ocpi_gateway.partners.OcpiPartners` of one partner."""

    def __init__(self, partner: FakePartner, providers: tuple[str, ...]) -> None:
        self.partner = partner
        self.providers = providers
        self.settings = SimpleNamespace(url=URL, pull_interval=3600.0)
        self.call, self.pages = partner.call, partner.pages

    def get(self, _name: str) -> SimpleNamespace:
        def has_party(country_code: object, party_id: object) -> bool:
            return (str(country_code).upper(), str(party_id).upper()) == ("DE", "GEF")

        return SimpleNamespace(
            has_party=has_party, is_callable=self.partner.is_callable, has_endpoint=lambda _module, _role: True
        )

    def terms_of(self, settings: OcpiPartnerSettings) -> Any:
        return settings.terms_at(datetime.fromtimestamp(self.partner.clock.time(), UTC), {})

    def own_parties(self, settings: OcpiPartnerSettings) -> list[PartyRole]:
        return [PartyRole(settings.own_role, text[:2], text[-3:], text) for text in self.providers]


@dataclass
class FakeNode:
    """What the node is sent, as JSON with the name of the message; `answers` by that name, the usual one otherwise."""

    messages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)

    async def send(self, message: Message) -> Message:
        name = type(message).__name__
        self.messages.append((name, decode(message.to_json())))  # type: ignore[arg-type]
        answer = next((value for start, value in self.answers.items() if name.startswith(start)), None)
        answer = answer(message) if callable(answer) else answer
        if isinstance(answer, Exception):
            raise answer
        if isinstance(message, AuthorizeStart):
            return AuthorizationStart.from_json(encode_json(answer or authorized(message)))
        return Acknowledgement.from_json(encode_json(answer or ACCEPTED))

    def sent(self, name: str) -> list[dict[str, Any]]:
        return [value for each, value in self.messages if each.startswith(name)]


def authorized(message: AuthorizeStart) -> dict[str, Any]:
    session_id = message.session_id.text if message.session_id else None
    status = {"AuthorizationStatus": "Authorized", "StatusCode": {"Code": "000"}}
    return {"SessionID": session_id, "ProviderID": "DE-DCB", **status}


def refusal(code: str) -> dict[str, Any]:
    return {"Result": False, "StatusCode": {"Code": code}}


@dataclass
class Bench:
    """Face A of one partner, with both of its sides."""

    gateway: CpoGateway
    partner: FakePartner
    node: FakeNode
    clock: ManualClock
    held: list[tuple[str, str]]

    async def request(
        self,
        verb: str,
        module: str,
        path: str = "",
        body: Any = None,
        query: Mapping[str, str] | None = None,
        **more: Any,
    ) -> ModuleResult:
        """Serve a request of the partner; ``path`` has the values of the path's segments, in their order."""
        role = "SENDER" if module in {"commands", "tokens"} else "RECEIVER"
        values = [part for part in path.split("/") if part]
        interface = next(
            each for each in INTERFACES if each.module == module and each.role == role and each.party == "EMSP"
        )
        endpoint = next(
            each
            for each in interface.endpoints
            if each.verb == verb and len([part for part in each.path.split("/") if part]) == len(values)
        )
        names = [part for part in endpoint.path.split("/") if part]
        segments = {name[1:-1]: value for name, value in zip(names, values, strict=True) if name.startswith("{")}
        settings = self.partner.settings
        return await self.gateway.handle(
            ModuleRequest(settings, interface, endpoint, segments, query or {}, body, **more)
        )


def settings_of(**changes: Any) -> OcpiPartnerSettings:
    members = {"name": "csms", "face": "cpo", "parties": ["DE*GEF"], "hotline": "+4930123456"}
    return OcpiPartnerSettings.model_validate(members | changes)


def open_bench(store: Store, clock: ManualClock, *, providers: tuple[str, ...] = ("DE-DCB",), **changes: Any) -> Bench:
    settings = settings_of(**changes)
    partner, node, held = FakePartner(settings, clock), FakeNode(), list[tuple[str, str]]()
    context = CpoContext(
        settings,
        FakePartners(partner, providers),  # type: ignore[arg-type]
        store,
        clock,
        UuidGenerator(),
        NodeCalls(node.send),
        BackgroundTasks(),
        50.0,
        lambda cdr_id, reason: held.append((cdr_id, reason)),
    )
    return Bench(CpoGateway(context), partner, node, clock, held)
