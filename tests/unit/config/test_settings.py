"""node.toml: what is read, what is refused, and in which words."""

from pathlib import Path

import pytest

from p2p_oicp.config import load_registry, load_settings
from p2p_oicp.config.reference import render_reference
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.oicp import OperatorID, ProviderID
from tests.support.paths import ROOT
from tests.support.settings import complaint

NODE = '[node]\nname = "A"\noperators = ["DE*GEF"]\n'


def test_a_name_and_one_party_are_enough(read, tmp_path):
    settings = read(NODE)
    assert settings.node.operators == (OperatorID("DEGEF"),)
    assert settings.peer_api.url == "http://127.0.0.1:8320"
    assert settings.backend_api.token is None
    assert settings.security.require == ("signature",)
    assert settings.peers_file == tmp_path / "peers.toml"
    assert settings.node.data_dir == tmp_path / "data"
    assert settings.storage.file == tmp_path / "data" / "node.sqlite3"


def test_settings_are_immutable(read):
    with pytest.raises(ValueError, match="frozen"):
        read(NODE).node.name = "B"


def test_a_token_is_in_no_repr(read):
    assert "swordfish" not in repr(read(NODE + '[backend_api]\ntoken = "swordfish"\n'))


def test_paths_are_relative_to_the_folder_of_node_toml(read):
    settings = read(f'peers_file = "/etc/peers.toml"\n{NODE}data_dir = "/var/lib/a"\n[storage]\nfile = "b.db"\n')
    assert settings.peers_file == Path("/etc/peers.toml")
    assert settings.storage.file == Path("/var/lib/a/b.db")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            NODE + "\n[backend_api]\n\nprot = 1\n",
            'node.toml:7: [backend_api] prot: unknown key; did you mean "port"?',
            id="a key misspelt",
        ),
        pytest.param(
            NODE + '[backend_api]\ncertificate = "a.crt"\n',
            'node.toml:4: [backend_api]: expected both or none of certificate = "…" and key = "…"',
            id="a certificate of the backend API without its key",
        ),
        pytest.param(
            NODE + '[backend_api]\nca = "ca.pem"\ntoken = "swordfish"\n',
            'node.toml:4: [backend_api]: ca is for https; expected certificate = "…" and key = "…" as well',
            id="a CA of the backend API without a certificate",
        ),
        pytest.param(
            NODE + '[backend_api]\nca = "ca.pem"\ncertificate = "a.crt"\nkey = "a.key"\n',
            "node.toml:4: [backend_api]: ca: expected token_file or token as well, which the administration and the "
            "commands need",
            id="a CA of the backend API without a token",
        ),
        pytest.param("[nod]\n" + NODE, 'node.toml:1: [nod]: unknown key; did you mean "node"?', id="a table misspelt"),
        pytest.param(
            NODE + "[log]\ncolour = 1\n",
            "node.toml:5: [log] colour: unknown key; expected one of format, level",
            id="a key like no other",
        ),
        pytest.param(
            '_env_file = "x"\n' + NODE,
            'node.toml:1: _env_file: unknown key; did you mean "peers_file"?',
            id="a name the library knows",
        ),
        pytest.param(
            "",
            "node.toml: node: missing; expected: The table [node] with a name, and operators or providers",
            id="empty",
        ),
        pytest.param(
            '[node]\noperators = ["DE*GEF"]\n',
            "node.toml:1: [node] name: missing; expected: Name of this node in logs and to its peers",
            id="a key missing",
        ),
        pytest.param(
            '[node]\nname = "A"\n',
            'node.toml:1: [node]: no party; expected operators = ["DE*ABC"] or providers = ["DE-XYZ"], or both',
            id="no party",
        ),
        pytest.param(
            NODE + 'providers = [\n "DE-GDF",\n "DE-GD",\n]\n',
            'node.toml:4: [node] providers: "DE-GD" is no ProviderID; expected one such as "DE-XYZ"',
            id="an id in a list over many lines",
        ),
        pytest.param(
            NODE + "providers = [7]\n",
            'node.toml:4: [node] providers: expected text in quotes, such as "DE-XYZ"',
            id="a number for an id",
        ),
        pytest.param(
            NODE + 'providers = "DE-GDF"\n',
            'node.toml:4: [node] providers: expected a list, such as ["…", "…"], not text',
            id="text for a list",
        ),
        pytest.param(
            NODE + '[peer_api]\nport = "many"\n',
            "node.toml:5: [peer_api] port: expected a whole number, not text",
            id="text for a port",
        ),
        pytest.param(
            NODE + "[peer_api]\nport = true\n",
            "node.toml:5: [peer_api] port: expected a number, not true/false",
            id="true for a port",
        ),
        pytest.param(
            NODE + "peer_api.port = 1\n",
            "node.toml:4: [node] peer_api: unknown key; expected one of data_dir, name, operators, providers",
            id="a dotted key in the wrong table",
        ),
        pytest.param(
            NODE + "[peer_api]\nport = 65536\n",
            "node.toml:5: [peer_api] port: expected a number of at most 65535",
            id="a port too high",
        ),
        pytest.param(
            NODE + '[peer_api]\nurl = "oicp.example.com"\n',
            'node.toml:5: [peer_api] url: "oicp.example.com" is no base URL; expected one such as '
            '"https://oicp.example.com"',
            id="a URL without a scheme",
        ),
        pytest.param(
            NODE + '[peer_api]\nhost = "0.0.0.0"\n',
            'node.toml:4: [peer_api]: host "0.0.0.0" is no address that peers can connect to; '
            'expected url = "https://…" as well',
            id="open to all, callable by none",
        ),
        pytest.param(
            NODE + '[backend_api]\nhost = "0.0.0.0"\n',
            'node.toml:4: [backend_api]: host "0.0.0.0" is reachable by others, who could act as this company; '
            "expected a token as well",
            id="a backend API open to all",
        ),
        pytest.param(
            NODE + '[backend_api]\ntoken = "x"\n',
            "node.toml:5: [backend_api] token: expected at least 8 characters",
            id="a short token is not shown",
        ),
        pytest.param(
            NODE + "[peer_api]\nport = 8321\n",
            "node.toml: [peer_api] and [backend_api] both have port 8321; expected two different ports",
            id="one port for both",
        ),
        pytest.param(
            NODE + '[security]\nrequire = ["signature", "password"]\n',
            "node.toml:5: [security] require: expected 'signature' or 'mtls'",
            id="a proof nobody knows",
        ),
        pytest.param(
            NODE + '[storage]\nsynchronous = "OFF"\n',
            "node.toml:5: [storage] synchronous: expected 'FULL' or 'NORMAL'",
            id="a word outside its list",
        ),
        pytest.param(
            NODE + "[delivery]\nretry_first = 5\nretry_max = 1\n",
            "node.toml:4: [delivery]: retry_max = 1: expected at least retry_first = 5",
            id="pauses that shrink",
        ),
        pytest.param(
            NODE + "[deadlines]\nauthorize = inf\n",
            "node.toml:5: [deadlines] authorize: expected a finite number",
            id="no deadline",
        ),
        pytest.param("node = 4\n", "node.toml:1: node: expected a table of keys, not a number", id="no table"),
        pytest.param(
            NODE + "[log\n",
            "node.toml:4: not valid TOML: Expected ']' at the end of a table declaration (column 5)",
            id="broken TOML",
        ),
        pytest.param(
            NODE + 'name = "B"\n', "node.toml:4: not valid TOML: Cannot overwrite a value (column 11)", id="a key twice"
        ),
        pytest.param(
            NODE + 'providers = ["',
            "node.toml:4: not valid TOML: Unterminated string at the end of the file",
            id="cut off",
        ),
    ],
)
def test_a_mistake_is_one_line_with_file_line_key_and_what_is_expected(read, text, expected):
    assert complaint(read, text) == expected


