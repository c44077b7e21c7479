"""``p2p-oicp demo`` and ``p2p-oicp scenarios``: the simulator's nodes and backends, from the command line."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated

import typer

from p2p_oicp.cli.client import ApiClient, ApiEndpoint
from p2p_oicp.cli.common import Console, JsonOption, echo, format_json
from p2p_oicp.cli.progress import show_progress
from p2p_oicp.cli.terminal import print_text
from p2p_oicp.config.toml import unknown_key_message
from p2p_oicp.errors import ConfigurationError, PeerError, PeerUnreachable
from p2p_oicp.peers.models import parse_base_url, parse_operator_id, parse_provider_id
from p2p_oicp.simulator.demo import JsonTimeline, RichTimeline, run_demo
from p2p_oicp.simulator.demo.world import DemoContext
from p2p_oicp.simulator.scenarios import SCENARIOS, Endpoints, ScenarioResult, run_scenarios

_PORT_HELP = "Loopback port where this command is that backend: the endpoint under test must call it there."
# Rich takes a pipe or a log for 80 columns, which cut the results short.
_NON_TTY_WIDTH = 120
_CONNECT_SECONDS = 10.0


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("demo")(demo)
    app.command("scenarios")(scenarios)


def demo(
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines, for programs.")] = False,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep the nodes' files and logs in this new or empty folder.")
    ] = None,
    leave_open: Annotated[
        bool, typer.Option("--open", help="Leave both nodes running afterwards, to look at their dashboards.")
    ] = False,
) -> None:
    """Play a complete roaming day between two nodes on this machine. Exit code 1: a check failed."""
    # As Ctrl-C: a SIGTERM, too, has to stop the nodes before this process ends.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="p2p-oicp-demo-") as directory:
            passed = _play_demo(Path(directory), as_json=as_json, leave_open=leave_open)
    else:
        if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
            raise ConfigurationError(f"--keep {keep}: is not an empty folder; choose another")
        passed = _play_demo(keep.absolute(), as_json=as_json, leave_open=leave_open)
        echo(f"The nodes' files and logs are in {keep}", err=True)
    raise typer.Exit(0 if passed else 1)


def scenarios(
    cpo: Annotated[str, typer.Option(metavar="BASE", help="Base URL that plays the clearing house for a CPO.")],
    emp: Annotated[str, typer.Option(metavar="BASE", help="Base URL that plays the clearing house for an EMP.")],
    operator: Annotated[str, typer.Option(metavar="ID", help="OperatorID of the simulated CPO.")],
    provider: Annotated[str, typer.Option(metavar="ID", help="ProviderID of the simulated EMP.")],
    cpo_port: Annotated[int, typer.Option(help=f"The CSMS: {_PORT_HELP}")] = 8351,
    emp_port: Annotated[int, typer.Option(help=f"The contract system: {_PORT_HELP}")] = 8352,
    cpo_token: Annotated[str | None, typer.Option(metavar="TOKEN", help="Bearer token of the CPO's endpoint.")] = None,
    emp_token: Annotated[str | None, typer.Option(metavar="TOKEN", help="Bearer token of the EMP's endpoint.")] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Play this one; can be repeated.")] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="How long something may take from one to the other.")
    ] = 20.0,
    late: Annotated[
        float, typer.Option(min=0.1, max=110.0, metavar="SECONDS", help="When the CSMS answers that answers too late.")
    ] = 52.0,
    replace: Annotated[
        bool, typer.Option("--replace", help="REPLACE the operator's EVSE data, whatever it has, in one sequence.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Play the classic onboarding sequences against any two OICP endpoints, and print PASS or FAIL with the reason.

    The command itself is both backends: it publishes EVSEs and prices of its own and deletes them, swipes cards, starts
    remotely and settles; sessions and CDRs stay. The exit code is 0 if none failed.
    """
    try:
        endpoints = Endpoints(
            parse_base_url(cpo),
            parse_base_url(emp),
            parse_operator_id(operator),
            parse_provider_id(provider),
            cpo_port,
            emp_port,
            timeout,
            late,
            replace,
        )
    except ValueError as exc:
        raise ConfigurationError(str(exc)) from exc
    names = only or ()
    _check_scenario_names(names)
    asyncio.run(_check_reachable({"--cpo": endpoints.cpo, "--emp": endpoints.emp}))
    results = asyncio.run(_collect_results(endpoints, names, (cpo_token, emp_token), print_each=not as_json))
    failed = [result for result in results if result.reason]
    if as_json:
        echo(format_json(results))
    else:
        skipped = [result for result in results if result.skipped]
        passed = f"{len(results) - len(failed) - len(skipped)} of {len(results)} passed"
        echo(f"{passed}, {len(skipped)} skipped" if skipped else passed)
    raise typer.Exit(int(bool(failed)))


def _play_demo(directory: Path, *, as_json: bool, leave_open: bool) -> bool:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _NON_TTY_WIDTH)
    timeline = JsonTimeline(sys.stdout) if as_json else RichTimeline(console)
    return asyncio.run(run_demo(directory, timeline, afterwards=_wait_for_interrupt if leave_open else None)).held


async def _wait_for_interrupt(context: DemoContext) -> None:
    # The day ends with both nodes stopped.
    for node in (context.node_a, context.node_b):
        await node.start()
        echo(f"The dashboard of {node.spec.name}: {node.backend_url}/ui", err=True)
    echo("Ctrl-C stops both nodes.", err=True)
    await asyncio.Event().wait()


async def _check_reachable(urls: Mapping[str, str]) -> None:
    """Connect to each endpoint once, so that one that is not there is reported once, and no sequence fails."""
    for option, url in urls.items():
        try:
            async with ApiClient(ApiEndpoint(url), timeout=_CONNECT_SECONDS) as client:
                await client.request("GET", url)
        except PeerUnreachable as error:
            raise ConfigurationError(
                f"{option} {url}: nobody is there ({error.reason}); start it, or give another address"
            ) from error
        except PeerError:
            continue  # there is somebody


def _check_scenario_names(names: Collection[str]) -> None:
    for name in names:
        if name not in SCENARIOS:
            suggestion = unknown_key_message(name, list(SCENARIOS)).removeprefix("unknown key; ")
            raise ConfigurationError(f'--only "{name}": no such sequence; {suggestion}')


async def _collect_results(
    endpoints: Endpoints, names: Collection[str], tokens: tuple[str | None, str | None], *, print_each: bool
) -> list[ScenarioResult]:
    results = []
    with show_progress("Playing", total=len(names or SCENARIOS), unit="sequences") as advance:
        async for result in run_scenarios(endpoints, names=names, cpo_token=tokens[0], emp_token=tokens[1]):
            results.append(result)
            advance(1)
            if print_each:
                verdict = "FAIL" if result.reason else "SKIP" if result.skipped else "PASS"
                reason = f": {result.reason or result.skipped}" if verdict != "PASS" else ""
                print_text(f"{result.name} ({result.seconds:.1f} s){reason}", f"{verdict}  ")
    return results
