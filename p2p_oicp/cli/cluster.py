"""``p2p-oicp cluster``: several real nodes on this machine, paired, with simulated backends or with your own."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
import orjson
import typer
from pydantic import SecretStr

from p2p_oicp.cli.client import ApiClient, ApiEndpoint
from p2p_oicp.cli.common import JsonOption, echo, format_json
from p2p_oicp.cli.terminal import Column, print_table
from p2p_oicp.errors import ConfigurationError, PeerUnreachable
from p2p_oicp.peers.models import parse_base_url
from p2p_oicp.simulator import Cluster, NodeSpec
from p2p_oicp.simulator.backend_connection import BackendAddress
from p2p_oicp.simulator.day import ChargedSession, DayResult, SimulatedBackends
from p2p_oicp.simulator.local_cluster import (
    MAX_NODES_OF_A_ROLE,
    STATE_FILE,
    ClusterControl,
    NodeStatus,
    Secure,
    node_name,
    operator_id,
    party_of,
    plan_nodes,
    provider_id,
    read_state,
)
from p2p_oicp.simulator.node_files import LOOPBACK, TOKEN_FILE

_EXIT_INTERRUPTED = 130
_TIMEOUT_SECONDS = 100.0
# For each start and stop; a busy machine starts 40 nodes in a minute.
_NODE_TIMEOUT_SECONDS = 90.0
_MAX_PORT = 65_535

DirOption = Annotated[Path, typer.Option("--dir", metavar="DIR", help="Folder of the cluster.")]
_DEFAULT_DIR = Path("oicp-cluster")
NodeArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the node, such as cpo-1.")]
_COLUMNS = (Column("Node"), Column("Party"), Column("State"), Column("Backend API"), Column("Peer API", 2),
            Column("Backend", 3), Column("PID", 4))  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Several nodes on this machine, paired with each other, for tests.")
    group.command("up")(up)
    group.command("status")(status)
    group.command("kill")(kill)
    group.command("restart")(restart)
    group.command("simulate")(simulate)
    app.add_typer(group, name="cluster")


def up(
    cpo: Annotated[int, typer.Option(min=0, max=MAX_NODES_OF_A_ROLE, help="How many CPO nodes.")] = 2,
    emp: Annotated[int, typer.Option(min=0, max=MAX_NODES_OF_A_ROLE, help="How many EMP nodes.")] = 3,
    secure: Annotated[Secure, typer.Option(help="How the nodes prove to each other who they are.")] = Secure.NONE,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Simulated backends live a day: drivers charge with cards and apps.")
    ] = False,
    day: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="How long the simulated day lasts.")] = 120.0,
    seed: Annotated[int, typer.Option(help="Of the day: with the same seed the same happens.")] = 1,
    backend: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=URL", help="A backend of yours for a node, as cpo-1=http://…; can be repeated."),
    ] = None,
    directory: DirOption = _DEFAULT_DIR,
    port: Annotated[
        int | None, typer.Option(min=1024, metavar="PORT", help="First of two ports a node; otherwise free ones.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run several nodes, paired with each other, until Ctrl-C, which stops all of them.

    Each is a process of its own, with its files, log and ports. A folder of an earlier cluster is used again, with the
    data in it. Without --simulate and --backend a node has no backend: be it yourself (p2p-oicp send).
    """
    if cpo + emp == 0:
        raise ConfigurationError("--cpo 0 --emp 0: expected at least one node")
    options = _Options(
        folder=_usable_folder(directory),
        cpo=cpo,
        emp=emp,
        secure=secure,
        backends=_parse_backends(backend or ()),
        ports=_parse_ports(port, 2 * (cpo + emp)),
        day=day if simulate else None,
        seed=seed,
        as_json=as_json,
    )
    raise typer.Exit(asyncio.run(_run(options)))


def status(directory: DirOption = _DEFAULT_DIR, as_json: JsonOption = False) -> None:
    """Show the nodes of a running cluster: ports, parties, who is down. Exit code 1: a node does not run."""
    nodes = [NodeStatus(**each) for each in _call(directory, "GET", "/nodes")["nodes"]]
    if as_json:
        echo(format_json(nodes))
    else:
        _print_nodes(nodes)
    raise typer.Exit(0 if all(node.is_running for node in nodes) else 1)


def kill(name: NodeArgument, directory: DirOption = _DEFAULT_DIR) -> None:
    """End a node as a crash would (SIGKILL)."""
    _call(directory, "POST", f"/nodes/{quote(name, safe='')}/kill")
    echo(f"{name} is killed; start it again: p2p-oicp cluster restart {name} --dir {directory}")


