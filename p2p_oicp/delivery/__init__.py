"""Brings to peers what we owe them: messages from the outbox, and state by cursor.

The story: the database is the truth and memory only a hint. A role writes a letter (or a state change) in the
transaction of the domain change and then rings the bell of the destination. One worker per destination looks into the
database, sends what is due, and removes or postpones each letter in a transaction of its own. A crash between sending
and removing sends again; receivers are idempotent. Failures are typed by the transport; ``backoff`` says how long to
wait, and the wait is persisted. A bell also rings when a peer gives a sign of life (hello, verified request): then
everything for it is due at once.
"""

from p2p_oicp.client.peer_client import PeerClient, RoutingPeerClient
from p2p_oicp.delivery.change_batches import DatasetCodec
from p2p_oicp.delivery.node_protocol import (
    HttpSessionStatusClient,
    SessionStatus,
    SessionStatusClient,
    StoreEpochExchange,
)
from p2p_oicp.delivery.outbox import DeliveryTarget, OutboxDispatcher
from p2p_oicp.delivery.replication import DatasetReplicator
from p2p_oicp.delivery.wakeup import ExponentialBackoff, PeerLiveness, WakeupRegistry
from p2p_oicp.delivery.workers import TaskSupervisor, Worker

__all__ = [
    "DatasetCodec",
    "DatasetReplicator",
    "DeliveryTarget",
    "ExponentialBackoff",
    "HttpSessionStatusClient",
    "OutboxDispatcher",
    "PeerClient",
    "PeerLiveness",
    "RoutingPeerClient",
    "SessionStatus",
    "SessionStatusClient",
    "StoreEpochExchange",
    "TaskSupervisor",
    "WakeupRegistry",
    "Worker",
]
