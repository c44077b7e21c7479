"""``p2p-oicp pull``: a snapshot of EVSE data, statuses and prices for scripts, and what has changed since the last one.

Order: what has changed is printed before it counts as pulled. A script that reads it, or this command, may fail at any
time: then the same changes are printed again.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from ssl import SSLContext, SSLError
from types import MappingProxyType
from typing import Annotated, NoReturn

import msgspec
import typer
from pydantic import SecretStr

from p2p_oicp.cli.client import ApiEndpoint
from p2p_oicp.cli.common import echo
from p2p_oicp.cli.snapshot_puller import PulledData, SnapshotPuller
from p2p_oicp.cli.snapshots import (
    DATASETS,
    RecordChange,
    Records,
    SnapshotFolder,
    SnapshotState,
    count,
    differences,
    operators_of,
)
from p2p_oicp.cli.terminal import Column, print_table
from p2p_oicp.client import Endpoint, HttpTransport, OicpClient
from p2p_oicp.clock import SystemClock, UuidGenerator
from p2p_oicp.config import load_settings
from p2p_oicp.config.toml import unknown_key_message
from p2p_oicp.crypto.signers import BearerToken
from p2p_oicp.crypto.tls import client_context
from p2p_oicp.errors import ConfigurationError, FailureCause, PeerError, PeerProtocolError, PeerRejected, reason_of
from p2p_oicp.peers.models import parse_operator_id, parse_provider_id
from p2p_oicp.roles.datasets.pull_specs import BY_OPERATORS, is_not_offered
from p2p_oicp.storage.datasets.models import DatasetKind
from p2p_oicp.version import VERSION

_MAX_RESPONSE_BYTES = 256 * 1024 * 1024
_EXIT_REFUSED = 1
# What a web server says of a path that it does not know.
_MISSING_PAGE = ("HTTP 404", "HTTP 405", "HTTP 501")
_COLUMNS = (Column("Change"), Column("Dataset", 1), Column("ID"), Column("What", is_detail=True))
_CURES: Mapping[FailureCause, str] = MappingProxyType(
    dict.fromkeys(
        (FailureCause.CREDENTIALS_REFUSED, FailureCause.FORBIDDEN_BY_PROXY, FailureCause.PARTY_REFUSED,
         FailureCause.UNKNOWN_KEY, FailureCause.CLOCK_OFF),
        "check --provider, and --token or --cert and --key; a node that requires signatures is pulled through your own "
        "one (--config)",
    )
    | dict.fromkeys(
        (FailureCause.UNTRUSTED_CERTIFICATE, FailureCause.WRONG_HOST_NAME), "check --url, and --ca"
    )
    | dict.fromkeys((FailureCause.CANNOT_CONNECT, FailureCause.UNKNOWN_HOST), "check --url, and whether it runs")
    | dict.fromkeys(
        (FailureCause.NOT_OICP, FailureCause.REDIRECTED, FailureCause.BAD_GATEWAY), "check --url: no OICP there"
    )
    | {FailureCause.TIMEOUT: "try again, or wait longer (--timeout)"}
)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("pull")(pull)


def pull(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the snapshot; made if it is not there.")],
    url: Annotated[str | None, typer.Option(metavar="BASE", help="Base URL, with or without /api/oicp.")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", metavar="FILE", help="Pull from this node's backend API instead.")
    ] = None,
    provider: Annotated[
        str | None, typer.Option(metavar="ID", help="ProviderID that pulls; with --config, the node's first one.")
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="EvseData, EvseStatus, …; can be repeated. All by default.")
    ] = None,
    operator: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Whose products and prices are pulled; by default, of all that have EVSEs."),
    ] = None,
    token: Annotated[str | None, typer.Option(metavar="TOKEN", help="Bearer token of the endpoint.")] = None,
    token_file: Annotated[Path | None, typer.Option(metavar="FILE", help="File with that token.")] = None,
    cert: Annotated[Path | None, typer.Option(metavar="FILE", help="Client certificate (PEM).")] = None,
    key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its private key (PEM).")] = None,
    ca: Annotated[Path | None, typer.Option(metavar="FILE", help="CA of the server's certificate (PEM).")] = None,
    full: Annotated[bool, typer.Option("--full", help="Pull all EVSE data, not only what has changed.")] = False,
    timeout: Annotated[
        float | None, typer.Option(min=0.1, metavar="SECONDS", help="Longest wait for each answer.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON lines, for programs.")] = False,
) -> None:
    """Pull EVSE data, statuses and prices into a folder, and print what has changed since the last pull.

    EVSE data is pulled by delta after the first time. Each file of the folder has the form of the answer to a pull. The
    exit code is 1 for a refusal, 2 if nothing usable answers; the folder then stays as it was. The first pull prints
    counts only, with --json every record. Changes are printed before they are stored: after a crash, they come again.
    """
    endpoint = _with_credentials(ApiEndpoint.from_options(url, config), token, token_file)
    options = _Options(
        directory=directory,
        endpoint=endpoint,
        provider=_provider(provider, config),
        datasets=_datasets(dataset or ()),
        chosen=bool(dataset),
        operators=_operators(operator or ()),
        tls=endpoint.tls or _tls_context(ca, cert, key),
        full=full,
        timeout=timeout,
        as_json=as_json,
    )
    with SnapshotFolder(directory, SnapshotState(endpoint.url, options.provider)) as folder:
        try:
            asyncio.run(_Pull(options, folder).run())
        except PeerError as error:
            _fail(error)


@dataclass(frozen=True, slots=True)
class _Options:
    """What is pulled from whom; ``chosen``: these datasets and no others."""

    directory: Path
    endpoint: ApiEndpoint
    provider: str
    datasets: Mapping[str, DatasetKind]
    chosen: bool
    operators: Sequence[str]
    tls: SSLContext | None
    full: bool
    timeout: float | None
    as_json: bool


class _Pull:
    """One run of the command."""

    def __init__(self, options: _Options, folder: SnapshotFolder) -> None:
        self._options = options
        self._folder = folder
        self._old: dict[DatasetKind, Records | None] = {}
        self._new: dict[DatasetKind, Records] = {}
        self._last_call = folder.last_call
        self._unusable = folder.unusable

    async def run(self) -> None:
        """Pull, print and store; raise PeerError, and nothing is stored then."""
        options, clock = self._options, SystemClock()
        async with _client(options, clock) as client:
            endpoint = Endpoint(options.endpoint.url, options.endpoint.url)
            puller = SnapshotPuller(client, endpoint, options.provider, options.timeout, clock.time)
            for name, dataset in options.datasets.items():
                try:
                    await self._pull(puller, name, dataset)
                except (PeerRejected, PeerProtocolError) as error:
                    if options.chosen or not self._new or not _is_missing(error):
                        raise
                    echo(f"{name}: not offered ({error.reason})", err=True)
        self._print({name: dataset for name, dataset in options.datasets.items() if dataset in self._new})
        # Order: a reader of what was printed has it before it counts as pulled.
        sys.stdout.flush()
        self._folder.commit(self._last_call, self._unusable)

    async def _pull(self, puller: SnapshotPuller, name: str, dataset: DatasetKind) -> None:
        old = self._old[dataset] = self._folder.read(dataset)
        if dataset is DatasetKind.EVSE_DATA:
            pulled = await puller.pull_evse_data(None if old is None or self._options.full else self._last_call)
            # RULES S2: what could not be read is requested again, and the same bytes only once.
            if pulled.unusable <= self._unusable:
                self._last_call = pulled.watermark
            self._unusable = pulled.unusable
        elif dataset in BY_OPERATORS:
            operators = self._options.operators or operators_of(self._known())
            if not operators:
                if self._options.chosen:
                    raise ConfigurationError(f"{name}: no operator is known yet; add --operator ID")
                return
            pulled = await puller.pull_groups(dataset, operators)
        else:
            pulled = await puller.pull_groups(dataset, ())
        self._new[dataset] = pulled.applied_to(old or {})
        _warn(name, pulled, old)
        self._folder.prepare(dataset, self._new[dataset])

    def _known(self) -> dict[DatasetKind, Records]:
        """Return EVSE data and statuses, as they are now or were pulled last."""
        datasets = (DatasetKind.EVSE_DATA, DatasetKind.EVSE_STATUS)
        return {each: self._new[each] if each in self._new else self._folder.read(each) or {} for each in datasets}

    def _print(self, datasets: Mapping[str, DatasetKind]) -> None:
        changes = {
            name: list(differences(name, self._old[dataset] or {}, self._new[dataset]))
            for name, dataset in datasets.items()
        }
        if self._options.as_json:
            for each in chain.from_iterable(changes.values()):
                echo(_json_line(each))
        else:
            shown = [changes[name] for name, dataset in datasets.items() if self._old[dataset] is not None]
            rows = [(each.change, each.dataset, each.id, _describe(each)) for each in chain.from_iterable(shown)]
            if rows:
                print_table(_COLUMNS, rows)
        for name, dataset in datasets.items():
            self._print_counts(name, count(self._new[dataset]), Counter(each.change for each in changes[name]))

    def _print_counts(self, name: str, records: int, counts: Counter[str]) -> None:
        if self._options.as_json:
            members = {each: counts[each] for each in ("added", "changed", "removed")}
            echo(msgspec.json.encode({"kind": "summary", "dataset": name, "records": records, **members}).decode())
        else:
            texts = [f"{number:,} {change}" for change, number in sorted(counts.items())]
            echo(f"{name}: {records:,} records, {', '.join(texts) or 'nothing has changed'}", err=True)


@asynccontextmanager
async def _client(options: _Options, clock: SystemClock) -> AsyncIterator[OicpClient]:
    token = options.endpoint.token
    credentials = None if token is None else BearerToken(token.get_secret_value())
    async with HttpTransport(user_agent=f"p2p-oicp/{VERSION}", max_body=_MAX_RESPONSE_BYTES) as transport:
        yield OicpClient(transport, ids=UuidGenerator(), clock=clock, credentials=credentials, tls=options.tls)


def _is_missing(error: PeerError) -> bool:
    """Whether an endpoint that has answered other pulls does not offer this one."""
    if isinstance(error, PeerRejected):
        return is_not_offered(error)
    return error.reason.startswith(_MISSING_PAGE)


def _fail(error: PeerError) -> NoReturn:
    cure = _CURES.get(error.cause)
    text = f"{error}; {cure}" if cure else str(error)
    if isinstance(error, PeerRejected):
        echo(f"p2p-oicp: {text}", err=True)
        raise typer.Exit(_EXIT_REFUSED) from error
    raise ConfigurationError(text) from error


def _warn(name: str, pulled: PulledData, old: Records | None) -> None:
    if pulled.unusable:
        echo(f"{name}: {len(pulled.unusable):,} records without an id are left out", err=True)
    if old and not pulled.is_delta and not pulled.records:
        echo(f"{name}: the answer is empty, so all {count(old):,} records are removed", err=True)


def _json_line(change: RecordChange) -> str:
    members: dict[str, object] = {
        "kind": "change", "dataset": change.dataset, "change": change.change,
        "operator": change.operator, "id": change.id,
        "record": None if change.record is None else msgspec.Raw(change.record),
        "previous": None if change.previous is None else msgspec.Raw(change.previous),
    }  # fmt: skip
    return msgspec.json.encode(members).decode()


def _describe(change: RecordChange) -> str:
    """Return what has changed: of a status, from what to what; of others, the members."""
    if change.change != "changed":
        return ""
    members = change.changed_members()
    if change.dataset != "EvseStatus" or members != ["EvseStatus"]:
        return ", ".join(members)
    before, now = (msgspec.json.decode(raw or b"{}").get("EvseStatus") for raw in (change.previous, change.record))
    return f"{before} → {now}"


def _with_credentials(endpoint: ApiEndpoint, token: str | None, token_file: Path | None) -> ApiEndpoint:
    if token is not None and token_file is not None:
        raise ConfigurationError("expected --token or --token-file, not both")
    if token_file is not None:
        try:
            token = token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigurationError(f"--token-file {token_file}: cannot be read: {reason_of(exc)}") from exc
    secret = endpoint.token if token is None else SecretStr(token)
    return ApiEndpoint(endpoint.url, secret, endpoint.operators, endpoint.settings_file, endpoint.tls)


def _tls_context(ca: Path | None, cert: Path | None, key: Path | None) -> SSLContext | None:
    if (cert is None) != (key is None):
        raise ConfigurationError("expected both or none of --cert FILE and --key FILE")
    if ca is None and cert is None:
        return None
    try:
        return client_context(ca=ca, key_pair=None if cert is None or key is None else (cert, key))
    except (OSError, SSLError, ValueError) as exc:
        raise ConfigurationError(f"--ca, --cert, --key: cannot be used: {reason_of(exc)}") from exc


def _provider(provider: str | None, config: Path | None) -> str:
    if provider is None:
        if config is None or not (providers := load_settings(config).node.providers):
            raise ConfigurationError("expected --provider ID: who pulls")
        return providers[0].text
    try:
        return parse_provider_id(provider).text
    except ValueError as exc:
        raise ConfigurationError(f"--provider: {exc}") from exc


def _operators(operators: Sequence[str]) -> list[str]:
    try:
        return [parse_operator_id(operator).text for operator in operators]
    except ValueError as exc:
        raise ConfigurationError(f"--operator: {exc}") from exc


def _datasets(names: Sequence[str]) -> Mapping[str, DatasetKind]:
    for name in names:
        if name not in DATASETS:
            suggestion = unknown_key_message(name, list(DATASETS)).removeprefix("unknown key; ")
            raise ConfigurationError(f'--dataset "{name}": no such dataset; {suggestion}')
    return {name: kind for name, kind in DATASETS.items() if not names or name in names}
