"""The datasets as both roles handle them: pushes, pulls, and pulling peers that do not push.

Overview
    A CPO's node owns EVSE data, EVSE statuses, products and EVSE prices; an EMP's node owns authentication data. The
    owner's backend pushes them to its node, replication (`delivery`) pushes them on to the nodes of peers, and those
    hand copies to their own backends. Everything that differs between the five datasets is in `types.DATASET_TYPES`.

Main classes, in the order of a request
    **Push.** `handlers.PushHandlers` → `ingest.ingest_push` validates the records (`ingest.RecordFilter`) and applies
    them as one changeset (`storage.datasets`). A push of our own backend is all or nothing; of a peer's push, invalid
    records go to the quarantine and the others are applied.
    **Pull.** `handlers.PullHandlers` → `evse_pull.EvseDataPullHandler` (pages of EVSE data) or
    `group_pulls.GroupPullHandler` (all others). A peer gets our own data, our backend gets the data of all peers.
    **Pulling.** `pull_client.DatasetPuller` pulls the peers that do not push, by delta where the operation has one.

Invariants
    A PIN is replaced by its bcrypt hash before a record is stored or written to any file.
    A record is changed only by the owner of its parties (018, 019).
    No model of a record outlives its validation: a push of any size needs little more memory than its bytes.

Failures
    `Refusal` 009 (precondition), 018 or 019 (foreign records), `InvalidMessage` (our own backend's mistakes): nothing
    is changed. A pull of a peer that fails changes nothing, and is tried again with backoff.

Where to read next
    `ingest.ingest_push`, then `storage.datasets`.
"""
