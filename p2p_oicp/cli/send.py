"""``p2p-oicp send``: one message, one response, one exit code."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

import typer

from p2p_oicp.cli import feed
from p2p_oicp.cli.client import ApiClient, ApiEndpoint, ApiResponse
from p2p_oicp.cli.common import echo, read_input
from p2p_oicp.cli.progress import show_progress
from p2p_oicp.config.toml import unknown_key_message
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.oicp.operations import OPERATION_BY_COMMAND, Operation, sender_party

_LARGE_BODY_BYTES = 1_000_000
_FILE_HELP = "The message as JSON; - or nothing reads standard input. Its bytes are sent unchanged."
_PARTY_HELP = "OperatorID or ProviderID of the sender, where the message does not name it or names a sub-operator."


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("send")(send)


def send(
    operation: Annotated[
        str, typer.Argument(metavar="OPERATION", help="Such as authorize-start; all are listed above.")
    ],
    file: Annotated[str, typer.Argument(metavar="FILE|-", help=_FILE_HELP)] = "-",
    url: Annotated[str | None, typer.Option(metavar="BASE", help="Base URL, with or without /api/oicp.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", metavar="FILE", help="Send to this node's backend API instead.")
    ] = None,
    party: Annotated[str | None, typer.Option(metavar="ID", help=_PARTY_HELP)] = None,
    page: Annotated[int | None, typer.Option(min=0, help="Page of a paged answer, from 0.")] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Records on a page.")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="Longest wait for the answer.")] = 60.0,
    list_operators: Annotated[
        bool, typer.Option("--list-operators", help="Print the `operators` line that a feed needs; send nothing.")
    ] = False,
) -> None:
    """Send one OICP message to any OICP endpoint and print the answer.

    The answer goes to standard output, its HTTP status, Process-ID and duration to standard error. The exit code is 0
    for a positive answer, 1 for a refusal, 2 if the message cannot be used or there is no answer.

    A CPO sends authorize-start, authorize-stop, charging-notifications, charge-detail-record, push-evse-data,
    push-evse-status, push-pricing-product-data, push-evse-pricing, pull-authentication-data.

    An EMP sends authorize-remote-start, authorize-remote-stop, authorize-remote-reservation-start,
    authorize-remote-reservation-stop, pull-evse-data, pull-evse-status, pull-evse-status-by-id,
    pull-evse-status-by-operator-id, pull-pricing-product-data, pull-evse-pricing, push-authentication-data,
    get-charge-detail-records.

    push-evse-data and push-evse-status also take a national feed (EVSEData, EVSEStatuses): it becomes one fullLoad an
    operator. Records are repaired where their mandatory content is there; each repair, and each record that is left
    out, is reported with its EvseID and the reason, and counted at the end.
    """
    operation_spec = find_operation(operation)
    query = page_query(operation_spec, page, size)
    if list_operators:
        configured = () if config is None else ApiEndpoint.from_options(None, config).operators or ()
        echo(feed.operators_line(read_input(file), configured))
        return
    endpoint = ApiEndpoint.from_options(url, config)
    request = OutgoingRequest(operation_spec, read_input(file), party, query)
    raise typer.Exit(send_request(request, endpoint, timeout=timeout))


@dataclass(frozen=True, slots=True)
class OutgoingRequest:
    """One message to send; ``party`` is the sender's id, if it was given."""

    operation: Operation
    body: bytes
    party: str | None
    query: Mapping[str, str]

    def url(self, base: str) -> str:
        """Return the URL, with the given sender's id or else the message's own; raise `ConfigurationError`."""
        # Parsed for its sender only: the bytes go out unchanged.
        sender = sender_party(self.operation, self.operation.request.from_json(self.body))
        party = self.party or (sender.text if sender else None)
        if not party and "{" in self.operation.path:
            raise ConfigurationError(f"{self.operation.command}: the message does not name its sender; add --party ID")
        url = self.operation.url(base, party)
        return f"{url}?{urlencode(self.query)}" if self.query else url


def find_operation(command: str) -> Operation:
    """Return the operation of a command-line name; raise `ConfigurationError` naming the nearest one."""
    if command not in OPERATION_BY_COMMAND:
        suggestion = unknown_key_message(command, list(OPERATION_BY_COMMAND)).removeprefix("unknown key; ")
        raise ConfigurationError(f'"{command}" is no operation; {suggestion}')
    return OPERATION_BY_COMMAND[command]


def page_query(operation: Operation, page: int | None, size: int | None) -> dict[str, str]:
    """Return the query of a paged request; raise `ConfigurationError` if the operation has no pages."""
    query = {name: str(value) for name, value in (("page", page), ("size", size)) if value is not None}
    if query and not operation.paged:
        raise ConfigurationError(f"{operation.command}: its answer has no pages; leave out --{next(iter(query))}")
    return query


def send_request(request: OutgoingRequest, endpoint: ApiEndpoint, *, timeout: float) -> int:
    """Send a message, or the pushes of a feed; return the exit code."""
    kind = feed.FEED_KINDS.get(request.operation.command)
    if kind is not None and feed.find_kind(request.body) is kind:
        return feed.send_feed(kind, request.body, endpoint, timeout=timeout)
    url = request.url(endpoint.url)
    with _progress_of(request):
        response = asyncio.run(_post(endpoint, url, request.body, timeout))
    echo(response.status_line(), err=True)
    echo(response.format_body())
    return 0 if response.is_positive else 1


def _progress_of(request: OutgoingRequest) -> AbstractContextManager[object]:
    """Show that it goes on where a request takes seconds: a full load of a national operator is tens of megabytes."""
    if len(request.body) < _LARGE_BODY_BYTES:
        return nullcontext()
    return show_progress(f"Sending {len(request.body) / 1e6:,.0f} MB, waiting for the answer", total=None, unit="bytes")


async def _post(endpoint: ApiEndpoint, url: str, body: bytes, timeout_seconds: float) -> ApiResponse:
    async with ApiClient(endpoint, timeout=timeout_seconds) as client:
        return await client.post(url, body)
