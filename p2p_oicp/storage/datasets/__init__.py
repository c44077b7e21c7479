"""Replicated state: EVSE data, EVSE statuses, products, EVSE prices, authentication data. One mechanism for all five.

The story: a *record* is what came, byte for byte, under a canonical key. Records stand in *groups*: what a fullLoad
replaces (an operator's EVSEs, an operator's products for one audience, a provider's identifications). Our own state has
the source ``""``, a copy of a peer's the peer's name. Every real change takes the next number of the node's change
sequence; the earlier version moves to the history, and what is withdrawn leaves a tombstone. So three questions have
cheap answers: what is valid now (pulls), what lies behind a cursor (replication), and what was valid then (history).

``Keeper`` is the one door for changes; pulls read ``queries``, ``evses`` and ``pages``, replication reads ``behind``;
``history``, ``quarantine`` and ``sweeping`` are for people and for the passing of time.
"""
