"""How each destination (a peer, or our own backend) has been doing: the persisted side of the circuit breaker."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, insert, select, update

from p2p_oicp.storage.statements import compiled
from p2p_oicp.storage.store import Store
from p2p_oicp.storage.tables import destinations
from p2p_oicp.storage.writer import Transaction

_ENSURE = compiled(insert(destinations).values(name=bindparam("name")).prefix_with("OR IGNORE"))
_of_name = destinations.c.name == bindparam("name_")
_OK = compiled(
    update(destinations).where(_of_name).values(failures=0, next_try_at=0, last_success_at=bindparam("last_success_at"))
)
_FAILED = compiled(
    update(destinations)
    .where(_of_name)
    .values({name: bindparam(name) for name in ("failures", "next_try_at", "last_error", "last_kind")})
)
_HURRY = compiled(update(destinations).where(_of_name).values(failures=0, next_try_at=0))
_GET = compiled(select(destinations.c.failures, destinations.c.next_try_at).where(_of_name))

_COLUMNS = ("name", "failures", "next_try_at", "last_error", "last_kind", "last_success_at")
ALL = compiled(select(*(destinations.c[name] for name in _COLUMNS)).order_by(destinations.c.name))


@dataclass(frozen=True, slots=True)
class Health:
    """How the last calls to a destination went: failures in a row, and when it may be tried again."""

    failures: int = 0
    next_try_at: float = 0.0


def health(tx: Transaction, destination: str) -> Health:
    """Return how ``destination`` has been doing."""
    row = tx.one(_GET, name_=destination)
    return Health(row["failures"], row["next_try_at"]) if row else Health()


def health_now(store: Store, destination: str) -> Health:
    """Return the same as of the last commit."""
    rows = store.look_up(_GET, name_=destination)
    return Health(rows[0]["failures"], rows[0]["next_try_at"]) if rows else Health()


def ensure(tx: Transaction, destination: str) -> None:
    """Let there be a row for ``destination``."""
    tx.run(_ENSURE, name=destination)


def answered(tx: Transaction, destination: str, now: float) -> None:
    """Close the circuit."""
    tx.run(_ENSURE, name=destination)
    tx.run(_OK, name_=destination, last_success_at=now)


def failed(tx: Transaction, destination: str, failures: int, until: float, error: Exception) -> None:
    """Count a failure; nothing is tried before ``until``."""
    tx.run(_ENSURE, name=destination)
    kind, text = type(error).__name__, str(error)
    tx.run(_FAILED, name_=destination, failures=failures, next_try_at=until, last_error=text, last_kind=kind)


def clear(tx: Transaction, destination: str) -> None:
    """Close the circuit of a destination that is known to be up."""
    tx.run(_HURRY, name_=destination)
