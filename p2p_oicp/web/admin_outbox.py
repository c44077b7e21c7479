"""The outbox over HTTP on the backend listener: ``/admin/v1/outbox``, with the backend API's token."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import orjson
from aiohttp import web

from p2p_oicp.clock import Clock
from p2p_oicp.delivery import Bells
from p2p_oicp.roles.context import Answer
from p2p_oicp.storage import Row, Store, outbox_desk
from p2p_oicp.web.apps import Listener
from p2p_oicp.web.problems import DATA_ERROR, HttpProblem

_MOST = 1000
_LARGEST_NUMBER = 1 << 62
_STATES = frozenset({"", "waiting", "dead"})


class OutboxAdmin:
    """``GET`` lists and shows; ``POST …/retry`` lets a letter be due now; ``DELETE`` throws one away."""

    def __init__(self, store: Store, bells: Bells, clock: Clock) -> None:
        self._store = store
        self._bells = bells
        self._clock = clock

    def routes(self, listener: Listener) -> Sequence[web.RouteDef]:
        """Return the routes for the backend application."""
        return [
            web.get("/admin/v1/outbox", listener.handler(self._list)),
            web.post("/admin/v1/outbox/retry", listener.handler(self._retry_dead)),
            web.get("/admin/v1/outbox/{id}", listener.handler(self._show)),
            web.post("/admin/v1/outbox/{id}/retry", listener.handler(self._retry)),
            web.delete("/admin/v1/outbox/{id}", listener.handler(self._drop)),
        ]

    async def _list(self, request: web.Request) -> Answer:
        """``?state=dead&destination=…&limit=…`` in any combination."""
        state = request.query.get("state", "")
        if state not in _STATES:
            raise HttpProblem(400, DATA_ERROR, f"state={state}: expected waiting or dead")
        most = _number(request.query.get("limit", "100"))
        destination = request.query.get("destination", "")
        rows = await self._store.read(outbox_desk.LIST, state_=state, destination_=destination, most=min(most, _MOST))
        return Answer(orjson.dumps({"letters": [dict(row) for row in rows]}))

    async def _show(self, request: web.Request) -> Answer:
        rows = await self._store.read(outbox_desk.SHOW, id_=_number(request.match_info["id"]))
        if not rows:
            raise _unknown(request)
        return Answer(orjson.dumps(with_body(rows[0])))

    async def _retry(self, request: web.Request) -> Answer:
        number, now = _number(request.match_info["id"]), self._clock.time()
        destination = await self._store.write(partial(outbox_desk.retry, letter_id=number, now=now))
        if destination is None:
            raise _unknown(request)
        self._bells.ring(destination)
        return Answer(orjson.dumps({"retried": 1}))

    async def _retry_dead(self, request: web.Request) -> Answer:
        destination, now = request.query.get("destination", ""), self._clock.time()
        revived = await self._store.write(partial(outbox_desk.retry_dead, destination=destination, now=now))
        for name in revived:
            self._bells.ring(name)
        return Answer(orjson.dumps({"retried": sum(revived.values()), "destinations": revived}))

    async def _drop(self, request: web.Request) -> Answer:
        number, now = _number(request.match_info["id"]), self._clock.time()
        if not await self._store.write(partial(outbox_desk.drop, letter_id=number, now=now)):
            raise _unknown(request)
        return Answer(orjson.dumps({"dropped": 1}))


def with_body(row: Row) -> dict[str, object]:
    """Return a letter with its message as JSON."""
    return {**dict(row), "body": orjson.loads(row["body"])}


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text[:20]) > _LARGEST_NUMBER:
        raise HttpProblem(400, DATA_ERROR, f"{text[:20]!r}: expected a whole number")
    return int(text)


def _unknown(request: web.Request) -> HttpProblem:
    return HttpProblem(404, DATA_ERROR, f"there is no letter {request.match_info['id']} in the outbox")
