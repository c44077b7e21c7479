"""The OCPI partners of this node: who may connect, who is registered, how each is called, and who a token is of.

What is registered stands in the database (`storage.ocpi_partners`); here is what the settings say of a partner, beside
it. A partner is called through `OcpiPartners.call`, which records how it went: after three refusals in a row of our
credentials, the partner is suspended, and nothing is sent to it until it is registered or refreshed again.
"""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

import structlog

from p2p_oicp.client.ocpi import (
    OBJECT_SECONDS,
    OcpiCall,
    OcpiClient,
    OcpiConnection,
    OcpiPage,
    OcpiRefused,
    origin_of,
)
from p2p_oicp.clock import Clock
from p2p_oicp.config.ocpi import OcpiPartnerSettings, OcpiSettings, ocpi_destination
from p2p_oicp.crypto.sealing import SecretSealer
from p2p_oicp.errors import FailureCause, PeerError, PeerUnauthorized, PeerUnreachable
from p2p_oicp.ocpi.base import ci
from p2p_oicp.ocpi.credentials import token_candidates
from p2p_oicp.ocpi.enumerations import Role
from p2p_oicp.ocpi.envelope import OcpiReply
from p2p_oicp.ocpi.registration import PartyRole
from p2p_oicp.ocpi_mapping.ids import Party, party_of
from p2p_oicp.ocpi_mapping.terms import Terms
from p2p_oicp.oicp.identifiers import ProviderID
from p2p_oicp.peers import PeerRegistry
from p2p_oicp.storage import Store, Transaction, job_keys, ocpi_partners
from p2p_oicp.storage.event_log import Event, EventType, emit
from p2p_oicp.storage.ocpi_partners import PartnerState, StoredPartner, TokenOwner, hash_token

log = structlog.get_logger(__name__)

#: So many refusals of our credentials in a row suspend a partner.
MAX_REFUSALS: Final = 3
# How often it is recorded that all is well.
_RECORD_SECONDS: Final = 30.0
_NO_QUERY: Mapping[str, str] = MappingProxyType({})

#: Learns the name of a partner whose registration has changed.
PartnerObserver = Callable[[str], None]


class NotRegistered(PeerUnreachable):
    """The partner is not registered, or suspended: nothing can be sent to it."""


