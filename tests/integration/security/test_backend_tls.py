"""Our own backends over https: they sign nothing, so their certificate authenticates them."""

import json
import ssl
import time
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from p2p_oicp.config import load_settings
from p2p_oicp.crypto.tls import self_signed
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.node import Node
from tests.support.messages import START, authorize_start


@pytest.fixture
def certificate(tmp_path):
    """The files of a certificate for this machine, and of its key."""
    file, key_file = tmp_path / "backend.crt", tmp_path / "backend.key"
    key, pem = self_signed("contracts", [], ["127.0.0.1"], now=time.time(), days=1)
    file.write_bytes(pem)
    key_file.write_bytes(key)
    return file, key_file


@asynccontextmanager
async def contract_system(tls: ssl.SSLContext, certificate):
    """A contract system over https that authorizes everything; its URL, and the requests that it gets."""
    requests: list[web.Request] = []

    async def authorize(request: web.Request) -> web.Response:
        requests.append(request)
        return web.json_response({"AuthorizationStatus": "Authorized", "StatusCode": {"Code": "000"}})

    tls.load_cert_chain(*certificate)
    app = web.Application()
    app.router.add_post("/{anything:.*}", authorize)
    server = TestServer(app, scheme="https")
    await server.start_server(ssl=tls)
    try:
        yield server.make_url("/"), requests
    finally:
        await server.close()


@pytest.fixture
async def backend_requests(certificate, stopped):
    """The requests that node B sends to its contract system."""
    async with contract_system(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), certificate) as (url, requests):
        config = stopped.folder / "b" / "node.toml"
        config.write_text(config.read_text().replace("[backend_api]", f'[backend_api]\nemp_url = "{url}"'))
        yield requests


async def start(pair) -> str:
    async with pair.running("a"), Node(load_settings(pair.folder / "b" / "node.toml")):
        return (await pair.a.post(START, authorize_start())).json["AuthorizationStatus"]


async def test_a_backend_with_an_untrusted_certificate_is_sent_nothing(stopped, backend_requests):
    assert await start(stopped) == "NotAuthorized"
    assert backend_requests == []


PEERS = {"of another name": "node a", "of the name that the node gives its backend": "the EMP's backend"}


@pytest.mark.parametrize("name", PEERS.values(), ids=PEERS)
async def test_a_backend_is_trusted_by_the_cas_of_the_system_whatever_the_name_of_a_peer(
    stopped, backend_requests, certificate, monkeypatch, name
):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    peers = stopped.folder / "b" / "peers.toml"
    peers.write_text(peers.read_text().replace('"node a"', json.dumps(name)))
    assert await start(stopped) == "Authorized"
    (request,) = backend_requests
    assert "Signature" not in request.headers


async def test_a_backend_may_want_a_client_certificate_and_have_one_of_a_ca_of_its_own(certificate, stopped, tmp_path):
    client_file, client_key = tmp_path / "client.crt", tmp_path / "client.key"
    key, pem = self_signed("node b", [], [], now=time.time(), days=1)
    client_file.write_bytes(pem)
    client_key.write_bytes(key)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=client_file)
    tls.verify_mode = ssl.CERT_REQUIRED
    config = stopped.folder / "b" / "node.toml"
    async with contract_system(tls, certificate) as (url, requests):
        table = f'[[backends]]\nname = "contracts"\nrole = "emp"\nurl = "{url}"\n'
        without = f'{config.read_text()}{table}ca = "{certificate[0]}"\n'
        for text, expected in (
            (without, "NotAuthorized"),
            (f'{without}certificate = "{client_file}"\nkey = "{client_key}"\n', "Authorized"),
        ):
            config.write_text(text)
            assert await start(stopped) == expected
    assert len(requests) == 1


async def test_a_file_of_a_backend_that_cannot_be_used_is_reported_at_the_start(stopped):
    config = stopped.folder / "b" / "node.toml"
    table = '[[backends]]\nname = "contracts"\nrole = "emp"\nurl = "https://x"\nca = "/nowhere/ca.pem"\n'
    config.write_text(config.read_text() + table)
    with pytest.raises(ConfigurationError, match=r'\[\[backends\]\] "contracts": /nowhere/ca.pem: cannot be used'):
        await Node(load_settings(config)).__aenter__()
