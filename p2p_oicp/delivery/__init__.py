"""Brings to peers what we owe them: messages from the outbox, and state by cursor.

The story: the database is the truth and memory only a hint. A role writes a letter (or a state change) in the
transaction of the domain change and then rings the bell of the destination. One worker per destination looks into the
database, sends what is due, and removes or postpones each letter in a transaction of its own. A crash between sending
and removing sends again; receivers are idempotent. Failures are typed by the transport; ``backoff`` says how long to
wait, and the wait is persisted. A bell also rings when a peer gives a sign of life (hello, verified request): then
everything for it is due at once.
"""

from p2p_oicp.delivery.acquaintances import Acquaintances
from p2p_oicp.delivery.backoff import Backoff
from p2p_oicp.delivery.bells import Bells, SignsOfLife
from p2p_oicp.delivery.courier import Courier, PeerCourier
from p2p_oicp.delivery.enquiry import Enquirer, PeerEnquirer, SessionReport
from p2p_oicp.delivery.outbox import Carrier, OutboxWorker
from p2p_oicp.delivery.replication import Replicator
from p2p_oicp.delivery.shipments import StateKind
from p2p_oicp.delivery.supervisor import Supervisor, Worker

__all__ = [
    "Acquaintances",
    "Backoff",
    "Bells",
    "Carrier",
    "Courier",
    "Enquirer",
    "OutboxWorker",
    "PeerCourier",
    "PeerEnquirer",
    "Replicator",
    "SessionReport",
    "SignsOfLife",
    "StateKind",
    "Supervisor",
    "Worker",
]
