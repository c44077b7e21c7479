"""The tables [ocpi] and [[ocpi.partners]]: what they mean, and each mistake in one line with its place."""

import json

import pytest

from p2p_oicp.config.sources import describe_settings
from p2p_oicp.ocpi_mapping.ids import Party
from tests.support.settings import complaint

NODE = '[node]\nname = "A"\noperators = ["DE*GEF", "DE*ABC", "+49*810"]\nproviders = ["DE-GDF"]\n'
CITRINE = '[[ocpi.partners]]\nname = "citrine"\nface = "cpo"\nparties = ["DE*GEF"]\nhotline = "+4930123456"\n'
APP = '[[ocpi.partners]]\nname = "app"\nface = "emsp"\nparties = ["DE-GDF"]\n'


def test_without_the_table_there_is_no_listener(read):
    settings = read(NODE)
    assert (settings.ocpi, settings.ocpi_partners) == (None, ())


def test_a_partner_has_defaults_for_all_that_ocpi_has_no_word_for(read):
    (partner,) = read(NODE + CITRINE).ocpi_partners
    terms = partner.terms
    assert (terms.operator_id, terms.hotline, terms.currency) == ("DE*GEF", "+4930123456", "EUR")
    assert (terms.country_code, terms.party_id) == ("DE", "GEF")
    assert partner.presents_every_peer


def test_towards_an_emsp_we_are_the_operator_and_it_is_the_provider(read):
    (partner,) = read(NODE + APP + 'as = ["DE*XYZ"]\n').ocpi_partners
    terms = partner.terms
    assert (terms.provider_id, terms.operator_id) == ("DE-GDF", "")
    assert (terms.country_code, terms.party_id) == ("DE", "XYZ")
    assert (terms.emsp_country_code, terms.emsp_party_id) == ("DE", "GDF")


def test_a_profile_presets_keys_and_those_of_the_file_win(read):
    (preset,) = read(NODE + CITRINE + 'profile = "citrineos"\n').ocpi_partners
    assert (preset.accept_issued_token, preset.push_token_before_start) == (True, True)
    (own,) = read(NODE + CITRINE + 'profile = "citrineos"\naccept_issued_token = false\n').ocpi_partners
    assert (own.accept_issued_token, own.push_token_before_start) == (False, True)


def test_a_din_operator_is_a_party_by_its_alias(read):
    text = CITRINE.replace("DE*GEF", "+49*810") + 'aliases = { "+49*810" = "DE*810" }\n'
    (partner,) = read(NODE + text).ocpi_partners
    assert partner.own_party == Party("DE", "810")


def test_what_a_partner_serves_is_left_to_no_built_in_backend(read):
    settings = read(NODE.replace(', "DE*ABC", "+49*810"', "") + CITRINE)
    assert [backend.name for backend in settings.all_backends()] == ["emp"]
    assert settings.ocpi_parties() == {"cpo": frozenset({"DEGEF"}), "emp": frozenset()}


def test_the_url_of_the_listener_follows_host_and_port(read):
    assert read(NODE + "[ocpi]\nport = 9000\n").ocpi.url == "http://127.0.0.1:9000/ocpi"
    assert read(NODE + '[ocpi]\nurl = "https://ocpi.example/ocpi/"\n').ocpi.url == "https://ocpi.example/ocpi"


def test_the_environment_has_all_partners_as_json(read, monkeypatch):
    entry = {"name": "citrine", "face": "cpo", "parties": ["DE*GEF"], "hotline": "+4930123456", "as": ["DE-DCB"]}
    monkeypatch.setenv("P2P_OICP_OCPI__PARTNERS", json.dumps([entry]))
    monkeypatch.setenv("P2P_OICP_OCPI__PORT", "9001")
    settings = read(NODE)
    assert (settings.ocpi.port, settings.ocpi_partners[0].presented) == (9001, ("DE-DCB",))


