"""``p2p-oicp peers``: listing, inspecting, pairing with and removing peers.

Pairing and removing go through the admin API: the running node talks to the other side. `list` falls back to the peers
file while the node is down, and `inspect` needs no node at all.
"""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from p2p_oicp.cli import client, peer_settings
from p2p_oicp.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, echo, format_json, parse_duration
from p2p_oicp.cli.doctor import format_result, parse_result
from p2p_oicp.cli.status import IN_SYNC, format_channels, format_problem
from p2p_oicp.cli.terminal import (
    Column,
    Moment,
    TimeFormat,
    UtcOption,
    output_width,
    print_fields,
    print_table,
)
from p2p_oicp.client import HttpTransport
from p2p_oicp.clock import SystemClock, format_timestamp
from p2p_oicp.config import load_registry, load_settings
from p2p_oicp.config.peers_file import peer_to_entry
from p2p_oicp.delivery.connection_checks import CheckResult, Outcome
from p2p_oicp.errors import ConfigurationError, PeerUnreachable
from p2p_oicp.peering.key_refresh import DescriptorFetcher
from p2p_oicp.peers.models import parse_base_url
from p2p_oicp.server.admin import descriptor_to_json
from p2p_oicp.version import VERSION

# A candidate has no entry in the peers file yet, so it lacks these.
_CANDIDATE_DEFAULTS: dict[str, Any] = {"services": None, "security": None, "keys": []}
_COLUMNS = (
    Column("Name"),
    Column("State"),
    Column("Last seen", 3),
    Column("Operators", 1),
    Column("Providers", 2),
    Column("URL", 4),
    Column("Trust", 5),
    Column("Services", 6),
    Column("Problem", is_detail=True),
)
_CHANNEL_COLUMNS = (
    Column("Channel"),
    Column("State"),
    Column("Behind", 2),
    Column("Since", 3),
    Column("Last success", 1),
)
_MAX_DESCRIPTOR_BYTES = 1024 * 1024
PeerNameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the peer, as `peers list` shows it.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    group.command("list")(list_peers)
    group.command("show")(show)
    group.command("inspect")(inspect)
    group.command("invite")(invite)
    group.command("join")(join)
    group.command("accept")(accept)
    group.command("remove")(remove)
    peer_settings.register(group)
    app.add_typer(group, name="peers", help="The peers of this node, and pairing with new ones.")


def list_peers(
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
    utc: UtcOption = False,
) -> None:
    """Show every peer: its parties, trust, security, when it was last seen, and what fails or lags behind."""
    listing = fetch_peers(config)
    if as_json:
        echo(format_json(listing.peers))
        return
    print_peers(listing.peers, utc=utc)
    if listing.warning:
        echo(listing.warning, err=True)


def show(
    name: PeerNameArgument, config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False, utc: UtcOption = False
) -> None:
    """Show one peer, or backend:NAME, with each channel: in sync, behind or failing, why, and what to do."""
    peer = client.call_admin(config, "GET", f"/admin/v1/peers/{quote(name, safe='')}")
    if as_json:
        echo(format_json(peer))
        return
    print_peer(peer, utc=utc)


def print_peer(peer: dict[str, Any], *, utc: bool = False) -> None:
    """Print a peer or a backend, with a line for each channel and what is wrong with it."""
    times = TimeFormat(time.time(), utc)
    echo(f"{peer['name']}{', ' + peer['url'] if 'url' in peer else ''}")
    skew = peer.get("clock_skew_seconds")
    fields = {
        "trust": peer.get("trust"),
        "held": peer.get("held"),
        "paused": _format_pause(peer.get("paused"), times),
        "last seen": times.text(_seconds(peer.get("last_seen"))),
        "clock": None if skew is None else "as ours" if abs(skew) < 1 else f"{skew:+.0f} s to ours",
    }
    print_fields([(name, text) for name, text in fields.items() if text])
    rows = [
        (
            channel["channel"],
            channel["state"],
            str(channel["behind"] or ""),
            Moment(_seconds(channel["behind_since"])),
            Moment(_seconds(channel["last_success"])),
        )
        for channel in peer["channels"]
    ]
    echo()
    print_table(_CHANNEL_COLUMNS, rows, utc=utc)
    for trouble in (trouble for channel in peer["channels"] for trouble in channel["troubles"]):
        echo()
        for line in format_problem(trouble, times.now, output_width()):
            echo(line)


