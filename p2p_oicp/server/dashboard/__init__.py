"""The dashboard: pages for people, below ``/ui`` of the backend listener.

A page shows what the administration (``/admin/v1``) answers, and does what it does: `AdminCalls` calls its handlers
without HTTP, so that there is one query and one rule for each thing. Pages are rendered here and work without
JavaScript; with it, parts of them are fetched again when something has happened.

In the order of a request: ``access`` (who is it), ``requests`` (headers, forms, failures), then ``lists``,
``node_pages``, ``record_pages`` or ``actions``, then ``rendering`` with ``templates/``.
"""

from p2p_oicp.server.dashboard.access import DashboardAccess
from p2p_oicp.server.dashboard.admin_calls import AdminCalls
from p2p_oicp.server.dashboard.dashboard import Dashboard

__all__ = ["AdminCalls", "Dashboard", "DashboardAccess"]
