"""The administration API: ``/admin/v1/...`` on the backend listener, with the backend API's token.

`OutboxAdminApi` shows the outbox, and repeats or discards its messages; `PeerAdminApi` lists peers and pairs with them;
`CdrAdminApi` fetches missing CDRs. The command line uses nothing else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any

import orjson
import structlog
from aiohttp import web

from p2p_oicp.backends import BackendRegistry
from p2p_oicp.client import AuthenticatedPeerClient
from p2p_oicp.clock import Clock, format_timestamp
from p2p_oicp.config.backends import destination_of
from p2p_oicp.delivery import WakeupRegistry
from p2p_oicp.delivery.connection_checks import PeerChecks
from p2p_oicp.errors import ConfigurationError, PeerError, PeerRejected, VerificationError
from p2p_oicp.oicp import SessionID, StatusCodeValue
from p2p_oicp.peering import Peering
from p2p_oicp.peers.descriptor import PAIRINGS_PATH, SignedDescriptor
from p2p_oicp.roles.cdr_actions import CdrActions, InvalidAction
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.roles.datasets.withdrawal import PartyWithdrawal
from p2p_oicp.roles.emp.reconciliation import CdrReconciler
from p2p_oicp.server.openapi import peer_endpoints, record_endpoints, status_endpoints
from p2p_oicp.server.openapi.endpoints import Endpoint
from p2p_oicp.server.pipeline import Handler, RequestContext, RequestPipeline
from p2p_oicp.server.problems import HttpError, parse_whole_number
from p2p_oicp.storage import Row, Store, job_keys, outbox, outbox_lists
from p2p_oicp.storage.statements import list_parameter

log = structlog.get_logger(__name__)

JsonHandler = Callable[[dict[str, Any], RequestContext], Awaitable[dict[str, object]]]

_MAX_BODY_BYTES = 64 * 1024
_MAX_LISTED_MESSAGES = 1000
_UNPAIR_TIMEOUT_SECONDS = 5.0
_MESSAGE_STATES = frozenset({"", outbox.WAITING, outbox.HELD, outbox.DEAD})


class OutboxAdminApi:
    """The outbox: ``GET`` lists and shows, ``POST`` retries or moves messages, ``DELETE`` discards one."""

    def __init__(self, store: Store, wakeups: WakeupRegistry, clock: Clock, backends: BackendRegistry) -> None:
        self._store = store
        self._wakeups = wakeups
        self._clock = clock
        self._backends = {backend.destination for backend in backends.emp}

    def routes(self, pipeline: RequestPipeline) -> Sequence[web.RouteDef]:
        return [
            record_endpoints.LIST_OUTBOX.route(pipeline, self._list),
            record_endpoints.RETRY_DEAD.route(pipeline, self._requeue_dead),
            record_endpoints.MOVE_MESSAGES.route(pipeline, self._move),
            record_endpoints.SHOW_MESSAGE.route(pipeline, self._show),
            record_endpoints.RETRY_MESSAGE.route(pipeline, self._requeue),
            record_endpoints.DISCARD_MESSAGE.route(pipeline, self._discard),
        ]

    async def _list(self, context: RequestContext) -> OperationResponse:
        """``?state=dead&destination=…&limit=…`` in any combination; ``cursor`` is that of the page before."""
        state = context.http.query.get("state", "")
        if state not in _MESSAGE_STATES:
            raise HttpError(400, StatusCodeValue.DATA_ERROR, f"state={state}: expected waiting, held or dead")
        limit = min(parse_whole_number(context.http.query.get("limit", "100")), _MAX_LISTED_MESSAGES)
        listed, parameters = outbox_lists.MESSAGES.page(
            [parse_whole_number(context.http.query.get("cursor", "0"))],
            state_=state,
            destination_=context.http.query.get("destination", ""),
            limit=limit + 1,
            backends=list_parameter(sorted(self._backends)),
        )
        rows = await self._store.query_bulk(listed.statement, **parameters)
        page = rows[:limit]
        cursor = str(page[-1]["id"]) if page and len(rows) > limit else None
        return OperationResponse(orjson.dumps({"messages": [dict(row) for row in page], "cursor": cursor}))

    async def _show(self, context: RequestContext) -> OperationResponse:
        backends = list_parameter(sorted(self._backends))
        rows = await self._store.query(
            outbox_lists.SHOW, id_=parse_whole_number(context.parameter("id")), backends=backends
        )
        if not rows:
            raise _message_not_found(context)
        return OperationResponse(orjson.dumps(message_to_json(rows[0])))

    async def _requeue(self, context: RequestContext) -> OperationResponse:
        message_id, now = parse_whole_number(context.parameter("id")), self._clock.time()
        job = partial(outbox.requeue, message_id=message_id, now=now)
        destination = await self._store.write(job, about=job_keys.ANY_ORDER)
        if destination is None:
            raise _message_not_found(context)
        self._wakeups.notify_outbox(destination)
        return OperationResponse(orjson.dumps({"requeued": 1}))

    async def _requeue_dead(self, context: RequestContext) -> OperationResponse:
        destination, now = context.http.query.get("destination", ""), self._clock.time()
        job = partial(outbox.requeue_dead, destination_name=destination, now=now)
        requeued = await self._store.write(job, about=(job_keys.destination(destination),))
        for item in requeued:
            self._wakeups.notify_outbox(item.destination)
        counts = {item.name: item.messages for item in requeued}
        return OperationResponse(orjson.dumps({"requeued": sum(counts.values()), "destinations": counts}))

    async def _move(self, context: RequestContext) -> OperationResponse:
        """``?to=NAME``, and ``from=NAME`` or ``id=…``; without both, all messages that are held."""
        query, now = context.http.query, self._clock.time()
        to, source = _backend_destination(query.get("to", "")), query.get("from", "")
        if to not in self._backends:
            known = ", ".join(sorted(self._backends)) or "none"
            raise HttpError(400, StatusCodeValue.DATA_ERROR, f"to={to}: expected a contract system of ours ({known})")
        job = partial(
            outbox.move,
            to=to,
            source=_backend_destination(source) if source else "",
            message_id=parse_whole_number(query.get("id", "0")),
            backends=self._backends,
            now=now,
        )
        moved = await self._store.write(
            job, about=(job_keys.destination(to), *map(job_keys.destination, self._backends))
        )
        self._wakeups.notify_outbox(to)
        return OperationResponse(orjson.dumps({"moved": moved, "to": to}))

    async def _discard(self, context: RequestContext) -> OperationResponse:
        message_id, now = parse_whole_number(context.parameter("id")), self._clock.time()
        job = partial(outbox.discard, message_id=message_id, now=now)
        if not await self._store.write(job, about=job_keys.ANY_ORDER):
            raise _message_not_found(context)
        return OperationResponse(orjson.dumps({"discarded": 1}))


def _backend_destination(name: str) -> str:
    return name if name.startswith(outbox.OWN_PREFIXES) else destination_of(name)


def message_to_json(row: Row) -> dict[str, object]:
    """Return an outbox message with its body as JSON."""
    return {**dict(row), "body": orjson.loads(row["body"])}


def _message_not_found(context: RequestContext) -> HttpError:
    return HttpError(404, StatusCodeValue.DATA_ERROR, f"there is no message {context.parameter('id')} in the outbox")


class PeerAdminApi:
    """Peers: invite, inspect, join, accept, remove; and what goes with them, reload and evidence."""

    def __init__(
        self,
        pipeline: RequestPipeline,
        peering: Peering,
        client: AuthenticatedPeerClient,
        withdrawal: PartyWithdrawal,
        checks: PeerChecks,
    ) -> None:
        self._checks = checks
        self._pipeline = pipeline
        self._withdrawal = withdrawal
        self._peering = peering
        self._pairing = peering.pairing
        self._directory = peering.directory
        self._client = client

    def routes(self) -> list[web.RouteDef]:
        endpoints: list[tuple[Endpoint, JsonHandler]] = [
            (peer_endpoints.INVITE, self._invite),
            (peer_endpoints.INSPECT, self._inspect),
            (peer_endpoints.JOIN, self._join),
            (peer_endpoints.REMOVE_PEER, self._remove),
            (peer_endpoints.ACCEPT_PEER, self._accept),
            (peer_endpoints.CHECK_PEER, self._check),
            (status_endpoints.RELOAD, self._reload),
            (peer_endpoints.EVIDENCE, self._evidence),
        ]
        return [endpoint.route(self._pipeline, self._json_handler(handle)) for endpoint, handle in endpoints]

    def _json_handler(self, handle: JsonHandler) -> Handler:
        async def handle_json(context: RequestContext) -> OperationResponse:
            body = await context.read_body(_MAX_BODY_BYTES)
            try:
                payload = orjson.loads(body) if body.strip() else {}
                if not isinstance(payload, dict):
                    raise HttpError(400, StatusCodeValue.DATA_ERROR, "expected a JSON object")
                return OperationResponse(orjson.dumps(await handle(payload, context)))
            except orjson.JSONDecodeError as error:
                raise HttpError(400, StatusCodeValue.DATA_ERROR, f"expected a JSON object: {error}") from error
            except ConfigurationError as error:
                raise HttpError(409, StatusCodeValue.DATA_ERROR, str(error)) from error
            except (PeerError, VerificationError) as error:
                raise HttpError(502, StatusCodeValue.DATA_ERROR, str(error)) from error

        return handle_json

    async def _invite(self, payload: dict[str, Any], _context: RequestContext) -> dict[str, object]:
        services, seconds = payload.get("services"), payload.get("expires_in")
        if services is not None and not isinstance(services, list):
            raise HttpError(
                400, StatusCodeValue.DATA_ERROR, "services: expected a list of operation names, or nothing for all"
            )
        if seconds is not None and not isinstance(seconds, int | float):
            raise HttpError(400, StatusCodeValue.DATA_ERROR, "expires_in: expected seconds")
        invitation, expires_at = await self._pairing.invite(services, seconds)
        log.info("pairing.invitation_created", expires_at=format_timestamp(expires_at))
        return {"link": invitation.link(), "expires_at": format_timestamp(expires_at)}

    async def _inspect(self, payload: dict[str, Any], _context: RequestContext) -> dict[str, object]:
        return descriptor_to_json(await self._pairing.inspect(_require_text(payload, "link")))

    async def _join(self, payload: dict[str, Any], _context: RequestContext) -> dict[str, object]:
        alias = None if payload.get("alias") is None else _require_text(payload, "alias")
        peer = await self._pairing.join(_require_text(payload, "link"), alias, _agreed_parties(payload))
        log.info("pairing.completed", peer=peer.name)
        return {"joined": peer.name}

    async def _check(self, _payload: dict[str, Any], context: RequestContext) -> dict[str, object]:
        """Send hello in both directions; with what became of each, for who has just paired."""
        peer = self._peering.registry.by_name(context.parameter("name"))
        if peer is None or not peer.is_node:
            info = f"there is no peer {context.parameter('name')} that is a node; p2p-oicp peers list shows them"
            raise HttpError(404, StatusCodeValue.DATA_ERROR, info)
        return {"checks": [each.to_json() for each in await self._checks.check_hello(peer)]}

    async def _remove(self, _payload: dict[str, Any], context: RequestContext) -> dict[str, object]:
        """Un-pair; what kept the other side from removing this node is in the response."""
        name = context.parameter("name")
        peer = self._directory.find_removable(name)
        # Order: the peer is told first, while it still accepts our signature.
        peer_error: str | None = None
        try:
            await self._client.request(peer, "DELETE", f"{PAIRINGS_PATH}/self", deadline=_UNPAIR_TIMEOUT_SECONDS)
        except PeerRejected as error:
            peer_error = error.reason
        except PeerError as error:
            peer_error = f"{error.reason}; it has to remove this node by itself"
        open_sessions = await self._withdrawal.open_sessions(peer.parties, self._directory.id_of(name))
        await self._directory.remove(name)
        log.info("pairing.removed", peer=name, by="us", peer_error=peer_error, open_sessions=open_sessions)
        return {"removed": name, "peer_error": peer_error, "open_sessions": open_sessions}

    async def _accept(self, payload: dict[str, Any], context: RequestContext) -> dict[str, object]:
        if self._peering.registry.by_name(context.parameter("name")) is not None:
            return await self._accept_parties(payload, context)
        if self._peering.discovery is None:
            raise ConfigurationError("this node does not look for others; set [discovery] mdns = true")
        name, parties = context.parameter("name"), _agreed_parties(payload)
        peer = await self._peering.discovery.accept(name, payload.get("fingerprint"), parties)
        log.info("discovery.accepted", peer=peer.name)
        return {"accepted": peer.name}

    async def _accept_parties(self, payload: dict[str, Any], context: RequestContext) -> dict[str, object]:
        """Agree to the parties that a peer names now; return the open sessions of those that it names no more."""
        name = context.parameter("name")
        before, after = await self._pairing.accept_parties(name, _agreed_parties(payload))
        gone = [party for party in before.parties if not after.handles_party(party)]
        log.info("peer.parties_accepted", peer=name, no_longer=[party.text for party in gone])
        open_sessions = await self._withdrawal.open_sessions(gone, self._directory.id_of(name))
        return {"accepted": name, "open_sessions": open_sessions}

    async def _evidence(self, _payload: dict[str, Any], context: RequestContext) -> dict[str, object]:
        partner = context.http.query.get("peer") or None
        file = await self._peering.evidence.export(context.parameter("session_id"), partner)
        return {"file": file.decode()}

    async def _reload(self, _payload: dict[str, Any], _context: RequestContext) -> dict[str, object]:
        if reasons := await self._peering.reload():
            raise ConfigurationError("; ".join(reasons))
        return {"reloaded": True}


def descriptor_to_json(signed: SignedDescriptor) -> dict[str, object]:
    """Return a descriptor for people and programs."""
    descriptor = signed.descriptor
    return {
        "name": descriptor.name,
        "url": descriptor.url,
        "operators": [party.text for party in descriptor.operators],
        "providers": [party.text for party in descriptor.providers],
        "fingerprint": signed.key.key_id,
        "keys": [
            {"key_id": k.key.key_id, "valid_from": k.valid_from, "valid_until": k.valid_until} for k in descriptor.keys
        ],
        "operations": list(descriptor.operations),
        "require": list(descriptor.require),
        "software": descriptor.software,
    }


def _agreed_parties(payload: dict[str, Any]) -> list[str] | None:
    """Return the ids that a person has agreed to; None if the caller agrees to any."""
    parties = payload.get("parties")
    if parties is None or (isinstance(parties, list) and all(isinstance(each, str) for each in parties)):
        return parties
    raise HttpError(400, StatusCodeValue.DATA_ERROR, "parties: expected a list of ids, or nothing")


def _require_text(payload: dict[str, Any], name: str) -> str:
    value = payload.get(name)
    if not isinstance(value, str) or not value:
        raise HttpError(400, StatusCodeValue.DATA_ERROR, f"{name}: expected text")
    return value


class CdrAdminApi:
    """CDRs: fetching those that never arrived, and what people do with single ones (`CdrActions`).

    Args:
        reconciler: None where this node is no EMP.
        actions: on single CDRs.
    """

    def __init__(self, reconciler: CdrReconciler | None, actions: CdrActions) -> None:
        self._reconciler = reconciler
        self._actions = actions

    def routes(self, pipeline: RequestPipeline) -> Sequence[web.RouteDef]:
        return [
            record_endpoints.RECONCILE.route(pipeline, self._reconcile),
            record_endpoints.ACT_ON_CDR.route(pipeline, self._act),
        ]

    async def _reconcile(self, context: RequestContext) -> OperationResponse:
        """Fetch CDRs ``{"since": "2026-03-01T00:00:00Z"}``, or since the last time; return what each peer had.

        With ``"peer": NAME`` only from this one.
        """
        if self._reconciler is None:
            raise HttpError(404, StatusCodeValue.SERVICE_NOT_AVAILABLE, "this node is no EMP: it receives no CDRs")
        options = _parse_options(await context.read_body(_MAX_BODY_BYTES))
        results = await self._reconciler.reconcile_all(_parse_since(options), options.get("peer"))
        return OperationResponse(orjson.dumps({"peers": [asdict(result) for result in results]}))

    async def _act(self, context: RequestContext) -> OperationResponse:
        """``POST …/retry``, ``…/confirm`` or ``…/refuse``; the options are ``{"role": …, "peer": …, "reason": …}``."""
        options = _parse_options(await context.read_body(_MAX_BODY_BYTES))
        key, role = SessionID(context.parameter("session_id")).key, options.get("role", "")
        try:
            match context.parameter("action"):
                case "retry":
                    done = await self._actions.retry(key, role)
                case "confirm":
                    done = await self._actions.confirm(key, role, options.get("peer", ""))
                case "refuse":
                    done = await self._actions.refuse(key, role, options.get("reason", ""))
                case action:
                    raise HttpError(404, StatusCodeValue.DATA_ERROR, f"{action}: expected retry, confirm or refuse")
        except InvalidAction as error:
            raise HttpError(409, StatusCodeValue.DATA_ERROR, str(error)) from error
        return OperationResponse(orjson.dumps({"done": done}))


def _parse_options(body: bytes) -> dict[str, str]:
    try:
        options = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError:
        options = None
    if not isinstance(options, dict) or not all(isinstance(value, str) for value in options.values()):
        raise HttpError(400, StatusCodeValue.DATA_ERROR, "expected a JSON object of texts, or nothing")
    return options


def _parse_since(options: Mapping[str, str]) -> float | None:
    try:
        since = datetime.fromisoformat(options["since"]) if "since" in options else None
        if since is not None and since.tzinfo is not None:
            since = since.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise HttpError(
            400, StatusCodeValue.DATA_ERROR, f'expected {{"since": "2026-03-01T00:00:00Z"}} or nothing: {error}'
        ) from error
    if since is not None and since.tzinfo is None:
        raise HttpError(400, StatusCodeValue.DATA_ERROR, "since: a time needs its offset, as in 2026-03-01T00:00:00Z")
    return since.timestamp() if since else None
