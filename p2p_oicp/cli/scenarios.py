"""What ``p2p-oicp scenarios`` prints.

``p2p-oicp scenarios``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Annotated

import orjson
import typer

from p2p_oicp.config.toml import unknown_key_message
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.peers.models import base_url, operator_id, provider_id
from p2p_oicp.simulator.scenarios import Endpoints, ScenarioResult, run_scenarios
from p2p_oicp.simulator.scenarios.runner import SCENARIOS


@dataclass(frozen=True, slots=True)
class ScenarioOptions:
    """The options as they were given."""

    cpo: str
    emp: str
    operator: str
    provider: str
    cpo_port: int
    emp_port: int
    timeout: float

    def endpoints(self) -> Endpoints:
        """Return what they mean; raise `ConfigurationError`."""
        try:
            return Endpoints(
                base_url(self.cpo),
                base_url(self.emp),
                operator_id(self.operator),
                provider_id(self.provider),
                self.cpo_port,
                self.emp_port,
                self.timeout,
            )
        except ValueError as error:
            raise ConfigurationError(str(error)) from error


def run_and_report(
    options: ScenarioOptions, *, names: Collection[str], tokens: tuple[str | None, str | None], as_json: bool
) -> int:
    """Play, and print each outcome at once; return the exit code."""
    for name in names:
        if name not in SCENARIOS:
            suggestion = unknown_key_message(name, list(SCENARIOS)).removeprefix("unknown key; ")
            raise ConfigurationError(f'--only "{name}": no such sequence; {suggestion}')
    results = asyncio.run(_collect_results(options.endpoints(), names, tokens, print_each=not as_json))
    failed = [result for result in results if result.reason]
    if as_json:
        typer.echo(orjson.dumps([asdict(result) for result in results], option=orjson.OPT_INDENT_2).decode())
    else:
        typer.echo(f"{len(results) - len(failed)} of {len(results)} passed")
    return int(bool(failed))


async def _collect_results(
    endpoints: Endpoints, names: Collection[str], tokens: tuple[str | None, str | None], *, print_each: bool
) -> list[ScenarioResult]:
    results = []
    async for result in run_scenarios(endpoints, names=names, cpo_token=tokens[0], emp_token=tokens[1]):
        results.append(result)
        if print_each:
            verdict = "FAIL" if result.reason else "PASS"
            reason = f": {result.reason}" if result.reason else ""
            typer.echo(f"{verdict}  {result.name} ({result.seconds:.1f} s){reason}")
    return results


_PORT_HELP = "Loopback port where we are this backend: the endpoint under test must call it there."


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("scenarios")(scenarios)


def scenarios(
    cpo: Annotated[str, typer.Option(metavar="BASE", help="Base URL that plays the clearing house for a CPO.")],
    emp: Annotated[str, typer.Option(metavar="BASE", help="Base URL that plays the clearing house for an EMP.")],
    operator: Annotated[str, typer.Option(metavar="ID", help="OperatorID that we are for the first one.")],
    provider: Annotated[str, typer.Option(metavar="ID", help="ProviderID that we are for the second one.")],
    cpo_port: Annotated[int, typer.Option(help=f"The CSMS: {_PORT_HELP}")] = 8351,
    emp_port: Annotated[int, typer.Option(help=f"The contract system: {_PORT_HELP}")] = 8352,
    cpo_token: Annotated[str | None, typer.Option(metavar="TOKEN", help="Bearer token of the first one.")] = None,
    emp_token: Annotated[str | None, typer.Option(metavar="TOKEN", help="Bearer token of the second one.")] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Play this one; may be given again.")] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="How long something may take from one to the other.")
    ] = 20.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list, for programs.")] = False,
) -> None:
    """Play the classic onboarding sequences against any two OICP endpoints, and print PASS or FAIL with the reason.

    The command itself is both backends: it publishes EVSE data (which REPLACES the operator's), swipes cards, starts
    remotely and settles. The exit code is 0 if all passed.
    """
    # import of own module
    # import of own module

    options = ScenarioOptions(cpo, emp, operator, provider, cpo_port, emp_port, timeout)
    raise typer.Exit(run_and_report(options, names=only or (), tokens=(cpo_token, emp_token), as_json=as_json))
