"""Events as systems read them, with the names of what they are about; and which of them a listener selects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, Self, TypeVar, cast

import msgspec

from p2p_oicp.events.definitions import EVENT_DEFINITIONS
from p2p_oicp.events.types import (
    SUBJECT_MEMBERS,
    ActionEvent,
    BackendEvent,
    CdrEvent,
    CertificateEvent,
    EventData,
    EvseStatusEvent,
    FindingEvent,
    KeyEvent,
    MissedEvents,
    PeerEvent,
    RefusalEvent,
    SessionEvent,
    WebhookEvent,
    format_id,
)
from p2p_oicp.oicp import EvseID, OperatorID, ProviderID, SessionID
from p2p_oicp.peers import PeerRegistry
from p2p_oicp.peers.models import OWN_PEER_ID
from p2p_oicp.storage import Store, sessions
from p2p_oicp.storage.event_log import EventType
from p2p_oicp.storage.event_queries import EventEpochs, NumberedEvent

IdentifierT = TypeVar("IdentifierT", EvseID, SessionID)
_encode = msgspec.json.Encoder().encode
_OF_SESSIONS: Mapping[str, type[SessionEvent | FindingEvent]] = MappingProxyType(
    {EventType.SESSION: SessionEvent, EventType.CDR: CdrEvent, EventType.FINDING: FindingEvent}
)
# Of these, nothing has a name but the subject.
_NAMED_BY_SUBJECT: Mapping[str, Callable[..., EventData]] = MappingProxyType(
    {
        EventType.BACKEND: BackendEvent,
        EventType.WEBHOOK: WebhookEvent,
        EventType.KEY: KeyEvent,
        EventType.CERTIFICATE: CertificateEvent,
        EventType.ACTION: ActionEvent,
    }
)
# The text of these is the name that the peer has, or had.
_TEXT_IS_NAME = frozenset({"added", "removed", "restored"})
#: What may be selected: types, and types with what has become of their subject.
SELECTABLE = frozenset({each.type for each in EVENT_DEFINITIONS} | {each.name for each in EVENT_DEFINITIONS})


class ViewedEvent(msgspec.Struct, frozen=True):
    """An event with its names, and the canonical keys by which it is selected.

    Attributes:
        number: of the event.
        data: what systems read.
        body: the same as JSON.
        peer: the id of the peer.
        parties: of the session, or of the EVSE.
        evse: of the session, or the EVSE.
        session: the key of the session.
    """

    number: int
    data: EventData
    body: bytes
    peer: str = ""
    parties: tuple[str, ...] = ()
    evse: str = ""
    session: str = ""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events a listener selects; what is empty selects all.

    Attributes:
        types: ``session``, or ``session.authorized``.
        peers: names or ids.
        parties: canonical keys of operators and providers.
        evses: canonical keys.
        sessions: canonical keys.
    """

    types: frozenset[str] = frozenset()
    peers: frozenset[str] = frozenset()
    parties: frozenset[str] = frozenset()
    evses: frozenset[str] = frozenset()
    sessions: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        *,
        types: Iterable[str] = (),
        peers: Iterable[str] = (),
        parties: Iterable[str] = (),
        evses: Iterable[str] = (),
        sessions: Iterable[str] = (),
    ) -> Self:
        """Return the filter that selects these, ids in any form. Raises ValueError."""
        types = frozenset(types)
        if unknown := sorted(types - SELECTABLE):
            known = ", ".join(dict.fromkeys(each.type for each in EVENT_DEFINITIONS))
            raise ValueError(f"{unknown[0][:40]!r} is no type of event; expected {known}, or one such as cdr.disputed")
        return cls(
            types,
            frozenset(peers),
            frozenset(_party_key(each) for each in parties),
            frozenset(_valid(EvseID(each)).key for each in evses),
            frozenset(_valid(SessionID(each)).key for each in sessions),
        )

    def selects_type(self, event_type: str, what: str) -> bool:
        """Return whether events of a type are selected, as far as that decides."""
        return not self.types or event_type in self.types or f"{event_type}.{what}" in self.types

    def selects(self, event: ViewedEvent) -> bool:
        """Return whether an event is one that is selected."""
        data = event.data
        return (
            self.selects_type(data.type, data.what)
            and (not self.peers or event.peer in self.peers or getattr(data, "peer", None) in self.peers)
            and (not self.parties or not self.parties.isdisjoint(event.parties))
            and (not self.evses or event.evse in self.evses)
            and (not self.sessions or event.session in self.sessions)
        )


