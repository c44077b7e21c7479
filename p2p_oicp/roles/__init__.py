"""The business rules of the two roles, both directions.

The story: every operation has one method name, and both roles have methods of these names. For an operation that a
CPO sends, ``CpoRole`` has the method that acts for our own backend (as the clearing house would: route it, store it,
deliver it) and ``EmpRole`` the method that serves another party's request; for an operation that an EMP sends, the
other way round. So the role is picked by the operation's row and the side the request came from, and a method that
does not exist is a service that is not offered (320).

A method gets an ``Incoming`` request, already authenticated and validated, and returns an ``Answer`` or raises a
``Refusal``.
"""

from p2p_oicp.roles.context import OperationRequest, OperationResponse, Services
from p2p_oicp.roles.cpo import CpoRole
from p2p_oicp.roles.emp import EmpRole

__all__ = ["CpoRole", "EmpRole", "OperationRequest", "OperationResponse", "Services"]
