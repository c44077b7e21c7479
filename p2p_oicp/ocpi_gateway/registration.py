"""Registration with OCPI partners, as either side (credentials, 7.1; docs/ocpi.md).

::

    a partner registers with us             we register with a partner
      invite       token A is made            register   B is made and valid; POST {B}, with A -> {C}
      POST {B}     C is made, A is spent      refresh    B' is made and valid; PUT {B'}, with C -> {C'}
      PUT {B'}     C' is made                 unregister DELETE, with C
      DELETE

Each step that counts is one transaction. A node that ends anywhere in between is in the state before it or after it,
and the same command can be given again:

- `invite`, `unregister`: nothing is half done.
- `register`: our token is valid before it is sent, for the partner calls us with it while it answers. Without an answer
  the partner is ``registering``, and our token lives for an hour. If the partner has registered us and the answer is
  lost, its invitation is spent: it refuses the second try, and has to invite anew.
- `refresh`: both of our tokens are valid until the partner has used the new one, or has answered (`replace_token`). If
  the answer is lost, the partner's new token is: while it accepts the old one, as this node does, the same command ends
  it, else the partner has to be registered anew.

One registration of a partner is under way at a time; a request of the partner meanwhile is answered with 503.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import structlog

from p2p_oicp.client.ocpi import REGISTRATION_SECONDS, OcpiCall, OcpiConnection, OcpiRefused
from p2p_oicp.client.ocpi_origins import OriginRule, rule_for
from p2p_oicp.clock import Clock
from p2p_oicp.config.ocpi import OcpiPartnerSettings
from p2p_oicp.crypto.keystore import new_token
from p2p_oicp.crypto.sealing import SecretSealer
from p2p_oicp.errors import P2pOicpError, PeerError, PeerUnauthorized
from p2p_oicp.ocpi.base import JsonObject
from p2p_oicp.ocpi.envelope import OcpiStatus
from p2p_oicp.ocpi.registration import credentials
from p2p_oicp.ocpi_gateway.agreement import Offer, PartnerCredentials, as_problem, discover, read_credentials
from p2p_oicp.ocpi_gateway.partners import Caller, OcpiPartner, OcpiPartners, registration_event, with_parties
from p2p_oicp.ocpi_gateway.requests import OcpiProblem
from p2p_oicp.storage import Store, Transaction, job_keys, ocpi_partners
from p2p_oicp.storage.event_log import emit
from p2p_oicp.storage.ocpi_partners import PartnerState, Registration

log = structlog.get_logger(__name__)

#: So long a token lives that was replaced, or that a partner may not have got.
OVERLAP_SECONDS: Final = 3600.0
_METHOD_NOT_ALLOWED: Final = 405
_UNAVAILABLE: Final = 503


class RegistrationRefused(P2pOicpError):
    """A command that does not fit the state of a partner, or that the partner refuses; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a partner needs in order to register with us; shown once."""

    token: str
    versions_url: str
    ends_at: float


@dataclass(frozen=True, slots=True)
class Registered:
    """What has become of a command: the partner's version, and the modules that it lacks."""

    version: str
    missing: tuple[str, ...]


