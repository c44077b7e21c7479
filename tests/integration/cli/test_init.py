"""p2p-oicp init, peers list and run: a new node from nothing."""

import json
import stat

import pytest

from p2p_oicp.config import load_registry, load_settings
from p2p_oicp.oicp import OperatorID, ProviderID


def test_a_new_node_is_complete_and_can_be_loaded(p2p_oicp, tmp_path):
    home = tmp_path / "a"
    done = p2p_oicp(
        "init", home, "--name", 'Node "A"', "--operator", "DE*GEF", "--operator", "DE*GE2", "--provider", "DE-GDF"
    )
    assert done.code == 0
    settings = load_settings(home / "node.toml")
    assert settings.node.name == 'Node "A"'
    assert settings.node.operators == (OperatorID("DE*GEF"), OperatorID("DE*GE2"))
    assert settings.node.providers == (ProviderID("DE-GDF"),)
    assert settings.security.require == ("signature",)
    assert [peer.is_self for peer in load_registry(settings).all()] == [True]
    assert f"p2p-oicp run --config {home / 'node.toml'}" in done.out


def test_an_insecure_node_may_start_and_the_command_says_what_that_means(p2p_oicp, tmp_path):
    done = p2p_oicp("init", tmp_path / "a", "--name", "A", "--operator", "DE*GEF", "--insecure")
    assert "Insecure" in done.out
    assert load_settings(tmp_path / "a" / "node.toml").security.require == ()


def test_the_private_key_is_for_its_owner_only(p2p_oicp, tmp_path):
    p2p_oicp("init", tmp_path / "a", "--name", "A", "--operator", "DE*GEF")
    key = tmp_path / "a" / "keys" / "node.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.read_text().startswith("-----BEGIN PRIVATE KEY-----")
    assert "PRIVATE" not in (tmp_path / "a" / "keys" / "node.pub").read_text()


def test_two_nodes_on_one_machine_know_each_other_by_two_appended_files(p2p_oicp, tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    p2p_oicp("init", a, "--name", "A", "--operator", "DE*GEF")
    p2p_oicp("init", b, "--name", "B", "--provider", "DE-GDF", "--peer-port", 8330, "--backend-port", 8331)
    for one, other in ((a, b), (b, a)):
        with (one / "peers.toml").open("a") as file:
            file.write((other / "for-partners.toml").read_text())
    settings = load_settings(b / "node.toml")
    assert (settings.peer_api.port, settings.backend_api.port) == (8330, 8331)
    peer = load_registry(settings).by_operator(OperatorID("DEGEF"))
    assert peer is not None
    assert peer.url == "http://127.0.0.1:8320"
    assert len(peer.public_keys) == 1


def test_what_exists_is_not_overwritten(p2p_oicp, tmp_path):
    p2p_oicp("init", tmp_path / "a", "--name", "A", "--operator", "DE*GEF")
    before = (tmp_path / "a" / "keys" / "node.key").read_bytes()
    (tmp_path / "a" / "node.toml").unlink()
    again = p2p_oicp("init", tmp_path / "a", "--name", "B", "--operator", "DE*GEF")
    assert again.code == 2
    assert "peers.toml exists already and is not overwritten" in again.err
    assert not (tmp_path / "a" / "node.toml").exists()
    assert (tmp_path / "a" / "keys" / "node.key").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(
            ["--operator", "DE*X"], '--operator: "DE*X" is no OperatorID; expected one such as', id="operator"
        ),
        pytest.param(["--provider", "X"], '--provider: "X" is no ProviderID; expected one such as', id="provider"),
        pytest.param(["--peer-port", "9", "--backend-port", "9"], "both 9; expected two ports", id="one port"),
        pytest.param(["--name", " "], "--name: expected a name", id="an empty name"),
    ],
)
def test_a_wrong_option_is_refused_in_one_line_and_nothing_is_written(p2p_oicp, tmp_path, arguments, expected):
    done = p2p_oicp("init", tmp_path / "a", "--name", "A", *arguments)
    assert done.code == 2
    assert expected in done.err
    assert done.err.count("\n") == 1
    assert not (tmp_path / "a").exists()


def test_a_folder_that_cannot_be_written_is_explained_in_one_line(p2p_oicp, tmp_path):
    (tmp_path / "a").write_text("a file")
    done = p2p_oicp("init", tmp_path / "a", "--name", "A")
    assert done.code == 2
    assert "cannot be written" in done.err


def test_no_settings_no_start(p2p_oicp, tmp_path):
    done = p2p_oicp("run", "--config", tmp_path / "node.toml")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "no such file" in done.err


@pytest.fixture
def two_peers(p2p_oicp, tmp_path):
    p2p_oicp("init", tmp_path / "a", "--name", "A", "--operator", "DE*AAA")
    with (tmp_path / "a" / "peers.toml").open("a") as file:
        file.write(
            '[[peer]]\nname = "[b]B[/b]"\nurl = "http://b"\nproviders = ["DE-BBB"]\nservices = ["AuthorizeStart"]\n'
        )
        file.write(
            '[[peer]]\nname = "C"\nurl = "http://c"\noperators = ["DE*CCC", "+49*810"]\nnetworks = ["10.0.0.0/8"]\n'
        )
    return tmp_path / "a" / "node.toml"


def test_peers_are_listed_for_people(p2p_oicp, two_peers):
    listed = p2p_oicp("peers", "list", "--config", two_peers)
    assert listed.code == 0
    assert [line.split("\t") for line in listed.out.splitlines()[1:]] == [
        ["[b]B[/b]", "", "", "", "DE-BBB", "http://b", "signature", "AuthorizeStart", ""],
        ["C", "", "", "DE*CCC +49*810", "", "http://c", "signature", "all", ""],
    ]


def test_peers_are_listed_for_programs(p2p_oicp, two_peers):
    listed = json.loads(p2p_oicp("peers", "list", "--json", "--config", two_peers).out)
    assert [peer["name"] for peer in listed] == ["[b]B[/b]", "C"]
    assert listed[1] == {
        "name": "C",
        "url": "http://c",
        "operators": ["DE*CCC", "+49*810"],
        "providers": [],
        "path": "/api/oicp",
        "services": None,
        "may_call": None,
        "profile": "oicp",
        "security": None,
        "public_keys": [],
        "certificates": [],
        "networks": ["10.0.0.0/8"],
        "requests_per_second": None,
        "concurrent": None,
        "max_body": None,
        "trust": "signature",
        "default_route": False,
        "pull_interval": None,
        "publish": None,
        "pull": {},
    }


def test_a_bug_is_one_line_too(p2p_oicp, monkeypatch, tmp_path):
    def broken(*_arguments):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("p2p_oicp.cli.init.write_node_files", broken)
    done = p2p_oicp("init", tmp_path / "a", "--name", "A")
    assert done.code == 70
    assert done.err == "p2p-oicp: this is a bug, please report it: RuntimeError: two lines (-X dev shows where)\n"


def test_an_interrupted_command_ends_with_130(p2p_oicp, monkeypatch, tmp_path):
    def interrupted(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("p2p_oicp.cli.init.write_node_files", interrupted)
    assert p2p_oicp("init", tmp_path / "a", "--name", "A").code == 130


def test_a_wrong_option_is_the_users_mistake(p2p_oicp):
    assert p2p_oicp("init", "--nmae", "A").code == 2
