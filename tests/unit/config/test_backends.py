"""The tables [[backends]]: what they mean together, and each mistake in one line with its place."""

import json

import pytest

from p2p_oicp.config import Settings, exposed_files
from tests.support.settings import complaint

NODE = '[node]\nname = "A"\noperators = ["DE*ABC", "DE*ABD"]\nproviders = ["DE-ONE", "DE-TWO"]\n'
CSMS = '[[backends]]\nname = "csms"\nrole = "cpo"\nurl = "https://csms.example"\n'
APP = '[[backends]]\nname = "app"\nrole = "emp"\nurl = "http://app.example"\n'


def named(settings: Settings) -> list[tuple[str, str, str | None]]:
    return [(backend.name, backend.role, backend.url) for backend in settings.all_backends()]


def test_without_a_table_the_short_form_names_the_backends(read):
    settings = read(NODE + '[backend_api]\nemp_url = "http://contracts"\n')
    assert named(settings) == [("cpo", "cpo", None), ("emp", "emp", "http://contracts")]


def test_what_no_table_serves_is_left_to_the_built_in_backend(read):
    settings = read(NODE + CSMS + 'operators = ["DE*ABC"]\n' + APP)
    assert [name for name, _, _ in named(settings)] == ["csms", "app", "cpo"]


def test_a_table_for_all_others_leaves_nothing(read):
    text = NODE + CSMS + 'operators = ["DE*ABC"]\n' + '[[backends]]\nname = "all"\nrole = "both"\nurl = "http://x"\n'
    assert [name for name, _, _ in named(read(text))] == ["csms", "all"]


def test_the_environment_has_all_tables_as_json(read, monkeypatch):
    entry = {"name": "csms", "role": "cpo", "url": "http://csms", "token": "a long secret"}
    monkeypatch.setenv("P2P_OICP_BACKENDS", json.dumps([entry]))
    (backend,) = read(NODE).backends
    assert (backend.name, backend.token.get_secret_value()) == ("csms", "a long secret")
    monkeypatch.setenv("P2P_OICP_BACKENDS", json.dumps([{**entry, "role": "csms"}]))
    expected = "environment variable P2P_OICP_BACKENDS: expected 'cpo', 'emp' or 'both'"
    assert complaint(read, NODE) == expected


def test_a_token_comes_from_its_file_and_is_in_no_repr(read, tmp_path):
    (tmp_path / "csms.token").write_text("a-long-random-text\n")
    (tmp_path / "csms.token").chmod(0o600)
    (backend,) = read(NODE + CSMS + 'token_file = "csms.token"\ncertificate = "c.pem"\nkey = "k.pem"\n').backends
    assert backend.token.get_secret_value() == "a-long-random-text"
    assert "a-long-random-text" not in repr(backend)
    assert (backend.certificate, backend.key) == (tmp_path / "c.pem", tmp_path / "k.pem")


def test_a_token_in_node_toml_makes_the_file_a_secret(read, tmp_path):
    settings = read(NODE + CSMS + 'token = "a long secret"\n')
    (tmp_path / "node.toml").chmod(0o644)
    assert exposed_files(tmp_path / "node.toml", settings) == [tmp_path / "node.toml"]


MISTAKES = {
    "one bracket": (
        CSMS.replace("[[backends]]", "[backends]"),
        "node.toml:5: [backends]: expected [[backends]], with two brackets: every system is an entry of a list",
    ),
    "an unknown key": (
        CSMS + 'tokn = "x"\n',
        'node.toml:9: [[backends]] tokn: unknown key; did you mean "token"?',
    ),
    "an unknown role": (
        CSMS.replace('"cpo"', '"csms"'),
        "node.toml:7: [[backends]] role: expected 'cpo', 'emp' or 'both'",
    ),
    "two of one name": (
        CSMS + 'operators = ["DE*ABC"]\n' + APP.replace('"app"', '"csms"'),
        'node.toml:6: [[backends]] name: "csms" is the name of two backends; expected a name of its own',
    ),
    "the name of the short form": (
        APP.replace('"app"', '"emp"') + 'providers = ["DE-ONE"]\n[backend_api]\nemp_url = "http://x"\n',
        'node.toml:6: [[backends]] name: "emp" is the name of emp_url of [backend_api]; expected another name',
    ),
    "the name of what serves the rest": (
        APP.replace('"app"', '"emp"') + 'providers = ["DE-ONE"]\n',
        (
            'node.toml:6: [[backends]] name: "emp" is the name of what serves the providers that no backend lists '
            "(DE-TWO); expected another name"
        ),
    ),
    "a party of somebody else": (
        CSMS + 'operators = ["DE*XYZ"]\n',
        'node.toml:9: [[backends]] operators: "DE*XYZ" is none of the operators of this node ([node] operators)',
    ),
    "a party twice": (
        CSMS + 'operators = ["DE*ABC"]\n' + CSMS.replace('"csms"', '"other"') + 'operators = ["DE*ABC"]\n',
        'node.toml:14: [[backends]] operators: "DE*ABC" is served by backend "csms" already',
    ),
    "two for all others": (
        CSMS + CSMS.replace('"csms"', '"other"'),
        (
            "node.toml:11: [[backends]] role: serves all operators that no other backend lists, as backend "
            '"csms" does; expected one such'
        ),
    ),
    "one for all others beside the short form": (
        APP + '[backend_api]\nemp_url = "http://x"\n',
        (
            "node.toml:7: [[backends]] role: serves all providers that no other backend lists, as emp_url of "
            "[backend_api] does; expected one such"
        ),
    ),
    "providers of a CSMS": (
        CSMS + 'providers = ["DE-ONE"]\n',
        'node.toml:5: [[backends]]: providers with role = "cpo": expected role = "emp" or "both"',
    ),
    "a certificate without its key": (
        CSMS + 'certificate = "x.pem"\n',
        'node.toml:5: [[backends]]: expected both or none of certificate = "…" and key = "…"',
    ),
    "TLS without https": (
        APP + 'ca = "ca.pem"\n',
        'node.toml:5: [[backends]]: certificate, ca and server_certificates are for https; expected url = "https://…"',
    ),
    "a path that is none": (
        APP + 'path = "oicp/"\n',
        'node.toml:9: [[backends]] path: "oicp/" is no path; expected one such as "/api/oicp", or "" for none',
    ),
    "a timeout without end": (
        APP + "authorize_timeout = 600\n",
        "node.toml:9: [[backends]] authorize_timeout: expected a number of at most 60",
    ),
}


@pytest.mark.parametrize(("tables", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_with_its_place(read, tables, expected):
    assert complaint(read, NODE + tables) == expected


def test_a_backend_of_a_role_that_the_node_does_not_have_is_a_mistake(read):
    expected = 'node.toml:6: [[backends]] role: "emp", but this node has no ProviderIDs ([node] providers)'
    assert complaint(read, '[node]\nname = "A"\noperators = ["DE*ABC"]\n' + APP) == expected
