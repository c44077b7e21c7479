"""``p2p-oicp scenarios``."""

from __future__ import annotations

from typing import Annotated

import typer

_PORT = "Loopback port where we are this backend: the endpoint under test must call it there."


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("scenarios")(scenarios)


def scenarios(
    cpo: Annotated[str, typer.Option(metavar="BASE", help="Base URL that plays the clearing house for a CPO.")],
    emp: Annotated[str, typer.Option(metavar="BASE", help="Base URL that plays the clearing house for an EMP.")],
    operator: Annotated[str, typer.Option(metavar="ID", help="OperatorID that we are for the first one.")],
    provider: Annotated[str, typer.Option(metavar="ID", help="ProviderID that we are for the second one.")],
    cpo_port: Annotated[int, typer.Option(help=f"The CSMS: {_PORT}")] = 8351,
    emp_port: Annotated[int, typer.Option(help=f"The contract system: {_PORT}")] = 8352,
    cpo_token: Annotated[str | None, typer.Option(metavar="TOKEN", help="Bearer token of the first one.")] = None,
    emp_token: Annotated[str | None, typer.Option(metavar="TOKEN", help="Bearer token of the second one.")] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Play this one; may be given again.")] = None,
    patience: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="How long something may take from one to the other.")
    ] = 20.0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON list, for programs.")] = False,
) -> None:
    """Play the classic onboarding sequences against any two OICP endpoints, and print PASS or FAIL with the reason.

    The command itself is both backends: it publishes EVSE data (which REPLACES the operator's), swipes cards, starts
    remotely and settles. The exit code is 0 if all passed.
    """
    from p2p_oicp.cli import scenario_report
    from p2p_oicp.cli.scenario_report import Wanted

    wanted = Wanted(cpo, emp, operator, provider, cpo_port, emp_port, patience)
    raise typer.Exit(scenario_report.run(wanted, names=only or (), tokens=(cpo_token, emp_token), as_json=as_json))
