"""One archive with all of a node, and putting it back on this machine or on another one."""

from __future__ import annotations

import asyncio
import io
import json
import os
import stat
import tarfile

import pytest
import structlog.testing

from p2p_oicp import Node, load_settings
from p2p_oicp.crypto.keystore import read_own_keys
from p2p_oicp.storage import open_for_change, open_readonly, tokens
from tests.support.command_line import Outcome

HOUR = 3600.0


@pytest.fixture
def config(tmp_path, p2p_oicp, monkeypatch):
    """A node that has run, with a token in its database."""
    folder = tmp_path / "alpha"
    p2p_oicp("init", folder, "--name", "Alpha", "--operator", "DE*ALF", "--provider", "DE-ALF")
    for port in ("PEER_API__PORT", "BACKEND_API__PORT"):
        monkeypatch.setenv(f"P2P_OICP_{port}", "0")
    start_once(folder / "node.toml")
    assert p2p_oicp("tokens", "add", "1234ABCD", "--config", folder / "node.toml").code == 0
    return folder / "node.toml"


@pytest.fixture
def archive(tmp_path, p2p_oicp, config):
    file = tmp_path / "alpha.tar"
    assert p2p_oicp("backup", file, "--config", config).code == 0
    return file


def start_once(config) -> list[dict]:
    """Start and stop a node; return its log."""

    async def run() -> None:
        async with Node(load_settings(config)):
            pass

    with structlog.testing.capture_logs() as logs:
        asyncio.run(run())
    return logs


def listed(config) -> list[str]:
    with open_readonly(load_settings(config).storage.file) as store:
        return [row["token"] for row in store.rows(tokens.ALL_TOKENS)]


def restored(p2p_oicp, archive, folder) -> Outcome:
    outcome = p2p_oicp("restore", archive, folder)
    assert outcome.code == 0, outcome.err
    return outcome


def test_a_node_comes_back_whole_on_another_machine(p2p_oicp, config, archive, tmp_path):
    folder = tmp_path / "another" / "machine"
    restored(p2p_oicp, archive, folder)
    assert listed(folder / "node.toml") == ["1234ABCD"]
    for name in (
        "node.toml",
        "peers.toml",
        "keys/node.key",
        "keys/node.pub",
        "keys/backend.token",
        "keys/epochs.jsonl",
    ):
        assert (folder / name).read_bytes() == (config.parent / name).read_bytes()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}
    assert modes == {0o600, 0o700}
    # It knows that it has been restored, and asks its peers.
    assert "store.restored" in [entry["event"] for entry in start_once(folder / "node.toml")]


def test_an_archive_is_only_for_its_owner_and_never_overwritten(p2p_oicp, config, archive):
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    outcome = p2p_oicp("backup", archive, "--config", config)
    assert (outcome.code, "not overwritten" in outcome.err) == (2, True)


def test_the_list_of_epochs_never_goes_back(p2p_oicp, config, archive):
    epochs = config.parent / "keys" / "epochs.jsonl"
    epochs.write_text(epochs.read_text() + '{"epoch":5,"created_at":1.0,"copied_from":null,"lost_since":null}\n')
    newer = epochs.read_text()
    restored(p2p_oicp, archive, config.parent)
    assert epochs.read_text() == newer
    epochs.write_text("")
    restored(p2p_oicp, archive, config.parent)
    assert set(epochs.read_text().splitlines()) < set(newer.splitlines())
    assert epochs.read_text()


def test_the_position_of_the_database_is_never_put_back(p2p_oicp, config, archive):
    with tarfile.open(archive) as content:
        assert "keys/position" not in content.getnames()
    position = (config.parent / "keys" / "position").read_text()
    restored(p2p_oicp, archive, config.parent)
    assert (config.parent / "keys" / "position").read_text() == position
    assert "store.restored" in [entry["event"] for entry in start_once(config)]


def test_a_key_that_was_rotated_since_stays(p2p_oicp, config, archive):
    assert p2p_oicp("keys", "rotate", "--config", config).code == 0
    rotated = read_own_keys(config.parent / "keys")
    (config.parent / "keys" / "node.key").unlink()  # as a later rotation deletes it
    outcome = restored(p2p_oicp, archive, config.parent)
    found = read_own_keys(config.parent / "keys").entries
    assert [entry.public for entry in found] == [entry.public for entry in rotated.entries]
    assert [entry.private is None for entry in found] == [True, False]
    assert "node.key: not restored" in outcome.out


def test_settings_that_were_changed_since_stay_and_are_named(p2p_oicp, config, archive):
    config.write_text(config.read_text() + "\n# changed\n")
    outcome = restored(p2p_oicp, archive, config.parent)
    assert config.read_text().endswith("# changed\n")
    assert f"{config}: stays, and differs" in outcome.out


