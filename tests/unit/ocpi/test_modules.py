"""The table of modules has what the standard's documents have."""

from __future__ import annotations

import re

import pytest

from p2p_oicp.ocpi.enumerations import InterfaceRole, ModuleID, Role
from p2p_oicp.ocpi.modules import COMMANDS, INTERFACES, V2_2_1, find_interface, interfaces_of, versions
from tests.support.paths import SHARED

DOCUMENTS = SHARED / "ocpi" / "spec"
FILES = {
    ModuleID.LOCATIONS: "mod_locations",
    ModuleID.SESSIONS: "mod_sessions",
    ModuleID.CDRS: "mod_cdrs",
    ModuleID.TARIFFS: "mod_tariffs",
    ModuleID.TOKENS: "mod_tokens",
    ModuleID.COMMANDS: "mod_commands",
    ModuleID.CHARGINGPROFILES: "mod_charging_profiles",
}


def documented_verbs(module):
    """Return the verbs of both interfaces of a module: those that are not struck out in their tables."""
    text = (DOCUMENTS / f"{FILES[module]}.asciidoc").read_text(encoding="utf-8")
    verbs = {}
    for role in InterfaceRole:
        section = re.split(rf"==== {role.capitalize()} Interface", text)[1].split("===== ")[0]
        rows = re.findall(r"^\|(?:<<[^,>]*,)?(GET|POST|PUT|PATCH|DELETE)(?:>>)? *\|(.*)$", section, re.MULTILINE)
        verbs[role] = {verb for verb, description in rows if not description.strip().lower().startswith("n/a")}
    return verbs


@pytest.mark.skipif(not DOCUMENTS.exists(), reason="the documents of OCPI are absent")
@pytest.mark.parametrize("module", FILES)
def test_every_documented_verb_has_an_endpoint_and_no_other(module):
    rows = [interface for interface in INTERFACES if interface.module is module]
    verbs = {row.role: {endpoint.verb for endpoint in row.endpoints} for row in rows}
    assert verbs == documented_verbs(module)


def test_both_sides_have_one_role_of_each_module():
    sides = {party: {row.module: row.role for row in interfaces_of(party)} for party in (Role.CPO, Role.EMSP)}
    assert sides[Role.CPO].keys() == sides[Role.EMSP].keys() == {*FILES, ModuleID.CREDENTIALS}
    for module in FILES:
        assert {sides[Role.CPO][module], sides[Role.EMSP][module]} == set(InterfaceRole)


def test_lists_are_in_pages_and_single_objects_are_not():
    paged = {(row.module, row.role) for row in INTERFACES for endpoint in row.endpoints if endpoint.is_paged}
    lists = (ModuleID.LOCATIONS, ModuleID.SESSIONS, ModuleID.CDRS, ModuleID.TARIFFS, ModuleID.TOKENS)
    assert paged == {(module, InterfaceRole.SENDER) for module in lists}


def test_each_command_has_its_object():
    assert {name: "response_url" in model.model_fields for name, model in COMMANDS.items()} == dict.fromkeys(
        ("CANCEL_RESERVATION", "RESERVE_NOW", "START_SESSION", "STOP_SESSION", "UNLOCK_CONNECTOR"), True
    )


def test_a_row_belongs_to_a_version():
    assert versions() == [V2_2_1]
    assert find_interface("locations", "SENDER", Role.CPO).version is V2_2_1
    assert find_interface("locations", "SENDER", Role.EMSP) is None
