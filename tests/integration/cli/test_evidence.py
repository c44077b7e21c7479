"""``p2p-oicp evidence``: foreign content is shown, whatever it is, and does no harm."""

import gzip
import json
import os
import zlib

import pytest
from typer.testing import CliRunner

from p2p_oicp.cli import app, client
from p2p_oicp.cli.evidence import KeyOwners, format_evidence
from p2p_oicp.crypto import PrivateKey
from p2p_oicp.crypto.evidence_file import Evidence, SignedStatement, write_evidence
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.peers import Peer

KEY = PrivateKey.generate()
CDR = b'{"SessionID":"f98efba4"}'
MEBIBYTE = 1024 * 1024


def report(body: bytes = CDR, at: int = 0, owner: str = "node a", unverified: tuple[str, ...] = ()) -> str:
    statement = SignedStatement(1, KEY.public, at, "ChargeDetailRecord: POST /x", body, "ChargeDetailRecord")
    owners = KeyOwners()
    owners.add_peers([Peer(owner, "http://a", public_keys=(KEY.public.der_base64,))])
    return format_evidence(Evidence("s", KEY.public, (statement,), unverified, ()), owners)


SHOWN = {
    "JSON": (CDR, CDR.decode()),
    "gzip": (gzip.compress(CDR), CDR.decode()),
    "deflate": (zlib.compress(CDR), CDR.decode()),
    "gzip that is cut off": (gzip.compress(CDR)[:-9], "compressed bytes, which are damaged"),
    "gzip that is none": (b"\x1f\x8bxxxxxxxxxxxx", "(14 compressed bytes, which are damaged"),
    "gzip of too much": (gzip.compress(bytes(64 * MEBIBYTE)), "compressed bytes, which are damaged, or too many"),
    "what is no text": (b"\xff{}", "\ufffd{}"),
    "several lines": (b'{"a":\n1}', '{"a":\n      1}'),
    "what moves a terminal's cursor": (b"\x1b[2J\x9b2J{}", "\ufffd[2J\ufffd2J{}"),
}


@pytest.mark.parametrize(("body", "shown"), SHOWN.values(), ids=SHOWN)
def test_a_body_is_shown_whatever_it_is(body, shown):
    assert shown in report(body)


TIMES = {
    "a time": (1_800_000_000, "1. 2027-01-15T08:00:00.000+00:00  node a"),
    "after the last year": (999_999_999_999_999, "1. 999999999999999 s after 1970  node a"),
    "no number of a machine": (10**40, f"1. {10**40} s after 1970  node a"),
}


@pytest.mark.parametrize(("at", "shown"), TIMES.values(), ids=TIMES)
def test_a_time_is_shown_whatever_it_is(at, shown):
    assert shown in report(at=at)


def test_a_name_cannot_forge_a_line_of_the_report():
    assert "\n2. " not in report(owner="node a\n2. node b has said", unverified=("3\n2. x",))


def test_unverified_statements_come_first_and_nothing_says_that_all_fits():
    unverified = "3 and 4 (AuthorizeStop and its response): there is no date header"
    first, second, *_ = report(unverified=(unverified,)).splitlines()
    assert first == "Session s: 1 signed statements."
    assert second == f"NOT VERIFIED: {unverified}"


@pytest.fixture
def file(tmp_path):
    """A file with an exchange without a signature."""
    file = tmp_path / "e"
    file.write_bytes(write_evidence("s", [b"{}"], keys={}, descriptors=[], key=KEY, now=0.0))
    return file


def test_a_file_with_an_unsigned_exchange_is_shown_and_fails(file):
    done = CliRunner().invoke(app, ["evidence", "verify", str(file)])
    assert "NOT VERIFIED: 1 and 2: this is no exchange" in done.stdout
    assert done.exit_code == 1
    assert "1 and 2: this is no exchange" in done.stderr


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(client, "call_admin", lambda *_: {"file": json.dumps({})})
    out = tmp_path / "missing" / "e"
    done = CliRunner().invoke(app, ["evidence", "export", "s", "--out", str(out)])
    assert isinstance(done.exception, ConfigurationError)
    assert str(done.exception) == f"{out}: cannot be written: No such file or directory"


def test_a_file_is_written_for_its_owner_only(tmp_path, monkeypatch):
    monkeypatch.setattr(client, "call_admin", lambda *_: {"file": "{}"})
    out, old, mask = tmp_path / "e", tmp_path / "old", os.umask(0)
    try:
        old.write_text("{}")
        for file in (out, old):
            assert CliRunner().invoke(app, ["evidence", "export", "s", "--out", str(file)]).exit_code == 0
            assert file.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(mask)
