"""Peers, as the backend listener's admin API shows and changes them; the command line uses nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import structlog
from aiohttp import web

from p2p_oicp.clock import wire_time
from p2p_oicp.errors import ConfigurationError, NotProven, PeerError, PeerRejected
from p2p_oicp.oicp.operation import root_of
from p2p_oicp.peers.descriptor import SignedDescriptor
from p2p_oicp.peers.invitation import PAIRINGS_PATH
from p2p_oicp.roles import Answer
from p2p_oicp.transport import OicpClient
from p2p_oicp.trust import Trust
from p2p_oicp.web.apps import Listener, Serve
from p2p_oicp.web.problems import DATA_ERROR, HttpProblem

log = structlog.get_logger(__name__)

_MOST_BYTES = 64 * 1024
_PARTING_SECONDS = 5.0

Handle = Callable[[dict[str, Any], web.Request], Awaitable[dict[str, object]]]


class AdminPeers:
    """Lists, invites, inspects, joins, removes."""

    def __init__(self, listener: Listener, *, trust: Trust, client: OicpClient) -> None:
        self._listener = listener
        self._trust = trust
        self._pairing = trust.pairing
        self._directory = trust.directory
        self._client = client

    def routes(self) -> list[web.RouteDef]:
        """Return what is served below ``/admin/v1/``."""
        table: list[tuple[str, str, Handle]] = [
            ("GET", "/admin/v1/peers", self._list),
            ("POST", "/admin/v1/peers/invitations", self._invite),
            ("POST", "/admin/v1/peers/inspect", self._inspect),
            ("POST", "/admin/v1/peers/join", self._join),
            ("DELETE", "/admin/v1/peers/{name}", self._remove),
            ("POST", "/admin/v1/peers/{name}/accept", self._accept),
            ("POST", "/admin/v1/reload", self._reload),
            ("GET", "/admin/v1/evidence/{session_id}", self._evidence),
        ]
        return [web.route(method, path, self._listener.handler(self._serve(handle))) for method, path, handle in table]

    def _serve(self, handle: Handle) -> Serve:
        async def serve(request: web.Request) -> Answer:
            arrival = await self._listener.arrive(request, _MOST_BYTES)
            try:
                wanted = orjson.loads(arrival.body) if arrival.body.strip() else {}
                if not isinstance(wanted, dict):
                    raise HttpProblem(400, DATA_ERROR, "expected a JSON object")
                return Answer(orjson.dumps(await handle(wanted, request)))
            except orjson.JSONDecodeError as error:
                raise HttpProblem(400, DATA_ERROR, f"expected a JSON object: {error}") from error
            except ConfigurationError as error:
                raise HttpProblem(409, DATA_ERROR, str(error)) from error
            except (PeerError, NotProven) as error:
                raise HttpProblem(502, DATA_ERROR, str(error)) from error

        return serve

    async def _list(self, _wanted: dict[str, Any], _request: web.Request) -> dict[str, object]:
        return await self._trust.states.report()

    async def _invite(self, wanted: dict[str, Any], _request: web.Request) -> dict[str, object]:
        services, seconds = wanted.get("services"), wanted.get("expires_in")
        if services is not None and not isinstance(services, list):
            raise HttpProblem(400, DATA_ERROR, "services: expected a list of operation names, or nothing for all")
        if seconds is not None and not isinstance(seconds, int | float):
            raise HttpProblem(400, DATA_ERROR, "expires_in: expected seconds")
        invitation, expires_at = await self._pairing.invite(services, seconds)
        log.info("pairing.invited", expires_at=wire_time(expires_at))
        return {"link": invitation.link(), "expires_at": wire_time(expires_at)}

    async def _inspect(self, wanted: dict[str, Any], _request: web.Request) -> dict[str, object]:
        return shown(await self._pairing.inspect(_text(wanted, "link")))

    async def _join(self, wanted: dict[str, Any], _request: web.Request) -> dict[str, object]:
        alias = None if wanted.get("alias") is None else _text(wanted, "alias")
        peer = await self._pairing.join(_text(wanted, "link"), alias)
        log.info("pairing.done", peer=peer.name)
        return {"joined": peer.name}

    async def _remove(self, _wanted: dict[str, Any], request: web.Request) -> dict[str, object]:
        """Un-pair: (1) tell the other side while we can still prove who we are, (2) forget it here."""
        name = request.match_info["name"]
        peer = self._directory.removable(name)
        told: str | None = None
        try:
            url = f"{root_of(peer.url)}{PAIRINGS_PATH}/self"
            await self._client.request_json("DELETE", url, deadline=_PARTING_SECONDS, peer=name)  # (1)
        except PeerRejected as error:
            told = error.reason
        except PeerError as error:
            told = f"{error.reason}; it has to remove this node by itself"
        await self._directory.remove(name)  # (2)
        log.info("pairing.ended", peer=name, by="us", other_side=told or "has removed this node as well")
        return {"removed": name, "other_side": told}

    async def _accept(self, wanted: dict[str, Any], request: web.Request) -> dict[str, object]:
        if self._trust.discovery is None:
            raise ConfigurationError("this node looks for nobody; set [discovery] mdns = true")
        peer = await self._trust.discovery.accept(request.match_info["name"], wanted.get("fingerprint"))
        log.info("discovery.accepted", peer=peer.name)
        return {"accepted": peer.name}

    async def _evidence(self, _wanted: dict[str, Any], request: web.Request) -> dict[str, object]:
        file = await self._trust.evidence.export(request.match_info["session_id"])
        return {"file": file.decode()}

    async def _reload(self, _wanted: dict[str, Any], _request: web.Request) -> dict[str, object]:
        if reasons := await self._trust.reload():
            raise ConfigurationError("; ".join(reasons))
        return {"reloaded": True}


def shown(signed: SignedDescriptor) -> dict[str, object]:
    """Return a descriptor for people and programs."""
    said = signed.descriptor
    return {
        "name": said.name,
        "url": said.url,
        "operators": [party.text for party in said.operators],
        "providers": [party.text for party in said.providers],
        "fingerprint": signed.key.key_id,
        "keys": [{"key_id": k.key.key_id, "valid_from": k.valid_from, "valid_until": k.valid_until} for k in said.keys],
        "operations": list(said.operations),
        "require": list(said.require),
        "software": said.software,
    }


def _text(wanted: dict[str, Any], name: str) -> str:
    value = wanted.get(name)
    if not isinstance(value, str) or not value:
        raise HttpProblem(400, DATA_ERROR, f"{name}: expected text")
    return value
