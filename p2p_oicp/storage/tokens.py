"""The built-in whitelist of an EMP without a contract system: UIDs, and EvcoIDs with or without a PIN."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, delete, insert, select

from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.tables import tokens
from p2p_oicp.storage.writer import Transaction

_COLUMNS = ("token_key", "token", "pin_hash", "added_at")
FIND = compiled(select(tokens.c.token, tokens.c.pin_hash).where(tokens.c.token_key == bindparam("key_")))
ALL = compiled(
    select(tokens.c.token, tokens.c.pin_hash.is_not(None).label("has_pin"), tokens.c.added_at).order_by(
        tokens.c.token_key
    )
)
_PUT = compiled(insert(tokens).values({name: bindparam(name) for name in _COLUMNS}).prefix_with("OR REPLACE"))
_REMOVE = compiled(delete(tokens).where(tokens.c.token_key == bindparam("key_")))


@dataclass(frozen=True, slots=True)
class Token:
    """One driver; ``key`` is the canonical id, ``text`` as it was given, ``pin_hash`` a bcrypt hash."""

    key: str
    text: str
    pin_hash: bytes | None = None


def put(tx: Transaction, token: Token, now: float) -> None:
    """Add a token, or replace it."""
    tx.run(_PUT, token_key=token.key, token=token.text, pin_hash=token.pin_hash, added_at=now)


def remove(tx: Transaction, key: str) -> bool:
    """Remove a token; say whether it was there."""
    return tx.run(_REMOVE, key_=key) > 0
