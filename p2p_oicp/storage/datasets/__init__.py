"""The five datasets that nodes replicate: EVSE data, EVSE statuses, products, EVSE prices, authentication data.

Overview
    One mechanism serves all five (decision 0005). A *record* is stored as the bytes that were received, under a
    canonical key. Records belong to *groups*, which are what a fullLoad replaces: an operator's EVSEs, an operator's
    products for one audience, a provider's identifications. Each row has a *source*: ``""`` for our own data, the
    peer's name for a copy of a peer's.

    Every change takes the next number of the node's change sequence. The version that it replaces moves to the history,
    and a deleted record stays as a *tombstone*. So three questions have cheap answers: what is valid now (pulls), what
    changed behind a cursor (replication), and what was valid at a time in the past (disputes).

Main classes, in the order of a push
    `models.Changeset` is what a push or a finished pull changes. `coordinator.DatasetCoordinator` applies one changeset
    of a dataset and source at a time: small ones by `apply.apply_in_transaction`, larger ones by `staging.StagedImport`
    over a spool file. `change_feed` then tells replication which groups a peer's copy lags behind in. Pulls read by
    `queries` (groups, pages, history) and `evse_search` (filters; `oicp.geo` for a radius). `quarantine` has the
    records of peers that cannot be used, with the reason.

Invariants
    A changeset is applied as a whole or not at all, also over a crash.
    Only real changes take a number: a cursor at the newest change of a group means that the copy is equal.
    Records of different sources never replace each other.

Failures
    `StoreError` and `StoreBusy`, as of every write. An import that an error interrupts behind its commit point is
    finished before the next change of the same dataset and source, or at the next start.

Where to read next
    `DatasetCoordinator.exclusive`, `ExclusiveUpdate.apply`, then `StagedImport.commit_and_apply`.
"""