def _format_pause(pause: dict[str, str] | None, times: TimeFormat) -> str | None:
    if pause is None:
        return None
    reason = f": {pause['reason']}" if pause["reason"] else ""
    return f"by a person since {times.text(_seconds(pause['since']))}{reason}"


def _seconds(timestamp: str | None) -> float | None:
    return datetime.fromisoformat(timestamp).timestamp() if timestamp else None


def inspect(
    url: Annotated[str, typer.Argument(metavar="URL", help="Base URL of a node's peer API.")],
    as_json: JsonOption = False,
) -> None:
    """Fetch a node's descriptor, check its signature, and show it with its key's fingerprint."""
    descriptor = asyncio.run(fetch_verified_descriptor(url))
    if as_json:
        echo(format_json(descriptor))
    else:
        print_descriptor(descriptor)


def invite(
    config: ConfigOption = DEFAULT_CONFIG,
    services: Annotated[
        str | None,
        typer.Option(metavar="A,B,…", help="Operations under contract, such as AuthorizeStart; absent: all."),
    ] = None,
    expires: Annotated[str, typer.Option(metavar="TIME", help="How long the link is valid: 30m, 24h or 7d.")] = "24h",
) -> None:
    """Print a link with which one other company can pair with this node, once. The node has to run."""
    service_names = None if services is None else [name.strip() for name in services.split(",") if name.strip()]
    payload: dict[str, object] = {"services": service_names, "expires_in": parse_duration(expires, "--expires")}
    response = client.call_admin(config, "POST", "/admin/v1/peers/invitations", payload)
    echo(response["link"])
    echo(f"Valid for one company until {response['expires_at']}; do not pass it to others. They run:", err=True)
    echo("p2p-oicp peers join 'LINK' --config node.toml", err=True)


def join(
    link: Annotated[str, typer.Argument(metavar="LINK", help="What the other company's `peers invite` has printed.")],
    config: ConfigOption = DEFAULT_CONFIG,
    name: Annotated[str | None, typer.Option("--as", metavar="NAME", help="The name of the peer in this node.")] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Agree without being asked.")] = False,
) -> None:
    """Pair with the company that sent a link: shows its descriptor, and asks. The node has to run."""
    descriptor = client.call_admin(config, "POST", "/admin/v1/peers/inspect", {"link": link})
    print_descriptor(descriptor)
    if not yes and not typer.confirm("Pair with this company?"):
        raise typer.Exit(1)
    # The parties go along: the other node may name others since the question was shown.
    parties = [*descriptor["operators"], *descriptor["providers"]]
    payload: dict[str, object] = {"link": link, "alias": name, "parties": parties}
    joined = client.call_admin(config, "POST", "/admin/v1/peers/join", payload)["joined"]
    path = f"/admin/v1/peers/{quote(joined, safe='')}/check"
    checks = client.call_admin(config, "POST", path)["checks"]
    print_joined(joined, [parse_result(each) for each in checks])


def print_joined(name: str, results: Sequence[CheckResult]) -> None:
    """Say whether calls succeed in both directions now, or which one fails and what to do; then exit with 1."""
    if all(each.outcome in {Outcome.OK, Outcome.NOTICE} for each in results):
        echo(f"{name} and this node are now peers of each other.")
    else:
        echo(f"{name} and this node know each other now, but not all calls between them succeed:")
    for each in results:
        for line in format_result(each, output_width()):
            echo(line)
    if any(each.outcome is Outcome.FAILED for each in results):
        echo("The pairing stays. After the mend, this tries again: p2p-oicp doctor")
        raise typer.Exit(1)


