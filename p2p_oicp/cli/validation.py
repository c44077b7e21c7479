"""``p2p-oicp validate`` and ``p2p-oicp cdr``: what is wrong with a message, without a node."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

from p2p_oicp.cli.common import JsonOption, echo, format_json, read_input
from p2p_oicp.cli.terminal import output_width, wrap
from p2p_oicp.clock import SystemClock
from p2p_oicp.errors import ConfigurationError, MessageError
from p2p_oicp.logs import printable
from p2p_oicp.oicp import (
    ChargeDetailRecord,
    EvseDataRecord,
    Finding,
    InvalidMessage,
    OperatorID,
    ProviderID,
    PushEvseData,
    SenderScope,
    decode,
    read_records,
)
from p2p_oicp.oicp.findings import format_counts
from p2p_oicp.oicp.pulls import EvseDataPage
from p2p_oicp.oicp.validation import MessageDirection, Verdict, judge, preflight

_MESSAGE_HELP = "JSON file; - or nothing reads standard input."
_MAX_FINDINGS = 100
_EXIT_ACCEPTED, _EXIT_REJECTED, _EXIT_INVALID_INPUT = 0, 1, 2


class MessageChoice(StrEnum):
    """One of the two messages of an operation."""

    REQUEST = "request"
    RESPONSE = "response"


FileArgument = Annotated[str, typer.Argument(metavar="FILE|-", help=_MESSAGE_HELP)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("validate")(validate)
    app.command("cdr")(cdr)


def validate(
    operation: Annotated[
        str, typer.Argument(metavar="OPERATION", help="Such as AuthorizeStart; see `endpoints`. With --jsonl: FILE|-.")
    ] = "",
    file: FileArgument = "-",
    message: Annotated[
        MessageChoice, typer.Option(help="Which message of the operation it is.")
    ] = MessageChoice.REQUEST,
    as_json: JsonOption = False,
    authorized_for: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="OperatorID or ProviderID whose records may be in a push; may be repeated."),
    ] = None,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help='Validate many: lines of {"id", "operation", "message", "payload"}.')
    ] = False,
) -> None:
    """Say what is wrong with an OICP message: each finding with severity, JSON pointer and code.

    The exit code is 0 if it can be accepted (warnings are printed), 1 if it must be rejected, 2 if it cannot be
    validated.
    """
    if jsonl:
        raise typer.Exit(validate_lines(operation or file))
    raise typer.Exit(validate_file(operation, file, message.value, authorized_for or [], as_json=as_json))


def cdr(
    file: FileArgument = "-",
    evse: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Its EVSE: an EVSE record, or a push or page that contains it."),
    ] = None,
    products: Annotated[str | None, typer.Option(metavar="A,B", help="Names of the products that are sold.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a charge detail record before it is sent: errors first, exit code 1 if there is one."""
    raise typer.Exit(check_cdr(file, evse, products, as_json=as_json))


def validate_file(
    operation: str, file: str, direction: MessageDirection, authorized_ids: Sequence[str], *, as_json: bool
) -> int:
    """Validate one message and print the findings; return the exit code."""
    body = read_input(file)
    # Before judging: input that is no JSON is a mistake of the call (2), not an invalid message (1).
    decode_input(body, file)
    try:
        findings = judge(operation, direction, body, _parse_scope(authorized_ids), _now())
    except MessageError as exc:
        raise ConfigurationError(str(exc)) from None
    return _print_verdict(f"{operation} {direction}", findings, as_json=as_json)


def decode_input(body: bytes, file: str) -> object:
    """Return the JSON value of an input; raise `ConfigurationError` if it is not JSON."""
    try:
        return decode(body)
    except InvalidMessage as exc:
        name = "standard input" if file == "-" else file
        raise ConfigurationError(f"{name} {exc.findings[0].message}; expected one JSON message") from None


def _parse_scope(authorized_ids: Iterable[str]) -> SenderScope:
    """Return the parties of ``--authorized-for``; an id that is valid as both counts as both."""
    ids = list(authorized_ids)
    invalid = [text for text in ids if not OperatorID(text).is_valid and not ProviderID(text).is_valid]
    if invalid:
        raise ConfigurationError(f"--authorized-for {invalid[0]}: expected an OperatorID or a ProviderID")
    operators = frozenset(filter(attrgetter("is_valid"), map(OperatorID, ids)))
    providers = frozenset(filter(attrgetter("is_valid"), map(ProviderID, ids)))
    return SenderScope(operators=operators or None, providers=providers or None)


