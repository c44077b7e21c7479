"""Keeps the signed exchanges of processes that cost money, and hands them out as evidence."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from p2p_oicp.clock import Clock
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.identity import AnswerParts, KeyRing, SignedParts
from p2p_oicp.identity.evidence import Exchange, write_evidence
from p2p_oicp.identity.structured import signature_inputs
from p2p_oicp.oicp import SessionID
from p2p_oicp.storage import Store, Transaction, evidence
from p2p_oicp.trust.directory import Directory
from p2p_oicp.trust.pairing import OurSide

#: The operations whose exchanges are kept.
COSTLY = frozenset(
    {"AuthorizeStart", "AuthorizeStop", "AuthorizeRemoteStart", "AuthorizeRemoteStop", "ChargeDetailRecord"}
)


class _Named(msgspec.Struct, rename={"session_id": "SessionID"}):
    session_id: str | None = None


_read_named = msgspec.json.Decoder(_Named).decode


class Witness:
    """Writes the exchanges of one direction down, if they may cost somebody money."""

    def __init__(self, store: Store, clock: Clock, *, sent_by_us: bool) -> None:
        self._store = store
        self._clock = clock
        self._sent_by_us = sent_by_us

    def keeping(
        self, operation: str, peer: str, request: SignedParts, answer: AnswerParts, text: bytes
    ) -> Callable[[Transaction], None] | None:
        """Return what keeps one exchange, None where it is not to be kept; ``text``: the answer without coding."""
        session_id = _session_id(text) or _session_id(request.body) if operation in COSTLY else None
        if session_id is None:
            return None
        now = self._clock.time()
        exchange = Exchange(now, operation, self._sent_by_us, peer, request, answer).to_json()
        key = SessionID(session_id).key
        return lambda tx: evidence.keep(tx, key, now, exchange)

    async def keep(self, operation: str, peer: str, request: SignedParts, answer: AnswerParts, text: bytes) -> None:
        """Keep one exchange, durably, in a transaction of its own."""
        keep = self.keeping(operation, peer, request, answer, text)
        if keep is not None:
            await self._store.write(keep)


class EvidenceBook:
    """Has exchanges written down, and reads them out."""

    def __init__(self, ours: OurSide, *, store: Store, directory: Directory, ring: KeyRing, clock: Clock) -> None:
        self._ours = ours
        self._store = store
        self._directory = directory
        self._ring = ring
        self._clock = clock
        self.sent = Witness(store, clock, sent_by_us=True)
        self.received = Witness(store, clock, sent_by_us=False)

    async def export(self, session_id: str) -> bytes:
        """Return the evidence file of a session; raise ConfigurationError where nothing is kept of it."""
        rows = await self._store.read(evidence.OF_SESSION, key_=SessionID(session_id).key)
        if not rows:
            raise ConfigurationError(f"nothing signed is kept of session {session_id}")
        exchanges = [row["exchange"] for row in rows]
        keys = self._keys_of(exchanges)
        names = {holder for _, holder in keys.values()}
        known = [self._directory.descriptor_of(name) for name in sorted(names)]
        descriptors = [self._ours.descriptor(), *(signed.body for signed in known if signed is not None)]
        now = self._clock.time()
        return write_evidence(
            session_id, exchanges, keys=keys, descriptors=descriptors, key=self._ours.signer.keys.signing(now), now=now
        )

    def _keys_of(self, exchanges: list[bytes]) -> dict[str, tuple[str, str]]:
        """Return the keys that the exchanges were signed with: ours, and those of peers as we know them."""
        ours = {entry.public.key_id: entry.public for entry in self._ours.signer.keys.entries}
        used: dict[str, tuple[str, str]] = {}
        for exchange in exchanges:
            kept = msgspec.json.decode(exchange)
            for part in (kept["request"], kept["answer"]):
                for found in signature_inputs(part["headers"].get("Signature-Input", "")):
                    key_id = found.parameters.get("keyid", "")
                    key = ours.get(key_id) or self._ring.any_key(key_id)
                    if key is not None:
                        holder = self._ours.me.name if key_id in ours else kept["peer"]
                        used[key_id] = (key.line, holder)
        return used


def _session_id(body: bytes) -> str | None:
    try:
        return _read_named(body).session_id
    except msgspec.MsgspecError:
        return None
