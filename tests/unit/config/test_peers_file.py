"""The peers file and the registry that is built from it."""

import tomllib
from ipaddress import ip_network

import pytest

from p2p_oicp.config.peers_file import PeerEntry, load_peers, peer_from_entry, peer_to_entry
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.oicp import OperatorID, ProviderID
from p2p_oicp.peers import Peer, PeerRegistry, Profile
from p2p_oicp.peers.models import parse_name
from p2p_oicp.roles.datasets.types import DATASET_TYPES
from tests.support.paths import ROOT

EXAMPLE = ROOT / "peers.example.toml"
B = '[[peer]]\nname = "B"\nurl = "http://b.example"\nproviders = ["DE-GDF"]\n'


@pytest.fixture
def read(tmp_path):
    def read(text: str) -> tuple[Peer, ...]:
        (tmp_path / "peers.toml").write_text(text)
        return load_peers(tmp_path / "peers.toml")

    return read


def test_the_example_has_the_values_in_its_comments():
    first, second = load_peers(EXAMPLE)
    assert first.name == "Greenfield Charging"
    assert first.operators == (OperatorID("DEGEF"), OperatorID("DEGE2"), OperatorID("49*810"))
    assert first.serves("AuthorizeStart")
    assert not first.serves("PullEvseData")
    assert first.profile is Profile.OICP
    assert ip_network("2001:db8:7::/48") in first.networks
    assert second.serves("PullEvseData")
    assert second.security is None


def test_the_example_shows_every_key():
    first, *_ = tomllib.loads(EXAMPLE.read_text())["peer"]
    assert sorted(first) == sorted(PeerEntry.model_fields)


