"""What is stored of OCPI partners beside their registration (`storage.ocpi_partners`).

- ``objects``: locations, sessions, CDRs and tariffs as the partner wrote them, and what became of each.
- ``evses``: the EVSEs of its locations, as they were pushed to the node.
- ``sessions``: which session of OICP a session of the partner is. ``commands``: what it was asked to do.
- ``served``: objects that we serve to it, in the order of their creation, and which of them it has not got yet.
- ``findings``: what could not be carried; how far its lists have been pulled.

Ids of OCPI are compared without letter case: keys are in lower case, and the text beside is as it was first seen.
All writes about one partner share a key (`job_keys.ocpi_partner`).
"""
