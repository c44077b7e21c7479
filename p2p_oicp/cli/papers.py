"""What ``id``, ``endpoints``, ``errata``, ``schema`` and ``openapi`` print."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from p2p_oicp.cli.printing import as_json, columns
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.oicp import OPERATIONS, Identifier, Party
from p2p_oicp.oicp.errata import ERRATA
from p2p_oicp.oicp.identifiers import IDENTIFIERS
from p2p_oicp.oicp.schemas import json_schema, messages
from p2p_oicp.oicp.schemas import openapi as openapi_document
from p2p_oicp.version import VERSION


def identify(text: str, output: str) -> int:
    """Print every kind of identifier that a text can be read as; return 1 if there is none."""
    found = [_described(kind(text)) for kind in IDENTIFIERS if kind(text).is_valid]
    if output == "json":
        typer.echo(as_json({"text": text, "matches": found}))
        return 0 if found else 1
    if not found:
        typer.echo(f"'{text}' is no identifier of OICP 2.3")
    for description in found:
        typer.echo(description["type"])
        for line in columns([[f"  {name}", str(value)] for name, value in description.items() if name != "type"]):
            typer.echo(line)
    return 0 if found else 1


def _described(identifier: Identifier) -> dict[str, object]:
    """Return what an identifier means; only what its kind can tell."""
    told = {name: getattr(identifier, name, None) for name in ("standard", "country", "operator", "provider")}
    described = {name: str(value) for name, value in told.items() if value is not None}
    exact = "yes" if identifier.is_exact else f"no, it is written like {identifier.example}"
    return {"type": type(identifier).__name__, **described, "key": identifier.key, "exact": exact}


def endpoints(output: str) -> None:
    """Print the table of operations."""
    if output == "json":
        typer.echo(as_json([_row(operation.name) for operation in OPERATIONS]))
        return
    rows = [["OPERATION", "FROM", "TO", "PATH BELOW /api/oicp"]]
    for operation in OPERATIONS:
        rows.append([operation.name, operation.sender, operation.server, f"POST /{operation.path}"])
        rows += [["", "", "", f"  or /{alias}"] for alias in operation.aliases]
    for line in columns(rows):
        typer.echo(line)


def _row(name: str) -> dict[str, object]:
    operation = next(row for row in OPERATIONS if row.name == name)
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


def errata(number: str, output: str) -> None:
    """Print the disagreements of the documents; raises ConfigurationError if there is no such number."""
    found = [erratum for erratum in ERRATA if number.upper() in {"", erratum.number}]
    if not found:
        raise ConfigurationError(f"there is no {number}; expected {ERRATA[0].number} to {ERRATA[-1].number}")
    if output == "json":
        typer.echo(as_json([erratum._asdict() for erratum in found]))
        return
    for erratum in found:
        typer.echo(f"{erratum.number}  {erratum.about}")
        typer.echo(f"     {erratum.ours}")
        if erratum.codes:
            typer.echo(f"     findings: {', '.join(erratum.codes)}")


def schema(out: Path | None) -> None:
    """Print the JSON Schema of every message, or write them to files."""
    schemas = {model.__name__: json_schema(model) for model in messages()}
    if out is None:
        typer.echo(json.dumps(schemas, indent=2, ensure_ascii=False))
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, document in schemas.items():
            (out / f"{name}.schema.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    except OSError as exc:
        raise ConfigurationError(f"{out}: {exc.strerror}; expected a directory that can be written") from None
    typer.echo(f"{len(schemas)} schemas written to {out}")


def openapi(role: str) -> None:
    """Print the OpenAPI document of a role."""
    typer.echo(json.dumps(openapi_document(Party(role.upper()), VERSION), indent=2, ensure_ascii=False))