def test_a_file_without_peers_is_an_empty_one(read):
    assert read("# nobody yet\n") == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            B + "opertors = []\n",
            'peers.toml:5: [[peer]] opertors: unknown key; did you mean "operators"?',
            id="a key misspelt",
        ),
        pytest.param(
            "[[peers]]\n", 'peers.toml:1: [[peers]]: unknown key; did you mean "peer"?', id="a table misspelt"
        ),
        pytest.param(
            "[peer]\n",
            "peers.toml:1: [peer]: expected [[peer]], with two brackets: every peer is an entry of a list",
            id="single brackets",
        ),
        pytest.param(
            '[[peer]]\nname = "B"\nproviders = ["DE-GDF"]\n',
            "peers.toml:1: [[peer]] url: missing; expected: the peer's base URL, with or without /api/oicp",
            id="no URL",
        ),
        pytest.param(
            '[[peer]]\nname = "B"\nurl = "http://b"\n',
            'peers.toml:1: [[peer]]: names no party; expected operators = ["DE*ABC"], '
            'providers = ["DE-XYZ"] or default_route = true',
            id="no party",
        ),
        pytest.param(
            B + B.replace("DE-GDF", "DE-GDE").replace("http://b.example", "b.example"),
            'peers.toml:7: [[peer]] url: "b.example" is no base URL; expected one such as "https://oicp.example.com"',
            id="a bad URL in the second entry",
        ),
        pytest.param(
            B.replace("http:", "https:").replace("b.example", "user:secret@b"),
            'peers.toml:3: [[peer]] url: a URL with a password in it; expected one such as "https://oicp.example.com"',
            id="a password in the URL",
        ),
        pytest.param(
            B.replace('"B"', '"backend emp"'),
            'peers.toml:2: [[peer]] name: "backend emp" is a name that nodes use internally; expected another name',
            id="the destination of our own backend",
        ),
        pytest.param(
            B + 'operators = ["DE*GEFX"]\n',
            'peers.toml:5: [[peer]] operators: "DE*GEFX" is no OperatorID; expected one such as "DE*ABC"',
            id="a bad OperatorID",
        ),
        pytest.param(
            B + "operators = [1]\n",
            'peers.toml:5: [[peer]] operators: expected text in quotes, such as "DE*ABC"',
            id="a number for an id",
        ),
        pytest.param(
            B + 'operators = "DE*GEF"\n',
            'peers.toml:5: [[peer]] operators: expected a list, such as ["…", "…"], not text',
            id="text for a list",
        ),
        pytest.param(
            B + 'services = ["AuthoriseStart"]\n',
            'peers.toml:5: [[peer]] services: "AuthoriseStart" is no operation; did you mean "AuthorizeStart"?',
            id="an unknown operation",
        ),
        pytest.param(
            B + 'profile = "ocpi"\n',
            "peers.toml:5: [[peer]] profile: expected 'oicp', 'wwcp' or 'hub'",
            id="an unknown profile",
        ),
        pytest.param(
            B + 'security = ["tls"]\n',
            "peers.toml:5: [[peer]] security: expected 'signature' or 'mtls'",
            id="an unknown proof",
        ),
        pytest.param(
            B + 'public_keys = ["c2VjcmV0"]\n',
            "peers.toml:5: [[peer]] public_keys: not a public key; expected the base64 line of a PUBLIC KEY file, "
            "Ed25519 or ECDSA P-256",
            id="no key",
        ),
        pytest.param(
            B + 'networks = ["10.0.0.1/8"]\n',
            'peers.toml:5: [[peer]] networks: "10.0.0.1/8" is no network; expected one such as "203.0.113.0/24" or '
            '"2001:db8::/32"',
            id="a bad network",
        ),
        pytest.param(
            B + B.replace("DE-GDF", "DE-GDE"),
            'peers.toml:6: [[peer]] name: "B" is the name of another peer already; expected a unique name',
            id="a name twice",
        ),
        pytest.param(
            B + B.replace('"B"', '"C"').replace("DE-GDF", "DE*GDF"),
            'peers.toml:8: [[peer]] providers: "DE*GDF" is claimed by peer "B" already; one party has one peer',
            id="a party claimed by two",
        ),
        pytest.param(
            B.replace('["DE-GDF"]', '["DE-GDF", "DEGDF"]'),
            'peers.toml:4: [[peer]] providers: "DEGDF" is listed twice; list it once',
            id="a party twice",
        ),
        pytest.param(
            B + "[[peer]\n",
            "peers.toml:5: not valid TOML: Expected ']]' at the end of an array declaration (column 7)",
            id="broken TOML",
        ),
    ],
)
def test_a_mistake_is_one_line_with_file_line_key_and_what_is_expected(read, tmp_path, text, expected):
    with pytest.raises(ConfigurationError) as caught:
        read(text)
    assert str(caught.value) == f"{tmp_path}/{expected}"


@pytest.mark.parametrize("url", ["http://b/", "https://b.example/api/oicp", "http://[::1]:8320", "https://b:443/x/"])
def test_a_base_url_loses_its_trailing_slash_only(read, url):
    assert read(B.replace("http://b.example", url))[0].url == url.rstrip("/")


@pytest.mark.parametrize("spelling", ["DE*GEF", "DEGEF", "de*gef"])
def test_a_party_is_found_in_every_spelling(spelling):
    peer = Peer("A", "http://a", operators=(OperatorID("DE*GEF"),))
    registry = PeerRegistry([peer])
    assert registry.by_operator(OperatorID(spelling)) is peer
    assert peer.handles_party(OperatorID(spelling))


def test_an_operator_never_equals_a_provider():
    peer = Peer("A", "http://a", operators=(OperatorID("DE*GEF"),))
    registry = PeerRegistry([peer])
    assert registry.by_provider(ProviderID("DE*GEF")) is None
    assert not peer.handles_party(ProviderID("DE*GEF"))


def test_the_same_text_may_be_an_operator_of_one_peer_and_a_provider_of_another():
    cpo = Peer("A", "http://a", operators=(OperatorID("DE*GEF"),))
    emp = Peer("B", "http://b", providers=(ProviderID("DE-GEF"),))
    registry = PeerRegistry([cpo, emp])
    assert registry.by_operator(OperatorID("DE*GEF")) is cpo
    assert registry.by_provider(ProviderID("DE*GEF")) is emp