def test_settings_show_partners_one_by_one_and_where_they_come_from(read):
    settings = read(NODE + CITRINE)
    shown = {
        (each["table"], each["key"]): (each["value"], each["source"])
        for each in describe_settings(settings, settings.sources)
    }
    assert shown["ocpi.partners[0]", "hotline"] == ("+4930123456", "file")
    assert shown["ocpi.partners[0]", "as"] == (["*"], "default")
    assert shown["ocpi", "port"] == (8322, "default")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            CITRINE.replace('hotline = "+4930123456"\n', ""),
            "node.toml:5: [[ocpi.partners]]: hotline: missing; every EVSE of OICP has one; expected "
            'hotline = "+4930123456"',
            id="no hotline",
        ),
        pytest.param(
            CITRINE.replace("hotline", "hotlin"),
            'node.toml:9: [[ocpi.partners]] hotlin: unknown key; did you mean "hotline"?',
            id="a misspelled key",
        ),
        pytest.param(
            CITRINE + CITRINE.replace("citrine", "second"),
            'node.toml:13: [[ocpi.partners]] parties: "DE*GEF" is served by partner "citrine" already',
            id="a party of two partners",
        ),
        pytest.param(
            CITRINE + CITRINE.replace("DE*GEF", "DE*ABC"),
            'node.toml:11: [[ocpi.partners]] name: "citrine" is the name of another partner; expected a name of its '
            "own",
            id="a name of two partners",
        ),
        pytest.param(
            '[[backends]]\nname = "csms"\nrole = "cpo"\nurl = "http://csms"\noperators = ["DE*GEF"]\n' + CITRINE,
            'node.toml:13: [[ocpi.partners]] parties: "DE*GEF" is served by backend "csms" already',
            id="a party of a partner and a backend",
        ),
        pytest.param(
            CITRINE.replace("DE*GEF", "DE*XXX"),
            'node.toml:8: [[ocpi.partners]] parties: "DE*XXX" is none of the operators of this node ([node] operators)',
            id="a party that is not ours",
        ),
        pytest.param(
            CITRINE.replace("DE*GEF", "+49*810"),
            'node.toml:5: [[ocpi.partners]]: parties: "+49*810" has no form in OCPI; expected aliases = { "+49*810" = '
            '"DE*810" }',
            id="a DIN operator without an alias",
        ),
        pytest.param(
            CITRINE + 'as = ["DE-D"]\n',
            'node.toml:5: [[ocpi.partners]]: as: "DE-D" is no ProviderID; expected one such as "DE-XYZ"',
            id="as is no provider",
        ),
        pytest.param(
            CITRINE + 'accessibility = "open"\n',
            'node.toml:10: [[ocpi.partners]] accessibility: "open": expected one of Free publicly accessible, '
            "Restricted access, Paying publicly accessible, Test Station",
            id="a word that OICP does not have",
        ),
        pytest.param(
            CITRINE + 'endpoints = { commands = "citrine" }\n',
            'node.toml:10: [[ocpi.partners]] endpoints commands: "citrine" is no base URL; expected one such as '
            '"https://oicp.example.com"',
            id="an endpoint that is no URL",
        ),
        pytest.param(
            '[ocpi.partners]\nname = "x"\n',
            "node.toml:5: [ocpi] partners: expected [[ocpi.partners]], with two brackets: every partner is an entry "
            "of a list",
            id="one table in place of a list",
        ),
        pytest.param(
            "[ocpi]\nport = 8321\n",
            "node.toml: [backend_api] and [ocpi] both have port 8321; expected two different ports",
            id="a port in use",
        ),
        pytest.param(
            '[ocpi]\nhost = "0.0.0.0"\n',
            'node.toml:5: [ocpi]: host "0.0.0.0" is no address that partners can connect to; expected url = '
            '"https://…/ocpi"',
            id="no address for partners",
        ),
    ],
)
def test_a_mistake_is_one_line_with_its_place(read, text, expected):
    assert complaint(read, NODE + text) == expected
