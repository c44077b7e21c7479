"""``p2p-oicp hub``: a clearing house in one process, for tests."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from p2p_oicp import runner
from p2p_oicp.cli.common import echo
from p2p_oicp.config.hub import HubSettings, load_hub_settings
from p2p_oicp.node import Node

_PATH = "/api/oicp"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("hub")(hub)


def hub(
    config: Annotated[
        Path | None, typer.Option("--config", "-c", metavar="FILE", help="Partners and settings: hub.toml.")
    ] = None,
    host: Annotated[str | None, typer.Option(metavar="HOST", help="Address to listen on; loopback by default.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, metavar="PORT", help="Port; 8330 by default, 0 = any free port.")
    ] = None,
    script: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Rules of how partners are answered (TOML); SIGHUP has it read again."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep database and partners here; else they end with the hub.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the URLs as JSON, for programs.")] = False,
) -> None:
    """Run a clearing house for tests, for any number of CPO and EMP backends, until SIGTERM or Ctrl-C.

    Without hub.toml everybody may take part: a company becomes a partner when it speaks, and tells its own base URL by
    POST /hub/v1/partners.
    """
    settings = _with_address(HubSettings() if config is None else load_hub_settings(config), host, port)

    async def print_urls(node: Node) -> None:
        _print_urls(node.backend_url, as_json=as_json)

    def run(folder: Path) -> int:
        return runner.run_hub(settings, folder, script=script, keeps=data is not None, on_ready=print_urls)

    if data is not None:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        raise typer.Exit(run(data))
    with tempfile.TemporaryDirectory(prefix="p2p-oicp-hub-") as folder:
        raise typer.Exit(run(Path(folder)))


def _with_address(settings: HubSettings, host: str | None, port: int | None) -> HubSettings:
    given = {"host": host, "port": port}
    table = settings.hub.model_copy(update={name: value for name, value in given.items() if value is not None})
    return settings.model_copy(update={"hub": table})


def _print_urls(url: str, *, as_json: bool) -> None:
    if as_json:
        echo(msgspec.json.encode({"url": url, "oicp": url + _PATH, "hub": f"{url}/hub/v1"}).decode())
        return
    echo(f"The hub is at {url}: its OICP paths begin with {url}{_PATH}")
    echo(f"Partners, script and exchanges: {url}/hub/v1/partners, /script, /exchanges. Ctrl-C ends it.")
