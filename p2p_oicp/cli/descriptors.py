"""What a node says of itself, for people."""

from __future__ import annotations

import time
from typing import Any

from p2p_oicp.clock import RandomMint, SystemClock, wire_time
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.peers.fields import base_url
from p2p_oicp.transport import OicpClient
from p2p_oicp.trust.fresh_keys import fetch_descriptor
from p2p_oicp.version import VERSION
from p2p_oicp.web.admin_peers import shown

_MOST_BYTES = 1024 * 1024


async def fetch(url: str) -> dict[str, Any]:
    """Fetch the descriptor of the node at ``url`` and check its signature; raise PeerError, NotProven."""
    try:
        base = base_url(url)
    except ValueError as exc:
        raise ConfigurationError(f"URL: {exc}") from exc
    async with OicpClient(mint=RandomMint(), user_agent=f"p2p-oicp/{VERSION}", max_body=_MOST_BYTES) as client:
        return shown(await fetch_descriptor(client, base, SystemClock()))


def text(found: dict[str, Any]) -> str:
    """Return it in lines, the fingerprint last: that is what is compared, by telephone for example."""
    now = time.time()
    keys = [key for key in found["keys"] if key["valid_until"] is None or key["valid_until"] >= now]
    lines = [
        f"{found['name']}, {found['url']} ({found['software']})",
        f"  CPO for      {' '.join(found['operators']) or '-'}",
        f"  EMP for      {' '.join(found['providers']) or '-'}",
        f"  serves       {', '.join(found['operations']) or 'nothing'}",
        f"  requires     {' and '.join(found['require']) or 'NOTHING: it is insecure'}",
        *(f"  key          {key['key_id']}{_until(key)}" for key in keys),
        f"  fingerprint  {found['fingerprint']}",
    ]
    return "\n".join(lines)


def _until(key: dict[str, Any]) -> str:
    return "" if key["valid_until"] is None else f" until {wire_time(key['valid_until'])}"