def accept(
    name: PeerNameArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Agree without being asked.")] = False,
) -> None:
    """Make a node that was found in the local network (mDNS) a peer; or agree to the parties that a peer names now.

    A node that was found has to accept this node as well.
    """
    listing = client.call_admin(config, "GET", "/admin/v1/peers")
    peers = {peer["name"]: peer for peer in listing["peers"]}
    if name in peers:
        accept_parties(config, peers[name], yes=yes)
        return
    candidate = find_candidate(listing["candidates"], name)
    parties = [*candidate["operators"], *candidate["providers"]]
    echo(f"{candidate['name']}, {candidate['url']}, {' '.join(parties)}\n  fingerprint  {candidate['fingerprint']}")
    if not yes and not typer.confirm("Is this the fingerprint that the other company gave you?"):
        raise typer.Exit(1)
    # Both go along: another node may have announced the same name, or this one other parties, since they were shown.
    payload: dict[str, object] = {"fingerprint": candidate["fingerprint"], "parties": parties}
    client.call_admin(config, "POST", f"/admin/v1/peers/{quote(name, safe='')}/accept", payload)
    echo(f"{name} is a peer of this node now.")


def accept_parties(config: Path, peer: dict[str, Any], *, yes: bool) -> None:
    """Agree to the parties that a paired peer names now, after a person has seen them."""
    descriptor = client.call_admin(config, "POST", "/admin/v1/peers/inspect", {"link": peer["url"]})
    known = [*peer["operators"], *peer["providers"]]
    named = [*descriptor["operators"], *descriptor["providers"]]
    added, gone = [each for each in named if each not in known], [each for each in known if each not in named]
    if not added and not gone:
        echo(f"{peer['name']} names the parties that were agreed: {' '.join(known)}")
        return
    echo(f"{peer['name']}, {peer['url']}\n  new        {' '.join(added) or '-'}\n  no longer  {' '.join(gone) or '-'}")
    if not yes and not typer.confirm("Do they belong to this company?"):
        raise typer.Exit(1)
    path = f"/admin/v1/peers/{quote(peer['name'], safe='')}/accept"
    response = client.call_admin(config, "POST", path, {"parties": named})
    echo(f"{peer['name']} is authorized for {' '.join(named)} now.")
    _print_open_sessions(response)


def _print_open_sessions(response: dict[str, Any]) -> None:
    if response.get("open_sessions"):
        echo(f"Sessions that are not over: {', '.join(response['open_sessions'])}", err=True)


