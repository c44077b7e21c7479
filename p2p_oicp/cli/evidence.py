"""``p2p-oicp evidence``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from p2p_oicp.cli.options import ConfigOption
from p2p_oicp.errors import ConfigurationError, NotProven


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    group.command("export")(export)
    group.command("verify")(verify)
    app.add_typer(group, name="evidence", help="What was signed: proof of who said what when.")


def export(
    session_id: Annotated[str, typer.Argument(metavar="SESSION-ID", help="The session.")],
    config: ConfigOption = Path("node.toml"),
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where to write; absent: SESSION-ID.evidence.")
    ] = None,
) -> None:
    """Write all signed requests and answers of a session into one file. The node has to run."""
    from urllib.parse import quote

    from p2p_oicp.cli import admin

    answer = admin.ask(config, "GET", f"/admin/v1/evidence/{quote(session_id, safe='')}")
    file = out or Path(f"{session_id}.evidence")
    try:
        file.write_text(answer["file"], encoding="utf-8")
    except OSError as exc:
        raise ConfigurationError(f"{file}: cannot be written: {exc.strerror}") from exc
    typer.echo(file)


def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `evidence export` has written.")],
) -> None:
    """Prove, with nothing but the file, who said what when; fails where anything in it is not proved."""
    from p2p_oicp.cli import evidence_report

    found = evidence_report.read(file)
    typer.echo(evidence_report.of(found))
    if found.unproven:
        raise NotProven(f"{file}: not proven: {'; '.join(found.unproven)}")
