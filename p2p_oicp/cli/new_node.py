"""What ``p2p-oicp init`` writes: a folder with everything that a node needs to start."""

from __future__ import annotations

import base64
import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from p2p_oicp.errors import ConfigurationError
from p2p_oicp.peers.fields import display_name, operator_id, provider_id

_MODES = {"keys/node.key": 0o600}
_READABLE = 0o644

_NODE = """\
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
# Your systems then send "Authorization: Bearer ..."; needed if host is not loopback.
# token = "a long random text"
# Where this node calls your systems: remote starts and stops go to the CPO's,
# authorizations, charging notifications and CDRs to the EMP's.
# cpo_url = "http://127.0.0.1:9001"
# emp_url = "http://127.0.0.1:9002"

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

_PEERS = """\
# The peers of this node that you name by hand: one [[peer]] for each. Those that were paired (`p2p-oicp peers invite`
# and `join`) need no entry. Your partner's `p2p-oicp init` has written the entry for this file: append their
# for-partners.toml. peers.example.toml in the project's repository explains every key.
"""

_FOR_PARTNERS = """
[[peer]]
name = {name}
url = {url}
operators = {operators}
providers = {providers}
public_keys = [{public_key}]
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the person asked for."""

    name: str
    operators: tuple[str, ...]
    providers: tuple[str, ...]
    require: tuple[str, ...]
    peer_port: int
    backend_port: int


def write(folder: Path, plan: Plan) -> None:
    """Write all files; raise `ConfigurationError`, with nothing written, if an id is wrong or a file exists."""
    _check(plan)
    contents = _contents(plan)
    existing = [str(folder / name) for name in contents if (folder / name).exists()]
    if existing:
        raise ConfigurationError(f"{existing[0]} exists already and is not overwritten; choose another folder")
    try:
        (folder / "keys").mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, content in contents.items():
            _create(folder / name, content, _MODES.get(name, _READABLE))
    except OSError as exc:
        raise ConfigurationError(f"{exc.filename or folder}: cannot be written: {exc.strerror}") from exc


def next_steps(folder: Path, plan: Plan) -> str:
    """Return what the person does now."""
    config = shlex.quote(str(folder / "node.toml"))
    steps = [
        f"p2p-oicp run --config {config}",
        f"p2p-oicp peers invite --config {config}   (a link with which a partner joins; theirs you join)",
    ]
    if not plan.operators and not plan.providers:
        steps.insert(0, f"Name your OperatorIDs or ProviderIDs in {folder / 'node.toml'}.")
    numbered = [f"{number}. {step}" for number, step in enumerate(steps, start=1)]
    warning = "" if plan.require else "\nInsecure: this node believes whoever reaches its peer API. Test networks only."
    return "\n".join([f"A new node: {folder / 'node.toml'}", *numbered]) + warning


def _check(plan: Plan) -> None:
    for option, parse, values in (
        ("--name", display_name, (plan.name,)),
        ("--operator", operator_id, plan.operators),
        ("--provider", provider_id, plan.providers),
    ):
        for value in values:
            try:
                parse(value)
            except ValueError as exc:
                raise ConfigurationError(f"{option}: {exc}") from exc
    if plan.peer_port == plan.backend_port:
        raise ConfigurationError(f"--peer-port and --backend-port are both {plan.peer_port}; expected two ports")


def _contents(plan: Plan) -> Mapping[str, bytes]:
    key = Ed25519PrivateKey.generate()
    public = key.public_key()
    line = base64.b64encode(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    values = {
        "name": _toml(plan.name),
        "operators": _toml(plan.operators),
        "providers": _toml(plan.providers),
        "require": _toml(plan.require),
        "url": _toml(f"http://127.0.0.1:{plan.peer_port}"),
        "peer_port": plan.peer_port,
        "backend_port": plan.backend_port,
        "public_key": _toml(line),
    }
    return {
        "node.toml": _NODE.format_map(values).encode(),
        "peers.toml": _PEERS.encode(),
        "for-partners.toml": _FOR_PARTNERS.format_map(values).encode(),
        "keys/node.key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        "keys/node.pub": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    }


def _toml(value: str | tuple[str, ...]) -> str:
    # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _create(path: Path, content: bytes, mode: int) -> None:
    # O_EXCL: never through a link or over a file that came in between; the mode holds from the first byte on.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
