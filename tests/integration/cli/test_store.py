"""The commands that look into a node's store: sessions, cdrs, tokens."""

import csv
import io
import json
import subprocess
import sys

import pytest
from msgspec.structs import replace

from p2p_oicp.config import load_settings
from p2p_oicp.crypto.pins import pin_matches
from p2p_oicp.errors import ConfigurationError, StoreUnavailable
from p2p_oicp.storage import cdrs, open_for_change, open_readonly, sessions, tokens
from p2p_oicp.storage.cdrs import CdrRow
from p2p_oicp.storage.sessions import Session, SessionState
from tests.support.messages import cdr

KEY = "f98efba4-02d8-4fa0-b810-9a9d50d2c527"
SESSION = Session(
    role="emp",
    session_key=KEY,
    session_id=KEY.upper(),
    kind="remote",
    state=SessionState.CHARGING,
    peer="node a",
    request_digest=b"one",
    created_at=1_772_355_600.0,
    updated_at=1_772_355_600.0,
    provider_id="DE-GDF",
)


@pytest.fixture
def config(tmp_path):
    (tmp_path / "peers.toml").write_text("")
    path = tmp_path / "node.toml"
    path.write_text('[node]\nname = "node b"\nproviders = ["DE-GDF"]\n[security]\nrequire = []\n')
    return path


@pytest.fixture
def store(config):
    return load_settings(config).storage.file


def run(*arguments: str, config, stdin: str = "") -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "p2p_oicp", *arguments, "--config", str(config)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)


def insert_cdrs(store, *records: tuple[str, bytes]) -> None:
    with open_for_change(store) as tx:
        for number, (role, body) in enumerate(records):
            record = CdrRow(
                role=role, session_key=f"s{number}", peer="node a", operator_key="", provider_key="", session_end=1.0,
                body=body,
            )  # fmt: skip
            cdrs.insert(tx, record, 1000.0 + number)


def test_sessions_are_listed_newest_first_for_people_and_programs(config, store):
    with open_for_change(store) as tx:
        sessions.insert_or_get(tx, SESSION)
        sessions.insert_or_get(tx, replace(SESSION, session_key="new", session_id="NEW", created_at=1.9e9))
    listed = json.loads(run("sessions", "list", "--json", config=config).stdout)
    assert [session["session_id"] for session in listed] == ["NEW", KEY.upper()]
    assert listed[1]["created_at"] == "2026-03-01T09:00:00.000+00:00"
    assert "charging" in run("sessions", "list", config=config).stdout


def test_sessions_of_one_state_are_listed(config, store):
    with open_for_change(store) as tx:
        sessions.insert_or_get(tx, SESSION)
    assert json.loads(run("sessions", "list", "--json", "--state", "settled", config=config).stdout) == []
    wrong = run("sessions", "list", "--state", "lost", config=config)
    assert (wrong.returncode, "expected one of requested" in wrong.stderr) == (2, True)


def test_a_session_is_shown_with_its_events_in_any_case(config, store):
    with open_for_change(store) as tx:
        sessions.insert_or_get(tx, SESSION)
        sessions.add_event(tx, "emp", KEY, 1_772_355_660.0, "notification Start", b'{"Type":"Start"}')
    shown = run("sessions", "show", KEY.title(), "--json", config=config)
    session = json.loads(shown.stdout)[0]
    assert (shown.returncode, session["state"]) == (0, "charging")
    assert session["events"] == [
        {"at": "2026-03-01T09:01:00.000+00:00", "event": "notification Start", "message": {"Type": "Start"}}
    ]
    assert "notification Start" in run("sessions", "show", KEY, config=config).stdout


def test_an_unknown_session_has_exit_code_1(config, store):
    with open_for_change(store):
        pass
    assert run("sessions", "show", KEY, config=config).returncode == 1


def test_a_node_that_never_ran_has_no_store_to_look_into(config, store):
    with pytest.raises(StoreUnavailable, match="there is no database yet"), open_readonly(store):
        pass
    assert run("sessions", "list", config=config).returncode == 2


def test_records_are_exported_as_received(config, store):
    bodies = [json.dumps(cdr(KEY), indent=1).encode(), json.dumps(cdr(KEY, ConsumedEnergy=1)).encode()]
    insert_cdrs(store, ("emp", bodies[0]), ("cpo", bodies[1]))
    exported = run("cdrs", "export", "--since", "1970-01-01", config=config).stdout.encode()
    assert exported == b"[\n" + bodies[0] + b",\n" + bodies[1] + b"\n]\n"
    ours = run("cdrs", "export", "--since", "1970-01-01", "--role", "cpo", config=config).stdout
    assert [record["ConsumedEnergy"] for record in json.loads(ours)] == [1]


EXPORTS = {
    "before": ("1970-01-01T00:16:39Z", 2),
    "one of them": ("1970-01-01T00:16:41Z", 1),
    "after": ("1971-01-01", 0),
}


