"""``p2p-oicp init``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("init")(init)


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write into; created if it is not there.")],
    name: Annotated[str, typer.Option(help="Name of the node in logs and to its peers.")],
    operator: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="OperatorID of this company, such as DE*ABC; can be repeated."),
    ] = None,
    provider: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="ProviderID of this company, such as DE-XYZ; can be repeated."),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Ask peers for no proof of who they are: for test networks only.")
    ] = False,
    peer_port: Annotated[int, typer.Option(min=1, max=65535, help="Port that peers call.")] = 8320,
    backend_port: Annotated[int, typer.Option(min=1, max=65535, help="Port that our own systems call.")] = 8321,
) -> None:
    """Write node.toml, peers.toml and a key pair for a new node. Nothing that exists is overwritten."""
    from p2p_oicp.cli import new_node

    plan = new_node.Plan(
        name=name,
        operators=tuple(operator or ()),
        providers=tuple(provider or ()),
        require=() if insecure else ("signature",),
        peer_port=peer_port,
        backend_port=backend_port,
    )
    new_node.write(folder, plan)
    typer.echo(new_node.next_steps(folder, plan))
