"""A clearing house in one process, for tests: ``p2p-oicp hub``.

Overview
    `Hub` is a `node.Node` that answers for the parties of many companies, its partners, each with a backend of its own.
    Whatever goes from one to another goes through both roles in process, with all rules, the store and its books, as in
    a node of one company with several systems (DESIGN section 5, "Backends"). What is different here:

    - ``partners``: partners are learned from who speaks, and added over HTTP. A request is judged by the parties of the
      partner in whose name it comes, not by those of the node.
    - ``script``: a partner under test can be answered by rules.
    - ``server.hub_api``: partners, script and recorded exchanges over HTTP.

Invariants
    Every party of the node belongs to one partner, and every partner has one backend. There are no peers.

Failures
    Nobody has to prove who it is: it listens on loopback, or says in its log that it is open to all.

Where to read next
    `Hub` in ``node.py``.
"""

from p2p_oicp.hub.node import Hub

__all__ = ["Hub"]
