"""The pair of nodes, and a third company that is a peer of both."""

import pytest

from tests.support.messages import A_CPO, B_EMP, OTHER_CPO, OTHER_EMP


@pytest.fixture
def with_stranger(stopped):
    """Nodes A and B, not running yet, that also know a company with both roles, which answers nothing."""
    there = stopped.ports["stranger"] = 9  # the discard port: nobody listens
    for at, name, port, party in (
        ("a", "node b", "b", f'providers = ["{B_EMP}"]'),
        ("b", "node a", "a", f'operators = ["{A_CPO}"]'),
    ):
        stranger = f'[[peer]]\nname = "stranger"\nurl = "http://127.0.0.1:{there}"\n'
        stranger += f'operators = ["{OTHER_CPO}"]\nproviders = ["{OTHER_EMP}"]\n'
        stopped.write_peer(at, name, port, f"{party}\n{stranger}")
    return stopped


@pytest.fixture
async def three(with_stranger):
    """Nodes A and B running, and the stranger known to both."""
    async with with_stranger.running("a"), with_stranger.running("b"):
        yield with_stranger


@pytest.fixture
def services(stopped):
    """Return a function that says which operations two nodes have a contract for, each at its own side."""

    def agree(*, a: list[str] | None = None, b: list[str] | None = None):
        for at, name, port, party, names in (
            ("a", "node b", "b", f'providers = ["{B_EMP}"]', a),
            ("b", "node a", "a", f'operators = ["{A_CPO}"]', b),
        ):
            contract = "" if names is None else f"\nservices = {names}\nmay_call = {names}"
            stopped.write_peer(at, name, port, party + contract)
        return stopped

    return agree