@dataclass(frozen=True, slots=True)
class OcpiPartner:
    """A partner as it is now.

    Attributes:
        settings: its table.
        stored: what is registered; None: nothing, not even an invitation.
    """

    settings: OcpiPartnerSettings
    stored: StoredPartner | None

    @property
    def name(self) -> str:
        """Its name in logs and on the command line."""
        return self.settings.name

    @property
    def state(self) -> PartnerState | None:
        """How far its registration is; None: not begun."""
        return None if self.stored is None else self.stored.state

    @property
    def is_registered(self) -> bool:
        """Whether credentials were exchanged with it; it may be suspended."""
        return self.state in {PartnerState.REGISTERED, PartnerState.SUSPENDED}

    @property
    def is_callable(self) -> bool:
        """Whether requests are sent to it."""
        return self.state is PartnerState.REGISTERED

    @property
    def parties(self) -> tuple[Party, ...]:
        """Its parties in its role: those of the settings first, then those that its credentials name."""
        roles = self.stored.registration.roles if self.stored is not None else ()
        named = [
            Party(str(each.get("country_code", "")).upper(), str(each.get("party_id", "")).upper())
            for each in roles
            if ci(each.get("role", "")) == ci(self.settings.role)
        ]
        return tuple(dict.fromkeys([*self.settings.all_parties, *named]))

    def has_party(self, country_code: object, party_id: object) -> bool:
        """Whether a party, in any letter case, is one of its own."""
        party = (ci(country_code), ci(party_id))
        return any((ci(each.country_code), ci(each.party_id)) == party for each in self.parties)

    def has_endpoint(self, module: str, role: str) -> bool:
        """Whether it has an interface, by the version details of its registration."""
        endpoints = self.stored.registration.endpoints if self.stored is not None else ()
        return any((module, role) == (each[0], each[1]) for each in endpoints)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who has sent a request.

    Attributes:
        partner: whose token it is.
        text: the token as it was sent.
        token: what is stored of it; None: it is the one that the partner has given us (``accept_issued_token``).
    """

    partner: OcpiPartner
    text: str = field(repr=False)
    token: TokenOwner | None = None


class OcpiPartners:
    """The partners of the tables ``[[ocpi.partners]]``.

    Args:
        settings: the table ``[ocpi]``.
        registry: this node's own entry and its peers, in whose name we speak to partners.
        store: has the registrations.
        sealer: seals the tokens that we send.
        client: calls partners.
        clock: the time.
        stored: the registrations as they are now (`ocpi_partners.list_now`).
    """

    def __init__(
        self,
        settings: OcpiSettings,
        registry: PeerRegistry,
        store: Store,
        sealer: SecretSealer,
        client: OcpiClient,
        clock: Clock,
        stored: Iterable[StoredPartner],
    ) -> None:
        self.settings = settings
        self.client = client
        self._registry = registry
        self._store = store
        self._sealer = sealer
        self._clock = clock
        self._by_name = {each.name: each for each in settings.partners}
        self._stored = {each.name: each for each in stored}
        self._tokens: dict[str, tuple[bytes, str | None]] = {}
        self._refusals: dict[str, int] = {}
        self._recorded_at: dict[str, float] = {}
        self._causes: dict[str, FailureCause] = {}
        self._observers: list[PartnerObserver] = []

    def __repr__(self) -> str:
        return f"<OcpiPartners {[each.name for each in self.all if each.is_registered]} of {list(self._by_name)}>"

    @property
    def all(self) -> tuple[OcpiPartner, ...]:
        """All partners, in the order of the file."""
        return tuple(OcpiPartner(each, self._stored.get(name)) for name, each in self._by_name.items())

    def find(self, name: str) -> OcpiPartner | None:
        """Return a partner by its name; None: no table has it."""
        settings = self._by_name.get(name)
        return None if settings is None else OcpiPartner(settings, self._stored.get(name))

    def get(self, name: str) -> OcpiPartner:
        """As `find`, for a name that is known to be one."""
        return OcpiPartner(self._by_name[name], self._stored.get(name))

    def last_cause(self, name: str) -> FailureCause:
        """Return why the last request to a partner failed, as far as this run of the node knows."""
        return self._causes.get(name, FailureCause.OTHER)

    def subscribe(self, observer: PartnerObserver) -> None:
        """Call ``observer`` after each change of a registration."""
        self._observers.append(observer)

    async def reload(self, name: str) -> None:
        """Read a registration again that was changed in the database."""
        self._stored = {each.name: each for each in await ocpi_partners.list_now(self._store)}
        self._refusals.pop(name, None)
        self._recorded_at.pop(name, None)
        for observer in self._observers:
            observer(name)

    # Who we are

    def own_parties(self, settings: OcpiPartnerSettings) -> list[PartyRole]:
        """Return our parties towards a partner, the main one first: its peers under contract, or a fixed list."""
        role, names = settings.own_role, self._names_of_peers(settings.own_role)
        texts = names if settings.presents_every_peer else settings.presented
        named = [(settings.party_of(text), names.get(text, text)) for text in texts]
        roles = {party: PartyRole(role, *party, name) for party, name in named if party is not None}
        if not roles:
            # Credentials have a role at least: without peers, we are the company itself.
            own = settings.own_party
            roles[own] = PartyRole(role, *own, self._registry.own.name)
        return list(roles.values())

    def main_party(self, settings: OcpiPartnerSettings) -> Party:
        """Return the party that we are to a partner where nothing else says so."""
        first = self.own_parties(settings)[0]
        return Party(first.country_code, first.party_id)

    def terms_of(self, settings: OcpiPartnerSettings) -> Terms:
        """Return what the mapping of a partner's objects depends on, now."""
        names = {ProviderID(text).text: name for text, name in self._names_of_peers(Role.EMSP).items()}
        now = datetime.fromtimestamp(self._clock.time(), UTC)
        terms = settings.terms_at(now, names)
        return terms if terms.operator_name else replace(terms, operator_name=self._registry.own.name)

    def _names_of_peers(self, role: Role) -> dict[str, str]:
        """Return the names of all companies by their ids of a role; our own company is one of them."""
        peers = self._registry.all()
        ids = [(each, each.providers if role is Role.EMSP else each.operators) for each in peers]
        # Own parties last: peers are who a partner roams with.
        ordered = sorted(ids, key=lambda pair: pair[0].is_self)
        return {party.text: peer.name for peer, parties in ordered for party in parties if party_of(party.text)}

    # Who they are

    async def recognise(self, header: str | None) -> Caller | None:
        """Return whose token an Authorization header has; None: nobody's. A spent one is recognised as such."""
        for token in token_candidates(header):
            if (owner := await self._owner_of(token)) is not None:
                return owner
        for token in token_candidates(header, accept_plain=True):
            owner = await self._owner_of(token)
            if owner is not None and owner.partner.settings.accept_plain_token:
                return owner
        return None

    async def _owner_of(self, token: str) -> Caller | None:
        owner = await ocpi_partners.find_by_token(self._store, token, self._clock.time())
        if owner is not None:
            settings = self._by_name.get(owner.partner.name)
            return None if settings is None else Caller(OcpiPartner(settings, owner.partner), token, owner)
        for partner in self.all:
            issued = self._token_of(partner) if partner.settings.accept_issued_token and partner.is_registered else None
            # By their hashes, whose comparison tells nothing of the token.
            if issued is not None and hmac.compare_digest(hash_token(issued), hash_token(token)):
                return Caller(partner, token)
        return None

    # Calls

    def connection(self, name: str) -> OcpiConnection:
        """Return how a partner is called; raise `NotRegistered`."""
        partner = self.get(name)
        if not partner.is_registered or partner.stored is None:
            raise NotRegistered(partner.settings.destination, f"not registered; run: p2p-oicp ocpi invite {name}")
        token = self._token_of(partner)
        if token is None:
            reason = f"its token cannot be read with keys/ocpi.key; register it again: p2p-oicp ocpi invite {name}"
            raise NotRegistered(partner.settings.destination, reason)
        registration = partner.stored.registration
        endpoints = {(module, role): url for module, role, url in registration.endpoints}
        return OcpiConnection(
            partner.settings.destination,
            token,
            endpoints,
            frozenset(map(origin_of, (registration.versions_url, *endpoints.values()))),
            self.main_party(partner.settings),
            partner.settings.own_party,
        )

    def _token_of(self, partner: OcpiPartner) -> str | None:
        """Return the token that we send to a partner; None: it cannot be read."""
        sealed = partner.stored.sealed_token if partner.stored is not None else None
        if sealed is None:
            return None
        opened = self._tokens.get(partner.name)
        if opened is None or opened[0] != sealed:
            self._tokens[partner.name] = opened = (sealed, self._sealer.open(sealed, partner.name))
        return opened[1]

    async def call(
        self,
        name: str,
        verb: str,
        target: str | tuple[str, ...],
        *,
        body: object | None = None,
        query: Mapping[str, str] = _NO_QUERY,
        deadline: float = OBJECT_SECONDS,
        correlation_id: str | None = None,
        sender: Party | None = None,
    ) -> OcpiReply:
        """Call a registered partner.

        Args:
            name: the partner.
            verb: the HTTP method.
            target: a URL, or module, role and the parts of the path behind the endpoint:
                ``("tokens", "RECEIVER", "DE", "DCB", "04A1B2C3")``.
            body: JSON.
            query: parameters.
            deadline: seconds for the whole exchange.
            correlation_id: see `OcpiCall`.
            sender: who we are in this call; None: our main party.

        Raises:
            NotRegistered: it is not registered, or is suspended.
            PeerError: there is no answer; see `OcpiClient.call`.
        """
        connection = self._callable(name)
        try:
            url = target if isinstance(target, str) else connection.url_of(*target)
            request = OcpiCall(verb, url, body, query, deadline, correlation_id, sender)
            reply = await self.client.call(connection, request)
        except PeerError as error:
            await self._record_failure(name, error)
            raise
        await self._record_success(name)
        return reply

    async def pages(
        self, name: str, module: str, role: str, query: Mapping[str, str] = _NO_QUERY
    ) -> AsyncIterator[OcpiPage]:
        """Return a list of a registered partner page by page; raise as `call`, and `OcpiRefused`."""
        connection = self._callable(name)
        try:
            async for page in self.client.pages(connection, connection.url_of(module, role), query):
                yield page
        except OcpiRefused:
            raise
        except PeerError as error:
            await self._record_failure(name, error)
            raise
        await self._record_success(name)

    def _callable(self, name: str) -> OcpiConnection:
        if self.get(name).state is PartnerState.SUSPENDED:
            reason = f"suspended: it refuses our credentials; run: p2p-oicp ocpi refresh {name}"
            raise NotRegistered(self.get(name).settings.destination, reason)
        return self.connection(name)

    async def _record_success(self, name: str) -> None:
        self._refusals.pop(name, None)
        stored, now = self._stored.get(name), self._clock.time()
        is_known = stored is not None and not stored.last_error
        if is_known and now - self._recorded_at.get(name, 0.0) < _RECORD_SECONDS:
            return
        self._recorded_at[name] = now
        about = (job_keys.destination(self._by_name[name].destination),)
        await self._store.write_once(lambda tx: ocpi_partners.record_success(tx, name, now), about=about)
        await self._refresh_stored()

    async def _record_failure(self, name: str, error: PeerError) -> None:
        self._causes[name] = error.cause
        is_refused = isinstance(error, PeerUnauthorized)
        refusals = self._refusals[name] = self._refusals.get(name, 0) + 1 if is_refused else 0
        is_suspended = refusals >= MAX_REFUSALS and self.get(name).is_callable
        now, about = self._clock.time(), (job_keys.destination(self._by_name[name].destination),)

        def record(tx: Transaction) -> None:
            ocpi_partners.record_failure(tx, name, now, error.reason)
            if is_suspended:
                ocpi_partners.set_state(tx, name, PartnerState.SUSPENDED)
                emit(tx, registration_event(name, "suspended", now, error.reason))

        await self._store.write(record, about=about)
        await self._refresh_stored()
        if is_suspended:
            log.warning("ocpi.partner_suspended", partner=name, reason=error.reason, refusals=refusals)
            for observer in self._observers:
                observer(name)

    async def _refresh_stored(self) -> None:
        self._stored = {each.name: each for each in await ocpi_partners.list_now(self._store)}


def registration_event(name: str, what: str, now: float, text: str = "") -> Event:
    """Return an event about the registration of a partner."""
    return Event(EventType.BACKEND, what, now, ocpi_destination(name), text=text)


def with_parties(roles: Sequence[PartyRole]) -> tuple[tuple[str, str], ...]:
    """Return the parties of credentials, in an order by which they are compared."""
    return tuple(sorted((each.country_code, each.party_id) for each in roles))
