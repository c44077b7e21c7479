"""The handler of the OCPI listener: every request of a partner, from its path to its envelope."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import cast

import structlog
from aiohttp import web

from p2p_oicp.clock import Clock, IdGenerator
from p2p_oicp.config.ocpi import OCPI_PATH
from p2p_oicp.logs import PROCESS_ID
from p2p_oicp.ocpi.base import JsonObject, read_object
from p2p_oicp.ocpi.credentials import Credentials
from p2p_oicp.ocpi.envelope import OcpiStatus
from p2p_oicp.ocpi.modules import V2_2_1
from p2p_oicp.ocpi.registration import version_details, version_list
from p2p_oicp.ocpi_gateway.partners import Caller, OcpiPartners
from p2p_oicp.ocpi_gateway.registration import Registrar
from p2p_oicp.ocpi_gateway.requests import ModuleHandler, ModuleRequest, ModuleResult, OcpiProblem
from p2p_oicp.ocpi_mapping.ids import Party
from p2p_oicp.server.inbound import HttpConnection, routed_path
from p2p_oicp.server.ocpi.answers import Answer, RequestIds, failure, paged, respond
from p2p_oicp.server.ocpi.authority import OcpiAuthority, unauthorized, unknown_path
from p2p_oicp.server.ocpi.reading import check_owner, read_body, read_message, read_page, read_routing
from p2p_oicp.server.ocpi.routes import Match, Resource, find
from p2p_oicp.storage import Store, job_keys, ocpi_partners

log = structlog.get_logger(__name__)

#: Counts a request: the partner's name, the module, the verb, the HTTP status, OCPI's status code, and seconds.
OcpiObserver = Callable[[str, str, str, int, int, float], None]


def ignore_request(*_facts: object) -> None:
    """Count nothing."""


class OcpiListener:
    """Serves OCPI to all partners.

    Args:
        partners: all partners.
        registrar: serves credentials.
        handlers: by the face of a partner (``cpo``, ``emsp``), what serves its modules.
        store: tokens that were replaced end there.
        ids: makes ids of requests that have none.
        clock: the time.
        observe: counts requests.
    """

    def __init__(
        self,
        partners: OcpiPartners,
        registrar: Registrar,
        handlers: Mapping[str, ModuleHandler],
        *,
        store: Store,
        ids: IdGenerator,
        clock: Clock,
        observe: OcpiObserver = ignore_request,
    ) -> None:
        self._partners = partners
        self._registrar = registrar
        self._handlers = handlers
        self._store = store
        self._ids = ids
        self._clock = clock
        self._observe = observe
        self._authority = OcpiAuthority(partners, partners.settings, clock)

    def __repr__(self) -> str:
        return f"<OcpiListener {self._partners!r}>"

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        started = self._clock.monotonic()
        ids = RequestIds.of(request, self._ids.process_id)
        PROCESS_ID.set(ids.correlation_id)
        match, caller = find(request.method, routed_path(request.raw_path)), None
        try:
            caller = await self._authority.recognise(request)
            answer = await self._serve(request, caller, match, ids)
        except Exception as error:  # noqa: BLE001 - the edge of the program
            answer = failure(error, request, caller.partner.name if caller is not None else "")
        response = respond(answer, ids, self._clock)
        self._observe(
            caller.partner.name if caller is not None else "",
            _module_of(match),
            request.method if request.method in _VERBS else "other",
            response.status,
            answer.result.status_code,
            self._clock.monotonic() - started,
        )
        return response

    async def _serve(self, request: web.BaseRequest, caller: Caller, match: Match | None, ids: RequestIds) -> Answer:
        if match is None:
            raise unauthorized() if caller.token is not None and caller.token.is_spent else unknown_path()
        self._authority.check(caller, match, request.method)
        if request.method not in match.verbs:
            return _wrong_verb(request.method, match)
        cast("HttpConnection", request.protocol).prove()
        with self._authority.admit(caller):
            if match.resource is Resource.MODULE:
                return await self._serve_module(request, caller, match, ids)
            return Answer(ModuleResult(await self._serve_registration(request, caller, match)))

    # Registration

    async def _serve_registration(self, request: web.BaseRequest, caller: Caller, match: Match) -> object:
        url, own_role = self._partners.settings.url, caller.partner.settings.own_role
        if match.resource is Resource.VERSIONS:
            return version_list(url)
        if match.resource is Resource.DETAILS:
            return version_details(url, own_role, match.version or V2_2_1)
        return await self._serve_credentials(request, caller)

    async def _serve_credentials(self, request: web.BaseRequest, caller: Caller) -> JsonObject | None:
        match request.method:
            case "POST":
                return await self._registrar.accept(caller, await _read_credentials(request))
            case "PUT":
                return await self._registrar.replace(caller, await _read_credentials(request))
            case "DELETE":
                await self._registrar.end(caller)
                return None
        return self._registrar.show(caller)

    # Modules

    async def _serve_module(self, request: web.BaseRequest, caller: Caller, match: Match, ids: RequestIds) -> Answer:
        endpoint, interface = match.endpoint, match.interface
        if endpoint is None or interface is None:
            raise unknown_path()
        partner, query = caller.partner, dict(request.query)
        await self._end_previous_token(caller)
        body = await read_body(request) if endpoint.request is not None else b""
        ours = [Party(each.country_code, each.party_id) for each in self._partners.own_parties(partner.settings)]
        sender, receiver, headers = read_routing(request, partner, ours)
        message, findings = await read_message(endpoint, match.segments, body)
        check_owner(partner, match.segments, message)
        page = read_page(query, self._partners.settings.page_limit) if endpoint.is_paged else None
        result = await self._handlers[partner.settings.face].handle(
            ModuleRequest(
                partner.settings,
                interface,
                endpoint,
                match.segments,
                query,
                message,
                body,
                findings,
                page,
                sender,
                receiver,
                ids.correlation_id,
            )
        )
        answer = Answer(result, headers)
        return answer if page is None else paged(answer, self._public_url(request), query, page)

    async def _end_previous_token(self, caller: Caller) -> None:
        """End the token before the one that a partner uses now.

        Not by a request of registration: a partner that is sent a new token tries it before it has taken it.
        """
        if caller.token is None or not caller.token.has_previous:
            return
        name = caller.partner.name
        about = (job_keys.destination(caller.partner.settings.destination),)
        await self._store.write_once(lambda tx: ocpi_partners.end_previous_token(tx, name), about=about)

    def _public_url(self, request: web.BaseRequest) -> str:
        path = routed_path(request.raw_path).removeprefix(OCPI_PATH).rstrip("/")
        return f"{self._partners.settings.url}{path}"


_VERBS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})


def _module_of(match: Match | None) -> str:
    if match is None:
        return "none"
    return match.resource.name.lower() if match.interface is None else str(match.interface.module)


def _wrong_verb(verb: str, match: Match) -> Answer:
    allowed = ", ".join(match.verbs)
    text = f"{verb[:10]} is not served here; expected {allowed}"
    problem = ModuleResult(status_code=OcpiStatus.CLIENT_ERROR, message=text, http_status=HTTPStatus.METHOD_NOT_ALLOWED)
    return Answer(problem, {"Allow": allowed})


async def _read_credentials(request: web.BaseRequest) -> JsonObject:
    body = await read_body(request)
    if not body.strip():
        raise OcpiProblem(OcpiStatus.INVALID_PARAMETERS, "expected credentials", http_status=HTTPStatus.BAD_REQUEST)
    return read_object(Credentials, body)[0]
