"""Which backend serves a party, and who gets what names none."""

from p2p_oicp.backends import BackendRegistry, OwnBackend, UnsupportedBackend
from p2p_oicp.oicp import Identification, OperatorID, ProviderID
from p2p_oicp.peers import Peer


def own(name: str, operators: str = "", providers: str = "", others: str = "") -> OwnBackend:
    operator_ids = tuple(OperatorID(text) for text in operators.split())
    provider_ids = tuple(ProviderID(text) for text in providers.split())
    roles = frozenset(role for role, ids in (("cpo", operator_ids), ("emp", provider_ids)) if ids)
    parties = Peer("A", "http://a", operators=operator_ids, providers=provider_ids, is_self=True)
    return OwnBackend(name, UnsupportedBackend(), parties, roles, frozenset(others.split()))


REGISTRY = BackendRegistry(
    [own("first", "DE*ABC", "DE-ONE"), own("second", providers="DE-TWO", others="emp"), own("third", "DE*ABD")]
)


def contract(provider: str) -> Identification:
    return Identification.from_json(b'{"RemoteIdentification":{"EvcoID":"%b-C12345678-X"}}' % provider.encode())


def test_a_party_has_its_own_backend_and_a_backend_may_have_both_roles():
    assert REGISTRY.for_operator(OperatorID("DE*ABD")).name == "third"
    assert REGISTRY.for_operator(OperatorID("DEABC")).name == "first"
    assert REGISTRY.for_provider(ProviderID("DE-ONE").key).name == "first"


def test_what_names_no_party_goes_to_the_backend_for_all_others_or_to_the_first():
    assert REGISTRY.for_operator(None).name == "first"
    assert REGISTRY.for_provider("").name == "second"
    assert REGISTRY.default_destination == "backend:second"


def test_a_card_and_a_foreign_contract_may_be_any_backends_and_a_contract_of_ours_is_one():
    card = Identification.from_json(b'{"RFIDMifareFamilyIdentification":{"UID":"1234ABCD"}}')
    named = (card, contract("FR-XYZ"), contract("DE-TWO"))
    names = [[each.name for each in REGISTRY.for_identification(identification)] for identification in named]
    assert names == [["first", "second"], ["first", "second"], ["second"]]


def test_messages_of_a_provider_have_the_destination_of_its_backend():
    assert REGISTRY.destinations == {"DEONE": "backend:first", "DETWO": "backend:second"}
