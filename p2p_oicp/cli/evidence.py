"""``p2p-oicp evidence``: exporting the signed exchanges of a session, and verifying such a file offline."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from p2p_oicp.cli import client
from p2p_oicp.cli.common import DEFAULT_CONFIG, ConfigOption, JsonOption, echo, format_json
from p2p_oicp.cli.terminal import print_text
from p2p_oicp.clock import format_timestamp
from p2p_oicp.config.peers_file import load_peers
from p2p_oicp.crypto import PublicKey
from p2p_oicp.crypto.evidence_file import Evidence, SignedStatement, decode_body, read_evidence
from p2p_oicp.errors import ConfigurationError, VerificationError
from p2p_oicp.peers import Peer
from p2p_oicp.peers.descriptor import Descriptor, SignedDescriptor, verify_descriptor, verify_key_chain


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    group.command("export")(export)
    group.command("verify")(verify)
    app.add_typer(group, name="evidence", help="The signed requests and answers of a session, as proof.")


def export(
    session_id: Annotated[str, typer.Argument(metavar="SESSION-ID", help="The session.")],
    config: ConfigOption = DEFAULT_CONFIG,
    peer: Annotated[
        str | None,
        typer.Option("--peer", metavar="NAME", help="With which peer; absent: the one that the session is with."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where to write; absent: SESSION-ID.evidence.")
    ] = None,
) -> None:
    """Write the signed requests and answers between a peer and us of a session into one file. The node has to run."""
    query = "" if peer is None else f"?peer={quote(peer, safe='')}"
    response = client.call_admin(config, "GET", f"/admin/v1/evidence/{quote(session_id, safe='')}{query}")
    file = out or Path(f"{session_id}.evidence")
    try:
        # For its owner only, also where there was a file before: it contains UIDs.
        fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as stream:
            os.fchmod(fd, 0o600)
            stream.write(response["file"])
    except OSError as exc:
        raise ConfigurationError(f"{file}: cannot be written: {exc.strerror}") from exc
    echo(file)


def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `evidence export` has written.")],
    peers: Annotated[
        Path | None,
        typer.Option("--peers", metavar="FILE", help="A peers file: whose keys you know."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Verify, offline, who signed what and when; exit code 1 if anything in the file is not verified."""
    evidence, owners = read_evidence_file(file), KeyOwners()
    owners.add_peers(() if peers is None else load_peers(peers))
    owners.add_descriptors(evidence.descriptors)
    if as_json:
        echo(format_json(evidence_to_dict(evidence, owners)))
    else:
        print_evidence(evidence, owners)
    if problems := owners.problems(evidence):
        echo(f"p2p-oicp: {file}: not verified: {'; '.join(map(_sanitize, problems))}", err=True)
        raise typer.Exit(1)


class KeyOwners:
    """Whose key is this: what a peers file says, and what descriptors say that are signed with the key."""

    def __init__(self) -> None:
        self._peers: tuple[Peer, ...] = ()
        self._owners: dict[str, Peer] = {}
        self._descriptions: list[str] = []
        self._contradictions: list[str] = []

    def add_peers(self, peers: Iterable[Peer]) -> None:
        """Add the keys of a peers file; they come first."""
        self._peers = tuple(peers)
        self._owners |= {key.key_id: peer for peer in self._peers for key in _keys_of(peer)}

    def add_descriptors(self, bodies: Iterable[bytes]) -> None:
        """Add the keys that the descriptors are signed with; other keys that they list may be anyone's."""
        for body in bodies:
            try:
                signed = verify_descriptor(body)
                self._check_against_peers(signed)
            except VerificationError as exc:
                self._contradictions.append(f"a descriptor in it: {exc}")
                continue
            descriptor = signed.descriptor
            parties = " ".join(party.text for party in (*descriptor.operators, *descriptor.providers))
            for key_id in sorted(signed.proved_keys):
                self._owners.setdefault(key_id, _peer_of(descriptor))
                self._descriptions.append(f"  {key_id}  {descriptor.name}, {descriptor.url}, {parties}")

    def _check_against_peers(self, signed: SignedDescriptor) -> None:
        """Raise VerificationError if a descriptor takes name or party of a peer of the file without having its keys."""
        described = signed.descriptor
        for peer in self._peers:
            shared = {*peer.operators, *peer.providers} & {*described.operators, *described.providers}
            if peer.public_keys and (shared or peer.name == described.name):
                verify_key_chain(signed, _keys_of(peer))

    def name_of(self, key_id: str) -> str:
        """Return the name of a key's owner."""
        owner = self._owners.get(key_id)
        return "UNKNOWN KEY" if owner is None else _sanitize(owner.name)

    def problems(self, evidence: Evidence) -> list[str]:
        """Return what is not verified: exchanges, descriptors, unknown keys, and who signed for others."""
        keys = (*(statement.key for statement in evidence.statements), evidence.signer_key)
        unknown = [
            f"unknown signing key {key_id}: no descriptor in the file is signed with it, and no --peers file has it"
            for key_id in dict.fromkeys(key.key_id for key in keys)
            if key_id not in self._owners
        ]
        foreign = [
            f"{statement.number}: {statement.sender} is no party of {owner.name}, who has signed it"
            for statement in evidence.statements
            if (owner := self._owners.get(statement.key.key_id)) is not None
            and statement.sender is not None
            and not (owner.handles_party(statement.sender) or owner.default_route)
        ]
        return [*evidence.unverified, *self._contradictions, *unknown, *foreign]

    def describe(self) -> list[str]:
        """Return the keys that descriptors are signed with, and what these say, in lines."""
        return [_sanitize(line) for line in self._descriptions]


