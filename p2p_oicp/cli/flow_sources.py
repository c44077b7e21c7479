"""Where ``p2p-oicp flow`` reads what was said to whom: a node, a hub, or all nodes of a cluster, merged by time.

An exchange between two nodes of a cluster is recorded by both: the one that sends, and the one that answers. It is
shown once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlencode

import msgspec

from p2p_oicp.cli.client import ApiClient, ApiEndpoint
from p2p_oicp.cli.common import echo
from p2p_oicp.cli.exchanges import next_number, read_exchanges
from p2p_oicp.errors import ConfigurationError, PeerError
from p2p_oicp.oicp import Acknowledgement, EvseID, InvalidMessage, Message
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.simulator.exchange_log import LoggedExchange, summarize_exchange, summarize_response
from p2p_oicp.storage.exchanges import ExchangeFilter

_HUB = "hub"
_TIMEOUT_SECONDS = 20.0
# As many as a page has at most (`server.hub_api`, `server.exchange_admin`).
_PAGE_SIZE = 1000
_MAX_REMEMBERED = 100_000
_SUCCESS_STATUSES = range(200, 300)
_SUCCESS = "000"

Json = dict[str, Any]


class FlowExchange(NamedTuple):
    """An exchange as it was recorded (`storage.exchanges.Exchange`), and as it is shown."""

    recorded: Json
    shown: LoggedExchange


class FlowSource(Protocol):
    """Something that has recorded exchanges."""

    def read(self, selection: ExchangeFilter) -> Sequence[FlowExchange]:
        """Return what has been recorded since the last call; at first the newest, at most ``limit``.

        Raises:
            ConfigurationError: nothing is recorded there.
            PeerError: it does not answer.
        """


@dataclass
class NodeSource:
    """A node, by its settings file.

    Attributes:
        config: the settings file.
        name: what the node is called.
        in_cluster: whether others are shown beside it: then a system of a company is called after its node.
    """

    config: Path
    name: str
    in_cluster: bool = False
    _after: int | None = None

    def read(self, selection: ExchangeFilter) -> Sequence[FlowExchange]:
        limit = selection.limit if self._after is None else _PAGE_SIZE
        page = read_exchanges(self.config, selection._replace(after=self._after, limit=limit))
        self._after = next_number(page, self._after)
        exchanges = [each for each in page["exchanges"] if each.get("operation")]
        return _in_order(_flow_exchange(each, self.name, self._other(each)) for each in exchanges)

    def _other(self, exchange: Json) -> str:
        if peer := exchange.get("peer"):
            return str(peer)
        if self.in_cluster and "backend" in exchange:
            return f"{self.name}'s system"
        if "backend" in exchange:
            return f"backend:{exchange['backend']}"
        # Where nobody has to prove who it is, a notification names its sender by its EVSE only.
        operator = EvseID(exchange.get("evse_id", "")).operator
        return exchange.get("party") or getattr(operator, "text", "") or exchange.get("address") or "?"


@dataclass
class HubSource:
    """A hub for tests (``/hub/v1/exchanges``)."""

    endpoint: ApiEndpoint
    _after: int | None = None

    def read(self, selection: ExchangeFilter) -> Sequence[FlowExchange]:
        query = {"partner": selection.peer, "operation": selection.operation, "session": selection.session}
        is_first = self._after is None
        exchanges = asyncio.run(self._read_all({name: value for name, value in query.items() if value}))
        return _in_order(
            _flow_exchange(each, _HUB, each.get("backend") or each.get("party") or "?")
            for each in (exchanges[-selection.limit :] if is_first else exchanges)
            if each.get("operation")
        )

    async def _read_all(self, query: dict[str, str]) -> list[Json]:
        """Return all that there are: a page has the oldest ones."""
        exchanges: list[Json] = []
        while True:
            page = await self._get(f"/hub/v1/exchanges?{urlencode(query | {'after': str(self._after or 0)})}")
            self._after = int(page["newest"])
            exchanges += page["exchanges"]
            if len(page["exchanges"]) < _PAGE_SIZE:
                return exchanges

    async def _get(self, path: str) -> Json:
        async with ApiClient(self.endpoint, timeout=_TIMEOUT_SECONDS) as client:
            response = await client.request("GET", self.endpoint.url + path)
        try:
            content: Json = msgspec.json.decode(response.body)
        except msgspec.DecodeError:
            content = {}
        if "exchanges" not in content:
            reason = content.get("StatusCode", {}).get("AdditionalInfo") or f"HTTP {response.status}"
            raise ConfigurationError(f"{self.endpoint.url}: {reason}; expected `p2p-oicp hub` there (and its --token)")
        return content


@dataclass
class ClusterSource:
    """All nodes of a cluster; one that does not run is left out, and said to be."""

    nodes: Sequence[NodeSource]
    _has_read: bool = False
    _down: set[str] = field(default_factory=set)
    _seen: Counter[tuple[str, ...]] = field(default_factory=Counter)

    def read(self, selection: ExchangeFilter) -> Sequence[FlowExchange]:
        # Selected here by ``peer``: an exchange of a node is recorded by the others, and by itself without its name.
        read = selection._replace(peer="", limit=_PAGE_SIZE) if selection.peer else selection
        exchanges = self._once(_in_order(each for node in self.nodes for each in self._read(node, read)))
        selected = [each for each in exchanges if selection.peer in {"", each.shown.sender, each.shown.receiver}]
        is_first, self._has_read = not self._has_read, True
        return selected[-selection.limit :] if is_first else selected

    def _read(self, node: NodeSource, selection: ExchangeFilter) -> Sequence[FlowExchange]:
        try:
            exchanges = node.read(selection)
        except PeerError:
            if node.name not in self._down:
                echo(f"{node.name} does not run.", err=True)
            self._down.add(node.name)
            return ()
        self._down.discard(node.name)
        return exchanges

    def _once(self, exchanges: Iterable[FlowExchange]) -> Iterator[FlowExchange]:
        """Leave out what the other side has recorded as well: the same Process-ID at the same node."""
        for each in exchanges:
            shown, direction = each.shown, each.recorded["direction"]
            key = (each.recorded.get("process_id", ""), shown.operation, shown.receiver)
            self._seen[*key, direction] += 1
            if self._seen[*key, direction] > self._seen[*key, "in" if direction == "out" else "out"]:
                yield each
        if len(self._seen) > _MAX_REMEMBERED:
            self._seen.clear()


def cluster_source(directory: Path) -> ClusterSource:
    """Return the nodes of a cluster in a folder; raise ConfigurationError if there is none."""
    files = sorted(directory.glob("*/node.toml"))
    if not files:
        raise ConfigurationError(f"--cluster {directory}: no cluster in this folder; start one: p2p-oicp cluster up")
    return ClusterSource([NodeSource(file, file.parent.name, in_cluster=True) for file in files])


def _in_order(exchanges: Iterable[FlowExchange]) -> list[FlowExchange]:
    """Return exchanges in the order in which they began; they are recorded when they end."""
    return sorted(exchanges, key=lambda each: each.shown.at)


def _flow_exchange(recorded: Json, own_name: str, other: str) -> FlowExchange:
    sender, receiver = (own_name, other) if recorded["direction"] == "out" else (other, own_name)
    result, good = _summarize(recorded)
    shown = LoggedExchange(
        at=recorded["at"],
        took=recorded["seconds"],
        sender=sender,
        receiver=receiver,
        operation=recorded["operation"],
        session_id=recorded.get("session_id") or None,
        result=result,
        good=good,
    )
    return FlowExchange(recorded, shown)


def _summarize(recorded: Json) -> tuple[str, bool]:
    """Return the outcome in a few words, as the demo has it; of what cannot be read, the codes."""
    if "http_status" not in recorded:
        return recorded.get("error") or "no answer", False
    operation = OPERATION_BY_NAME.get(recorded["operation"])  # None: of a newer version
    status, code = recorded["http_status"], recorded.get("code", "")
    if status in _SUCCESS_STATUSES and operation is not None:
        request = _message(operation.request, recorded, "request")
        # In place of another answer, a refusal may be an Acknowledgement (CONFORMANCE D57).
        models = (operation.response, Acknowledgement)
        response = next(filter(None, (_message(model, recorded, "response") for model in models)), None)
        if response is not None:
            return summarize_response(response) if request is None else summarize_exchange(request, response)
    return f"HTTP {status} {code}".rstrip(), status in _SUCCESS_STATUSES and code in {"", _SUCCESS}


def _message(model: type[Message], recorded: Json, part: str) -> Message | None:
    body = recorded.get(part) or {}
    try:
        return model.from_json(msgspec.json.encode(body["json"])) if "json" in body else None
    except InvalidMessage:
        return None