def _print_verdict(subject: str, findings: Sequence[Finding], *, as_json: bool) -> int:
    verdict = Verdict.from_findings(findings)
    if as_json:
        echo(format_json({"verdict": verdict, "findings": findings}))
    else:
        echo(f"{subject}: {verdict}")
        for line in format_findings(findings, output_width()):
            echo(line)
    return _EXIT_REJECTED if verdict is Verdict.REJECT else _EXIT_ACCEPTED


def format_findings(findings: Sequence[Finding], width: int | None = None) -> Iterator[str]:
    """Return findings as lines of text; of very many the first ones, and how many there are of each kind."""
    is_cut = len(findings) > _MAX_FINDINGS
    if is_cut:
        yield f"  {len(findings):,} findings, the first {_MAX_FINDINGS} follow"
    for finding in findings[:_MAX_FINDINGS]:
        yield f"  {finding.severity:12} {finding.pointer or '(message)'}  [{finding.code}]"
        yield from wrap(finding.message, width, " " * 15, " " * 15)
    if is_cut:
        counts = format_counts(Counter(finding.code for finding in findings))
        yield from wrap(f"{len(findings):,} findings: {counts}", width, "  ", "    ")


class _BatchLine(msgspec.Struct):
    """One line of ``--jsonl``; ``id`` is repeated in the report."""

    operation: str
    payload: msgspec.Raw
    message: Literal["request", "response"] = "request"
    id: object = None


_decode_line = msgspec.json.Decoder(_BatchLine).decode


def validate_lines(file: str) -> int:
    """Validate one message a line and print a report each; return 2 if a line has none, 1 if one must be rejected."""
    exit_code, now = _EXIT_ACCEPTED, _now()
    for number, line in enumerate(read_input(file).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            item = _decode_line(line)
            findings = judge(item.operation, item.message, bytes(item.payload), now=now)
        except (msgspec.MsgspecError, MessageError, UnicodeError, RecursionError) as exc:
            exit_code = _EXIT_INVALID_INPUT
            echo(f"p2p-oicp: line {number}: {exc}", err=True)
            continue
        verdict = Verdict.from_findings(findings)
        if verdict is Verdict.REJECT:
            exit_code = max(exit_code, _EXIT_REJECTED)
        report = {"id": item.id, "verdict": verdict, "findings": findings}
        sys.stdout.buffer.write(printable(msgspec.json.encode(report).decode()).encode() + b"\n")
    sys.stdout.flush()
    return exit_code


def check_cdr(file: str, evse: Path | None, products: str | None, *, as_json: bool) -> int:
    """Check a CDR and print the findings; return the exit code."""
    body = read_input(file)
    decode_input(body, file)
    known_products = None if products is None else [name.strip() for name in products.split(",") if name.strip()]
    try:
        charge_detail_record = ChargeDetailRecord.from_json(body)
    except InvalidMessage as invalid:
        return _print_verdict("ChargeDetailRecord", invalid.findings, as_json=as_json)
    evse_record = None if evse is None else _load_evse_record(evse, charge_detail_record)
    findings = preflight(charge_detail_record, evse_record, known_products, _now())
    return _print_verdict("ChargeDetailRecord", findings, as_json=as_json)


def _now() -> datetime:
    return datetime.fromtimestamp(SystemClock().time(), UTC)


def _load_evse_record(file: Path, charge_detail_record: ChargeDetailRecord) -> EvseDataRecord:
    """Return the EVSE record that a CDR is about, from a file with one record or a push or page of records."""
    body = read_input(str(file))
    value = decode_input(body, str(file))
    members = value if isinstance(value, dict) else {}
    try:
        if "OperatorEvseData" in members or "content" in members:
            records = [
                entry.record for entry in read_records(EvseDataPage if "content" in members else PushEvseData, body)
            ]
            return next(
                candidate
                for candidate in records
                if isinstance(candidate, EvseDataRecord) and candidate.evse_id == charge_detail_record.evse_id
            )
        return EvseDataRecord.from_json(body)
    except InvalidMessage as exc:
        raise ConfigurationError(f"{file}: {exc}; expected an EVSE record, or a push or a page of some") from None
    except StopIteration:
        raise ConfigurationError(
            f"{file}: no usable record of {charge_detail_record.evse_id}, the EVSE of this CDR"
        ) from None