@pytest.mark.parametrize(("since", "count"), EXPORTS.values(), ids=EXPORTS)
def test_only_records_received_since_are_exported(config, store, since, count):
    insert_cdrs(store, ("emp", json.dumps(cdr(KEY)).encode()), ("emp", json.dumps(cdr(KEY)).encode()))
    assert len(json.loads(run("cdrs", "export", "--since", since, config=config).stdout)) == count


def test_records_are_exported_as_a_table_with_every_digit(config, store):
    insert_cdrs(store, ("emp", json.dumps(cdr(KEY)).replace("22.5", "22.500").encode()))
    text = run("cdrs", "export", "--since", "1970-01-01", "--csv", config=config).stdout
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["SessionID"], row["ConsumedEnergy"], row["Identification"]) == (KEY, "22.500", "1234ABCD")
    assert row["SessionEnd"] == "2026-03-01T10:41:00+01:00"


@pytest.mark.parametrize("text", ["=1+1", "+49123", "-1+1", "@SUM(A1)", " =1+1", "\t=1+1", "\r=1+1", "\uff1d1+1"])
def test_what_a_partner_wrote_is_no_formula_in_a_table(config, store, text):
    record = cdr(KEY, PartnerProductID=text, MeterValueStart=-0.5)
    insert_cdrs(store, ("emp", json.dumps(record).encode()))
    exported = run("cdrs", "export", "--since", "1970-01-01", "--csv", config=config).stdout
    (row,) = csv.DictReader(io.StringIO(exported))
    assert row["PartnerProductID"].startswith(("'", "\\u00"))
    assert row["MeterValueStart"] == "-0.5"


def test_control_characters_of_a_partner_reach_no_table(config, store):
    insert_cdrs(store, ("emp", json.dumps(cdr(KEY, CPOPartnerSessionID="a\x1b[2J\x9bm\nb\x07")).encode()))
    exported = run("cdrs", "export", "--since", "1970-01-01", "--csv", config=config).stdout
    (row,) = csv.DictReader(io.StringIO(exported))
    assert row["CPOPartnerSessionID"] == "a\\u001b[2J\\u009bm\\u000ab\\u0007"


@pytest.mark.parametrize("since", ["yesterday", "2026-03-01T02:00:00", "2026-13-01"])
def test_a_time_that_is_none_is_explained(config, since):
    refused = run("cdrs", "export", "--since", since, config=config)
    assert (refused.returncode, "expected" in refused.stderr) == (2, True)


def pin_hashes(store) -> dict[str, bytes | None]:
    with open_readonly(store) as reader:
        keys = [row["token"] for row in reader.rows(tokens.ALL_TOKENS)]
        return {key: next(reader.rows(tokens.TOKEN_BY_KEY, key_=key.replace("-", "")))["pin_hash"] for key in keys}


def test_tokens_are_added_listed_and_removed(config, store):
    assert run("tokens", "add", "1234ABCD", "DE-GDF-C12345678-X", config=config).returncode == 0
    listed = json.loads(run("tokens", "list", "--json", config=config).stdout)
    assert [(token["token"], token["pin"]) for token in listed] == [("1234ABCD", False), ("DE-GDF-C12345678-X", False)]
    assert run("tokens", "remove", "1234abcd", config=config).returncode == 0
    assert run("tokens", "remove", "1234ABCD", config=config).returncode == 1
    assert list(pin_hashes(store)) == ["DE-GDF-C12345678-X"]


def test_a_file_adds_many_tokens_and_only_bcrypt_hashes_of_pins(config, store, tmp_path):
    (tmp_path / "tokens.csv").write_text("1234ABCD\n\nDE-GDF-C12345678-X, 1234\n")
    assert run("tokens", "add", "--from", str(tmp_path / "tokens.csv"), config=config).stdout == "2 added\n"
    pin_hash = pin_hashes(store)["DE-GDF-C12345678-X"]
    assert pin_hash.startswith(b"$2")
    assert pin_matches("1234", pin_hash)
    assert b"1234\n" not in store.read_bytes()


WRONG = {
    "neither": ("12", "is neither a UID"),
    "a PIN for a card": ("1234ABCD,1234", "a card has no PIN"),
    "nothing": ("", "expected a token"),
}


@pytest.mark.parametrize(("line", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_token_changes_nothing(config, line, words):
    refused = run("tokens", "add", "--from", "-", config=config, stdin=f"DE-GDF-C12345678-X\n{line}\n" if line else "")
    assert (refused.returncode, words in refused.stderr) == (2, True)
    assert run("tokens", "list", config=config).returncode == 2  # no database was made


def stopped_half_way(store) -> None:
    with open_for_change(store) as tx:
        tokens.upsert_token(tx, tokens.Token("1234ABCD", "1234ABCD"), 1.0)
        raise ConfigurationError("stop")


def test_a_change_that_fails_leaves_nothing_behind(store):
    with pytest.raises(ConfigurationError):
        stopped_half_way(store)
    with open_readonly(store) as reader:
        assert list(reader.rows(tokens.ALL_TOKENS)) == []
