"""OCPI partners: systems that speak OCPI 2.2.1 and roam with every OICP peer of this node.

Overview
    To a system with charging stations (face A, ``face = "cpo"``) the node is its EMSP; to one with drivers (face B,
    ``face = "emsp"``) it is its CPO. Towards the node the gateway is a backend, and nothing else.

In the order of what happens
    - ``partners``: `OcpiPartners` has who may connect, who is registered, how each is called, and who a token is of.
    - ``registration``: `Registrar` exchanges credentials, as either side (credentials, 7.1).
    - ``requests``: a partner's request of a module, checked (`ModuleRequest`), and what answers it (`ModuleHandler`).

Invariants
    What a partner is registered with changes in one transaction. A partner reads and writes objects of its own parties
    only. A partner is called on the servers of its registration only, and no call outlasts its deadline.

Failures
    `OcpiProblem` is the answer to a partner; `PeerError` is raised for a partner that does not answer.

Where to read next
    ``docs/ocpi.md``; ``ocpi_mapping`` for what becomes of each object.
"""