def test_an_unknown_party_has_no_peer():
    registry = PeerRegistry([])
    assert registry.by_operator(OperatorID("DE*GEF")) is None
    assert registry.by_operator(None) is None
    assert registry.by_provider(None) is None
    assert registry.by_name("A") is None


def test_lists_of_peers_do_not_contain_this_node():
    own = Peer("me", "http://me", providers=(ProviderID("DE-AAA"),), is_self=True)
    other = Peer("B", "http://b", providers=(ProviderID("DE-BBB"),))
    registry = PeerRegistry([own, other])
    assert registry.emp_peers() == [other]
    assert registry.cpo_peers() == []
    assert registry.all() == (own, other)


def test_two_peers_cannot_claim_one_party():
    peers = [
        Peer("A", "http://a", operators=(OperatorID("DE*GEF"),)),
        Peer("B", "http://b", operators=(OperatorID("DEGEF"),)),
    ]
    with pytest.raises(ConfigurationError, match='peer "B": "DEGEF" is claimed by peer "A" already'):
        PeerRegistry(peers)


HUB = Peer("hub", "http://hub", default_route=True)


def test_the_default_route_is_responsible_for_parties_without_a_peer():
    cpo = Peer("A", "http://a", operators=(OperatorID("DE*GEF"),))
    registry = PeerRegistry([cpo, HUB])
    assert registry.resolve_party(OperatorID("DEGEF")) is cpo
    assert registry.resolve_party(OperatorID("FR*XYZ")) is HUB
    assert registry.resolve_party(ProviderID("DE-GDF")) is HUB
    assert registry.resolve_party(None) is None
    assert registry.by_operator(OperatorID("FR*XYZ")) is None


def test_there_is_one_default_route_at_most(read):
    hub = '[[peer]]\nname = "{}"\nurl = "http://hub"\ndefault_route = true\n'
    assert read(hub.format("one"))[0].default_route
    with pytest.raises(ConfigurationError, match=r'peers.toml:8: .* peer "one" is the default route already'):
        read(hub.format("one") + hub.format("two"))


@pytest.mark.parametrize(
    "name", ["backend:emp", "BACKEND:x", "backend emp", *(f"{kind.name} to B" for kind in DATASET_TYPES.values())]
)
def test_the_name_of_an_internal_destination_is_refused(name):
    with pytest.raises(ValueError, match="expected another name"):
        parse_name(name)


@pytest.mark.parametrize("name", ["Backend Charging", "EVSE data", "Plug to Go", "expiry"])
def test_similar_names_are_accepted(name):
    assert parse_name(name) == name


PUBLISH_AND_PULL = {
    "an unknown list": (
        "[peer.publish]\ninclude = { evses = ['X'] }\n",
        'evses: unknown key; did you mean "evse_ids"?',
    ),
    "a country in words": (
        "[peer.publish]\ninclude = { countries = ['Germany'] }\n",
        '"Germany" is no country of addresses; expected ISO 3166 alpha-3, such as "DEU"',
    ),
    "a filter that OICP lacks": (
        "[peer.pull.EvseStatus]\noperators = ['DE*ABC']\n",
        "EvseStatus operators: OICP has no such filter; expected none",
    ),
    "an unknown dataset": ("[peer.pull.Evses]\ninterval = 60\n", 'Evses: unknown key; did you mean "EvseStatus"?'),
}


@pytest.mark.parametrize(("lines", "message"), PUBLISH_AND_PULL.values(), ids=PUBLISH_AND_PULL)
def test_a_mistake_in_what_is_published_or_pulled_is_one_line(read, lines, message):
    with pytest.raises(ConfigurationError) as caught:
        read(B + lines)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_published_and_pulled_is_stored_and_read_again(read):
    (peer,) = read(B + "[peer.publish]\nexclude = { operators = ['DE*ABC'] }\n[peer.pull.EvseData]\ninterval = 60\n")
    assert peer.publish.exclude.operators == ("DEABC",)
    assert peer.pull_settings("EvseData").interval == 60
    assert peer_from_entry(peer_to_entry(peer), peer.source) == peer
