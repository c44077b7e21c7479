"""Nodes behind a real nginx: signatures and pairing pass, and each client counts by its own address.

nginx passes on what comes as it comes (`proxy_request_buffering off`): otherwise it holds back what is not whole, and
most of these attacks do not reach the node.
"""

import asyncio
import gzip
import json
import os
import shutil
import subprocess
from contextlib import asynccontextmanager

import pytest

from p2p_oicp.simulator.node_files import free_ports
from tests.conformance.attacks.test_exhaustion import LARGE_PUSH, MEBIBYTE, client_at, head, limit, silent
from tests.support.messages import A_CPO, NOTIFY, OTHER_CPO, PUSH_STATUS, START, UID, authorize_start
from tests.support.pairing import Admin, paired
from tests.support.waiting import eventually, listens

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
# The clients of these tests are at other loopback addresses.
PROXY_ADDRESS, ATTACKER, HONEST = "127.0.0.9", "127.0.0.1", "127.0.0.2"
CONFIGURATION = """daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log warn;
events {{ worker_connections 2048; }}
http {{
  access_log off; client_max_body_size 32m;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  {servers}
}}
"""
SERVER = """upstream {name} {{ server 127.0.0.1:{node_port}; keepalive 16; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{
      proxy_pass http://{name}; proxy_bind {address}; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_request_buffering off;
    }}
  }}
"""


@pytest.fixture(scope="module")
def nginx() -> str:
    if NGINX is None and os.environ.get("REQUIRE_NGINX"):
        pytest.fail("REQUIRE_NGINX is set, and there is no nginx here: apt-get install nginx-light")
    if NGINX is None:
        pytest.skip("needs nginx (apt-get install nginx-light); `.ci/run --part integration` installs it")
    return NGINX


@pytest.fixture
async def behind(stopped, nginx, tmp_path):
    """Two configured nodes, and a running nginx in front of each one's peer API, by which the other knows it."""
    folder, names = tmp_path / "nginx", ("a", "b")
    folder.mkdir()
    proxied = dict(zip(names, free_ports(2), strict=True))
    servers = [
        SERVER.format(name=name, node_port=stopped.ports[name], port=proxied[name], address=PROXY_ADDRESS)
        for name in names
    ]
    file = folder / "nginx.conf"
    file.write_text(CONFIGURATION.format(folder=folder, servers="".join(servers)))
    for name, other in (("a", "b"), ("b", "a")):
        limit(stopped, "peer_api", f'url = "http://127.0.0.1:{proxied[name]}"', name)
        limit(stopped, "peer_api", f'trusted_proxies = ["{PROXY_ADDRESS}"]', name)
        peers = stopped.folder / name / "peers.toml"
        peers.write_text(peers.read_text().replace(str(stopped.ports[other]), str(proxied[other])))
    stopped.ports |= proxied
    async with process(nginx, "-p", str(folder), "-c", str(file)):
        await eventually(lambda: all(map(listens, proxied.values())), timeout=10)
        yield stopped


@asynccontextmanager
async def process(*command: str):
    running = await asyncio.create_subprocess_exec(*command, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        running.terminate()
        await running.wait()


async def test_signed_requests_pass_and_changed_ones_do_not(behind):
    async with behind.running("a"), behind.running("b"):
        assert (await behind.a.post(START, authorize_start())).json["AuthorizationStatus"] == "Authorized"
        assert (await behind.b_peer.post(PUSH_STATUS, LARGE_PUSH)).status == 200
        compressed = gzip.compress(json.dumps(authorize_start()).encode())
        assert (await behind.b_peer.post(START, compressed, headers={"Content-Encoding": "gzip"})).status == 200
        data = json.dumps(authorize_start()).encode()
        signed = behind.b_peer.signed(START, data)
        behind.b_peer.signs = False
        answer = await behind._client("b").post(START, data.replace(UID.encode(), b"AAAAAAAA"), headers=signed)
        assert (answer.status, answer.code) == (401, "017")


async def test_two_nodes_pair_through_it(behind):
    for name in ("a", "b"):
        (behind.folder / name / "peers.toml").write_text("")
    async with behind.running("a"), behind.running("b"):
        link = await paired(Admin(behind, "a"), Admin(behind, "b"))
        assert str(behind.ports["a"]) in link
        assert (await behind.a.post(START, authorize_start())).json["AuthorizationStatus"] == "Authorized"


async def test_silent_bodies_evict_each_other_and_no_client_of_another_address(behind):
    limit(behind, "limits", "connections = 16")
    async with behind.running("b"), silent(behind, 60, head(START, 10), head(NOTIFY, 10), address=ATTACKER):
        for number in range(10):
            async with client_at(behind, HONEST) as other, asyncio.timeout(2):
                assert (await other.post(START, authorize_start(f"{number:08}"))).status == 200


async def test_announced_bytes_hold_up_no_push(behind):
    limit(behind, "peer_api", f"max_body = {MEBIBYTE}")
    async with behind.running("b"), silent(behind, 20, head(PUSH_STATUS, MEBIBYTE)):
        assert (await behind.b_peer.post(PUSH_STATUS, LARGE_PUSH)).status == 200


@pytest.mark.parametrize("require", [()], ids=["insecure"])
async def test_the_share_of_a_lane_is_that_of_the_address_behind_it(behind):
    limit(behind, "limits", "requests = 8")
    peers = behind.folder / "b" / "peers.toml"
    entry = f'[[peer]]\nname = "c"\nurl = "http://127.0.0.1:9"\noperators = ["{OTHER_CPO}"]\n'
    peers.write_text(peers.read_text() + entry)
    path, members = START.replace(A_CPO, OTHER_CPO), {"OperatorID": OTHER_CPO, "EvseID": f"{OTHER_CPO}*E1"}
    behind.contracts.hold = asyncio.Event()
    async with behind.running("b"), client_at(behind, ATTACKER) as many, client_at(behind, HONEST) as other:
        waiting = [asyncio.create_task(many.post(path, authorize_start(f"{n:08}", **members))) for n in range(6)]
        await eventually(lambda: len(behind.contracts.starts) == 6)
        assert (await many.post(path, authorize_start("A0000000", **members))).status == 429
        waiting.append(asyncio.create_task(other.post(START, authorize_start("B0000000"))))
        await eventually(lambda: len(behind.contracts.starts) == 7)
        behind.contracts.hold.set()
        assert [(await task).status for task in waiting] == [200] * 7


async def test_a_peer_may_be_limited_to_its_network_and_nobody_claims_another_address(behind):
    file = behind.folder / "b" / "peers.toml"
    file.write_text(f'{file.read_text()}networks = ["{HONEST}"]\n')
    async with behind.running("b"), client_at(behind, ATTACKER) as foreign, client_at(behind, HONEST) as own:
        assert (await own.post(START, authorize_start())).status == 200
        for claim in ("X-Forwarded-For", "Forwarded"):
            value = f"for={HONEST}" if claim == "Forwarded" else HONEST
            answer = await foreign.post(START, authorize_start(), headers={claim: value})
            assert (answer.status, answer.code) == (401, "017")
