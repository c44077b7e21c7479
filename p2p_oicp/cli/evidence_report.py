"""What an evidence file proves, for people."""

from __future__ import annotations

from pathlib import Path

from p2p_oicp.clock import wire_time
from p2p_oicp.errors import ConfigurationError, NotProven, PeerBroken
from p2p_oicp.identity.evidence import Evidence, Statement, read_evidence
from p2p_oicp.peers.descriptor import open_descriptor
from p2p_oicp.transport.bodies import BoundedBody

_COMPRESSED = (b"\x1f\x8b", b"\x78")  # gzip and zlib; no JSON begins so
_MOST_SHOWN = 1024 * 1024


def read(path: Path) -> Evidence:
    """Read and verify a file; raise ConfigurationError, NotProven."""
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise ConfigurationError(f"{path}: cannot be read: {exc.strerror}") from exc
    return read_evidence(content)


def of(found: Evidence) -> str:
    """Return what a file proves, and what it does not."""
    all_fit = "" if found.unproven else ", all signatures fit"
    lines = [f"Session {_shown(found.session_id)}: {len(found.statements)} signed statements{all_fit}."]
    lines += [f"NOT PROVEN: {_shown(unproven)}" for unproven in found.unproven]
    for said in found.statements:
        lines += _statement(said, found)
    lines += ["", "The keys, and what their holders say of themselves (signed with the key):", *_holders(found)]
    lines += [f"The file was written by the holder of {found.writer.key_id}.", "Compare the fingerprints."]
    return "\n".join(lines)


def _statement(said: Statement, found: Evidence) -> list[str]:
    holder = _shown(found.holders.get(said.key.key_id, "?"))
    head = f"{said.number}. {_time(said.at)}  {holder} ({said.key.key_id})"
    return [head, f"   {_shown(said.what)}", f"   {_shown(_text(said.body))}"]


def _time(at: int) -> str:
    """Return when a signer says to have signed: evidence is of his own clock, whatever it says."""
    try:
        return wire_time(at)
    except (ValueError, OverflowError, OSError):
        return f"{at} s after 1970"


def _text(body: bytes) -> str:
    if body.startswith(_COMPRESSED):
        decoded = BoundedBody("", limit=_MOST_SHOWN, coding="gzip")
        try:
            decoded.add(body)
            body = decoded.finish()
        except PeerBroken:
            return f"({len(body)} compressed bytes, which are damaged, or too many to be shown)"
    return body.decode(errors="replace")


def _shown(text: str) -> str:
    """Return what others have written so that it stays where it is shown, and does nothing to a terminal."""
    lines = ["".join(sign if sign.isprintable() else "\ufffd" for sign in line) for line in text.splitlines()]
    return "\n      ".join(lines)


def _holders(found: Evidence) -> list[str]:
    lines = []
    for body in found.descriptors:
        try:
            signed = open_descriptor(body)
        except NotProven as error:
            lines.append(f"  a descriptor that proves nothing: {_shown(str(error))}")
            continue
        said = signed.descriptor
        parties = " ".join(party.text for party in (*said.operators, *said.providers))
        lines += [f"  {key.key.key_id}  {_shown(said.name)}, {_shown(said.url)}, {parties}" for key in said.keys]
    return lines