def _valid(identifier: IdentifierT) -> IdentifierT:
    if not identifier.is_valid:
        raise ValueError(f"{str(identifier)[:60]!r} is no {type(identifier).__name__}")
    return identifier


def _party_key(text: str) -> str:
    operator, provider = OperatorID(text), ProviderID(text)
    if not (operator.is_valid or provider.is_valid):
        raise ValueError(f"{text[:60]!r} is no OperatorID, and no ProviderID")
    return operator.key


class EventView:
    """Gives events the names of what they are about, as they are now.

    Args:
        store: the sessions.
        registry: the peers.
        epochs: which database has written which events.
    """

    def __init__(self, store: Store, registry: PeerRegistry, epochs: EventEpochs) -> None:
        self.epochs = epochs
        self._store = store
        self._registry = registry

    def id_of(self, number: int) -> str:
        """Return the id of the event with a number."""
        return format_id(self.epochs.epoch_of(number), number)

    def missed(self, after: str, first: int, at: float, text: str) -> MissedEvents:
        """Return what a reader gets who goes on at the event ``first``, and not at the one after ``after``."""
        return MissedEvents(type="events", what="missed", at=at, after=after, oldest=self.id_of(first), text=text)

    async def view(self, numbered: NumberedEvent) -> ViewedEvent:
        """Return an event with its names."""
        event = numbered.event
        common = {
            "id": self.id_of(numbered.number),
            "number": numbered.number,
            "type": event.type,
            "what": event.what,
            "at": event.at,
            "text": event.text,
            "count": event.count,
        }
        if event.role:
            return await self._of_session(numbered, common)
        data = self._without_session(numbered, common)
        operator = EvseID(event.subject).operator if event.type == EventType.EVSE_STATUS else None
        evse = event.subject if event.type == EventType.EVSE_STATUS else ""
        parties = (operator.key,) if operator is not None else ()
        return ViewedEvent(numbered.number, data, _encode(data), event.peer, parties, evse)

    async def _of_session(self, numbered: NumberedEvent, common: dict[str, Any]) -> ViewedEvent:
        event, data_type = numbered.event, _OF_SESSIONS[numbered.event.type]
        role = cast("Literal['cpo', 'emp']", event.role)
        session = await sessions.get_now(self._store, event.role, event.subject)
        if session is None:
            data = data_type(session_id=event.subject, role=role, peer=self._name_of(event.peer), **common)
            return ViewedEvent(numbered.number, data, _encode(data), event.peer, session=event.subject)
        data = data_type(
            session_id=session.session_id,
            role=role,
            evse_id=session.evse_id,
            operator_id=session.operator_id,
            provider_id=session.provider_id,
            peer=self._name_of(session.peer),
            **common,
        )
        parties = (session.operator_key, session.provider_key)
        return ViewedEvent(
            numbered.number, data, _encode(data), session.peer, parties, session.evse_key, session.session_key
        )

    def _without_session(self, numbered: NumberedEvent, common: dict[str, Any]) -> EventData:
        event, peer = numbered.event, self._name_of(numbered.event.peer)
        if (data_class := _NAMED_BY_SUBJECT.get(event.type)) is not None:
            (member,) = SUBJECT_MEMBERS[event.type]
            return data_class(**common, **{member: event.subject})
        if event.type == EventType.EVSE_STATUS:
            return EvseStatusEvent(evse=event.subject, peer=peer, **common)
        if event.type == EventType.PEER:
            # One that was removed, or that others do not know yet, is not registered.
            name = peer or (event.text if event.what in _TEXT_IS_NAME else "")
            return PeerEvent(peer_id=event.subject, peer=name, **common)
        data_type = RefusalEvent if event.type == EventType.REFUSAL else FindingEvent
        if event.peer == OWN_PEER_ID:
            return data_type(operation=event.subject, listener="backend", **common)
        return data_type(operation=event.subject, peer=peer, **common)

    def _name_of(self, peer_id: str) -> str:
        peer = self._registry.by_id(peer_id)
        return "" if peer is None else peer.name