def _keys_of(peer: Peer) -> list[PublicKey]:
    return [PublicKey.from_base64(line) for line in peer.public_keys]


def _peer_of(descriptor: Descriptor) -> Peer:
    return Peer(descriptor.name, descriptor.url, operators=descriptor.operators, providers=descriptor.providers)


def read_evidence_file(path: Path) -> Evidence:
    """Read and verify a file; raise `ConfigurationError`, `VerificationError`."""
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise ConfigurationError(f"{path}: cannot be read: {exc.strerror}") from exc
    try:
        return read_evidence(content)
    except VerificationError as exc:
        raise VerificationError(f"{path}: {exc}") from exc


def evidence_to_dict(evidence: Evidence, owners: KeyOwners) -> dict[str, object]:
    """Return what a file proves, for programs."""
    problems, writer_id = owners.problems(evidence), evidence.signer_key.key_id
    return {
        "session_id": evidence.session_id,
        "verified": not problems,
        "problems": problems,
        "statements": [
            {
                "number": statement.number,
                "signed_at": _format_time(statement.signed_at),
                "key_id": statement.key.key_id,
                "owner": owners.name_of(statement.key.key_id),
                "statement": statement.description,
                "body": _decode_body(statement.body),
            }
            for statement in evidence.statements
        ],
        "written_by": {"key_id": writer_id, "owner": owners.name_of(writer_id)},
    }


def print_evidence(evidence: Evidence, owners: KeyOwners) -> None:
    """Print the report; what was signed stays in one line, to be copied."""
    for line in format_evidence(evidence, owners).splitlines():
        text = line.lstrip()
        indent = line[: len(line) - len(text)]
        if text.startswith("{"):
            echo(line)
        else:
            print_text(text, indent, f"{indent}   ")


def format_evidence(evidence: Evidence, owners: KeyOwners) -> str:
    """Return the statements of a file, what is not verified, and whose keys signed them."""
    problems = owners.problems(evidence)
    verdict = "" if problems else ", all signatures fit"
    lines = [f"Session {_sanitize(evidence.session_id)}: {len(evidence.statements)} signed statements{verdict}."]
    lines += [f"NOT VERIFIED: {_sanitize(problem)}" for problem in problems]
    for statement in evidence.statements:
        lines += _format_statement(statement, owners)
    lines += ["", "The keys, and what their owners' descriptors (signed with the key) say:", *owners.describe()]
    writer_id = evidence.signer_key.key_id
    lines += [f"The file was written by {owners.name_of(writer_id)} ({writer_id}).", "Compare the fingerprints."]
    return "\n".join(lines)


def _format_statement(statement: SignedStatement, owners: KeyOwners) -> list[str]:
    key_id = statement.key.key_id
    heading = f"{statement.number}. {_format_time(statement.signed_at)}  {owners.name_of(key_id)} ({key_id})"
    return [heading, f"   {_sanitize(statement.description)}", f"   {_sanitize(_decode_body(statement.body))}"]


def _format_time(at: int) -> str:
    """Return the signer's own time of signing; it comes from the file, so it may be any number."""
    try:
        return format_timestamp(at)
    except (ValueError, OverflowError, OSError):
        return f"{at} s after 1970"


def _decode_body(body: bytes) -> str:
    decoded = decode_body(body)
    if decoded is None:
        return f"({len(body)} compressed bytes, which are damaged, or too many to be shown)"
    return decoded.decode(errors="replace")


def _sanitize(text: str) -> str:
    """Return foreign text without control characters, indented: it can neither steer a terminal nor forge a line."""
    lines = ["".join(char if char.isprintable() else "\ufffd" for char in line) for line in text.splitlines()]
    return "\n      ".join(lines)
