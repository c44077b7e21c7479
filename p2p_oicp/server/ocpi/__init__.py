"""The listener for OCPI partners, ``[ocpi]``.

Overview
    One handler serves all paths below ``/ocpi``. It holds no rule of roaming: modules are served by a
    `ocpi_gateway.requests.ModuleHandler`, registration by `ocpi_gateway.registration.Registrar`.

In the order of a request
    1. ``routes``: the path is found in the table of modules (`ocpi.modules`), with or without a slash at its end.
    2. ``authority``: the token is that of a partner, and opens this path; the partner has requests left.
    3. ``reading``: body, routing headers and page, all of them bounded; parties must be the partner's own and ours.
    4. ``listener``: the handler is called.
    5. ``answers``: envelope, ids and headers of pages, whatever has happened.

Invariants
    A body is read only of a partner. What is answered to others says nothing about partners or tokens. Every answer has
    an envelope, also one to a request that is no OCPI.

Failures
    `OcpiProblem` and `RegistrationProblem` have their status codes; `HttpError` is one of HTTP. Anything else is a bug:
    500 and 3000, and the log has its stack.

Beside it
    ``admin``: ``/admin/v1/ocpi`` of the backend listener; ``documents``: the OpenAPI document of this one.
"""

from p2p_oicp.server.ocpi.listener import OcpiListener

__all__ = ["OcpiListener"]
