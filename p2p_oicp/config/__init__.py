"""The settings of one node: ``node.toml`` below, the environment above; read once, frozen, passed down.

Every key can be overridden by an environment variable: ``P2P_OICP_`` + table + ``__`` + key, as in
``P2P_OICP_NODE__NAME``; a key outside a table has only its name, as in ``P2P_OICP_PEERS_FILE``. Lists are written
``DE*ABC,DE*ABD`` or as JSON.
"""

from p2p_oicp.config.loader import load_registry, load_settings, local_peer, peers_file_is_optional
from p2p_oicp.config.model import Settings

__all__ = ["Settings", "load_registry", "load_settings", "local_peer", "peers_file_is_optional"]
