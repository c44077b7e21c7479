"""The files of a cluster are what nodes read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from p2p_oicp.config import load_settings
from p2p_oicp.config.peers_file import load_peers
from p2p_oicp.crypto import read_own_keys
from p2p_oicp.oicp import OperatorID, ProviderID
from p2p_oicp.simulator.node_files import NodeCredentials, NodeSpec, Ports, ensure_credentials, node_toml, peers_toml

CPO = NodeSpec('node "A" ü', operators=("DE*GEF", "DE*GE2"), cpo_url="http://127.0.0.1:9001")
EMP = NodeSpec("node B", providers=("DE-GDF",), emp_url="http://127.0.0.1:9002")


@pytest.mark.parametrize("spec", [CPO, EMP], ids=["CPO", "EMP"])
def test_a_node_reads_its_file_as_it_was_meant(tmp_path, spec):
    (tmp_path / "peers.toml").touch()
    file = tmp_path / "node.toml"
    file.write_text(node_toml(spec, Ports(peer=8001, backend=8002)), encoding="utf-8")
    settings = load_settings(file)
    assert settings.node.name == spec.name
    assert tuple(map(str, settings.node.operators)) == spec.operators
    assert tuple(map(str, settings.node.providers)) == spec.providers
    assert (settings.peer_api.host, settings.peer_api.port) == ("127.0.0.1", 8001)
    assert (settings.backend_api.host, settings.backend_api.port) == ("127.0.0.1", 8002)
    assert (settings.backend_api.cpo_url, settings.backend_api.emp_url) == (spec.cpo_url, spec.emp_url)
    assert settings.security.require == ()
    assert settings.peers_file == tmp_path / "peers.toml"


def test_a_node_finds_the_others_in_its_peers_file(tmp_path):
    file = tmp_path / "peers.toml"
    file.write_text(
        peers_toml(
            [(CPO, "http://127.0.0.1:8001", NodeCredentials()), (EMP, "http://127.0.0.1:8003", NodeCredentials())]
        )
    )
    cpo, emp = load_peers(file)
    assert (cpo.name, cpo.url) == (CPO.name, "http://127.0.0.1:8001")
    assert cpo.handles_party(OperatorID("DE*GE2"))
    assert emp.handles_party(ProviderID("DE-GDF"))


def test_what_a_node_proves_is_made_once_and_stands_in_the_files(tmp_path):
    spec = replace(CPO, require=("mtls",), signs=True, tls=True)
    proofs = ensure_credentials(spec, tmp_path / "keys")
    (tmp_path / "node.toml").write_text(node_toml(spec, Ports(1, 2), "https://127.0.0.1:3"))
    (tmp_path / "peers.toml").write_text(peers_toml([(spec, "https://127.0.0.1:3", proofs)]))
    settings = load_settings(tmp_path / "node.toml")
    assert proofs == ensure_credentials(spec, tmp_path / "keys")
    assert (settings.security.require, settings.peer_api.url) == (("mtls",), "https://127.0.0.1:3")
    assert settings.tls.certificate.exists()
    assert read_own_keys(settings.security.keys).entries[0].public.der_base64 == proofs.public_key
    assert load_peers(tmp_path / "peers.toml")[0].certificates == (proofs.certificate,)


def test_a_node_without_peers_has_an_empty_file(tmp_path):
    file = tmp_path / "peers.toml"
    file.write_text(peers_toml([]), encoding="utf-8")
    assert load_peers(file) == ()
