"""The company's own systems behind this node: its CSMS (CPO) and its contract system (EMP).

Overview
--------
A CPO's backend is asked to start and stop charging. An EMP's backend is asked whether a driver may charge, and is
told what happened: charging notifications and charge detail records. The node asks all of them the same way,
``Backend.call(operation, message)``, one object for each of them, made at start by `BackendFactory`:

- `PythonBackend`: an object that implements (a part of) `CpoBackend` or `EmpBackend`, for programs that embed a node;
- `HttpBackend`: OICP over HTTP, with the paths of the clearing house below the backend's base URL;
- `TokenListBackend`: the built-in EMP backend, a list of drivers in the node's store (``p2p-oicp tokens``);
- `UnsupportedBackend`: a CPO without a CSMS.

There may be many: `BackendRegistry` says which one serves which of our parties. One that wants to know how the data of
our partners change is a `DatasetReceiver`: replication pushes to it.

Invariants
----------
- The message that ``call`` returns is of the type that the operations table says.
- A backend cannot harm the node, nor the other backends: each call has the operation's deadline, one that hangs
  occupies a bounded number of requests (`LimitedBackend`), and whatever goes wrong is a `PeerError`.

Failures
--------
`PeerError.may_have_arrived` decides what becomes of a session: a start that may have reached the CSMS leaves it
uncertain. `OperationNotSupported` (320) never does. Notifications and CDRs are delivered again, so a backend may get
the same one twice.

Where to read next: ``protocols`` (what a Python backend implements), then ``client``.
"""

from p2p_oicp.backends.client import (
    Backend,
    DatasetReceiver,
    HttpBackend,
    LimitedBackend,
    PythonBackend,
    UnsupportedBackend,
)
from p2p_oicp.backends.protocols import CpoBackend, DatasetListener, EmpBackend, ReservingCpoBackend
from p2p_oicp.backends.registry import BackendFactory, BackendRegistry, OwnBackend
from p2p_oicp.backends.token_list import TokenListBackend

__all__ = [
    "Backend",
    "BackendFactory",
    "BackendRegistry",
    "CpoBackend",
    "DatasetListener",
    "DatasetReceiver",
    "EmpBackend",
    "HttpBackend",
    "LimitedBackend",
    "OwnBackend",
    "PythonBackend",
    "ReservingCpoBackend",
    "TokenListBackend",
    "UnsupportedBackend",
]
