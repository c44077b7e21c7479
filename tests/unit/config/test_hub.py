"""hub.toml and the script: what they may have, and what is wrong with them."""

import re

import pytest

from p2p_oicp.config.hub import HubSettings, HubTable, PartnerSettings, ScriptRule, load_hub_settings, load_script
from p2p_oicp.errors import ConfigurationError
from tests.support.paths import ROOT

GUIDE = (ROOT / "docs" / "guides" / "replace-the-hub-in-your-tests.md").read_text()
OWN_KEYS = {"operators", "providers", "name", "url", "path", "paths", "push"}


@pytest.fixture
def load(tmp_path):
    def write_and_load(text: str) -> HubSettings:
        (tmp_path / "hub.toml").write_text(text)
        return load_hub_settings(tmp_path / "hub.toml")

    return write_and_load


@pytest.mark.parametrize(
    "key", sorted({*HubTable.model_fields, *ScriptRule.model_fields, *OWN_KEYS, *HubSettings.model_fields})
)
def test_the_guide_explains_every_key(key):
    assert re.search(rf"[`\[]{key}[`\]]", GUIDE)


def test_the_toml_of_the_guide_is_valid(load, tmp_path):
    settings, others, script = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    assert [partner.name for partner in load(settings).partners] == ["DE*ABC", "DE-XYZ"]
    assert [partner.name for partner in load(others).partners] == ["DE*ABC", "DE-DCB"]
    (tmp_path / "script.toml").write_text(script)
    assert len(load_script(tmp_path / "script.toml").rules) == 3


def test_an_empty_file_refuses_implausible_records_and_records_all_exchanges(load):
    settings = load("")
    assert (settings.cdr.implausible, settings.exchanges.record) == ("refuse", "memory")
    assert load("[cdr]\nreconcile_interval = 5").cdr.implausible == "refuse"


@pytest.mark.parametrize(
    ("parties", "role"),
    [({"operators": ["DE*ABC"]}, "cpo"), ({"providers": ["DE-XYZ"]}, "emp")],
)
def test_the_role_of_a_partner_follows_from_its_parties(parties, role):
    assert PartnerSettings.model_validate(parties).role == role


def test_a_partner_with_operators_and_providers_has_both_roles():
    partner = PartnerSettings.model_validate({"operators": ["DE*ABC"], "providers": ["DE-ABC"]})
    assert (partner.role, partner.name) == ("both", "DE*ABC")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[hub]\nprot = 1", 'hub.toml:2: [hub] prot: unknown key; did you mean "port"?'),
        ("[[partners]]\nurl = 'http://x'", "hub.toml:1: [[partners]]: no party; expected operators"),
        ("[[partners]]\noperators = ['x']", 'hub.toml:2: [[partners]] operators: "x"'),
        ("[[partners]]\noperators = ['DE*ABC']\nsignature = true", "a hub for tests has no keys"),
        ("[[partners]]\noperators = ['DE*ABC']\ntoken_file = 'x'", 'expected token = "…"'),
        ("[[partners]]\noperators = ['DE*ABC']\n" * 2, '"DE*ABC" belongs to two partners'),
        ("[[partners]]\noperators = ['DE*ABC']\npaths = {Start = 'x'}", '"Start" is no operation of OICP'),
    ],
)
def test_a_mistake_is_one_line_that_names_it(load, text, reason):
    with pytest.raises(ConfigurationError) as caught:
        load(text)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_rule_does_one_thing(tmp_path):
    file = tmp_path / "script.toml"
    file.write_text('[[rules]]\nrefuse = "102"\ndrop = true\n')
    with pytest.raises(ConfigurationError, match=r"script.toml:1: .*expected one of refuse, authorize"):
        load_script(file)
