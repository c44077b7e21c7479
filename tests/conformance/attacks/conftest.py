"""A pair of nodes that prove to each other who they are."""

from tests.support.signed_nodes import require, stopped  # noqa: F401 - fixtures
