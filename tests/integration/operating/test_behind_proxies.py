"""The configurations of contrib/ in front of real nodes: large bodies, and client certificates that end at nginx."""

import asyncio
import base64
import json
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import quote

import pytest

from p2p_oicp.crypto.tls import self_signed, unverified_context
from p2p_oicp.simulator.node_files import free_ports
from tests.conformance.attacks.test_behind_nginx import nginx, process
from tests.conformance.attacks.test_exhaustion import limit
from tests.support.dataset_messages import PUSH_DATA, evse, push_data
from tests.support.messages import CDR, START, authorize_start, cdr
from tests.support.nodes import configured, query, start_session
from tests.support.paths import ROOT
from tests.support.signed_nodes import SignedPair
from tests.support.waiting import eventually, listens

__all__ = ["nginx"]  # a fixture

# As root, nginx would take another user, who may not write into the folder of a test.
USER = "user root;" if os.geteuid() == 0 else ""
MAIN = """daemon off; {user} worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log warn;
events {{ worker_connections 512; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  include {folder}/*.conf;
}}
"""
EVSES = 5_000


def site(pair, name: str, public: int, text: str) -> str:
    """Return a site of contrib/ for one node; what differs are names, ports and files."""
    keys = pair.folder / name / "keys"
    for old, new in {
        "p2p_oicp": f"node_{name}",
        "127.0.0.1:8320": f"127.0.0.1:{pair.ports[name]}",
        "listen 443": f"listen 127.0.0.1:{public}",
        "server_name oicp.example.com": "server_name 127.0.0.1",
        "/etc/ssl/oicp.example.com": str(keys / "tls"),
    }.items():
        assert old in text
        text = text.replace(old, new)
    return text


@asynccontextmanager
async def behind(pair, nginx: str, configuration: str):
    """Run nginx, with its defaults, in front of both nodes."""
    folder = pair.folder / "nginx"
    folder.mkdir()
    public = dict(zip("ab", free_ports(2), strict=True))
    template = (ROOT / "contrib" / "nginx" / configuration).read_text()
    for name, other in (("a", "b"), ("b", "a")):
        if "mtls" not in pair.require:
            pair.write_certificate(pair.folder / name / "keys", name, "none")
        (folder / f"{name}.conf").write_text(site(pair, name, public[name], template))
        node = pair.folder / name / "node.toml"
        lines = [line for line in node.read_text().splitlines() if not line.startswith("url =")]
        node.write_text("\n".join(lines) + "\n")
        limit(pair, "peer_api", f'url = "https://127.0.0.1:{public[name]}"', name)
        limit(pair, "peer_api", 'trusted_proxies = ["127.0.0.1"]', name)
        if "[tls]" not in node.read_text():
            authority = pair.folder / other / "keys" / "tls.crt"
            node.write_text(f'{node.read_text()}[tls]\nca = "{authority}"\n')
        peers = pair.folder / name / "peers.toml"
        text = peers.read_text().replace("http://", "https://").replace(str(pair.ports[other]), str(public[other]))
        peers.write_text(text)
    main = folder / "main"
    main.write_text(MAIN.format(folder=folder, user=USER))
    pair.ports |= public
    async with process(nginx, "-p", str(folder), "-c", str(main)):
        await eventually(lambda: all(map(listens, public.values())))
        yield pair


@pytest.fixture
async def signed_behind(tmp_path, nginx):
    async with configured(SignedPair, tmp_path) as pair, behind(pair, nginx, "p2p-oicp.conf"):
        yield pair


@pytest.fixture
async def mtls_behind(tmp_path, nginx):
    proved = partial(SignedPair, require=("mtls",))
    async with configured(proved, tmp_path) as pair, behind(pair, nginx, "p2p-oicp-mtls.conf"):
        yield pair


async def test_5000_evses_pass_through_the_default_body_size(signed_behind):
    pair = signed_behind
    body = json.dumps(push_data(*(evse(str(number)) for number in range(EVSES)))).encode()
    assert len(body) > 2_000_000
    async with pair.running("b"), pair.running("a"):
        assert (await pair.a.post(PUSH_DATA, in_chunks(body))).json["Result"]
        await eventually(lambda: stored(pair) == EVSES, timeout=60, interval=0.2)
        assert (await pair.a.post(START, authorize_start())).json["AuthorizationStatus"] == "Authorized"
    assert "client intended to send too large body" not in (pair.folder / "nginx" / "error.log").read_text()


async def in_chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 65_536):
        yield body[start : start + 65_536]


def stored(pair) -> int:
    return query(pair, "b", "SELECT count(*) FROM dataset_records WHERE source != '' AND deleted = 0")[0][0]


