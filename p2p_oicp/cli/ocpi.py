"""``p2p-oicp ocpi``: the group of its commands, and what becomes of an object of OCPI, without a node."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from p2p_oicp.cli import ocpi_objects, ocpi_partners
from p2p_oicp.cli.common import JsonOption, echo, read_input
from p2p_oicp.cli.validation import FileArgument, decode_input, format_findings
from p2p_oicp.clock import SystemClock
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.ocpi.base import encode_json
from p2p_oicp.ocpi_mapping.conversion import Context, Converted, Kind, Protocol, convert, read_message
from p2p_oicp.ocpi_mapping.locations import to_locations
from p2p_oicp.ocpi_mapping.terms import Terms, read_terms
from p2p_oicp.oicp import EvseDataRecord, InvalidMessage
from p2p_oicp.oicp.message import Message
from p2p_oicp.oicp.pricing import PricingProductDataRecord

_EXIT_CONVERTED, _EXIT_REJECTED = 0, 1


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    group.callback()(_group)
    group.command("convert")(convert_object)
    ocpi_partners.register_commands(group)
    ocpi_objects.register_commands(group)
    app.add_typer(group, name="ocpi", help="Systems that roam by OCPI 2.2.1, and what becomes of their objects.")


def _group() -> None:
    pass


def convert_object(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help="location, tariff, token, session or cdr.")],
    file: FileArgument = "-",
    to: Annotated[Protocol, typer.Option(help="The protocol to convert into.")] = Protocol.OICP,
    terms: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML with what one protocol demands and the other lacks (docs/ocpi.md)."),
    ] = None,
    operator: Annotated[str, typer.Option(metavar="ID", help="OperatorID, where the object does not say.")] = "",
    provider: Annotated[str, typer.Option(metavar="ID", help="ProviderID, where the object does not say.")] = "",
    session_id: Annotated[
        str | None, typer.Option(metavar="ID", help="SessionID of a session or CDR of OCPI, if it has none of its own.")
    ] = None,
    evse: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The EVSE record of a session, CDR or tariff: where it was.")
    ] = None,
    product: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The pricing product of a CDR of OICP: what it costs.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show an object in the other protocol, and on standard error what is left out, what is wrong, and what is lost.

    The exit code is 0 if it was converted, 1 if there is nothing to convert or nothing of it can be carried, 2 if the
    input is not JSON or something has to be given beside it. --json: one document with result, findings and losses.
    """
    body = read_input(file)
    decode_input(body, file)
    own_terms = _terms(terms, operator, provider)
    context = Context(own_terms, session_id, _location(evse, own_terms), _product(product))
    try:
        converted = convert(kind, to, body, context)
    except InvalidMessage as invalid:
        if as_json:
            _print({"result": None, "findings": invalid.findings, "losses": []})
        else:
            _report(f"{kind}: cannot be read", format_findings(invalid.findings))
        raise typer.Exit(_EXIT_REJECTED) from None
    _print_converted(converted, as_json=as_json)
    raise typer.Exit(_EXIT_REJECTED if converted.is_empty else _EXIT_CONVERTED)


def _print_converted(converted: Converted, *, as_json: bool) -> None:
    if as_json:
        _print({"result": converted.result, "findings": converted.findings, "losses": converted.losses})
        return
    _print(converted.result)
    if converted.left_out:
        _report("Left out:", (f"  {line}" for line in converted.left_out))
    if converted.findings:
        _report("Findings:", format_findings(converted.findings))
    if converted.losses:
        losses = (f"  {loss.pointer or '(object)'}  [{loss.code}] {loss.message}" for loss in converted.losses)
        _report("Lost:", losses)


def _print(value: object) -> None:
    echo(msgspec.json.format(encode_json(value), indent=2).decode())


def _report(title: str, lines: Iterable[str]) -> None:
    for line in (title, *lines):
        echo(line, err=True)


def _terms(file: Path | None, operator: str, provider: str) -> Terms:
    """Return the terms of a file, or the defaults, with the operator and the provider of the call, as of now."""
    now = datetime.fromtimestamp(SystemClock().time(), UTC)
    try:
        values: dict[str, Any] = {"now": now} | (tomllib.loads(read_input(str(file)).decode()) if file else {})
        found = read_terms(values)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"{file}: {exc}; expected TOML") from None
    except ConfigurationError as exc:
        raise ConfigurationError(f"{file}: {exc}" if file and str(file) not in str(exc) else str(exc)) from None
    return replace(found, operator_id=operator or found.operator_id, provider_id=provider or found.provider_id)


def _read(file: Path, model: type[Message], expected: str) -> dict[str, Any]:
    body = read_input(str(file))
    decode_input(body, str(file))
    try:
        return read_message(model, body)[0]
    except InvalidMessage as exc:
        raise ConfigurationError(f"{file}: {exc}; expected {expected}") from None


def _location(file: Path | None, terms: Terms) -> dict[str, Any] | None:
    """Return the location of an EVSE record."""
    if file is None:
        return None
    record = _read(file, EvseDataRecord, "an EVSE record")
    result = to_locations([record], {}, {}, terms)
    if not result.locations:
        raise ConfigurationError(f"{file}: OCPI cannot have this EVSE: {result.dropped[0]['reason']}")
    return result.locations[0]


def _product(file: Path | None) -> dict[str, Any] | None:
    return _read(file, PricingProductDataRecord, "a pricing product") if file else None
