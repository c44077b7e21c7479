"""``p2p-oicp peers``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from p2p_oicp.cli.options import ConfigOption

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the peer, as `peers list` shows it.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    group.command("list")(list_peers)
    group.command("inspect")(inspect)
    group.command("invite")(invite)
    group.command("join")(join)
    group.command("accept")(accept)
    group.command("remove")(remove)
    app.add_typer(group, name="peers", help="The peers that this node knows, and how they come to trust each other.")


def list_peers(
    config: ConfigOption = Path("node.toml"),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list, for programs.")] = False,
) -> None:
    """Show every peer: its parties, trust, security, when it was last seen, failures, what waits for it."""
    from p2p_oicp.cli import peer_list

    listing = peer_list.of_node(config)
    if as_json:
        typer.echo(peer_list.as_json(listing.peers))
        return
    peer_list.print_table(listing.peers)
    if listing.note:
        typer.echo(listing.note, err=True)


def inspect(
    url: Annotated[str, typer.Argument(metavar="URL", help="Base URL of a node's peer API.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
) -> None:
    """Fetch what a node says of itself, check its signature, and show it with its key's fingerprint."""
    import asyncio
    import json

    from p2p_oicp.cli import descriptors

    found = asyncio.run(descriptors.fetch(url))
    typer.echo(json.dumps(found, indent=2, ensure_ascii=False) if as_json else descriptors.text(found))


def invite(
    config: ConfigOption = Path("node.toml"),
    services: Annotated[
        str | None,
        typer.Option(metavar="A,B,…", help="Operations under contract, such as AuthorizeStart; absent: all."),
    ] = None,
    expires: Annotated[
        str, typer.Option(metavar="TIME", help="How long the link is good for: 30m, 24h or 7d.")
    ] = "24h",
) -> None:
    """Print a link with which one other company can pair with this node, once. The node has to run."""
    from p2p_oicp.cli import admin
    from p2p_oicp.cli.durations import seconds

    names = None if services is None else [name.strip() for name in services.split(",") if name.strip()]
    wanted: dict[str, object] = {"services": names, "expires_in": seconds(expires, "--expires")}
    answer = admin.ask(config, "POST", "/admin/v1/peers/invitations", wanted)
    typer.echo(answer["link"])
    typer.echo(f"Good for one company, until {answer['expires_at']}; give it to nobody else. They run:", err=True)
    typer.echo("p2p-oicp peers join 'LINK' --config node.toml", err=True)


def join(
    link: Annotated[str, typer.Argument(metavar="LINK", help="What the other company's `peers invite` has printed.")],
    config: ConfigOption = Path("node.toml"),
    name: Annotated[str | None, typer.Option("--as", metavar="NAME", help="What this node is to call it.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Agree without being asked.")] = False,
) -> None:
    """Pair with the company that has sent a link: shows who that is, and asks. The node has to run."""
    from p2p_oicp.cli import admin, descriptors

    found = admin.ask(config, "POST", "/admin/v1/peers/inspect", {"link": link})
    typer.echo(descriptors.text(found))
    if not yes and not typer.confirm("Pair with this company?"):
        raise typer.Exit(1)
    answer = admin.ask(config, "POST", "/admin/v1/peers/join", {"link": link, "alias": name})
    typer.echo(f"{answer['joined']} and this node are now peers of each other.")


def accept(
    name: Name,
    config: ConfigOption = Path("node.toml"),
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Agree without being asked.")] = False,
) -> None:
    """Make a node that was found in the local network (mDNS) a peer. The other side has to accept this node as well."""
    from urllib.parse import quote

    from p2p_oicp.cli import admin, peer_list

    found = peer_list.candidate(config, name)
    typer.echo(f"{found['name']}, {found['url']}\n  fingerprint  {found['fingerprint']}")
    if not yes and not typer.confirm("Is this the fingerprint that the other company has told you?"):
        raise typer.Exit(1)
    wanted: dict[str, object] = {"fingerprint": found["fingerprint"]}
    admin.ask(config, "POST", f"/admin/v1/peers/{quote(name, safe='')}/accept", wanted)
    typer.echo(f"{name} is a peer of this node now.")


def remove(name: Name, config: ConfigOption = Path("node.toml")) -> None:
    """Un-pair: this node forgets the peer, and the peer this node. The node has to run."""
    from urllib.parse import quote

    from p2p_oicp.cli import admin

    answer = admin.ask(config, "DELETE", f"/admin/v1/peers/{quote(name, safe='')}")
    typer.echo(f"{name} is no longer a peer of this node.")
    if answer["other_side"]:
        typer.echo(f"The other side: {answer['other_side']}", err=True)