def restart(name: NodeArgument, directory: DirOption = _DEFAULT_DIR) -> None:
    """Stop a node in order, if it runs, and start it again on the same files and ports."""
    _call(directory, "POST", f"/nodes/{quote(name, safe='')}/restart")
    echo(f"{name} runs")


def simulate(
    node: Annotated[
        list[str], typer.Option(metavar="NAME=URL", help="A node and its backend API, as cpo-1=http://…; repeat it.")
    ],
    port: Annotated[int, typer.Option(min=1024, max=_MAX_PORT, help="Port of the first one's backend; one more each.")],
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on, for the nodes.")] = LOOPBACK,
    token: Annotated[str | None, typer.Option(metavar="TOKEN", help="Bearer token of the backend APIs.")] = None,
    day: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="How long the simulated day lasts.")] = 120.0,
    seed: Annotated[int, typer.Option(help="Of the day: with the same seed the same happens.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Be the backends of nodes that run elsewhere, such as in containers, for one simulated day.

    A node's name says its party: cpo-1 is DE*C01, emp-1 is DE-M01. The exit code is 1 if a CDR is missing, or there
    twice, at the end.
    """
    urls = _parse_backends(node, "--node")
    parties = {name: party_of(name) for name in urls}
    cpos, emps = ({name: party for name, (role, party) in parties.items() if role == side} for side in ("cpo", "emp"))
    addresses = {name: BackendAddress(host, port + index, token) for index, name in enumerate(urls)}
    backends = SimulatedBackends(cpos, emps, seed=seed, addresses=addresses)
    # As Ctrl-C: the end of a container is a SIGTERM.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    result = asyncio.run(_simulate(backends, urls, day, as_json=as_json))
    raise typer.Exit(1 if result.missing else 0)


async def _simulate(backends: SimulatedBackends, nodes: dict[str, str], day: float, *, as_json: bool) -> DayResult:
    async with backends:
        backends.connect(nodes)
        for name, url in backends.urls.items():
            echo(f"{name}: its backend listens at {url}", err=True)
        return await _live(backends, day, as_json=as_json)


async def _live(backends: SimulatedBackends, day: float, *, as_json: bool) -> DayResult:
    result = await backends.live(day, _session_printer(as_json=as_json))
    _print_result(result, as_json=as_json)
    return result


@dataclass(frozen=True, slots=True)
class _Options:
    """What a cluster will be; ``day`` is None if nothing is simulated."""

    folder: Path
    cpo: int
    emp: int
    secure: Secure
    backends: dict[str, str]
    ports: Sequence[int] | None
    day: float | None
    seed: int
    as_json: bool


async def _run(options: _Options) -> int:
    """Run the cluster until a signal comes, and return the exit code."""
    serving = asyncio.ensure_future(_serve(options))
    received: list[int] = []

    def interrupt(number: int) -> None:
        received.append(number)
        serving.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, interrupt, number)
    with suppress(asyncio.CancelledError):
        await serving
    return _EXIT_INTERRUPTED if received[:1] == [signal.SIGINT] else 0


async def _serve(options: _Options) -> None:
    """Start all, say where it is, and stop all in order when the task is cancelled."""
    async with AsyncExitStack() as stack:
        echo(f"Starting {options.cpo + options.emp} nodes.", err=True)
        simulated = await stack.enter_async_context(_simulated_backends(options))
        urls = {**simulated.urls, **options.backends}
        specs = plan_nodes(options.cpo, options.emp, secure=options.secure, backends=urls)
        cluster = await stack.enter_async_context(_cluster(options, specs))
        simulated.connect({name: node.backend_url for name, node in cluster.nodes.items()})
        backends = {**dict.fromkeys(simulated.urls, "simulated"), **options.backends}
        control = await stack.enter_async_context(ClusterControl(cluster, options.folder, backends))
        _print_start(options, control)
        with suppress(asyncio.CancelledError):
            if options.day is not None:
                await _live(simulated, options.day, as_json=options.as_json)
                if not options.as_json:
                    echo("The nodes go on until Ctrl-C.")
            await asyncio.Event().wait()
        if (task := asyncio.current_task()) is not None:
            task.uncancel()  # the nodes are stopped in order; a second signal kills them


def _cluster(options: _Options, specs: Sequence[NodeSpec]) -> Cluster:
    return Cluster(options.folder, specs, ports=options.ports, timeout=_NODE_TIMEOUT_SECONDS)


def _simulated_backends(options: _Options) -> SimulatedBackends:
    numbers = range(1, MAX_NODES_OF_A_ROLE + 1) if options.day is not None else ()
    cpos = {node_name("cpo", number): operator_id(number) for number in numbers if number <= options.cpo}
    emps = {node_name("emp", number): provider_id(number) for number in numbers if number <= options.emp}
    without = [{name: party for name, party in all_.items() if name not in options.backends} for all_ in (cpos, emps)]
    return SimulatedBackends(*without, seed=options.seed)


def _usable_folder(directory: Path) -> Path:
    """Return the folder, made; raise `ConfigurationError` if a cluster runs in it, or if it is somebody else's."""
    folder = directory.absolute()
    if (folder / STATE_FILE).exists() and _answers(folder):
        raise ConfigurationError(f"--dir {directory}: a cluster runs in this folder; end it, or choose another folder")
    entries = list(folder.iterdir()) if folder.is_dir() else []
    if (folder.exists() and not folder.is_dir()) or (entries and not list(folder.glob("*/node.toml"))):
        raise ConfigurationError(f"--dir {directory}: is neither empty nor the folder of a cluster; choose another")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _answers(directory: Path) -> bool:
    """Whether a cluster runs in a folder: the process id of one that was killed may be another program's by now."""
    try:
        _call(directory, "GET", "/nodes")
    except (ConfigurationError, ValueError, LookupError):
        return False
    return True


def _parse_backends(options: Sequence[str], option_name: str = "--backend") -> dict[str, str]:
    backends = {}
    for option in options:
        name, _, url = option.partition("=")
        try:
            backends[name] = parse_base_url(url)
        except ValueError as exc:
            example = "cpo-1=http://127.0.0.1:9000"
            raise ConfigurationError(f"{option_name} {option}: expected one such as {example}") from exc
    return backends


def _parse_ports(first: int | None, count: int) -> Sequence[int] | None:
    if first is None:
        return None
    if first + count - 1 > _MAX_PORT:
        raise ConfigurationError(f"--port {first}: {count} ports are needed from there on; choose a lower one")
    return range(first, first + count)


def _call(directory: Path, method: str, path: str) -> dict[str, Any]:
    """Send a request to the program that runs the cluster of a folder, and return its answer."""
    state = read_state(directory)
    endpoint = ApiEndpoint(state.url, SecretStr(state.token))
    return asyncio.run(_request(endpoint, method, path, directory))


async def _request(endpoint: ApiEndpoint, method: str, path: str, directory: Path) -> dict[str, Any]:
    try:
        async with ApiClient(endpoint, timeout=_TIMEOUT_SECONDS) as client:
            response = await client.request(method, endpoint.url + path)
    except PeerUnreachable as exc:
        raise ConfigurationError(
            f"{directory}: its cluster does not run any more (it did not end in order); start it again: "
            f"p2p-oicp cluster up --dir {directory}"
        ) from exc
    content: dict[str, Any] = orjson.loads(response.body)
    if not response.is_success:
        raise ConfigurationError(content["problem"])
    return content


def _print_start(options: _Options, control: ClusterControl) -> None:
    if options.as_json:
        _print_line("cluster", directory=str(options.folder), nodes=[asdict(node) for node in control.statuses()])
        return
    nodes = control.statuses()
    _print_nodes(nodes)
    echo(f"Each has a dashboard, such as {nodes[0].backend_url}/ui; the token is in {nodes[0].directory}/{TOKEN_FILE}.")
    echo(f"Files and logs are in {options.folder}. Ctrl-C stops all nodes.")


def _print_nodes(nodes: Sequence[NodeStatus]) -> None:
    print_table(
        _COLUMNS,
        [
            [node.name, node.party, "runs" if node.is_running else "down", node.backend_url, node.peer_url,
             node.backend, str(node.pid or "")]
            for node in nodes
        ],
    )  # fmt: skip


def _session_printer(*, as_json: bool) -> Callable[[ChargedSession], None]:
    def print_session(session: ChargedSession) -> None:
        if as_json:
            _print_line("session", **asdict(session))
        else:
            echo(f"{session.at:%H:%M}  {session.evse_id}  {session.how} of {session.provider}  {session.energy:>6} kWh")

    return print_session


def _print_result(result: DayResult, *, as_json: bool) -> None:
    if as_json:
        counts = {"sessions": len(result.sessions), "refused": result.refused, "failed": result.failed}
        _print_line("day", **counts, energy=result.energy, missing=result.missing)
        return
    echo(f"The day is over: {len(result.sessions)} sessions, {result.energy} kWh, {result.refused} refused, "
         f"{result.failed} failed.")  # fmt: skip
    verdict = f"not there exactly once: {', '.join(result.missing)}" if result.missing else "all are there, each once"
    echo(f"CDRs at the EMPs: {verdict}.")


def _print_line(kind: str, **members: object) -> None:
    echo(msgspec.json.encode({"kind": kind, **members}).decode())
