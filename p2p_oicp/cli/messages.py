"""Commands about OICP itself, without a node: checking messages and identifiers, printing the protocol's reference.

`validate` and `cdr` read a message and print findings; `id`, `endpoints`, `errata`, `schema` and `openapi` print what
`p2p_oicp.oicp` knows.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

from p2p_oicp.cli.common import align_columns, echo, format_findings, format_json, read_input
from p2p_oicp.clock import SystemClock
from p2p_oicp.errors import ConfigurationError, MessageError
from p2p_oicp.logs import printable
from p2p_oicp.oicp import (
    OPERATIONS,
    ChargeDetailRecord,
    EvseDataRecord,
    Finding,
    Identifier,
    InvalidMessage,
    OperatorID,
    Party,
    ProviderID,
    PushEvseData,
    SenderScope,
    decode,
    read_records,
)
from p2p_oicp.oicp.errata import ERRATA
from p2p_oicp.oicp.identifiers import IDENTIFIERS, likely_problems, name_of
from p2p_oicp.oicp.pulls import EvseDataPage
from p2p_oicp.oicp.schemas import json_schema, message_models
from p2p_oicp.oicp.schemas import openapi as openapi_document
from p2p_oicp.oicp.validation import MessageDirection, Verdict, judge, preflight
from p2p_oicp.version import VERSION

_MESSAGE_HELP = "JSON file; - or nothing reads standard input."


class OutputFormat(StrEnum):
    """The format of a result."""

    TEXT = "text"
    JSON = "json"


class MessageChoice(StrEnum):
    """One of the two messages of an operation."""

    REQUEST = "request"
    RESPONSE = "response"


class Role(StrEnum):
    """The role whose endpoints are described."""

    CPO = "cpo"
    EMP = "emp"


FormatOption = Annotated[OutputFormat, typer.Option("--format", help="How the result is printed.")]
FileArgument = Annotated[str, typer.Argument(metavar="FILE|-", help=_MESSAGE_HELP)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("validate")(validate)
    app.command("cdr")(cdr)
    app.command("id")(identify)
    app.command("endpoints")(endpoints)
    app.command("errata")(errata)
    app.command("schema")(schema)
    app.command("openapi")(openapi)


def validate(
    operation: Annotated[
        str, typer.Argument(metavar="OPERATION", help="Such as AuthorizeStart; see `endpoints`. With --jsonl: FILE|-.")
    ] = "",
    file: FileArgument = "-",
    message: Annotated[
        MessageChoice, typer.Option(help="Which message of the operation it is.")
    ] = MessageChoice.REQUEST,
    output: FormatOption = OutputFormat.TEXT,
    speaks_for: Annotated[
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
    raise typer.Exit(validate_file(operation, file, message.value, output.value, speaks_for or []))


def cdr(
    file: FileArgument = "-",
    evse: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Its EVSE: an EVSE record, or a push or page that contains it."),
    ] = None,
    products: Annotated[str | None, typer.Option(metavar="A,B", help="Names of the products that are sold.")] = None,
    output: FormatOption = OutputFormat.TEXT,
) -> None:
    """Check a charge detail record before it is sent: errors first, exit code 1 if there is one."""
    raise typer.Exit(check_cdr(file, evse, products, output.value))


def identify(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Such as DE*ABC*E1*2; put -- before one with a dash.")],
    output: FormatOption = OutputFormat.TEXT,
) -> None:
    """Say what an identifier is: every type that it can be read as, and its parts. Exit code 1 if it is none."""
    raise typer.Exit(print_identifier(text, output.value))


def endpoints(output: FormatOption = OutputFormat.TEXT) -> None:
    """List all operations: who sends them to whom, and where."""
    print_endpoints(output.value)


def errata(
    number: Annotated[str, typer.Argument(metavar="[NUMBER]", help="One of them, such as D43; all if left out.")] = "",
    output: FormatOption = OutputFormat.TEXT,
) -> None:
    """List where the documents of OICP 2.3 disagree, and the reading used here."""
    print_errata(number, output.value)


def schema(
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write one file a message here, instead of printing all.")
    ] = None,
) -> None:
    """Print the JSON Schema of every message."""
    print_schemas(out)


def openapi(
    role: Annotated[Role, typer.Option(help="The endpoints that a node in this role serves.")],
) -> None:
    """Print an OpenAPI 3.1 document."""
    print_openapi(role.value)


def print_identifier(text: str, output: str) -> int:
    """Print every type of identifier that a text can be read as, else what it nearly is; return 1 if there is none."""
    matches = [
        _describe_identifier(identifier_type(text)) for identifier_type in IDENTIFIERS if identifier_type(text).is_valid
    ]
    problems = [] if matches else [{"type": name_of(kind), "problem": what} for kind, what in likely_problems(text)]
    if output == "json":
        echo(format_json({"text": text, "matches": matches, "problems": problems}))
        return 0 if matches else 1
    if not matches:
        echo(f"'{text}' is no identifier of OICP 2.3")
    for problem in problems:
        echo(f"  as {problem['type']}: {problem['problem']}")
    for description in matches:
        echo(description["type"])
        for line in align_columns([[f"  {name}", str(value)] for name, value in description.items() if name != "type"]):
            echo(line)
    return 0 if matches else 1


def _describe_identifier(identifier: Identifier) -> dict[str, object]:
    """Return the parts of an identifier; a type has only some of them."""
    properties = {name: getattr(identifier, name, None) for name in ("standard", "country", "operator", "provider")}
    members = {name: str(value) for name, value in properties.items() if value is not None}
    canonical = "yes" if identifier.is_exact else f"no, it is written like {identifier.example}"
    return {"type": type(identifier).__name__, **members, "key": identifier.key, "canonical": canonical}


def print_endpoints(output: str) -> None:
    """Print the table of operations."""
    if output == "json":
        echo(format_json([_operation_to_dict(operation.name) for operation in OPERATIONS]))
        return
    rows = [["OPERATION", "FROM", "TO", "PATH BELOW /api/oicp"]]
    for operation in OPERATIONS:
        rows.append([operation.name, operation.sender, operation.server, f"POST /{operation.path}"])
        rows += [["", "", "", f"  or /{alias}"] for alias in operation.aliases]
    for line in align_columns(rows):
        echo(line)


def _operation_to_dict(name: str) -> dict[str, object]:
    operation = next(candidate for candidate in OPERATIONS if candidate.name == name)
    return {
        "operation": operation.name,
        "command": operation.command,
        "sender": operation.sender,
        "server": operation.server,
        "method": "POST",
        "path": f"/api/oicp/{operation.path}",
        "aliases": [f"/api/oicp/{alias}" for alias in operation.aliases],
        "request": operation.request.__name__,
        "response": operation.response.__name__,
        "retry": operation.retry,
        "deadline": operation.deadline,
    }


def print_errata(number: str, output: str) -> None:
    """Print the disagreements of the documents; raise `ConfigurationError` if there is no such number."""
    matches = [erratum for erratum in ERRATA if number.upper() in {"", erratum.number}]
    if not matches:
        raise ConfigurationError(f"there is no {number}; expected {ERRATA[0].number} to {ERRATA[-1].number}")
    if output == "json":
        echo(format_json([erratum._asdict() for erratum in matches]))
        return
    for erratum in matches:
        echo(f"{erratum.number}  {erratum.subject}")
        echo(f"     {erratum.resolution}")
        if erratum.codes:
            echo(f"     findings: {', '.join(erratum.codes)}")


def print_schemas(out: Path | None) -> None:
    """Print the JSON Schema of every message, or write them to files."""
    schemas = {model.__name__: json_schema(model) for model in message_models()}
    if out is None:
        echo(json.dumps(schemas, indent=2, ensure_ascii=False))
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, document in schemas.items():
            (out / f"{name}.schema.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    except OSError as exc:
        raise ConfigurationError(f"{out}: {exc.strerror}; expected a directory that can be written") from None
    echo(f"{len(schemas)} schemas written to {out}")


def print_openapi(role: str) -> None:
    """Print the OpenAPI document of a role."""
    echo(json.dumps(openapi_document(Party(role.upper()), VERSION), indent=2, ensure_ascii=False))


_EXIT_ACCEPTED, _EXIT_REJECTED, _EXIT_INVALID_INPUT = 0, 1, 2


def validate_file(
    operation: str, file: str, direction: MessageDirection, output: str, authorized_ids: Sequence[str]
) -> int:
    """Validate one message and print the findings; return the exit code."""
    body = read_input(file)
    # Before judging: input that is no JSON is a mistake of the call (2), not an invalid message (1).
    decode_input(body, file)
    try:
        findings = judge(operation, direction, body, _parse_scope(authorized_ids), _now())
    except MessageError as exc:
        raise ConfigurationError(str(exc)) from None
    return _print_verdict(f"{operation} {direction}", findings, output)


def decode_input(body: bytes, file: str) -> object:
    """Return the JSON value of an input; raise `ConfigurationError` if it is not JSON."""
    try:
        return decode(body)
    except InvalidMessage as exc:
        name = "standard input" if file == "-" else file
        raise ConfigurationError(f"{name} {exc.findings[0].message}; expected one JSON message") from None


def _parse_scope(authorized_ids: Iterable[str]) -> SenderScope:
    """Return the parties of ``--speaks-for``; an id that is valid as both counts as both."""
    ids = list(authorized_ids)
    invalid = [text for text in ids if not OperatorID(text).is_valid and not ProviderID(text).is_valid]
    if invalid:
        raise ConfigurationError(f"--speaks-for {invalid[0]}: expected an OperatorID or a ProviderID")
    operators = frozenset(filter(attrgetter("is_valid"), map(OperatorID, ids)))
    providers = frozenset(filter(attrgetter("is_valid"), map(ProviderID, ids)))
    return SenderScope(operators=operators or None, providers=providers or None)


def _print_verdict(subject: str, findings: Sequence[Finding], output: str) -> int:
    verdict = Verdict.from_findings(findings)
    if output == "json":
        echo(format_json({"verdict": verdict, "findings": findings}))
    else:
        echo(f"{subject}: {verdict}")
        for line in format_findings(findings):
            echo(line)
    return _EXIT_REJECTED if verdict is Verdict.REJECT else _EXIT_ACCEPTED


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


def check_cdr(file: str, evse: Path | None, products: str | None, output: str) -> int:
    """Check a CDR and print the findings; return the exit code."""
    body = read_input(file)
    decode_input(body, file)
    known_products = None if products is None else [name.strip() for name in products.split(",") if name.strip()]
    try:
        charge_detail_record = ChargeDetailRecord.from_json(body)
    except InvalidMessage as invalid:
        return _print_verdict("ChargeDetailRecord", invalid.findings, output)
    evse_record = None if evse is None else _load_evse_record(evse, charge_detail_record)
    findings = preflight(charge_detail_record, evse_record, known_products, _now())
    return _print_verdict("ChargeDetailRecord", findings, output)


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
