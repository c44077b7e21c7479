"""What a person, or a command, asks this node to do: ``/admin/v1/...`` on the backend listener, with its token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

import orjson
from aiohttp import web

from p2p_oicp.roles.context import Answer
from p2p_oicp.roles.emp.reconciling import Reconciling
from p2p_oicp.web.apps import Listener
from p2p_oicp.web.bodies import read_body
from p2p_oicp.web.problems import DATA_ERROR, HttpProblem

_NOT_OFFERED = "320"
_LARGEST_BODY = 64 * 1024


class Admin:
    """The actions; ``reconciling`` is None where this node is no EMP."""

    def __init__(self, reconciling: Reconciling | None) -> None:
        self._reconciling = reconciling

    def routes(self, listener: Listener) -> Sequence[web.RouteDef]:
        """Return the routes for the backend application."""
        return [web.post("/admin/v1/cdrs/reconcile", listener.handler(self._reconcile))]

    async def _reconcile(self, request: web.Request) -> Answer:
        """``{"since": "2026-03-01T00:00:00Z"}`` or nothing; answers what each CPO peer had."""
        if self._reconciling is None:
            raise HttpProblem(404, _NOT_OFFERED, "this node is no EMP: records are not brought to it")
        outcomes = await self._reconciling.reconcile_all(_since(await read_body(request, _LARGEST_BODY)))
        return Answer(orjson.dumps({"peers": [asdict(outcome) for outcome in outcomes]}))


def _since(body: bytes) -> float | None:
    if not body.strip():
        return None
    try:
        text = orjson.loads(body).get("since")
        since = None if text is None else datetime.fromisoformat(text)
    except (orjson.JSONDecodeError, AttributeError, TypeError, ValueError) as error:
        raise HttpProblem(
            400, DATA_ERROR, f'expected {{"since": "2026-03-01T00:00:00Z"}} or nothing: {error}'
        ) from error
    if since is not None and since.tzinfo is None:
        raise HttpProblem(400, DATA_ERROR, "since: a time needs its offset, as in 2026-03-01T00:00:00Z")
    return since.timestamp() if since else None
