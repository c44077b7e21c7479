"""What has to fit before a partner is registered."""

from __future__ import annotations

import pytest

from p2p_oicp.ocpi.base import check_object
from p2p_oicp.ocpi.credentials import Credentials, VersionDetails
from p2p_oicp.ocpi.enumerations import Role
from p2p_oicp.ocpi.registration import (
    PartyRole,
    RegistrationProblem,
    check_modules,
    check_roles,
    credentials,
    is_allowed_url,
    pick_version,
    read_endpoints,
    version_details,
    version_list,
)

URL = "https://node.example/ocpi"
GEF = PartyRole(Role.CPO, "DE", "GEF", "GEF Charging")


def problem(function, *arguments):
    with pytest.raises(RegistrationProblem) as raised:
        function(*arguments)
    return raised.value


@pytest.mark.parametrize("role", [Role.CPO, Role.EMSP])
def test_our_details_are_allowed_by_ocpi_and_are_enough_for_ourselves(role):
    details = version_details(URL, role)
    assert check_object(VersionDetails, details) == ()
    assert check_modules(read_endpoints(details, {}, role), role) == []


def test_each_side_has_addresses_of_its_own_and_registration_is_common():
    urls = {row["identifier"]: row["url"] for row in version_details(URL, Role.EMSP)["endpoints"]}
    assert urls["locations"] == f"{URL}/2.2.1/emsp/locations"
    assert urls["credentials"] == f"{URL}/2.2.1/credentials"


def test_our_credentials_are_allowed_by_ocpi():
    assert check_object(Credentials, credentials("t" * 43, URL, [GEF])) == ()


def test_the_latest_common_version_is_picked():
    offered = [{"version": "2.1.1", "url": f"{URL}/2.1.1"}, *version_list(URL), {"version": "3.0", "url": f"{URL}/3.0"}]
    assert pick_version(offered) == ("2.2.1", f"{URL}/2.2.1")


@pytest.mark.parametrize("offered", [[], None, {}, [1], [{"version": "2.1.1", "url": URL}]], ids=str)
def test_a_partner_without_a_common_version_is_refused_with_3002(offered):
    assert problem(pick_version, offered).status == 3002


def test_a_partner_without_the_module_that_is_needed_is_refused_with_3003():
    details = version_details(URL, Role.CPO)
    rows = [row for row in details["endpoints"] if row["identifier"] != "locations"]
    endpoints = read_endpoints({"endpoints": rows}, {}, Role.CPO)
    refusal = problem(check_modules, endpoints, Role.CPO)
    assert (refusal.status, str(refusal)) == (3003, "the partner has no endpoint locations SENDER")


def test_a_partner_without_another_module_lacks_only_its_functions():
    rows = [row for row in version_details(URL, Role.CPO)["endpoints"] if row["identifier"] != "commands"]
    assert check_modules(read_endpoints({"endpoints": rows}, {}, Role.CPO), Role.CPO) == ["commands RECEIVER"]


def test_a_module_that_details_leave_out_can_be_configured():
    rows = [row for row in version_details(URL, Role.CPO)["endpoints"] if row["identifier"] != "commands"]
    endpoints = read_endpoints({"endpoints": rows}, {"commands": f"{URL}/x/"}, Role.CPO)
    assert endpoints["commands", "RECEIVER"] == f"{URL}/x"


@pytest.mark.parametrize("details", [None, [], {"endpoints": None}, {"endpoints": [1, {"identifier": "x"}]}], ids=str)
def test_details_that_cannot_be_read_have_no_endpoints(details):
    assert read_endpoints(details, {}, Role.CPO) == {}


def test_roles_are_compared_without_letter_case():
    check_roles({"roles": [{"role": "cpo", "country_code": "de", "party_id": "gef"}]}, Role.CPO, "DE", "GEF")


@pytest.mark.parametrize(
    "roles",
    [[], None, [GEF.members | {"role": "EMSP"}], [GEF.members | {"party_id": "XYZ"}]],
    ids=["none", "null", "role", "party"],
)
def test_credentials_of_another_party_or_role_are_refused_with_2001(roles):
    assert problem(check_roles, {"roles": roles}, Role.CPO, "DE", "GEF").status == 2001


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://cpo.example/ocpi", True),
        ("http://127.0.0.1:8080/ocpi", True),
        ("http://[::1]/ocpi", True),
        ("http://localhost/ocpi", True),
        ("http://cpo.example/ocpi", False),
        ("http://169.254.169.254/latest", False),
        ("file:///etc/passwd", False),
        ("https://", False),
        ("http://[", False),
        ("", False),
    ],
)
def test_only_https_is_called_but_for_this_machine(url, allowed):
    assert is_allowed_url(url) is allowed


FORBIDDEN = {"identifier": "Locations", "role": "sender", "url": "http://10.0.0.1/x"}


@pytest.mark.parametrize(
    ("rows", "overrides"),
    [([FORBIDDEN], {}), ([], {"locations": FORBIDDEN["url"]}), ([FORBIDDEN], {"tariffs": URL})],
    ids=["details", "configured", "another-configured"],
)
def test_an_endpoint_that_may_not_be_called_is_refused_by_its_name(rows, overrides):
    refusal = problem(read_endpoints, {"endpoints": rows}, overrides, Role.CPO)
    assert (refusal.status, str(refusal)) == (2001, "endpoint locations SENDER: http://10.0.0.1/x is no URL with https")


def test_an_endpoint_that_may_not_be_called_can_be_configured():
    endpoints = read_endpoints({"endpoints": [FORBIDDEN]}, {"locations": URL}, Role.CPO)
    assert endpoints == {("locations", "SENDER"): URL}


def test_a_version_that_may_not_be_called_is_refused_by_its_name():
    assert str(problem(pick_version, [{"version": "2.2.1", "url": "ftp://x"}])).startswith("version 2.2.1: ftp://x")
