"""Calls of the admin API of a running node, on its backend listener."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from p2p_oicp.cli.calling import Target
from p2p_oicp.errors import P2pOicpError, PeerUnreachable

_SECONDS = 20.0
_OK = range(200, 300)


class AdminRefused(P2pOicpError):
    """The node refuses what was asked; the text is its own."""


def ask(config: Path, method: str, path: str, wanted: dict[str, object] | None = None) -> dict[str, Any]:
    """Return the answer of the node of ``config``; raise PeerUnreachable if it does not run, AdminRefused."""
    return asyncio.run(_ask(Target.of(None, config), method, path, wanted or {}))


async def _ask(target: Target, method: str, path: str, wanted: dict[str, object]) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    if target.token is not None:
        headers["Authorization"] = f"Bearer {target.token.get_secret_value()}"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS)) as session,
            session.request(method, target.url + path, data=orjson.dumps(wanted), headers=headers) as response,
        ):
            content = orjson.loads(await response.read())
    except (aiohttp.ClientError, TimeoutError, OSError) as exc:
        reason = f"the node does not run, or does not answer ({exc or 'timeout'}); start it: p2p-oicp run"
        raise PeerUnreachable(target.url, reason) from exc
    except orjson.JSONDecodeError as exc:
        raise AdminRefused(f"{target.url}{path}: this is no p2p-oicp node") from exc
    if response.status not in _OK:
        raise AdminRefused(str(content.get("StatusCode", {}).get("AdditionalInfo") or f"HTTP {response.status}"))
    return dict(content)
