"""What ``p2p-oicp scenarios`` prints."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import asdict, dataclass

import orjson
import typer

from p2p_oicp.errors import ConfigurationError
from p2p_oicp.peers.fields import base_url, operator_id, provider_id
from p2p_oicp.simulator.scenarios import Endpoints, Outcome, play
from p2p_oicp.simulator.scenarios.play import SCENARIOS
from p2p_oicp.toml_file import unknown_key


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options as they were given."""

    cpo: str
    emp: str
    operator: str
    provider: str
    cpo_port: int
    emp_port: int
    patience: float

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
                self.patience,
            )
        except ValueError as error:
            raise ConfigurationError(str(error)) from error


def run(wanted: Wanted, *, names: Collection[str], tokens: tuple[str | None, str | None], as_json: bool) -> int:
    """Play, and print each outcome at once; return the exit code."""
    for name in names:
        if name not in SCENARIOS:
            complaint = unknown_key(name, list(SCENARIOS)).removeprefix("unknown key; ")
            raise ConfigurationError(f'--only "{name}": no such sequence; {complaint}')
    outcomes = asyncio.run(_play(wanted.endpoints(), names, tokens, shown=not as_json))
    failed = [outcome for outcome in outcomes if outcome.reason]
    if as_json:
        typer.echo(orjson.dumps([asdict(outcome) for outcome in outcomes], option=orjson.OPT_INDENT_2).decode())
    else:
        typer.echo(f"{len(outcomes) - len(failed)} of {len(outcomes)} passed")
    return int(bool(failed))


async def _play(
    ends: Endpoints, names: Collection[str], tokens: tuple[str | None, str | None], *, shown: bool
) -> list[Outcome]:
    outcomes = []
    async for outcome in play(ends, names=names, cpo_token=tokens[0], emp_token=tokens[1]):
        outcomes.append(outcome)
        if shown:
            verdict = "FAIL" if outcome.reason else "PASS"
            reason = f": {outcome.reason}" if outcome.reason else ""
            typer.echo(f"{verdict}  {outcome.name} ({outcome.seconds:.1f} s){reason}")
    return outcomes
