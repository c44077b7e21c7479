"""Two nodes that sign everything, for the tests of restores."""

from tests.support.signed_nodes import signed  # noqa: F401 - a fixture