async def test_a_client_certificate_that_ends_at_the_proxy_proves_who_calls(mtls_behind):
    pair = mtls_behind
    async with pair.running("b"), pair.running("a"):
        session = await start_session(pair)
        assert (await pair.a.post(CDR, cdr(session))).code == "000"
        await pair.contracts.until(lambda book: book.records)


async def test_a_client_without_a_certificate_or_with_that_of_another_is_refused(mtls_behind, tmp_path):
    pair = mtls_behind
    async with pair.running("b"):
        caller = pair.caller("b", "a")
        assert (await caller.post(START, authorize_start())).status == 200
        caller.tls = unverified_context()
        response = await caller.post(START, authorize_start())
        assert (response.status, response.code) == (401, "017")
        caller.tls = context_of(tmp_path, days=1)
        response = await caller.post(START, authorize_start())
        assert (response.status, response.code) == (401, "017")


async def test_a_client_cannot_send_the_certificate_of_another_in_a_header(mtls_behind):
    pair = mtls_behind
    claims = [f":{pair.certificate('a').der_base64}:", quote(pair.certificate("a").pem())]
    async with pair.running("b"):
        caller = pair.caller("b", "a")
        caller.tls = unverified_context()
        for claim in claims:
            response = await caller.post(START, authorize_start(), headers={"Client-Cert": claim})
            assert (response.status, response.code) == (401, "017")


@pytest.mark.parametrize("proxies", [[], ["127.0.0.1"]], ids=["no proxy is trusted", "the proxy is trusted"])
async def test_the_header_counts_from_a_trusted_proxy_only(tmp_path, proxies):
    proved = partial(SignedPair, require=("mtls",))
    async with configured(proved, tmp_path) as pair:
        limit(pair, "peer_api", f"trusted_proxies = {proxies}".replace("'", '"'))
        certificate = f":{pair.certificate('a').der_base64}:"
        async with pair.running("b"):
            caller = pair.caller("b", "a")
            caller.tls = unverified_context()
            response = await caller.post(START, authorize_start(), headers={"Client-Cert": certificate})
            assert response.status == (200 if proxies else 401)
            if not proxies:
                assert "trusted_proxies" in response.json["StatusCode"]["AdditionalInfo"]


async def test_a_certificate_that_has_ended_is_none(tmp_path):
    proved = partial(SignedPair, require=("mtls",))
    async with configured(proved, tmp_path) as pair:
        limit(pair, "peer_api", 'trusted_proxies = ["127.0.0.1"]')
        old = self_signed("node a", ["DE*GEF"], ["127.0.0.1"], now=time.time() - 3 * 86_400, days=1)[1]
        peers = pair.folder / "b" / "peers.toml"
        ended = ssl.PEM_cert_to_DER_cert(old.decode())
        text = peers.read_text().replace(pair.certificate("a").der_base64, encoded(ended))
        peers.write_text(text)
        async with pair.running("b"):
            caller = pair.caller("b", "a")
            caller.tls = unverified_context()
            headers = {"Client-Cert": f":{encoded(ended)}:"}
            assert (await caller.post(START, authorize_start(), headers=headers)).status == 401


def program(name: str) -> str:
    """Return the path of a proxy; skip the test where it is not installed, unless REQUIRE_PROXIES is set."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if path is None and os.environ.get("REQUIRE_PROXIES"):
        pytest.fail(f"REQUIRE_PROXIES is set, and there is no {name} here: apt-get install {name}")
    return path or pytest.skip(f"needs {name}")


@pytest.mark.parametrize("file", ["caddy/Caddyfile", "caddy/Caddyfile.mtls"])
async def test_caddy_reads_its_configuration(file):
    text = await run(program("caddy"), "adapt", "--adapter", "caddyfile", "--config", str(ROOT / "contrib" / file))
    assert "reverse_proxy" in text


async def test_haproxy_reads_its_configuration(tmp_path):
    haproxy = program("haproxy")
    key, certificate = self_signed("oicp", [], ["oicp.example.com"], now=time.time(), days=1)
    (tmp_path / "oicp.pem").write_bytes(certificate + key)
    text = (ROOT / "contrib" / "haproxy" / "haproxy.cfg").read_text()
    (tmp_path / "haproxy.cfg").write_text(text.replace("/etc/ssl/oicp.example.com.pem", str(tmp_path / "oicp.pem")))
    await run(haproxy, "-c", "-f", str(tmp_path / "haproxy.cfg"))


async def run(*command: str) -> str:
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def context_of(folder, *, days: int) -> ssl.SSLContext:
    """The client of nobody."""
    key, certificate = self_signed("node a", ["DE*GEF"], ["127.0.0.1"], now=time.time(), days=days)
    (folder / "other.pem").write_bytes(certificate + key)
    context = unverified_context()
    context.load_cert_chain(folder / "other.pem")
    return context


def encoded(der: bytes) -> str:
    return base64.b64encode(der).decode()
