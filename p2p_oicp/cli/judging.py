"""What ``validate`` and ``cdr`` do: read, judge, print."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Literal

import msgspec
import typer

from p2p_oicp.cli.printing import as_json, read_input, shown_findings
from p2p_oicp.errors import ConfigurationError, MessageError
from p2p_oicp.oicp import (
    ChargeDetailRecord,
    EvseDataRecord,
    Finding,
    InvalidMessage,
    OperatorID,
    ProviderID,
    PushEvseData,
    Scope,
    decode,
    read_records,
)
from p2p_oicp.oicp.preflight import preflight as look_over
from p2p_oicp.oicp.pulls import EvseDataPage
from p2p_oicp.oicp.verdicts import Side, Verdict, findings_in

_ACCEPTED, _REJECTED, _UNUSABLE = 0, 1, 2


def judge(operation: str, file: str, side: Side, output: str, speaks_for: Sequence[str]) -> int:
    """Judge one message and print the findings; return the exit code."""
    body = read_input(file)
    decode_or_refuse(body, file)
    try:
        findings = findings_in(operation, side, body, _scope(speaks_for))
    except MessageError as exc:
        raise ConfigurationError(str(exc)) from None
    return _tell(f"{operation} {side}", findings, output)


def decode_or_refuse(body: bytes, file: str) -> object:
    """Return the JSON value of an input; raises ConfigurationError if there is none."""
    try:
        return decode(body)
    except InvalidMessage as exc:
        name = "standard input" if file == "-" else file
        raise ConfigurationError(f"{name} {exc.findings[0].message}; expected one JSON message") from None


def _scope(speaks_for: Iterable[str]) -> Scope:
    """Return what ``--speaks-for`` says; an id may be meant as either, so it is taken as what it can be."""
    ids = list(speaks_for)
    unknown = [text for text in ids if not OperatorID(text).is_valid and not ProviderID(text).is_valid]
    if unknown:
        raise ConfigurationError(f"--speaks-for {unknown[0]}: expected an OperatorID or a ProviderID")
    operators = frozenset(filter(attrgetter("is_valid"), map(OperatorID, ids)))
    providers = frozenset(filter(attrgetter("is_valid"), map(ProviderID, ids)))
    return Scope(operators=operators or None, providers=providers or None)


def _tell(subject: str, findings: Sequence[Finding], output: str) -> int:
    verdict = Verdict.on(findings)
    if output == "json":
        typer.echo(as_json({"verdict": verdict, "findings": findings}))
    else:
        typer.echo(f"{subject}: {verdict}")
        for line in shown_findings(findings):
            typer.echo(line)
    return _REJECTED if verdict is Verdict.REJECT else _ACCEPTED


class _Line(msgspec.Struct):
    """One line of many messages."""

    operation: str
    payload: msgspec.Raw
    message: Literal["request", "response"] = "request"
    id: object = None


_read_line = msgspec.json.Decoder(_Line).decode


def judge_lines(file: str) -> int:
    """Judge a message a line, and print a line for each; return 2 if there was a line without a message."""
    code = _ACCEPTED
    for number, line in enumerate(read_input(file).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            found = _read_line(line)
            findings = findings_in(found.operation, found.message, bytes(found.payload))
        except (msgspec.MsgspecError, MessageError, UnicodeError, RecursionError) as exc:
            code = _UNUSABLE
            sys.stderr.write(f"p2p-oicp: line {number}: {exc}\n")
            continue
        verdict = {"id": found.id, "verdict": Verdict.on(findings), "findings": findings}
        sys.stdout.buffer.write(msgspec.json.encode(verdict) + b"\n")
    sys.stdout.flush()
    return code


def preflight(file: str, evse: Path | None, products: str | None, output: str) -> int:
    """Look over a record and print what speaks against it; return the exit code."""
    body = read_input(file)
    decode_or_refuse(body, file)
    known = None if products is None else [name.strip() for name in products.split(",") if name.strip()]
    try:
        record = ChargeDetailRecord.from_json(body)
    except InvalidMessage as invalid:
        return _tell("ChargeDetailRecord", invalid.findings, output)
    spot = None if evse is None else _spot(evse, record)
    return _tell("ChargeDetailRecord", look_over(record, spot, known), output)


def _spot(file: Path, record: ChargeDetailRecord) -> EvseDataRecord:
    """Return the charging spot of a record from a file with one, or with many."""
    body = read_input(str(file))
    value = decode_or_refuse(body, str(file))
    members = value if isinstance(value, dict) else {}
    try:
        if "OperatorEvseData" in members or "content" in members:
            spots = [
                found.record for found in read_records(EvseDataPage if "content" in members else PushEvseData, body)
            ]
            return next(spot for spot in spots if isinstance(spot, EvseDataRecord) and spot.evse_id == record.evse_id)
        return EvseDataRecord.from_json(body)
    except InvalidMessage as exc:
        raise ConfigurationError(f"{file}: {exc}; expected an EVSE record, or a push or a page of some") from None
    except StopIteration:
        raise ConfigurationError(
            f"{file}: no usable record of {record.evse_id}, the charging spot of this CDR"
        ) from None