def test_lines_are_counted_across_long_strings_and_comments(read):
    text = '[node] # name = 1\nname = """\\\n prot = 2 \\\n [log] \\\n"""\noperators = ["DE*GEF"] # "\n[log]\nlvl = 1\n'
    assert complaint(read, text).startswith("node.toml:8: [log] lvl: unknown key")


def test_an_absent_file_is_reported_with_the_command_that_writes_one(tmp_path):
    with pytest.raises(ConfigurationError, match=r"node\.toml: no such file; `p2p-oicp init .* --name .* writes one"):
        load_settings(tmp_path / "node.toml")


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "node.toml").write_bytes(b"[node]\nname = '\xff'\n")
    with pytest.raises(ConfigurationError, match="not UTF-8 text"):
        load_settings(tmp_path / "node.toml")


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        load_settings(tmp_path)


@pytest.mark.parametrize(
    ("variable", "value", "path", "expected"),
    [
        pytest.param("P2P_OICP_NODE__NAME", "B", "node.name", "B", id="text"),
        pytest.param("P2P_OICP_PEER_API__PORT", "9000", "peer_api.port", 9000, id="a number"),
        pytest.param("P2P_OICP_DISCOVERY__MDNS", "true", "discovery.mdns", True, id="a truth"),
        pytest.param("P2P_OICP_DELIVERY__RETRY_MAX", "1.5", "delivery.retry_max", 1.5, id="seconds"),
        pytest.param("P2P_OICP_PEERS_FILE", "/p.toml", "peers_file", Path("/p.toml"), id="a key outside all tables"),
        pytest.param("p2p_oicp_log__level", "debug", "log.level", "debug", id="lower case"),
        pytest.param("P2P_OICP_SECURITY__REQUIRE", "mtls", "security.require", ("mtls",), id="a list of one"),
        pytest.param("P2P_OICP_SECURITY__REQUIRE", "[]", "security.require", (), id="an empty list"),
        pytest.param(
            "P2P_OICP_SECURITY__REQUIRE", "mtls, signature", "security.require", ("mtls", "signature"), id="commas"
        ),
        pytest.param("P2P_OICP_NODE__PROVIDERS", '["DE-GDF"]', "node.providers", (ProviderID("DEGDF"),), id="JSON"),
    ],
)
def test_the_environment_wins_over_the_file(read, monkeypatch, variable, value, path, expected):
    monkeypatch.setenv(variable, value)
    found = read(NODE + '[log]\nlevel = "error"\n[security]\nrequire = ["signature"]\n')
    for name in path.split("."):
        found = getattr(found, name)
    assert found == expected


