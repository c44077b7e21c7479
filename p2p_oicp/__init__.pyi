from p2p_oicp.backends import CpoBackend, EmpBackend
from p2p_oicp.config import Settings, load_settings
from p2p_oicp.errors import ConfigurationError, P2pOicpError, PeerError, Refusal
from p2p_oicp.node import Node

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
