"""The commands of the language: ``validate``, ``id``, ``endpoints``, ``errata``, ``schema``, ``openapi``, ``cdr``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

_MESSAGE = "JSON file; - or nothing reads standard input."


class Format(StrEnum):
    """How a result is printed."""

    TEXT = "text"
    JSON = "json"


class Side(StrEnum):
    """Which of an operation's two messages."""

    REQUEST = "request"
    RESPONSE = "response"


class Role(StrEnum):
    """Who serves."""

    CPO = "cpo"
    EMP = "emp"


FormatOption = Annotated[Format, typer.Option("--format", help="How the result is printed.")]
FileArgument = Annotated[str, typer.Argument(metavar="FILE|-", help=_MESSAGE)]


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
    message: Annotated[Side, typer.Option(help="Which message of the operation it is.")] = Side.REQUEST,
    output: FormatOption = Format.TEXT,
    speaks_for: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="OperatorID or ProviderID whose records may be in a push; may be repeated."),
    ] = None,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help='Judge many: lines of {"id", "operation", "message", "payload"}.')
    ] = False,
) -> None:
    """Say what is wrong with an OICP message: each finding with severity, JSON pointer and code.

    The exit code is 0 if it can be accepted (warnings are printed), 1 if it must be rejected, 2 if it cannot be judged.
    """
    from p2p_oicp.cli import judging

    if jsonl:
        raise typer.Exit(judging.judge_lines(operation or file))
    raise typer.Exit(judging.judge(operation, file, message.value, output.value, speaks_for or []))


def cdr(
    file: FileArgument = "-",
    evse: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The charging spot: an EVSE record, or a push or page that contains it."),
    ] = None,
    products: Annotated[str | None, typer.Option(metavar="A,B", help="Names of the products that are sold.")] = None,
    output: FormatOption = Format.TEXT,
) -> None:
    """Look over a charge detail record before it is sent: errors first, exit code 1 if there is one."""
    from p2p_oicp.cli import judging

    raise typer.Exit(judging.preflight(file, evse, products, output.value))


def identify(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Such as DE*ABC*E1*2; put -- before one with a dash.")],
    output: FormatOption = Format.TEXT,
) -> None:
    """Say what an identifier is: every kind that it can be read as, and what it means. Exit code 1 if it is none."""
    from p2p_oicp.cli import papers

    raise typer.Exit(papers.identify(text, output.value))


def endpoints(output: FormatOption = Format.TEXT) -> None:
    """List all operations: who sends them to whom, and where."""
    from p2p_oicp.cli import papers

    papers.endpoints(output.value)


def errata(
    number: Annotated[str, typer.Argument(metavar="[NUMBER]", help="One of them, such as D43; all if left out.")] = "",
    output: FormatOption = Format.TEXT,
) -> None:
    """List where the documents of OICP 2.3 disagree, and what is done about it."""
    from p2p_oicp.cli import papers

    papers.errata(number, output.value)


def schema(
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write one file a message here, instead of printing all.")
    ] = None,
) -> None:
    """Print the JSON Schema of every message."""
    from p2p_oicp.cli import papers

    papers.schema(out)


def openapi(
    role: Annotated[Role, typer.Option(help="Whose endpoints: those that a node in this role serves.")],
) -> None:
    """Print an OpenAPI 3.1 document."""
    from p2p_oicp.cli import papers

    papers.openapi(role.value)
