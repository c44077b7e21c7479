"""Who sends a request to the OCPI listener, and how much of it: token, rate, requests in flight.

Tokens are random and 256 bit, so that nobody guesses one; a wrong one is answered at once, before anything is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final

from aiohttp import web

from p2p_oicp.clock import Clock
from p2p_oicp.config.ocpi import OcpiSettings
from p2p_oicp.ocpi.envelope import OcpiStatus
from p2p_oicp.ocpi_gateway.partners import Caller, OcpiPartners
from p2p_oicp.ocpi_gateway.requests import OcpiProblem
from p2p_oicp.server.limits import TokenBucketLimiter, overloaded
from p2p_oicp.server.ocpi.routes import Match, Resource
from p2p_oicp.storage.ocpi_partners import PartnerState

#: So many requests of one partner are served at a time.
MAX_IN_FLIGHT: Final = 50
_REGISTRATION = frozenset({Resource.VERSIONS, Resource.DETAILS})


class OcpiAuthority:
    """Knows partners by their tokens, and counts their requests; each has a bucket of its own.

    Args:
        partners: all partners.
        settings: the table ``[ocpi]``.
        clock: its monotonic time is used.
    """

    def __init__(self, partners: OcpiPartners, settings: OcpiSettings, clock: Clock) -> None:
        self._partners = partners
        per_second = settings.requests_per_second
        self._rate = TokenBucketLimiter(clock, per_second=per_second, burst=2 * per_second)
        self._in_flight: dict[str, int] = {}

    async def recognise(self, request: web.BaseRequest) -> Caller:
        """Return who sends a request; raise `OcpiProblem` 401."""
        headers = request.headers.getall("Authorization", [])
        # Of two headers, a proxy may have read the other one.
        caller = await self._partners.recognise(headers[0]) if len(headers) == 1 else None
        if caller is None:
            raise unauthorized()
        return caller

    def check(self, caller: Caller, match: Match, verb: str) -> None:
        """Raise `OcpiProblem` if a token does not open a path.

        That of an invitation opens versions, details and ``POST credentials``; once it is used, it opens nothing, and a
        second registration is answered with 405. That of a partner that we register with opens versions and details.
        """
        is_spent = caller.token is not None and caller.token.is_spent
        is_posting = match.resource is Resource.CREDENTIALS and verb == "POST"
        if is_spent and not is_posting:
            raise unauthorized()
        if caller.partner.is_registered or is_posting or match.resource in _REGISTRATION:
            self._check_role(caller, match)
            return
        if match.resource is Resource.CREDENTIALS and caller.partner.state is not PartnerState.INVITED:
            raise not_registered()
        if match.resource is Resource.CREDENTIALS and verb in {"PUT", "DELETE"}:
            raise not_registered()
        raise unauthorized()

    def _check_role(self, caller: Caller, match: Match) -> None:
        if match.own_role not in {None, caller.partner.settings.own_role}:
            raise unknown_path()

    @contextmanager
    def admit(self, caller: Caller) -> Iterator[None]:
        """Count a request of a partner while it is served; raise `HttpError` 429 beyond its limits."""
        name = caller.partner.name
        self._rate.acquire(name)
        count = self._in_flight.get(name, 0)
        if count >= MAX_IN_FLIGHT:
            raise overloaded(f"{count} of your requests are being answered", HTTPStatus.TOO_MANY_REQUESTS)
        self._in_flight[name] = count + 1
        try:
            yield
        finally:
            self._in_flight[name] -= 1


def unauthorized() -> OcpiProblem:
    """Return the refusal of a token, which says nothing about it."""
    return OcpiProblem(OcpiStatus.CLIENT_ERROR, "no valid token of a partner", http_status=HTTPStatus.UNAUTHORIZED)


def not_registered() -> OcpiProblem:
    """Return the refusal of what only a registered partner may do to its registration."""
    return OcpiProblem(OcpiStatus.CLIENT_ERROR, "not registered", http_status=HTTPStatus.METHOD_NOT_ALLOWED)


def unknown_path() -> OcpiProblem:
    """Return the refusal of a path that is not served to this partner."""
    return OcpiProblem(OcpiStatus.CLIENT_ERROR, "this path is not served", http_status=HTTPStatus.NOT_FOUND)