def test_every_key_can_come_from_the_environment_alone(read, monkeypatch):
    monkeypatch.setenv("P2P_OICP_NODE__NAME", "B")
    monkeypatch.setenv("P2P_OICP_NODE__PROVIDERS", "DE-GDF")
    assert read("").node.name == "B"


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        pytest.param("P2P_OICP_NODE__NAEM", "B", 'unknown key; did you mean "name"?', id="a key misspelt"),
        pytest.param("P2P_OICP_NOD__NAME", "B", 'unknown key; did you mean "node"?', id="a table misspelt"),
        pytest.param("P2P_OICP_PEER_API__PORT", "x", "expected a whole number, not text", id="a wrong value"),
        pytest.param("P2P_OICP_PEER_API", "x", "expected a table of keys, not text", id="no table"),
        pytest.param(
            "P2P_OICP_NODE__OPERATORS", "DE*GEF,X", '"X" is no OperatorID; expected one such as "DE*ABC"', id="an id"
        ),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(read, monkeypatch, variable, value, expected):
    monkeypatch.setenv(variable, value)
    assert complaint(read, NODE) == f"environment variable {variable}: {expected}"


def test_no_peer_can_claim_a_party_of_this_node(read, tmp_path):
    (tmp_path / "peers.toml").write_text('[[peer]]\nname = "B"\nurl = "http://b"\noperators = ["DEGEF"]\n')
    with pytest.raises(
        ConfigurationError, match=r'peers\.toml:4: \[\[peer\]\] operators: "DEGEF" is claimed by this node itself'
    ):
        load_registry(read(NODE))


def test_the_registry_contains_this_node(read, tmp_path):
    (tmp_path / "peers.toml").write_text('[[peer]]\nname = "B"\nurl = "http://b"\noperators = ["DE*BBB"]\n')
    registry = load_registry(read(NODE))
    own = registry.by_operator(OperatorID("DE*GEF"))
    assert own is not None
    assert own.is_self
    assert [peer.name for peer in registry.cpo_peers()] == ["B"]


def test_the_documentation_of_settings_is_up_to_date():
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert page == render_reference(), "python -m p2p_oicp.config.reference > docs/configuration.md"
