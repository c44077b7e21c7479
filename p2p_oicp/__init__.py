"""Electric-vehicle roaming without a middleman: OICP 2.3, peer to peer.

The names below are the public surface. They are loaded when they are first used, so that ``p2p_oicp.oicp``, the
language, can be used alone, without the libraries that a node needs.
"""

from importlib import import_module

_HOMES = {
    "ConfigurationError": "p2p_oicp.errors",
    "CpoBackend": "p2p_oicp.backends",
    "EmpBackend": "p2p_oicp.backends",
    "Node": "p2p_oicp.node",
    "P2pOicpError": "p2p_oicp.errors",
    "PeerError": "p2p_oicp.errors",
    "Refusal": "p2p_oicp.errors",
    "Settings": "p2p_oicp.config",
    "load_settings": "p2p_oicp.config",
}

__all__ = [
    "ConfigurationError",
    "CpoBackend",
    "EmpBackend",
    "Node",
    "P2pOicpError",
    "PeerError",
    "Refusal",
    "Settings",
    "load_settings",
]


def __getattr__(name: str) -> object:
    """Load a public name from its home."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(_HOMES[name]), name)