class Registrar:
    """Exchanges credentials with partners.

    Args:
        partners: all partners.
        store: has the registrations.
        sealer: seals the tokens that we send.
        clock: the time.
    """

    def __init__(self, partners: OcpiPartners, store: Store, sealer: SecretSealer, clock: Clock) -> None:
        self._partners = partners
        self._store = store
        self._sealer = sealer
        self._clock = clock
        self._under_way: dict[str, asyncio.Lock] = {}

    @property
    def _url(self) -> str:
        return self._partners.settings.url

    # We are the receiver

    async def invite(self, name: str, ttl: float | None = None) -> Invitation:
        """Make an invitation, which ends an earlier one; raise `RegistrationRefused` for a registered partner."""
        async with self._exclusive(name):
            self._require_unregistered(self._partners.get(name))
            token = new_token()
            ends_at = self._clock.time() + (self._partners.settings.invitation_ttl if ttl is None else ttl)
            await self._write(name, lambda tx: ocpi_partners.begin(tx, name, PartnerState.INVITED, token, ends_at))
            log.info("ocpi.partner_invited", partner=name)
            return Invitation(token, f"{self._url}/versions", ends_at)

    async def accept(self, caller: Caller, body: JsonObject) -> dict[str, Any]:
        """Serve ``POST credentials``: register the partner, and return our credentials.

        Raises:
            OcpiProblem: 405 if it is registered, 503 while another registration of it is under way.
            RegistrationProblem: it cannot be registered; nothing was changed.
        """
        name = caller.partner.name
        if (caller.token is not None and caller.token.is_spent) or caller.partner.state is not PartnerState.INVITED:
            raise _not_allowed("registered already; use PUT")
        async with self._exclusive_for_partner(name):
            partner = self._partners.get(name)
            if partner.state is not PartnerState.INVITED:
                raise _not_allowed("registered already; use PUT")
            given, offer = await self._agree(partner.settings, body)
            token, sealed, now = new_token(), self._sealer.seal(given.token, name), self._clock.time()
            registration = self._registration(partner.settings, offer, given)
            await self._write(
                name, lambda tx: ocpi_partners.complete(tx, name, registration, sealed, token, now), event="registered"
            )
            self._log_registered(name, offer)
            return self._own_credentials(partner.settings, token)

    async def replace(self, caller: Caller, body: JsonObject) -> dict[str, Any]:
        """Serve ``PUT credentials``: the partner's token, parties or endpoints have changed; raises as `accept`."""
        name = caller.partner.name
        if not caller.partner.is_registered:
            raise _not_allowed("not registered; use POST")
        async with self._exclusive_for_partner(name):
            settings = caller.partner.settings
            given, offer = await self._agree(settings, body)
            token, sealed, now = new_token(), self._sealer.seal(given.token, name), self._clock.time()
            registration = self._registration(settings, offer, given)
            used = caller.token.token_hash if caller.token is not None else None

            def change(tx: Transaction) -> None:
                ocpi_partners.update_agreed(tx, name, registration, sealed, now)
                ocpi_partners.replace_token(tx, name, token, now + OVERLAP_SECONDS, used)

            await self._write(name, change)
            log.info("ocpi.partner_refreshed", partner=name, by="the partner")
            return self._own_credentials(settings, token)

    async def end(self, caller: Caller) -> None:
        """Serve ``DELETE credentials``: the partner is registered no more; raises `OcpiProblem` 405 or 503."""
        name = caller.partner.name
        if not caller.partner.is_registered:
            raise _not_allowed("not registered")
        async with self._exclusive_for_partner(name):
            await self._write(
                name, lambda tx: ocpi_partners.remove(tx, name), event="unregistered", text="by the partner"
            )
            log.info("ocpi.partner_unregistered", partner=name, by="the partner")

    def show(self, caller: Caller) -> dict[str, Any]:
        """Serve ``GET credentials``: ours, with the token that the partner has just sent."""
        return self._own_credentials(caller.partner.settings, caller.text)

    async def _agree(self, settings: OcpiPartnerSettings, body: JsonObject) -> tuple[PartnerCredentials, Offer]:
        """Return what the credentials of a partner are, and what it offers to them."""
        given = read_credentials(body, settings)
        try:
            offer = await discover(
                self._partners.client, settings, given.token, given.url, self._rule(settings.versions_url)
            )
        except PeerError as error:
            raise as_problem(error) from error
        return given, offer

    # We are the sender

    async def register(self, name: str, token: str, versions_url: str | None = None) -> Registered:
        """Register with a partner that has invited us.

        Args:
            name: the partner.
            token: of its invitation (CREDENTIALS_TOKEN_A).
            versions_url: where its versions are; None: as the settings say.

        Raises:
            RegistrationRefused: the state does not fit, there is no URL, or the partner refuses.
            RegistrationProblem: the partner does not have what is needed.
            PeerError: the partner does not answer.
        """
        async with self._exclusive(name):
            partner = self._partners.get(name)
            self._require_unregistered(partner)
            url = self._versions_url(partner, versions_url)
            offer = await discover(self._partners.client, partner.settings, token, url, self._rule(url))
            own_token, until = new_token(), self._clock.time() + OVERLAP_SECONDS
            # Order: our token is valid before it is sent, for the partner calls us with it while it answers.
            state = PartnerState.REGISTERING
            await self._write(name, lambda tx: ocpi_partners.begin(tx, name, state, own_token, until, url))
            given = await self._exchange("POST", partner.settings, offer, token, own_token)
            registration, sealed = (
                self._registration(partner.settings, offer, given),
                self._sealer.seal(given.token, name),
            )
            now = self._clock.time()
            await self._write(
                name,
                lambda tx: ocpi_partners.complete(tx, name, registration, sealed, own_token, now),
                event="registered",
            )
            self._log_registered(name, offer)
            return Registered(offer.version, offer.missing)

    async def adopt(
        self, name: str, token: str, own_token: str | None = None, versions_url: str | None = None
    ) -> tuple[Registered, str]:
        """Register a partner whose tokens were provisioned by hand: nothing is sent to its credentials endpoint.

        Args:
            name: the partner.
            token: the one that we send.
            own_token: the one that it sends; None: a new one.
            versions_url: where its versions are; None: as the settings say.

        Returns:
            What it offers, and the token that it sends.
        """
        async with self._exclusive(name):
            partner = self._partners.get(name)
            self._require_unregistered(partner)
            url = self._versions_url(partner, versions_url)
            offer = await discover(self._partners.client, partner.settings, token, url, self._rule(url))
            own_token, sealed, now = own_token or new_token(), self._sealer.seal(token, name), self._clock.time()
            registration = self._registration(
                partner.settings, offer, PartnerCredentials(token, url, ()), provisioned=True
            )

            def write(tx: Transaction) -> None:
                ocpi_partners.begin(tx, name, PartnerState.REGISTERING, own_token, now, url)
                ocpi_partners.complete(tx, name, registration, sealed, own_token, now)

            await self._write(name, write, event="registered")
            self._log_registered(name, offer)
            return Registered(offer.version, offer.missing), own_token

    async def refresh(self, name: str) -> Registered:
        """Exchange tokens and endpoints anew (``PUT credentials``), and end a suspension; raise as `register`."""
        async with self._exclusive(name):
            connection, partner = self._partners.connection(name), self._partners.get(name)
            settings, url = partner.settings, self._versions_url(partner, None)
            offer = await self._discover_again(settings, connection.token, url)
            own_token = new_token()
            await self._write(name, lambda tx: ocpi_partners.replace_token(tx, name, own_token, None))
            try:
                given = await self._exchange("PUT", settings, offer, connection.token, own_token)
            except (PeerError, RegistrationRefused) as error:
                # Where it may have got the new token, both stay valid.
                if not getattr(error, "may_have_arrived", False):
                    await self._write(name, lambda tx: ocpi_partners.restore_previous_token(tx, name))
                raise
            registration, sealed = self._registration(settings, offer, given), self._sealer.seal(given.token, name)
            now = self._clock.time()

            def finish(tx: Transaction) -> None:
                ocpi_partners.update_agreed(tx, name, registration, sealed, now)
                ocpi_partners.limit_previous_token(tx, name, now + OVERLAP_SECONDS)

            await self._write(name, finish)
            log.info("ocpi.partner_refreshed", partner=name, by="this node")
            return Registered(offer.version, offer.missing)

    async def _discover_again(self, settings: OcpiPartnerSettings, token: str, url: str) -> Offer:
        try:
            return await discover(self._partners.client, settings, token, url, self._rule(url))
        except PeerUnauthorized as error:
            hint = f"our token is valid there no more: p2p-oicp ocpi unregister {settings.name}, and register anew"
            raise RegistrationRefused(f"{error}; {hint}") from error

    async def unregister(self, name: str, *, forget: bool = False) -> str | None:
        """End a registration or invitation, also if the partner does not answer; return why it has not.

        Args:
            name: the partner.
            forget: whether all objects of the partner are deleted as well.
        """
        async with self._exclusive(name):
            partner = self._partners.get(name)
            error = await self._send_delete(partner) if partner.is_registered else None

            def remove(tx: Transaction) -> None:
                ocpi_partners.remove(tx, name)
                if forget:
                    ocpi_partners.forget(tx, name)

            await self._write(name, remove, event="unregistered" if partner.is_registered else "")
            log.info("ocpi.partner_unregistered", partner=name, by="this node", forgotten=forget)
            return error

    async def _send_delete(self, partner: OcpiPartner) -> str | None:
        try:
            connection = self._partners.connection(partner.name)
            url = next(url for (module, _), url in connection.endpoints.items() if module == "credentials")
            await self._partners.client.fetch(connection, OcpiCall("DELETE", url, deadline=REGISTRATION_SECONDS))
        except StopIteration:
            return "it has no endpoint credentials"
        except PeerError as error:
            return error.reason
        return None

    async def _exchange(
        self, verb: str, settings: OcpiPartnerSettings, offer: Offer, token: str, own_token: str
    ) -> PartnerCredentials:
        """Send our credentials and return the partner's; with a token that it has got, it is asked once."""
        connection = OcpiConnection(settings.destination, token, origins=offer.origins)
        url, body = offer.credentials_url(), self._own_credentials(settings, own_token)
        call = OcpiCall(verb, url, body, deadline=REGISTRATION_SECONDS)
        try:
            return read_credentials(await self._partners.client.fetch(connection, call), settings)
        except PeerError as error:
            is_there = getattr(error, "http_status", None) == _METHOD_NOT_ALLOWED
            if not is_there and not isinstance(error, OcpiRefused):
                raise
            hint = "; we are registered there already: let it unregister us, and invite us anew" if is_there else ""
            reason = f"{settings.name} refuses {verb} credentials: {error.reason}"
            raise RegistrationRefused(f"{reason}{hint if verb == 'POST' else ''}") from error

    # Both

    def _own_credentials(self, settings: OcpiPartnerSettings, token: str) -> dict[str, Any]:
        return credentials(token, self._url, self._partners.own_parties(settings))

    def _registration(
        self, settings: OcpiPartnerSettings, offer: Offer, given: PartnerCredentials, *, provisioned: bool = False
    ) -> Registration:
        presented = with_parties(self._partners.own_parties(settings))
        return Registration(
            offer.versions_url, offer.version, offer.endpoints, given.roles, presented, offer.missing, provisioned
        )

    def _rule(self, chosen: str | None) -> OriginRule:
        """Return which servers a partner may name; ``chosen``: the URL that an operator has given."""
        return rule_for(self._url, [chosen])

    def _versions_url(self, partner: OcpiPartner, given: str | None) -> str:
        stored = partner.stored.registration.versions_url if partner.stored is not None else ""
        url = given or (stored if partner.is_registered else "") or partner.settings.versions_url
        if not url:
            raise RegistrationRefused(
                f"{partner.name}: no URL; expected --url URL, or versions_url in [[ocpi.partners]]"
            )
        return url

    def _require_unregistered(self, partner: OcpiPartner) -> None:
        if partner.is_registered:
            raise RegistrationRefused(
                f"{partner.name} is registered; p2p-oicp ocpi refresh {partner.name} exchanges tokens, and "
                f"p2p-oicp ocpi unregister {partner.name} ends the registration"
            )

    async def _write(self, name: str, job: Callable[[Transaction], object], *, event: str = "", text: str = "") -> None:
        """Change a registration in one transaction, with an event about it, and read it again."""
        about = (job_keys.destination(self._partners.get(name).settings.destination),)
        now = self._clock.time()

        def write(tx: Transaction) -> None:
            job(tx)
            if event:
                emit(tx, registration_event(name, event, now, text))

        await self._store.write(write, about=about)
        await self._partners.reload(name)

    def _log_registered(self, name: str, offer: Offer) -> None:
        log.info("ocpi.partner_registered", partner=name, version=offer.version, missing=list(offer.missing))

    @asynccontextmanager
    async def _exclusive(self, name: str) -> AsyncIterator[None]:
        lock = self._under_way.setdefault(name, asyncio.Lock())
        async with lock:
            yield

    def _exclusive_for_partner(self, name: str) -> AbstractAsyncContextManager[None]:
        """Return the right to change a registration; raise `OcpiProblem` while somebody else has it."""
        lock = self._under_way.get(name)
        if lock is not None and lock.locked():
            text = "a registration with you is under way; try again in some seconds"
            raise OcpiProblem(OcpiStatus.SERVER_ERROR, text, http_status=_UNAVAILABLE)
        return self._exclusive(name)


def _not_allowed(reason: str) -> OcpiProblem:
    return OcpiProblem(OcpiStatus.CLIENT_ERROR, reason, http_status=_METHOD_NOT_ALLOWED)
