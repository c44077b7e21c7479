from __future__ import annotations

import pytest

from p2p_oicp.oicp import UID, ChargingPoolID, EvcoID, EvseID, OperatorID, ProviderID, ProviderIDOrAll, SessionID


@pytest.mark.parametrize(
    ("identifier", "valid"),
    [
        pytest.param(EvseID("DE*AB7*E840*6487"), True, id="ISO EVSE"),
        pytest.param(EvseID("DEAB7E8406487"), True, id="ISO EVSE without separators"),
        pytest.param(EvseID("DE*AB7*840*6487"), False, id="ISO EVSE without E"),
        pytest.param(EvseID("+49*810*000*438"), True, id="DIN EVSE"),
        pytest.param(EvseID("49*810*000*438"), True, id="DIN EVSE without plus"),
        pytest.param(EvseID("49810000438"), False, id="DIN EVSE without stars"),
        pytest.param(EvseID("DE*AB7*E1\n"), False, id="EVSE with a newline behind it"),
        pytest.param(OperatorID("+49*536"), True, id="DIN operator"),
        pytest.param(OperatorID("CH*SWISSCHARGE"), False, id="a name is no operator"),
        pytest.param(ProviderID("DE-8EO"), True, id="provider"),
        pytest.param(ProviderID("*"), False, id="all is no provider"),
        pytest.param(ProviderIDOrAll("*"), True, id="all providers"),
        pytest.param(ProviderIDOrAll("DE-8E*"), False, id="nearly all providers"),
        pytest.param(EvcoID("DE-8EO-CAet5e4XY-3"), True, id="ISO contract"),
        pytest.param(EvcoID("DE*8EO*Aet5e4*3"), True, id="DIN contract"),
        pytest.param(EvcoID("DE*8EO*Aet5e4*Z"), False, id="DIN contract with Z as its check digit"),
        pytest.param(SessionID("zzzzzzzz-7f00-0002-6d8e-48d883f6abb6"), True, id="session, not only hexadecimal"),
        pytest.param(UID("7568290FFF765F"), True, id="card"),
        pytest.param(UID("٣" * 8), False, id="Arabic digits"),
        pytest.param(ChargingPoolID("IT*123*P456*AB789"), True, id="pool"),
    ],
)
def test_validity(identifier, valid):
    assert identifier.is_valid is valid


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(OperatorID("DE*ABC"), OperatorID("deabc"), id="operator"),
        pytest.param(ProviderID("DE-8EO"), ProviderID("de*8eo"), id="provider"),
        pytest.param(EvseID("+49*810*000*438"), EvseID("49*810*000438"), id="DIN EVSE"),
        pytest.param(EvcoID("DE-8EO-CAet5e4XY-3"), EvcoID("DE8EOCAET5E4XY3"), id="contract"),
        pytest.param(
            SessionID("ABCDEFGH-7f00-0002-6d8e-48d883f6abb6"),
            SessionID("abcdefgh-7F00-0002-6D8E-48D883F6ABB6"),
            id="session",
        ),
        pytest.param(UID("cafebabe"), UID("CAFEBABE"), id="card"),
    ],
)
def test_separators_and_case_do_not_change_an_identifier(one, other):
    assert one == other
    assert hash(one) == hash(other)
    assert one.text != other.text


def test_identifiers_of_different_kinds_are_never_equal():
    assert OperatorID("DE8EO") != ProviderID("DE8EO")


@pytest.mark.parametrize(
    ("evse", "operator"),
    [("DE*AB7*E840*6487", "DE*AB7"), ("DEAB7E840", "DEAB7"), ("+49*810*000*438", "+49*810"), ("", None), ("DE*", None)],
)
def test_the_operator_of_an_evse(evse, operator):
    found = EvseID(evse).operator
    assert (found.text if found else None) == operator


@pytest.mark.parametrize(
    ("contract", "provider"), [("DE-8EO-CAet5e4XY-3", "DE-8EO"), ("DE*8EO*Aet5e4*3", "DE*8EO"), ("DE8EO", None)]
)
def test_the_provider_of_a_contract(contract, provider):
    found = EvcoID(contract).provider
    assert (found.text if found else None) == provider


def test_a_price_for_all_providers_has_its_own_type():
    assert ProviderIDOrAll("*").is_all
    assert ProviderIDOrAll("*").provider is None
    assert ProviderIDOrAll("DE-8EO").provider == ProviderID("DE8EO")


def test_an_identifier_cannot_be_changed():
    with pytest.raises(AttributeError, match="immutable"):
        OperatorID("DE*ABC").text = "DE*XYZ"
