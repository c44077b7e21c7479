"""Delivery to peers and to the own backend: a transactional outbox for messages, replication by cursor for datasets.

Overview
    A handler inserts an `OutboxMessage` (or changes dataset records) in the transaction of the domain change, and
    notifies the workers of the destination after the commit. The notification is only a hint: the table is
    authoritative, so a crash loses nothing.

The outbox
    `OutboxDispatcher`, one per destination. Delivery is at least once, in order per session, concurrent across
    sessions; a message is deleted in the transaction that applies its acknowledgement. Receivers are idempotent
    (RULES H4).

Dataset replication
    `DatasetReplicator`, one per peer (or backend) and dataset, one request in flight. `BatchPlanner` compares its
    cursor with the node's change sequence and plans a delta, or a snapshot for a new peer, a cursor that is too old, or
    a copy that contradicts it. Peers get our own data, our own backends everybody's.

Failures and backoff
    `PeerError` means try again: exponential backoff with jitter, persisted. After three failures in a row the circuit
    of the destination is open, and it is probed with one message. `PeerRejected` is final: a dead letter, or (for
    datasets) a snapshot or the suspension of one group.

Wake-ups
    `WakeupRegistry` wakes the workers that may have work, and only them. `PeerLiveness` clears the backoff of a peer
    that sends a verified request, says hello or appears by mDNS.

Between nodes
    `node_protocol`: session status and export, verdicts on CDRs. `store_epochs`: which databases this node and its
    peers have had, told in `hello`.

Shutdown
    Workers are cancelled. What was sent and not yet recorded is sent again at the next start.

Where to read next
    `OutboxDispatcher._dispatch_due`, then `DatasetReplicator._replicate_once`.
"""

from p2p_oicp.client import PeerClient
from p2p_oicp.delivery.change_batches import DatasetCodec
from p2p_oicp.delivery.channel_log import ChannelLog
from p2p_oicp.delivery.node_protocol import HttpNodeClient, NodeClient, SessionStatus
from p2p_oicp.delivery.outbox import DeliveryTarget, OutboxDispatcher
from p2p_oicp.delivery.replication import BackendDatasetTarget, DatasetReplicator, DatasetTarget, PeerDatasetTarget
from p2p_oicp.delivery.store_epochs import StoreEpochs
from p2p_oicp.delivery.wakeup import ExponentialBackoff, PeerLiveness, Wakeup, WakeupRegistry

__all__ = [
    "BackendDatasetTarget",
    "ChannelLog",
    "DatasetCodec",
    "DatasetReplicator",
    "DatasetTarget",
    "DeliveryTarget",
    "ExponentialBackoff",
    "HttpNodeClient",
    "NodeClient",
    "OutboxDispatcher",
    "PeerClient",
    "PeerDatasetTarget",
    "PeerLiveness",
    "SessionStatus",
    "StoreEpochs",
    "Wakeup",
    "WakeupRegistry",
]
