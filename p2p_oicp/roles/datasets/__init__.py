"""Replicated state, as both roles deal with it.

The story: a CPO's node owns EVSE data, statuses, products and prices, an EMP's node owns authentication data. Their
own backend pushes it (``taking``: all or nothing), replication brings it to peers (``delivery``), whose nodes take it
as copies (``taking`` again: record by record, what cannot be used is set aside). Pulls are answered from the store:
by the owner's node to peers that only pull, by the other node to its own backend. CPO peers that push nothing are
pulled (``crawling``). ``kinds`` says what is special about each kind, and nothing else does.
"""
