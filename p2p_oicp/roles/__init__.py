"""The business rules of a CPO's and of an EMP's node.

Overview
--------
Each role is a table of handlers, one per operation (`CpoRole`, `EmpRole`). The dispatcher picks the role by the
operation's row and the listener: for a request of our own backend, the sender's role acts as the clearing house would
(route it, store it, deliver it); for a request of a peer, the serving role answers it. An operation that is not in the
table is not offered (320).

A handler gets an `OperationRequest`, authenticated and validated, and returns an `OperationResponse` or raises a
`Refusal`.

Modules, in the order of a charging process
-------------------------------------------
- ``context``: request, response, and the `Services` that all handlers share.
- ``sessions``: opening, finding and stopping sessions; duplicates. ``responses``: how responses are built.
- ``cpo.authorization``, ``emp.authorization``: a driver at the station.
- ``emp.remote``, ``cpo.remote``: a driver with an app.
- ``settlement``: notifications and CDRs. ``delivery_targets``: how they reach the next hop.
- ``emp.reconciliation``: CDRs that never came.
- ``datasets``: EVSE data, status, prices, authentication data.
- ``peer_workers``, ``retention``: the background work.

Invariants
----------
- A session is stored before anybody acts on it: before a remote start is sent, before an authorization is answered.
- A message is acknowledged only after it and its outbox message are committed.
- A start, stop or reservation is sent once (H2); the same request again gets the same response (H4).

Failures
--------
`Refusal` becomes an OICP response. `PeerError` of a call is turned into a refusal, or into an uncertain session if the
request may have arrived. `StoreError` becomes 503 with 021, by the dispatcher.

Where to read next: `sessions.begin_start`, then ``emp.authorization``.
"""

from p2p_oicp.roles.context import OperationRequest, OperationResponse, Services
from p2p_oicp.roles.cpo import CpoRole
from p2p_oicp.roles.emp import EmpRole

__all__ = ["CpoRole", "EmpRole", "OperationRequest", "OperationResponse", "Services"]
