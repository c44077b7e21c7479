"""``p2p-oicp evidence``: exporting the signed exchanges of a session, and verifying such a file offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from p2p_oicp.cli import client
from p2p_oicp.cli.common import DEFAULT_CONFIG, ConfigOption
from p2p_oicp.client.bodies import BoundedBody
from p2p_oicp.clock import format_timestamp
from p2p_oicp.crypto.evidence_file import Evidence, SignedStatement, read_evidence
from p2p_oicp.errors import ConfigurationError, PeerProtocolError, VerificationError
from p2p_oicp.peers.descriptor import verify_descriptor

_COMPRESSION_MAGIC = (b"\x1f\x8b", b"\x78")  # gzip and zlib; no JSON begins so
_MAX_DECODED_BYTES = 1024 * 1024


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True)
    group.command("export")(export)
    group.command("verify")(verify)
    app.add_typer(group, name="evidence", help="The signed requests and answers of a session, as proof.")


def export(
    session_id: Annotated[str, typer.Argument(metavar="SESSION-ID", help="The session.")],
    config: ConfigOption = DEFAULT_CONFIG,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where to write; absent: SESSION-ID.evidence.")
    ] = None,
) -> None:
    """Write all signed requests and answers of a session into one file. The node has to run."""
    response = client.call_admin(config, "GET", f"/admin/v1/evidence/{quote(session_id, safe='')}")
    file = out or Path(f"{session_id}.evidence")
    try:
        file.write_text(response["file"], encoding="utf-8")
    except OSError as exc:
        raise ConfigurationError(f"{file}: cannot be written: {exc.strerror}") from exc
    typer.echo(file)


def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `evidence export` has written.")],
) -> None:
    """Verify, offline, who signed what and when; fails if anything in the file is not verified."""
    evidence = read_evidence_file(file)
    typer.echo(format_evidence(evidence))
    if evidence.unverified:
        raise VerificationError(f"{file}: not verified: {'; '.join(evidence.unverified)}")


def read_evidence_file(path: Path) -> Evidence:
    """Read and verify a file; raise `ConfigurationError`, `VerificationError`."""
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise ConfigurationError(f"{path}: cannot be read: {exc.strerror}") from exc
    return read_evidence(content)


def format_evidence(evidence: Evidence) -> str:
    """Return the statements of a file, which of them are not verified, and whose keys signed them."""
    verdict = "" if evidence.unverified else ", all signatures fit"
    lines = [f"Session {_sanitize(evidence.session_id)}: {len(evidence.statements)} signed statements{verdict}."]
    lines += [f"NOT VERIFIED: {_sanitize(issue)}" for issue in evidence.unverified]
    for statement in evidence.statements:
        lines += _format_statement(statement, evidence)
    lines += [
        "",
        "The keys, and the descriptors of their owners (signed with the key):",
        *_describe_key_owners(evidence),
    ]
    lines += [f"The file was written by the owner of {evidence.signer_key.key_id}.", "Compare the fingerprints."]
    return "\n".join(lines)


def _format_statement(statement: SignedStatement, evidence: Evidence) -> list[str]:
    owner = _sanitize(evidence.key_owners.get(statement.key.key_id, "?"))
    heading = f"{statement.number}. {_format_time(statement.signed_at)}  {owner} ({statement.key.key_id})"
    return [heading, f"   {_sanitize(statement.description)}", f"   {_sanitize(_decode_body(statement.body))}"]


def _format_time(at: int) -> str:
    """Return the signer's own time of signing; it comes from the file, so it may be any number."""
    try:
        return format_timestamp(at)
    except (ValueError, OverflowError, OSError):
        return f"{at} s after 1970"


def _decode_body(body: bytes) -> str:
    if body.startswith(_COMPRESSION_MAGIC):
        decoded = BoundedBody("", limit=_MAX_DECODED_BYTES, coding="gzip")
        try:
            decoded.add(body)
            body = decoded.finish()
        except PeerProtocolError:
            return f"({len(body)} compressed bytes, which are damaged, or too many to be shown)"
    return body.decode(errors="replace")


def _sanitize(text: str) -> str:
    """Return foreign text without control characters, indented: it can neither steer a terminal nor forge a line."""
    lines = ["".join(char if char.isprintable() else "\ufffd" for char in line) for line in text.splitlines()]
    return "\n      ".join(lines)


def _describe_key_owners(evidence: Evidence) -> list[str]:
    lines = []
    for body in evidence.descriptors:
        try:
            signed = verify_descriptor(body)
        except VerificationError as exc:
            lines.append(f"  a descriptor whose signature is missing or invalid: {_sanitize(str(exc))}")
            continue
        descriptor = signed.descriptor
        parties = " ".join(party.text for party in (*descriptor.operators, *descriptor.providers))
        lines += [
            f"  {key.key.key_id}  {_sanitize(descriptor.name)}, {_sanitize(descriptor.url)}, {parties}"
            for key in descriptor.keys
        ]
    return lines
