"""``p2p-oicp doctor``: tries everything that has to work, and says of what fails what to do.

The running node tries its connections (``POST /admin/v1/doctor``); the files of this machine, ports, versions and file
descriptors are looked at here. `status` says what the last real tries have shown; this makes new ones.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from p2p_oicp.cli import client
from p2p_oicp.cli.common import DEFAULT_CONFIG, ConfigOption, Console, JsonOption, echo, format_json
from p2p_oicp.cli.progress import show_progress
from p2p_oicp.cli.terminal import output_width, wrap
from p2p_oicp.config import Settings, exposed_files, load_registry, load_settings
from p2p_oicp.crypto.keystore import read_own_keys
from p2p_oicp.delivery.connection_checks import CheckResult, Outcome
from p2p_oicp.delivery.health_texts import Condition, explain
from p2p_oicp.errors import ConfigurationError, PeerUnreachable
from p2p_oicp.version import VERSION

_NODE = "this node"
# Many peers that do not answer take some seconds each.
_TIMEOUT_SECONDS = 300.0
_MARKS = {Outcome.OK: "ok  ", Outcome.FAILED: "FAIL", Outcome.NOTICE: "note", Outcome.SKIPPED: "skip"}
_STYLES = {Outcome.FAILED: "red", Outcome.NOTICE: "yellow"}
_REASON_LENGTH = 300


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(config: ConfigOption = DEFAULT_CONFIG, as_json: JsonOption = False) -> None:
    """Try everything that has to work: peers in both directions, TLS, clocks, proxies, backends, files, ports.

    The exit code is 1 if a check fails. Each peer gets a signed hello, calls back, and gets a body of 900 kB that it
    discards; no message of OICP is sent to anybody.
    """
    settings = load_settings(config)
    with show_progress("Trying all connections", total=None, unit="checks"):
        results, process = ask_node(config, settings)
    results = [*check_machine(config, settings, process), *results]
    failed = sum(each.outcome is Outcome.FAILED for each in results)
    if as_json:
        checks = [each.to_json() for each in results]
        echo(format_json({"ok": not failed, "checks": checks, "process": process}))
    else:
        print_results(results)
    raise typer.Exit(int(failed > 0))


def ask_node(config: Path, settings: Settings) -> tuple[list[CheckResult], dict[str, Any]]:
    """Return what the running node has tried, and of its process; without one, why it does not start."""
    try:
        answer = client.call_admin(config, "POST", "/admin/v1/doctor", timeout=_TIMEOUT_SECONDS)
    except PeerUnreachable as error:
        text, _ = explain(Condition.NODE_DOWN, settings.node.name)
        cure = f"Start it: p2p-oicp run --config {config}"
        return [_failed("node", text, cure, error.reason), *check_start(settings)], {}
    except client.AdminRequestRejected as error:
        return [
            _failed("node", "The node refuses to be examined.", "Compare its version and its token.", str(error))
        ], {}
    return [parse_result(each) for each in answer["checks"]], answer["process"]


def parse_result(members: dict[str, str]) -> CheckResult:
    """Return a result that the node has sent as JSON."""
    return CheckResult(**{**members, "outcome": Outcome(members["outcome"])})  # type: ignore[arg-type] # all are texts


def check_start(settings: Settings) -> Iterator[CheckResult]:
    """Look for what keeps a node from starting: the peers file, the keys, ports that are taken."""
    try:
        load_registry(settings)
        if settings.security.require:
            read_own_keys(settings.security.keys)
    except ConfigurationError as error:
        yield _failed(
            "settings", "The node cannot start with these files.", "Correct what the reason names.", str(error)
        )
    for section, api in (("peer_api", settings.peer_api), ("backend_api", settings.backend_api)):
        if (reason := asyncio.run(_reason_not_to_listen(api.host, api.port))) is not None:
            text = f"[{section}] {api.host}:{api.port} cannot be listened on."
            cure = f"End the program that uses port {api.port}, or choose another port or host in [{section}]."
            yield _failed("ports", text, cure, reason)


async def _reason_not_to_listen(host: str, port: int) -> str | None:
    try:
        server = await asyncio.start_server(lambda _reader, writer: writer.close(), host, port)
    except OSError as error:
        return error.strerror or str(error)
    server.close()
    return None


def check_machine(config: Path, settings: Settings, process: dict[str, Any]) -> Iterator[CheckResult]:
    """Look at files and their modes, versions and file descriptors."""
    yield _check_modes(config, settings)
    if process:
        yield _check_version(process)
        yield _check_file_descriptors(settings, process)


def _check_modes(config: Path, settings: Settings) -> CheckResult:
    exposed = exposed_files(config, settings)
    if not exposed:
        return _ok("files", "Keys, token, data and settings are readable by this user only.")
    names = [str(file) for file in exposed]
    text = f"Other users of this machine may read {', '.join(names)}."
    return _failed("files", text, f"chmod go-rwx {shlex.join(names)}")


def _check_version(process: dict[str, Any]) -> CheckResult:
    text = f"p2p-oicp {process['version']}, Python {process['python']}, {process['openssl']}."
    if process["version"] == VERSION:
        return _ok("versions", text)
    text = f"The node runs version {process['version']}, and this command is {VERSION}."
    return CheckResult(check="versions", name=_NODE, outcome=Outcome.NOTICE, text=text, cure="Restart the node.")


def _check_file_descriptors(settings: Settings, process: dict[str, Any]) -> CheckResult:
    allowed, opened, configured = process["max_open_files"], process["open_files"], settings.limits.connections
    text = f"{opened if opened is not None else '?'} files are open, {allowed or 'any number'} may be."
    if process["connections"] >= configured:
        return _ok("file descriptors", text)
    return CheckResult(
        check="file descriptors",
        name=_NODE,
        outcome=Outcome.NOTICE,
        text=f"{text} So the node takes {process['connections']} connections instead of {configured}.",
        cure="Raise the limit of open files (LimitNOFILE of systemd, ulimit -n), and restart the node.",
    )


def print_results(results: Sequence[CheckResult]) -> None:
    """Print each check in a line or two; what failed with its cure and its reason."""
    console = Console(highlight=False)
    for each in results:
        for number, line in enumerate(format_result(each, output_width())):
            style = _STYLES.get(each.outcome) if number == 0 else None
            console.print(line, style=style, markup=False, soft_wrap=True)
    failed = sum(each.outcome is Outcome.FAILED for each in results)
    summary = f"{failed} of {len(results)} checks failed" if failed else f"{len(results)} checks, none failed"
    console.print(f"\n{summary}", style="bold red" if failed else "bold", markup=False, soft_wrap=True)


def format_result(result: CheckResult, width: int | None) -> Iterator[str]:
    """Return a check in lines of at most ``width`` columns; None: as long as they are."""
    yield from wrap(f"{result.name}, {result.check}: {result.text}", width, f"{_MARKS[result.outcome]}  ", " " * 6)
    if result.cure:
        yield from wrap(f"To do: {result.cure}", width, " " * 6, " " * 8)
    if result.error:
        yield from wrap(f"Reason: {result.error[:_REASON_LENGTH]}", width, " " * 6, " " * 8)


def _ok(check: str, text: str) -> CheckResult:
    return CheckResult(check=check, name=_NODE, outcome=Outcome.OK, text=text)


def _failed(check: str, text: str, cure: str, error: str = "") -> CheckResult:
    return CheckResult(check=check, name=_NODE, outcome=Outcome.FAILED, text=text, cure=cure, error=error)
