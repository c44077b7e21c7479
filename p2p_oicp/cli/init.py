"""``p2p-oicp init``: a folder with all that a node needs to start; ``p2p-oicp certs``: a TLS certificate for tests."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from p2p_oicp.cli.common import DEFAULT_CONFIG, ConfigOption, create_file, echo, toml_value
from p2p_oicp.config import load_settings
from p2p_oicp.crypto import PrivateKey
from p2p_oicp.crypto.keystore import new_token
from p2p_oicp.crypto.tls import Certificate, self_signed
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.peers.models import parse_name, parse_operator_id, parse_provider_id

_INVITE_REMARK = "(creates a link for a partner; to use a partner's link: peers join LINK)"
_CERTIFICATE_FILE, _KEY_FILE = "tls.crt", "tls.key"
_TOKEN_FILE = "keys/backend.token"  # noqa: S105 - a name

_NODE_TOML_TEMPLATE = """\
# The settings of one p2p-oicp node. docs/configuration.md explains every key.
# An environment variable wins over this file: P2P_OICP_NODE__NAME, P2P_OICP_PEER_API__PORT, P2P_OICP_PEERS_FILE ...

# The peers of this node, one [[peer]] each. Paths are relative to this file.
peers_file = "peers.toml"

[node]
name = {name}
# OperatorIDs of this company (it runs EVSEs), the main one first; sub-operators are listed here too.
operators = {operators}
# ProviderIDs of this company (it has drivers), the main one first; sub-providers are listed here too.
providers = {providers}
# The database lives here.
data_dir = "data"

[peer_api]
# The other companies' nodes call this listener. Loopback, until you open it:
# host = "0.0.0.0", and url = the address by which peers reach it.
host = "127.0.0.1"
port = {peer_port}
# url = "https://oicp.example.com"

[backend_api]
# Your own systems call this listener, as if it were the clearing house: http://127.0.0.1:{backend_port}/api/oicp/...
host = "127.0.0.1"
port = {backend_port}
# The token in this file is for the administration (/admin/v1), which the p2p-oicp commands use: they read it by
# themselves. Your systems send it ("Authorization: Bearer ...") if host is not loopback, or with require_token = true.
token_file = "{token_file}"
# require_token = true
# Names by which your systems reach this listener, besides localhost and addresses:
# hosts = ["oicp-node.internal"]
# Where this node calls your systems: remote starts and stops go to the CPO's,
# authorizations, charging notifications and CDRs to the EMP's.
# cpo_url = "http://127.0.0.1:9001"
# emp_url = "http://127.0.0.1:9002"
# Several systems, credentials for them, pushes to them: tables [[backends]] (docs/configuration.md).

[security]
# What a peer's request must carry: "signature", "mtls", or both. [] is insecure: whoever reaches the peer API
# can speak for any party, so it is for test networks only.
require = {require}
# The key pair of this node is in keys/: node.key stays secret, for-partners.toml has the public one.

[storage]
# FULL: what was acknowledged survives a loss of power. NORMAL is faster and survives a crash of the program.
synchronous = "FULL"
# Days for which what was signed is kept as evidence: as long as your partners may claim a debt.
# evidence_days = 1095

[limits]
# What each listener takes on at a time; beyond it, requests are answered with 429 or 503 at once.
# connections = 1000
# requests = 256

