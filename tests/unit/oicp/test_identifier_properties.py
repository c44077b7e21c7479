from __future__ import annotations

import pickle

from hypothesis import given
from hypothesis import strategies as st

from p2p_oicp.oicp import UID, EvcoID, EvseID, Identifier, OperatorID, ProviderID, ProviderIDOrAll, SessionID
from p2p_oicp.oicp.identifiers import IDENTIFIERS

kinds = st.sampled_from(IDENTIFIERS)
#: Texts that look like identifiers, and texts that do not at all.
texts = st.text() | st.text("*-+|EPC0123456789DEabc\n", max_size=20)

capitals = st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
alphanumerics = st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")


def _joined(*parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map("".join)


star = st.sampled_from(["", "*"])
country = st.text(capitals, min_size=2, max_size=2)
company = st.text(alphanumerics, min_size=3, max_size=3)
operators = _joined(country, star, company)
evses = _joined(operators, star, st.just("E"), st.text(st.sampled_from("ABC123*"), min_size=1, max_size=30))
contracts = _joined(
    country, st.just("-"), company, st.just("-C"), st.text(alphanumerics, min_size=8, max_size=8), st.just("-X")
)


@given(kinds, texts)
def test_the_text_is_unchanged_and_no_accessor_raises(kind, text):
    identifier = kind(text)
    assert (identifier.text, str(identifier), repr(identifier)) == (text, text, f"{kind.__name__}({text!r})")
    for name in dir(kind):
        if not name.startswith("_"):
            getattr(identifier, name)
    assert pickle.loads(pickle.dumps(identifier)) == identifier  # noqa: S301


@given(kinds, texts, texts)
def test_equality_hash_and_order_come_from_the_same_key(kind, one, other):
    left, right = kind(one), kind(other)
    assert (left == right) == (left.key == right.key)
    assert (left < right) == (left.key < right.key)
    if left == right:
        assert hash(left) == hash(right)


@given(evses)
def test_separators_and_case_do_not_change_an_evse(text):
    spot = EvseID(text)
    assert spot.is_exact
    assert spot == EvseID(text.replace("*", "")) == EvseID(text.lower())
    assert spot.operator == OperatorID(text.replace("*", "")[:5])


@given(contracts)
def test_separators_and_case_do_not_change_a_contract(text):
    contract = EvcoID(text)
    assert contract == EvcoID(text.replace("-", "")) == EvcoID(text.lower())
    assert contract.provider == ProviderID(text.replace("-", "")[:5])


@given(st.from_regex(r"[A-Za-z0-9]{8}(-[A-Za-z0-9]{4}){3}-[A-Za-z0-9]{12}", fullmatch=True))
def test_case_does_not_change_a_session(text):
    assert SessionID(text) == SessionID(text.upper()) == SessionID(text.lower())


@given(evses | contracts | operators, st.data())
def test_a_prefix_of_an_identifier_is_accepted_as_text(text, data):
    prefix = text[: data.draw(st.integers(0, len(text)))]
    for kind in IDENTIFIERS:
        identifier = kind(prefix)
        assert isinstance(identifier.is_valid, bool)
        assert identifier.text == prefix


@given(texts)
def test_only_a_star_is_for_all_providers(text):
    assert ProviderIDOrAll(text).is_all == (text == "*")


@given(kinds, texts)
def test_what_is_exact_is_valid(kind: type[Identifier], text):
    assert kind(text).is_valid or not kind(text).is_exact


@given(st.text("0123456789ABCDEFabcdef", min_size=8, max_size=8))
def test_a_uid_in_lower_case_is_the_same_uid(text):
    assert UID(text) == UID(text.upper())
    assert UID(text).is_exact == (text == text.upper())
