"""What an evidence file proves, for people."""

from __future__ import annotations

import gzip
from pathlib import Path

from p2p_oicp.clock import wire_time
from p2p_oicp.errors import ConfigurationError, NotProven
from p2p_oicp.identity.evidence import Evidence, Statement, read_evidence
from p2p_oicp.peers.descriptor import open_descriptor

_GZIP = b"\x1f\x8b"


def of(path: Path) -> str:
    """Verify a file and return what it proves; raise NotProven where it was changed."""
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise ConfigurationError(f"{path}: cannot be read: {exc.strerror}") from exc
    found = read_evidence(content)
    lines = [f"Session {found.session_id}: {len(found.statements)} signed statements, all signatures fit."]
    for number, said in enumerate(found.statements, start=1):
        lines += _statement(number, said, found)
    lines += ["", "The keys, and what their holders say of themselves (signed with the key):", *_holders(found)]
    lines += [f"The file was written by the holder of {found.writer.key_id}.", "Compare the fingerprints."]
    return "\n".join(lines)


def _statement(number: int, said: Statement, found: Evidence) -> list[str]:
    body = gzip.decompress(said.body) if said.body.startswith(_GZIP) else said.body
    holder = found.holders.get(said.key.key_id, "?")
    head = f"{number}. {wire_time(said.at)}  {holder} ({said.key.key_id})"
    return [head, f"   {said.what}", f"   {body.decode(errors='replace')}"]


def _holders(found: Evidence) -> list[str]:
    lines = []
    for body in found.descriptors:
        try:
            signed = open_descriptor(body)
        except NotProven as error:
            lines.append(f"  a descriptor that proves nothing: {error}")
            continue
        said = signed.descriptor
        parties = " ".join(party.text for party in (*said.operators, *said.providers))
        lines += [f"  {key.key.key_id}  {said.name}, {said.url}, {parties}" for key in said.keys]
    return lines