[log]
# format: "text" for people, "json" for machines. level: "debug", "info", "warning" or "error".
format = "text"
level = "info"
"""

_PEERS_TOML = """\
# The peers of this node that you name by hand: one [[peer]] for each. Those that were paired (`p2p-oicp peers invite`
# and `join`) need no entry. Your partner's `p2p-oicp init` has written the entry for this file: append their
# for-partners.toml. peers.example.toml in the project's repository explains every key.
"""

_PARTNER_ENTRY_TEMPLATE = """
[[peer]]
name = {name}
url = {url}
operators = {operators}
providers = {providers}
public_keys = [{public_key}]
"""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("init")(init)
    certs = typer.Typer(no_args_is_help=True)
    certs.command("self-signed")(create_self_signed)
    # Typer turns a group of one command into that command, unless the group has a callback.
    certs.callback()(lambda: None)
    app.add_typer(certs, name="certs", help="Certificates for TLS with peers.")


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write into; created if it is not there.")],
    name: Annotated[str, typer.Option(help="Name of the node in logs and to its peers.")],
    operator: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="OperatorID of this company, such as DE*ABC; can be repeated."),
    ] = None,
    provider: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="ProviderID of this company, such as DE-XYZ; can be repeated."),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Do not authenticate peers: for test networks only.")
    ] = False,
    peer_port: Annotated[int, typer.Option(min=1, max=65535, help="Port that peers call.")] = 8320,
    backend_port: Annotated[int, typer.Option(min=1, max=65535, help="Port that our own systems call.")] = 8321,
) -> None:
    """Write node.toml, peers.toml and a key pair for a new node. Nothing that exists is overwritten."""
    template = NodeTemplate(
        name=name,
        operators=tuple(operator or ()),
        providers=tuple(provider or ()),
        require=() if insecure else ("signature",),
        peer_port=peer_port,
        backend_port=backend_port,
    )
    write_node_files(folder, template)
    echo(next_steps(folder, template))


def create_self_signed(
    config: ConfigOption = DEFAULT_CONFIG,
    host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Host name or address of the peer API; can be repeated.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="For how many days it is valid.")] = 365,
) -> None:
    """Write a self-signed certificate and its key, for test environments; companies have a CA issue theirs."""
    echo(write_self_signed(config, host or [], days))


@dataclass(frozen=True, slots=True)
class NodeTemplate:
    """The options of ``init``."""

    name: str
    operators: tuple[str, ...]
    providers: tuple[str, ...]
    require: tuple[str, ...]
    peer_port: int
    backend_port: int


def write_node_files(folder: Path, template: NodeTemplate) -> None:
    """Write all files; raise `ConfigurationError`, with nothing written, if an id is wrong or a file exists."""
    _validate_template(template)
    contents = _render_files(template)
    existing = [str(folder / name) for name in contents if (folder / name).exists()]
    if existing:
        raise ConfigurationError(f"{existing[0]} exists already and is not overwritten; choose another folder")
    try:
        for directory in (folder, folder / "keys"):  # parents get the default mode
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, content in contents.items():
            create_file(folder / name, content)
    except OSError as exc:
        raise ConfigurationError(f"{exc.filename or folder}: cannot be written: {exc.strerror}") from exc


def next_steps(folder: Path, template: NodeTemplate) -> str:
    """Return the instructions that are printed after the files are written."""
    config = shlex.quote(str(folder / "node.toml"))
    steps = [
        f"p2p-oicp run --config {config}",
        f"p2p-oicp peers invite --config {config}   {_INVITE_REMARK}",
    ]
    if not template.operators and not template.providers:
        steps.insert(0, f"Name your OperatorIDs or ProviderIDs in {folder / 'node.toml'}.")
    numbered = [f"{number}. {step}" for number, step in enumerate(steps, start=1)]
    warning = "" if template.require else "\nInsecure: peers are not authenticated. For test networks only."
    return "\n".join([f"A new node: {folder / 'node.toml'}", *numbered]) + warning


def _validate_template(template: NodeTemplate) -> None:
    for option, parse, values in (
        ("--name", parse_name, (template.name,)),
        ("--operator", parse_operator_id, template.operators),
        ("--provider", parse_provider_id, template.providers),
    ):
        for value in values:
            try:
                parse(value)
            except ValueError as exc:
                raise ConfigurationError(f"{option}: {exc}") from exc
    if template.peer_port == template.backend_port:
        raise ConfigurationError(f"--peer-port and --backend-port are both {template.peer_port}; expected two ports")


def _render_files(template: NodeTemplate) -> Mapping[str, bytes]:
    private_key = PrivateKey.generate()
    values = {
        "name": toml_value(template.name),
        "operators": toml_value(template.operators),
        "providers": toml_value(template.providers),
        "require": toml_value(template.require),
        "url": toml_value(f"http://127.0.0.1:{template.peer_port}"),
        "peer_port": template.peer_port,
        "backend_port": template.backend_port,
        "public_key": toml_value(private_key.public.der_base64),
        "token_file": _TOKEN_FILE,
    }
    return {
        "node.toml": _NODE_TOML_TEMPLATE.format_map(values).encode(),
        "peers.toml": _PEERS_TOML.encode(),
        "for-partners.toml": _PARTNER_ENTRY_TEMPLATE.format_map(values).encode(),
        "keys/node.key": private_key.pem(),
        "keys/node.pub": private_key.public.pem(),
        _TOKEN_FILE: f"{new_token()}\n".encode(),
    }


def write_self_signed(config: Path, hosts: list[str], days: int) -> str:
    """Write certificate and key beside the node's keys; return the fingerprint and the settings to add."""
    settings = load_settings(config)
    parties = [party.text for party in (*settings.node.operators, *settings.node.providers)]
    host_names = hosts or [urlsplit(settings.peer_api.url).hostname or "localhost"]
    key, certificate = self_signed(settings.node.name, parties, host_names, now=time.time(), days=days)
    folder = settings.security.keys
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        create_file(folder / _KEY_FILE, key)
        create_file(folder / _CERTIFICATE_FILE, certificate)
    except OSError as exc:
        raise ConfigurationError(f"{exc.filename or folder}: cannot be written: {exc.strerror}") from exc
    parsed = Certificate.from_pem(certificate)
    config_dir = config.absolute().parent
    return (
        f"{parsed.fingerprint}\nAdd to {config}:\n[tls]\n"
        f'certificate = "{_relative_path(folder / _CERTIFICATE_FILE, config_dir)}"\n'
        f'key = "{_relative_path(folder / _KEY_FILE, config_dir)}"\n'
        f'Paired peers fetch it by themselves; for a peers.toml:\ncertificates = ["{parsed.der_base64}"]'
    )


def _relative_path(path: Path, base_dir: Path) -> str:
    return str(path.relative_to(base_dir)) if path.is_relative_to(base_dir) else str(path)
