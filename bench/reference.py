"""REF: what a raw aiohttp server can do, in the same words as a node: JSON in, JSON out, uvloop, no access log."""

from __future__ import annotations

import asyncio
import signal
import sys

import orjson
import uvloop
from aiohttp import web

_RESPONSE_BYTES = 300
_PAGE = web.AppKey("page", bytes)


async def _echo(request: web.Request) -> web.Response:
    members = orjson.loads(await request.read())
    response = {"SessionID": members["SessionID"], "Filler": ""}
    response["Filler"] = "x" * (_RESPONSE_BYTES - len(orjson.dumps(response)))
    return web.Response(body=orjson.dumps(response), content_type="application/json")


async def _static(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(body=request.app[_PAGE], content_type="application/json")


async def _ready(_request: web.Request) -> web.Response:
    return web.Response(body=b"{}")


async def _serve(port: int, page_bytes: int) -> None:
    app = web.Application()
    app[_PAGE] = b"x" * page_bytes
    app.router.add_post("/echo", _echo)
    app.router.add_post("/static", _static)
    app.router.add_get("/readyz", _ready)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    stop_requested = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop_requested.set)
    await stop_requested.wait()
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
