"""``p2p-oicp send``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
    for a positive answer, 1 for a refusal, 2 if the message cannot be used or nobody answers.

    A CPO sends authorize-start, authorize-stop, charging-notifications, charge-detail-record, push-evse-data,
    push-evse-status, push-pricing-product-data, push-evse-pricing, pull-authentication-data.

    An EMP sends authorize-remote-start, authorize-remote-stop, authorize-remote-reservation-start,
    authorize-remote-reservation-stop, pull-evse-data, pull-evse-status, pull-evse-status-by-id,
    pull-evse-status-by-operator-id, pull-pricing-product-data, pull-evse-pricing, push-authentication-data,
    get-charge-detail-records.

    push-evse-status also takes a national status feed (EVSEStatuses): it becomes one fullLoad an operator.
    """
    from p2p_oicp.cli import feed_sending, sending
    from p2p_oicp.cli.calling import Target

    row = sending.find_operation(operation)
    query = sending.page_query(row, page, size)
    if list_operators:
        known = () if config is None else Target.of(None, config).operators or ()
        typer.echo(feed_sending.operators_line(sending.read_body(file), known))
        return
    target = Target.of(url, config)
    request = sending.Request(row, sending.read_body(file), party, query)
    raise typer.Exit(sending.send(request, target, seconds=timeout))
