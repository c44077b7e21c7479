"""Configuration of a node: ``node.toml``, the environment and the peers file.

Overview
    ``load_settings`` reads ``node.toml`` once, at the start; the result is immutable and passed down. Each key can be
    overridden by an environment variable: ``P2P_OICP_`` + table + ``__`` + key, as in ``P2P_OICP_NODE__NAME``; the name
    of a key outside all tables follows the prefix directly, as in ``P2P_OICP_PEERS_FILE``. Lists are written
    ``DE*ABC,DE*ABD`` or as JSON. The peers file is read again while the node runs.

Modules
    - ``model``, ``recording``, ``backends``: the tables of ``node.toml``; the description of a key is also its
      documentation.
    - ``loader``: the entry points; relative paths become absolute.
    - ``peers_file``: the ``[[peer]]`` tables of the peers file.
    - ``toml``: the TOML parser with line numbers, and error texts.
    - ``reference``: generates ``docs/configuration.md``.

Failures
    ``ConfigurationError`` with one line that names file, line, key and what is expected. An unknown key is an error.
"""

from p2p_oicp.config.loader import exposed_files, load_registry, load_settings, local_peer, peers_file_is_optional
from p2p_oicp.config.model import Settings

__all__ = ["Settings", "exposed_files", "load_registry", "load_settings", "local_peer", "peers_file_is_optional"]
