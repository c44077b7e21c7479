"""What a node and its commands write is for its owner only, from its creation on and whatever the umask."""

import asyncio
import os
import stat
from pathlib import Path

import pytest
import structlog

from p2p_oicp import runner
from p2p_oicp.cli.init import NodeTemplate, write_node_files
from p2p_oicp.cli.run import exposed_files
from p2p_oicp.config import load_settings
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.node import Node
from p2p_oicp.storage.sqlite.backup import back_up
from tests.support.messages import START, authorize_start
from tests.support.nodes import start_session

TEMPLATE = NodeTemplate("Alpha", ("DE*ALF",), ("DE-ALF",), ("signature",), 8320, 8321)


@pytest.fixture(autouse=True)
def _no_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def wide(folder: Path) -> list[str]:
    """Return what others may touch, the folder itself included."""
    found = [folder, *folder.rglob("*")]
    assert len(found) > 2
    return [f"{path}: {path.stat().st_mode:o}" for path in found if path.stat().st_mode & 0o077]


async def test_a_new_node_and_all_that_it_writes_while_it_runs(stopped, p2p_oicp, tmp_path):
    async with stopped.running("a"), stopped.running("b"):
        session = await start_session(stopped)
        await stopped.a.post(START, authorize_start(EvseID="DE*GEF*E2"))
        running = [wide(stopped.folder / name / "data") for name in ("a", "b")]
        config = stopped.folder / "a" / "node.toml"
        out = tmp_path / "session.evidence"
        out.write_text("an older one, which others may read")
        done = await asyncio.to_thread(p2p_oicp, "evidence", "export", session, "--out", out, "--config", config)
        assert done.code == 0, done.err
        back_up(load_settings(config).storage.file, tmp_path / "backup.sqlite3", 1.0)
    assert [*running, wide(stopped.folder / "a" / "data"), wide(stopped.folder / "a" / "keys")] == [[], [], [], []]
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("session.evidence", "backup.sqlite3")] == [
        0o600,
        0o600,
    ]


def test_what_init_and_certs_and_rotation_write(p2p_oicp, tmp_path):
    home = tmp_path / "n"
    assert p2p_oicp("init", home, "--name", "A", "--operator", "DE*GEF").code == 0
    config = home / "node.toml"
    assert p2p_oicp("certs", "self-signed", "--config", config).code == 0
    assert p2p_oicp("keys", "rotate", "--config", config).code == 0
    assert p2p_oicp("tokens", "list", "--config", config).code in {0, 2}
    assert wide(home) == []


async def test_a_folder_that_was_there_keeps_its_mode_and_the_start_says_that_others_may_read_it(tmp_path):
    write_node_files(tmp_path / "n", TEMPLATE)
    config = tmp_path / "n" / "node.toml"
    config.chmod(0o644)
    (tmp_path / "n" / "data").mkdir(mode=0o755)
    assert exposed_files(config, load_settings(config)) == [tmp_path / "n" / "data"]
    (tmp_path / "n" / "data").chmod(0o700)
    assert exposed_files(config, load_settings(config)) == []


SECRETS = {
    "backend API": '[backend_api]\ntoken = "a-secret-of-tests"\n',
    "dashboard": '[dashboard]\nread_only_token = "a-secret-of-tests"\n',
    "backend": '[[backends]]\nname = "emp"\nrole = "emp"\nurl = "http://127.0.0.1:9"\ntoken = "a-secret-of-tests"\n',
    "webhook": '[[webhooks]]\nname = "crm"\nurl = "http://127.0.0.1:9"\ntoken = "a-secret-of-tests"\n',
}


@pytest.mark.parametrize("table", SECRETS.values(), ids=SECRETS)
def test_settings_with_a_secret_in_them_are_for_their_owner_only(tmp_path, table):
    config = tmp_path / "node.toml"
    config.write_text('[node]\nname = "A"\nproviders = ["DE-ALF"]\n')
    config.chmod(0o644)
    assert exposed_files(config, load_settings(config)) == []
    config.write_text(config.read_text() + table)
    assert exposed_files(config, load_settings(config)) == [config]
    config.chmod(0o600)
    assert exposed_files(config, load_settings(config)) == []


def test_the_start_warns_with_what_to_do(tmp_path, monkeypatch):
    write_node_files(tmp_path / "n", TEMPLATE)
    monkeypatch.setattr(runner, "configure_logs", lambda *_: None)
    monkeypatch.setattr(runner, "_serve_until_signal", lambda *_: asyncio.sleep(0))
    monkeypatch.setattr(runner, "_fit_to_fd_limit", lambda settings: settings)
    with structlog.testing.capture_logs() as logs:
        runner.run(load_settings(tmp_path / "n" / "node.toml"), exposed=[tmp_path / "my data"])
    assert [entry["hint"] for entry in logs] == [f"chmod go-rwx '{tmp_path}/my data'"]


@pytest.mark.parametrize(("content", "mode", "expected"), [
    pytest.param("short\n", 0o600, "expected a random text of at least 16", id="too short"),
    pytest.param("a token with some blanks\n", 0o600, "expected a random text", id="blanks"),
    pytest.param("ä" * 20, 0o600, "expected a random text", id="not ASCII"),
    pytest.param("a" * 43, 0o640, "other users of this machine may read it; run: chmod 600", id="readable"),
    pytest.param(None, 0o600, "cannot be read: No such file", id="absent"),
])  # fmt: skip
def test_a_token_file_that_protects_nothing_stops_the_start(tmp_path, content, mode, expected):
    write_node_files(tmp_path / "n", TEMPLATE)
    file = tmp_path / "n" / "keys" / "backend.token"
    file.unlink()
    if content is not None:
        file.write_text(content, encoding="utf-8")
        file.chmod(mode)
    with pytest.raises(ConfigurationError, match=expected):
        load_settings(tmp_path / "n" / "node.toml")


def test_a_token_file_that_nobody_has_read_opens_nothing(tmp_path):
    write_node_files(tmp_path / "n", TEMPLATE)
    settings = load_settings(tmp_path / "n" / "node.toml")
    unread = settings.model_copy(update={"backend_api": settings.backend_api.model_copy(update={"token": None})})

    async def start():
        async with Node(unread):
            pass

    with pytest.raises(ConfigurationError, match="token_file was not read"):
        asyncio.run(start())