def remove(name: PeerNameArgument, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Un-pair: this node removes the peer, and the peer this node. The node has to run."""
    response = client.call_admin(config, "DELETE", f"/admin/v1/peers/{quote(name, safe='')}")
    echo(f"{name} is no longer a peer of this node.")
    if response["peer_error"]:
        echo(f"The other side: {response['peer_error']}", err=True)
    _print_open_sessions(response)


@dataclass(frozen=True, slots=True)
class PeerListing:
    """The peers of a node as JSON objects, and a warning if the list is incomplete."""

    peers: list[dict[str, Any]]
    warning: str = ""


def fetch_peers(config: Path) -> PeerListing:
    """Return the peers and candidates of the running node; those of the peers file, with a warning, if it is down."""
    settings = load_settings(config)
    # Order: before asking the node, so that a mistake in the peers file is reported while the node runs as well.
    registry = load_registry(settings)
    try:
        response = client.call_admin(config, "GET", "/admin/v1/peers")
        candidates = [{**_CANDIDATE_DEFAULTS, **candidate} for candidate in response["candidates"]]
        return PeerListing([*response["peers"], *candidates])
    except PeerUnreachable:
        peers = [peer_to_entry(peer) for peer in registry.all() if not peer.is_self]
        warning = "The node does not run: these are the peers of the peers file, without paired peers and states."
        return PeerListing([_with_trust(peer, settings.security.require) for peer in peers], warning)


def find_candidate(discovered: Sequence[dict[str, Any]], name: str) -> dict[str, Any]:
    """Return a discovered node that is not accepted yet; raise `ConfigurationError` if there is none of that name."""
    candidates = {entry["name"]: entry for entry in discovered}
    if name not in candidates:
        raise ConfigurationError(
            f'"{name}" was not found in the local network; found: {", ".join(candidates) or "none"}'
        )
    return dict(candidates[name])


def print_peers(peers: Sequence[dict[str, Any]], *, utc: bool = False) -> None:
    """Print a table with one row for each peer."""
    rows = [
        (
            peer["name"],
            _format_state(peer),
            Moment(_seconds(peer.get("last_seen"))),
            _parties(peer, "operators"),
            _parties(peer, "providers"),
            peer["url"],
            peer["trust"],
            "all" if peer["services"] is None else " ".join(peer["services"]) or "none",
            _format_problems(peer),
        )
        for peer in peers
    ]
    print_table(_COLUMNS, rows, utc=utc, empty="No peers yet: p2p-oicp peers invite, or peers join.")


def _parties(peer: dict[str, Any], member: str) -> str:
    return " ".join(peer[member]) or ("(all others)" if peer.get("default_route") else "")


def _format_state(peer: dict[str, Any]) -> str:
    if peer.get("held"):
        return "held"
    if peer.get("paused"):
        return "paused"
    if peer.get("problem"):
        return "FAILING"
    if not peer.get("channels"):
        return ""
    return IN_SYNC if format_channels(peer) == IN_SYNC else "behind"


def _format_problems(peer: dict[str, Any]) -> str:
    channels = format_channels(peer) if peer.get("channels") else IN_SYNC
    held = f"{', '.join(peer['held_parties']) or 'its descriptor'}: {peer['held']}" if peer.get("held") else ""
    problem = f"{peer['problem']} (p2p-oicp peers show {shlex.quote(peer['name'])})" if peer.get("problem") else ""
    return "; ".join(filter(None, (held, "" if channels == IN_SYNC else channels, problem)))


def _with_trust(peer: dict[str, Any], require: Sequence[str]) -> dict[str, Any]:
    required = list(require) if peer["security"] is None else peer["security"]
    return peer | {"trust": " and ".join(required) or "INSECURE: not authenticated"}


async def fetch_verified_descriptor(url: str) -> dict[str, Any]:
    """Fetch the descriptor of the node at ``url`` and check its signature; raise PeerError, VerificationError."""
    try:
        base = parse_base_url(url)
    except ValueError as exc:
        raise ConfigurationError(f"URL: {exc}") from exc
    async with HttpTransport(user_agent=f"p2p-oicp/{VERSION}", max_body=_MAX_DESCRIPTOR_BYTES) as transport:
        return descriptor_to_json(await DescriptorFetcher(transport, SystemClock()).fetch(base))


def print_descriptor(descriptor: dict[str, Any]) -> None:
    """Print a descriptor; last the fingerprint, which is compared over another channel, such as telephone."""
    now = time.time()
    keys = [key for key in descriptor["keys"] if key["valid_until"] is None or key["valid_until"] >= now]
    echo(f"{descriptor['name']}, {descriptor['url']} ({descriptor['software']})")
    fields = [
        ("CPO for", " ".join(descriptor["operators"]) or "-"),
        ("EMP for", " ".join(descriptor["providers"]) or "-"),
        ("serves", ", ".join(descriptor["operations"]) or "nothing"),
        ("requires", " and ".join(descriptor["require"]) or "NOTHING: peers are not authenticated"),
        *(("key", f"{key['key_id']}{_format_expiry(key)}") for key in keys),
        ("fingerprint", descriptor["fingerprint"]),
    ]
    print_fields(fields)


def _format_expiry(key: dict[str, Any]) -> str:
    return "" if key["valid_until"] is None else f" until {format_timestamp(key['valid_until'])}"
