"""``p2p-oicp peers publish`` and ``pull``: what a paired peer may see, and how it is pulled; ``pause`` and ``resume``.

All go through the admin API: the running node stores the settings, and acts upon them at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import typer

from p2p_oicp.cli import client
from p2p_oicp.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, echo, format_json, parse_duration
from p2p_oicp.cli.terminal import print_fields
from p2p_oicp.errors import ConfigurationError

# What is before the = of a --include: the key of the peers file.
_KINDS: Mapping[str, str] = {
    "evse": "evse_ids",
    "operator": "operators",
    "station": "stations",
    "product": "products",
    "country": "countries",
}
_SETTINGS = ("name", "publish", "pull", "pull_interval")
_PeerName = Annotated[str, typer.Argument(metavar="NAME", help="Name of a paired peer, as `peers list` shows it.")]
_AnyPeerName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the peer, as `peers list` shows it.")]
_Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Stands in the event log, and in `status`.")]
_RULE_HELP = (
    "evse=DE*ABC*E1 (beginning of EvseIDs, ? is any character), operator=, station=, product= or country=DEU; "
    "can be repeated."
)


def register(group: typer.Typer) -> None:
    """Add the commands to those of ``p2p-oicp peers``."""
    group.command("publish")(publish)
    group.command("pull")(pull)
    group.command("pause")(pause)
    group.command("resume")(resume)


def publish(
    name: _PeerName,
    config: ConfigOption = DEFAULT_CONFIG,
    include: Annotated[list[str], typer.Option(metavar="KIND=VALUE", help=f"Publish only: {_RULE_HELP}")] = [],  # noqa: B006
    exclude: Annotated[list[str], typer.Option(metavar="KIND=VALUE", help=f"Do not publish: {_RULE_HELP}")] = [],  # noqa: B006
    clear: Annotated[bool, typer.Option("--clear", help="Publish everything.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say which part of our EVSE data, statuses, products and prices a paired peer may see; without options, show it.

    The options replace what was set before. What the peer may see no more is withdrawn there at once.
    """
    if clear and (include or exclude):
        raise ConfigurationError("--clear goes without --include and --exclude")
    path = _path(name, "publish")
    if clear:
        settings = client.call_admin(config, "DELETE", path)
    elif include or exclude:
        settings = client.call_admin(config, "POST", path, {"include": _rule(include), "exclude": _rule(exclude)})
    else:
        settings = _shown(config, name)
    _print(settings, as_json=as_json)


def pull(
    name: _PeerName,
    dataset: Annotated[
        str, typer.Argument(metavar="[DATASET]", help="EvseData, EvseStatus, PricingProductData, …; absent: all.")
    ] = "",
    config: ConfigOption = DEFAULT_CONFIG,
    interval: Annotated[str, typer.Option(metavar="TIME", help="Between two pulls: 30s, 5m or 1h; 0: never.")] = "",
    country: Annotated[list[str], typer.Option(metavar="CODE", help="Only EVSEs there: DEU; can be repeated.")] = [],  # noqa: B006
    operator: Annotated[list[str], typer.Option(metavar="ID", help="Only of this operator; can be repeated.")] = [],  # noqa: B006
    clear: Annotated[bool, typer.Option("--clear", help="Forget what was set, for the dataset or for all.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say how often datasets of a paired peer are pulled, and what of them; without options, show it."""
    is_set = bool(interval or country or operator)
    if clear and is_set:
        raise ConfigurationError("--clear goes without other settings")
    if not dataset and (country or operator):
        raise ConfigurationError("--country and --operator: name a dataset, such as EvseData")
    path = _path(name, "pull")
    if clear:
        query = f"?{urlencode({'dataset': dataset})}" if dataset else ""
        settings = client.call_admin(config, "DELETE", path + query)
    elif is_set:
        settings = client.call_admin(config, "POST", path, _pull_settings(dataset, interval, country, operator))
    else:
        settings = _shown(config, name)
    _print(settings, as_json=as_json)


def _path(name: str, what: str) -> str:
    return f"/admin/v1/peers/{quote(name, safe='')}/{what}"


def _shown(config: Path, name: str) -> dict[str, Any]:
    peer = client.call_admin(config, "GET", f"/admin/v1/peers/{quote(name, safe='')}")
    return {key: peer.get(key) for key in _SETTINGS}


def _rule(options: Sequence[str]) -> dict[str, list[str]]:
    rule: dict[str, list[str]] = {}
    for option in options:
        kind, separator, value = option.partition("=")
        if not separator or kind not in _KINDS or not value:
            raise ConfigurationError(f'"{option}": expected one of {", ".join(f"{each}=…" for each in _KINDS)}')
        rule.setdefault(_KINDS[kind], []).append(value)
    return rule


def _pull_settings(dataset: str, interval: str, country: Sequence[str], operator: Sequence[str]) -> dict[str, object]:
    seconds = float(interval) if interval.isdecimal() else parse_duration(interval, "--interval") if interval else None
    if not dataset:
        if seconds == 0:
            raise ConfigurationError("--interval 0: name a dataset; for none at all: --clear")
        return {"pull_interval": seconds}
    return {dataset: {"interval": seconds, "countries": list(country), "operators": list(operator)}}


def _print(settings: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        echo(format_json(settings))
        return
    echo(settings["name"])
    rules = [(f"publish: {name}", _format_rule(rule)) for name, rule in (settings["publish"] or {}).items() if rule]
    print_fields(rules or [("publish", "everything")])
    intervals = [] if settings["pull_interval"] is None else [("pull", f"every {settings['pull_interval']:g} s")]
    pulls = [(f"pull: {name}", _format_pull(each)) for name, each in (settings["pull"] or {}).items()]
    print_fields([*intervals, *pulls] or [("pull", "not pulled")])


def _format_rule(rule: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{key.replace('_', ' ')} {', '.join(values)}" for key, values in rule.items())


def _format_pull(settings: Mapping[str, Any]) -> str:
    seconds = settings["interval"]
    interval = "as often as all" if seconds is None else "never" if seconds == 0 else f"every {seconds:g} s"
    filters = [f"{key} {', '.join(settings[key])}" for key in ("countries", "operators") if settings[key]]
    return "; ".join([interval, *filters])


def pause(
    name: _AnyPeerName, reason: _Reason = "", config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False
) -> None:
    """Let deliveries to a peer wait: charge detail records, notifications, EVSE data, statuses, prices.

    Nothing is lost, also not over restarts. What a driver waits for (authorizations, remote starts and stops) goes on
    in both directions, and what the peer sends is taken.
    """
    answer = _call(name, "pause", reason, config)
    if as_json:
        echo(format_json(answer))
        return
    echo(f"Deliveries to {name} are paused since {answer['since']}. To go on: p2p-oicp peers resume {name}")


def resume(
    name: _AnyPeerName, reason: _Reason = "", config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False
) -> None:
    """Go on with deliveries to a peer: what has waited is sent now, in its order."""
    answer = _call(name, "resume", reason, config)
    if as_json:
        echo(format_json(answer))
        return
    is_changed = answer["was_paused"]
    echo(f"Deliveries to {name} go on." if is_changed else f"Deliveries to {name} were not paused.")


def _call(name: str, action: str, reason: str, config: Path) -> dict[str, Any]:
    path = f"/admin/v1/peers/{quote(name, safe='')}/{action}"
    return dict(client.call_admin(config, "POST", path, {"reason": reason}))