def test_the_former_database_stays_beside(p2p_oicp, config, archive):
    with open_for_change(load_settings(config).storage.file) as tx:
        tokens.delete_token(tx, "1234ABCD")
    restored(p2p_oicp, archive, config.parent)
    assert listed(config) == ["1234ABCD"]
    (former,) = (config.parent / "data").glob("node.sqlite3.before-*Z")
    with open_readonly(former) as store:
        assert list(store.rows(tokens.ALL_TOKENS)) == []


def test_the_folder_of_another_node_is_refused(p2p_oicp, archive, tmp_path):
    p2p_oicp("init", tmp_path / "beta", "--name", "Beta", "--provider", "DE-BET")
    before = {path: path.read_bytes() for path in (tmp_path / "beta").rglob("*") if path.is_file()}
    outcome = p2p_oicp("restore", archive, tmp_path / "beta")
    assert (outcome.code, "keys of another node" in outcome.err) == (2, True)
    assert (
        before.items() <= {path: path.read_bytes() for path in (tmp_path / "beta").rglob("*") if path.is_file()}.items()
    )
    assert not (tmp_path / "beta" / "data" / "node.sqlite3").exists()


def test_a_party_that_is_configured_no_more_is_named(p2p_oicp, config, archive):
    config.write_text(config.read_text().replace('operators = ["DE*ALF"]', "operators = []"))
    assert "Warning: DE*ALF: has data in the archive" in restored(p2p_oicp, archive, config.parent).err


def test_a_running_node_is_not_restored(p2p_oicp, config, archive):
    async def attempt() -> Outcome:
        async with Node(load_settings(config)):
            return await asyncio.to_thread(p2p_oicp, "restore", archive, config.parent)

    outcome = asyncio.run(attempt())
    assert (outcome.code, "another node uses it" in outcome.err) == (2, True)


def change_byte(file) -> None:
    content = bytearray(file.read_bytes())
    content[-20_000] ^= 1  # in the database, which is last
    file.write_bytes(content)


def cut_off(file) -> None:
    os.truncate(file, file.stat().st_size // 2)


def replace_by_text(file) -> None:
    file.write_text("no archive\n" * 1000)


def rename_upwards(file) -> None:
    """Make an archive that would write outside of its folder."""
    with tarfile.open(file, "w") as out:
        manifest = {"format": 1, "parties": [], "keys": [], "files": {"database": {}, "files/../../x": {}}}
        content = json.dumps(manifest).encode()
        member = tarfile.TarInfo("manifest.json")
        member.size = len(content)
        out.addfile(member, io.BytesIO(content))


DAMAGES = {
    "a byte": (change_byte, "is damaged"),
    "the end": (cut_off, "cut off"),
    "everything": (replace_by_text, "no archive"),
    "a name": (rename_upwards, "was changed"),
}


@pytest.mark.parametrize(("damage", "expected"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_archive_changes_nothing(p2p_oicp, archive, tmp_path, damage, expected):
    damage(archive)
    outcome = p2p_oicp("restore", archive, tmp_path / "new")
    assert (outcome.code, expected in outcome.err) == (2, True), outcome.err
    assert [path for path in (tmp_path / "new").rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def test_files_elsewhere_are_named_and_those_in_the_folder_come_along(p2p_oicp, config, tmp_path):
    (tmp_path / "ca.pem").write_text("of the machine")
    (config.parent / "own.pem").write_text("of the node")
    text = f'\n[tls]\nca = "{tmp_path / "ca.pem"}"\ncertificate = "own.pem"\nkey = "own.pem"\n'
    config.write_text(config.read_text() + text)
    outcome = p2p_oicp("backup", tmp_path / "b.tar", "--config", config)
    assert f"Warning: not in the archive, keep it yourself: {tmp_path / 'ca.pem'}" in outcome.err
    restored(p2p_oicp, tmp_path / "b.tar", tmp_path / "new")
    assert (tmp_path / "new" / "own.pem").read_text() == "of the node"


def test_keys_and_a_database_that_do_not_belong_together_are_reported_at_the_start(p2p_oicp, config, tmp_path):
    other = tmp_path / "beta"
    p2p_oicp("init", other, "--name", "Alpha", "--operator", "DE*ALF", "--provider", "DE-ALF")
    start_once(other / "node.toml")
    os.replace(other / "keys", tmp_path / "its keys")  # noqa: PTH105
    own_keys = config.parent / "keys"
    own_keys.rename(other / "keys")
    assert "store.of_another_node" in [entry["event"] for entry in start_once(other / "node.toml")]
    (other / "keys" / "epochs.jsonl").unlink()
    assert "store.without_epochs_file" in [entry["event"] for entry in start_once(other / "node.toml")]
