"""Keeps the signed exchanges of processes that cost money, and hands them out as evidence."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import structlog

from p2p_oicp.clock import Clock
from p2p_oicp.errors import ConfigurationError, StoreError
from p2p_oicp.identity import AnswerParts, KeyRing, SignedParts
from p2p_oicp.identity.evidence import Exchange, key_ids_of, write_evidence
from p2p_oicp.oicp import SessionID
from p2p_oicp.storage import Store, Transaction, evidence
from p2p_oicp.trust.directory import Directory
from p2p_oicp.trust.pairing import OurSide

log = structlog.get_logger(__name__)

#: The operations whose exchanges are kept.
COSTLY = frozenset(
    {"AuthorizeStart", "AuthorizeStop", "AuthorizeRemoteStart", "AuthorizeRemoteStop", "ChargeDetailRecord"}
)
# Within the time by which a noted key may be older than what it has signed.
_NOTED_FOR_SECONDS = 3600.0


class _Named(msgspec.Struct, rename={"session_id": "SessionID"}):
    session_id: str | None = None


_read_named = msgspec.json.Decoder(_Named).decode


class _Known(msgspec.Struct, frozen=True):
    """A key and its holder, as this node knows them."""

    key_id: str
    public_key: str
    holder: str
    descriptor: bytes | None


class _Keys:
    """The keys that sign what is kept: they are noted beside it, so that it can be proved when they count no more."""

    def __init__(self, ours: OurSide, directory: Directory, ring: KeyRing) -> None:
        self._ours = ours
        self._directory = directory
        self._ring = ring
        self._noted_until: dict[str, float] = {}

    def to_note(self, key_ids: list[str], now: float) -> list[_Known]:
        """Return those of the keys that were not noted lately: usually none."""
        missing = [key_id for key_id in key_ids if self._noted_until.get(key_id, 0.0) < now]
        return [known for key_id in missing if (known := self.find(key_id)) is not None]

    def note(self, tx: Transaction, known: _Known, now: float) -> None:
        """Note a key in the transaction that keeps the exchange; it counts as noted once an earlier one has done it."""
        is_news = evidence.note_key(
            tx,
            key_id=known.key_id,
            public_key=known.public_key,
            holder=known.holder,
            descriptor=known.descriptor,
            now=now,
        )
        if not is_news:
            self._noted_until[known.key_id] = now + _NOTED_FOR_SECONDS

    def find(self, key_id: str) -> _Known | None:
        """Return a key of ours or of a peer, whether it still counts or not; None where it is nobody's."""
        for entry in self._ours.signer.keys.entries:
            if entry.public.key_id == key_id:
                return _Known(key_id, entry.public.line, self._ours.me.name, None)
        key = self._ring.any_key(key_id)
        if key is None:
            return None
        holder = self._ring.owner(key)
        signed = self._directory.descriptor_of(holder)
        return _Known(key_id, key.line, holder, None if signed is None else signed.body)


class Witness:
    """Writes the exchanges of one direction down, if they may cost somebody money."""

    def __init__(self, store: Store, clock: Clock, keys: _Keys, *, sent_by_us: bool) -> None:
        self._store = store
        self._clock = clock
        self._keys = keys
        self._sent_by_us = sent_by_us

    def keeping(
        self, operation: str, peer: str, request: SignedParts, answer: AnswerParts, text: bytes
    ) -> Callable[[Transaction], None] | None:
        """Return what keeps one exchange, None where it is not to be kept; ``text``: the answer without coding."""
        session_id = _session_id(text) or _session_id(request.body) if operation in COSTLY else None
        if session_id is None:
            return None
        now = self._clock.time()
        exchange = Exchange(now, operation, self._sent_by_us, peer, request, answer)
        key, (kept, key_ids) = SessionID(session_id).key, exchange.kept()
        unnoted = self._keys.to_note(key_ids, now)

        def keep(tx: Transaction) -> None:
            evidence.keep(tx, key, now, kept)
            for known in unnoted:
                self._keys.note(tx, known, now)

        return keep

    async def keep(self, operation: str, peer: str, request: SignedParts, answer: AnswerParts, text: bytes) -> None:
        """Keep one exchange, durably, in a transaction of its own; where that fails, the log says so."""
        keep = self.keeping(operation, peer, request, answer, text)
        if keep is None:
            return
        try:
            await self._store.write(keep)
        except StoreError as error:
            log.error("evidence.lost", operation=operation, peer=peer, reason=str(error))  # noqa: TRY400 - it says it all


class EvidenceBook:
    """Has exchanges written down, and reads them out."""

    def __init__(self, ours: OurSide, *, store: Store, directory: Directory, ring: KeyRing, clock: Clock) -> None:
        self._ours = ours
        self._store = store
        self._clock = clock
        self._keys = _Keys(ours, directory, ring)
        self.sent = Witness(store, clock, self._keys, sent_by_us=True)
        self.received = Witness(store, clock, self._keys, sent_by_us=False)

    async def export(self, session_id: str) -> bytes:
        """Return the evidence file of a session; raise ConfigurationError where nothing is kept of it."""
        rows = await self._store.read(evidence.OF_SESSION, key_=SessionID(session_id).key)
        if not rows:
            raise ConfigurationError(f"nothing signed is kept of session {session_id}")
        exchanges = [row["exchange"] for row in rows]
        used = await self._keys_of(exchanges)
        said = dict.fromkeys([self._ours.descriptor(), *(known.descriptor for known in used if known.descriptor)])
        now = self._clock.time()
        return write_evidence(
            session_id,
            exchanges,
            keys={known.key_id: (known.public_key, known.holder) for known in used},
            descriptors=said,
            key=self._ours.signer.keys.signing(now),
            now=now,
        )

    async def _keys_of(self, exchanges: list[bytes]) -> list[_Known]:
        """Return the keys that the exchanges were signed with, as far as anybody has known them."""
        noted = {row["key_id"]: _Known(**row) for row in await self._store.read(evidence.KEYS)}
        used = []
        for key_id in dict.fromkeys(key_id for exchange in exchanges for key_id in key_ids_of(exchange)):
            now, then = self._keys.find(key_id), noted.get(key_id)
            known = then if now is None or (then is not None and now.descriptor is None) else now
            used += [known] if known is not None else []
        return used


def _session_id(body: bytes) -> str | None:
    try:
        return _read_named(body).session_id
    except msgspec.MsgspecError:
        return None
