"""What `p2p_oicp.oicp` knows of OICP, printed: identifiers, operations, errata, JSON Schema and OpenAPI."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from p2p_oicp.cli.common import JsonOption, echo, format_json
from p2p_oicp.cli.terminal import Column, print_fields, print_table, print_text
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.oicp import OPERATIONS, Identifier, Party
from p2p_oicp.oicp.errata import ERRATA
from p2p_oicp.oicp.identifier_problems import likely_problems, name_of
from p2p_oicp.oicp.identifiers import IDENTIFIERS
from p2p_oicp.oicp.operations import Operation
from p2p_oicp.oicp.schemas import json_schema, message_models
from p2p_oicp.oicp.schemas import openapi as role_document
from p2p_oicp.version import VERSION

_ENDPOINT_COLUMNS = (
    Column("Operation"),
    Column("From", 1),
    Column("To", 1),
    Column("Path", is_detail=True),
    Column("Or", is_detail=True),
)


class Role(StrEnum):
    """The role whose endpoints are described."""

    CPO = "cpo"
    EMP = "emp"


class Listener(StrEnum):
    """The listener whose document is printed."""

    BACKEND = "backend"
    PEER = "peer"
    HUB = "hub"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("id")(identify)
    app.command("endpoints")(endpoints)
    app.command("errata")(errata)
    app.command("schema")(schema)
    app.command("openapi")(openapi)
    app.command("asyncapi")(asyncapi)


def identify(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Such as DE*ABC*E1*2; put -- before one with a dash.")],
    as_json: JsonOption = False,
) -> None:
    """Say what an identifier is: every type that it can be read as, and its parts. Exit code 1 if it is none."""
    raise typer.Exit(print_identifier(text, as_json=as_json))


def endpoints(as_json: JsonOption = False) -> None:
    """List all operations: who sends them to whom, and where (POST)."""
    print_endpoints(as_json=as_json)


def errata(
    number: Annotated[str, typer.Argument(metavar="[NUMBER]", help="One of them, such as D43; all if left out.")] = "",
    as_json: JsonOption = False,
) -> None:
    """List where the documents of OICP 2.3 disagree, and the reading used here."""
    print_errata(number, as_json=as_json)


def schema(
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write one file a message here, instead of printing all.")
    ] = None,
) -> None:
    """Print the JSON Schema of every message."""
    print_schemas(out)


def openapi(
    listener: Annotated[
        Listener, typer.Option(help="What this listener serves; of the backend API: all that a node does.")
    ] = Listener.BACKEND,
    role: Annotated[
        Role | None, typer.Option(help="OICP alone instead: the endpoints that a node in this role serves.")
    ] = None,
) -> None:
    """Print the OpenAPI 3.1 document of what a node serves, as its /openapi.json."""
    print_openapi(listener, role)


def asyncapi() -> None:
    """Print the AsyncAPI 3.0 document of the events of a node, as its /asyncapi.json."""
    # Here: a tenth of a second, which the other commands do not need.
    from p2p_oicp.server.openapi.asyncapi import asyncapi_document  # noqa: PLC0415

    echo(json.dumps(asyncapi_document(), indent=2, ensure_ascii=False))


def print_identifier(text: str, *, as_json: bool) -> int:
    """Print every type of identifier that a text can be read as, else what it nearly is; return 1 if there is none."""
    matches = [
        _describe_identifier(identifier_type(text)) for identifier_type in IDENTIFIERS if identifier_type(text).is_valid
    ]
    problems = [] if matches else [{"type": name_of(kind), "problem": what} for kind, what in likely_problems(text)]
    if as_json:
        echo(format_json({"text": text, "matches": matches, "problems": problems}))
        return 0 if matches else 1
    if not matches:
        echo(f"'{text}' is no identifier of OICP 2.3")
    for problem in problems:
        print_text(f"as {problem['type']}: {problem['problem']}", "  ", "    ")
    for description in matches:
        echo(description["type"])
        print_fields([(name, str(value)) for name, value in description.items() if name != "type"])
    return 0 if matches else 1


def _describe_identifier(identifier: Identifier) -> dict[str, object]:
    """Return the parts of an identifier; a type has only some of them."""
    properties = {name: getattr(identifier, name, None) for name in ("standard", "country", "operator", "provider")}
    members = {name: str(value) for name, value in properties.items() if value is not None}
    canonical = "yes" if identifier.is_exact else f"no, it is written like {identifier.example}"
    return {"type": type(identifier).__name__, **members, "key": identifier.key, "canonical": canonical}


def print_endpoints(*, as_json: bool) -> None:
    """Print the table of operations."""
    if as_json:
        echo(format_json([_operation_to_dict(operation) for operation in OPERATIONS]))
        return
    rows = [
        (
            operation.name,
            operation.sender,
            operation.server,
            f"/api/oicp/{operation.path}",
            " ".join(f"/api/oicp/{alias}" for alias in operation.aliases),
        )
        for operation in OPERATIONS
    ]
    print_table(_ENDPOINT_COLUMNS, rows)


def _operation_to_dict(operation: Operation) -> dict[str, object]:
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


def print_errata(number: str, *, as_json: bool) -> None:
    """Print the disagreements of the documents; raise `ConfigurationError` if there is no such number."""
    matches = [erratum for erratum in ERRATA if number.upper() in {"", erratum.number}]
    if not matches:
        raise ConfigurationError(f"there is no {number}; expected {ERRATA[0].number} to {ERRATA[-1].number}")
    if as_json:
        echo(format_json([erratum._asdict() for erratum in matches]))
        return
    for erratum in matches:
        print_text(erratum.subject, f"{erratum.number}  ")
        print_text(erratum.resolution, "     ")
        if erratum.codes:
            print_text(f"findings: {', '.join(erratum.codes)}", "     ")


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


def print_openapi(listener: Listener, role: Role | None) -> None:
    """Print the OpenAPI document of a listener, or of a role in OICP."""
    if role is None:
        from p2p_oicp.server.openapi import documents  # noqa: PLC0415 - as of asyncapi

        document = documents.openapi_document(documents.Listener(listener))
    else:
        document = role_document(Party(role.value.upper()), VERSION)
    echo(json.dumps(document, indent=2, ensure_ascii=False))
