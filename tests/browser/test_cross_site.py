"""A real browser shows a page of another origin, which tries to use the backend listener of a node on this machine.

What Chromium lets a page send is shown by a second server, which takes everything: the node gets the same requests.
"""

import asyncio
import json
import os
import shutil
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from p2p_oicp.cli.init import NodeTemplate, write_node_files
from p2p_oicp.config import load_settings
from p2p_oicp.node import Node
from p2p_oicp.simulator.node_files import free_ports
from tests.conformance.attacks.test_cross_site import STATUS, STATUS_PATH
from tests.support import database

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
TIMEOUT_SECONDS = 60
# Beside "127.0.0.1" and "localhost", names that Chromium takes for this machine: the second as after DNS rebinding.
PAGE_HOSTS = ("127.0.0.1", "attacker.localhost", "rebound.example")

PAGE = """<!doctype html><title>attack</title><iframe name="sink"></iframe><script>
const body = JSON.stringify(%(body)s), targets = %(targets)s, paths = %(paths)s;
const form = (url, type) => new Promise(done => {
  const element = document.createElement("form"), field = document.createElement("input");
  Object.assign(element, {method: "POST", action: url, enctype: type, target: "sink"});
  field.name = body.slice(0, -1) + ',"x":"'; field.value = '"}';
  element.append(field); document.body.append(element); element.submit(); setTimeout(done, 300);
});
const ways = {
  json: url => fetch(url, {method: "POST", body, headers: {"Content-Type": "application/json"}}),
  text: url => fetch(url, {method: "POST", body, mode: "no-cors"}),
  untyped: url => fetch(url, {method: "POST", body: new Blob([body]), mode: "no-cors"}),
  beacon: url => navigator.sendBeacon(url, new Blob([body], {type: "text/plain"})),
  typedBeacon: url => navigator.sendBeacon(url, new Blob([body], {type: "application/json"})),
  read: url => fetch(url),
  picture: url => new Promise(done => { const i = new Image(); i.onload = i.onerror = () => done(); i.src = url; }),
  form: url => form(url, "text/plain"),
};
(async () => {
  const read = [];
  for (const target of targets) for (const path of paths) for (const [name, send] of Object.entries(ways)) {
    try {
      const response = await send(target + path);
      if (response instanceof Response && response.type !== "opaque") read.push([name, target]);
    } catch (error) {}
  }
  await fetch("/report", {method: "POST", body: JSON.stringify(read)});
})();
</script>"""


@pytest.fixture
def chromium() -> str:
    if CHROMIUM is None and os.environ.get("REQUIRE_BROWSER"):
        pytest.fail("REQUIRE_BROWSER is set, and there is no Chromium here: apt-get install chromium")
    if CHROMIUM is None:
        pytest.skip("needs Chromium (apt-get install chromium); `.ci/run --part browser` installs it")
    return CHROMIUM


@asynccontextmanager
async def browser(chromium: str, profile, *arguments: str, **pipes):
    """Chromium without a window and with the defaults of a new profile, ended with the block."""
    process = await asyncio.create_subprocess_exec(
        chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        f"--user-data-dir={profile}", "--host-resolver-rules=MAP *.example 127.0.0.1",
        "--no-proxy-server", "--disable-features=LocalNetworkAccessChecks", *arguments, **pipes,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@asynccontextmanager
async def server(port: int, handler):
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def new_node(folder):
    peer, backend = free_ports(2)
    write_node_files(folder, NodeTemplate("Alpha", ("DE*ALF",), (), ("signature",), peer, backend))
    async with Node(load_settings(folder / "node.toml")):
        yield backend


def sent_to_the_sink(received: list):
    async def sink(request):
        received.append((request.method, request.headers.get("Content-Type", ""), await request.read()))
        return web.Response(headers={"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "*"})

    return sink


@pytest.mark.parametrize("page_host", PAGE_HOSTS)
async def test_a_page_of_another_origin_changes_nothing_and_reads_nothing(chromium, tmp_path, page_host):
    page_port, sink_port = free_ports(2)
    received, report = [], asyncio.get_running_loop().create_future()
    async with new_node(tmp_path / "node") as node_port:
        hosts = dict.fromkeys((page_host, "127.0.0.1", "localhost"))
        nodes = [f"http://{host}:{node_port}" for host in hosts]
        page = PAGE % {
            "body": json.dumps(STATUS),
            "targets": json.dumps([f"http://{page_host}:{sink_port}", *nodes]),
            "paths": json.dumps([STATUS_PATH, "/admin/v1/peers/invitations", "/readyz"]),
        }

        async def attacker(request):
            if request.path == "/report":
                report.set_result(json.loads(await request.read()))
            return web.Response(text=page, content_type="text/html")

        async with server(page_port, attacker), server(sink_port, sent_to_the_sink(received)):
            url = f"http://{page_host}:{page_port}/"
            async with browser(chromium, tmp_path / "profile", url), asyncio.timeout(TIMEOUT_SECONDS):
                read = await report
        async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{node_port}/readyz") as answer:
            assert answer.status == 200
    # What was tried does reach a server that lets it: the page reads there, and posts in all ways.
    assert {way for way, target in read if str(sink_port) in target} >= {"json", "read"}
    posted = {content_type.partition(";")[0] for method, content_type, body in received if method == "POST" and body}
    assert posted >= {"application/json", "text/plain", ""}
    # The node let nothing be read, and stored nothing.
    assert [target for _, target in read if target in nodes] == []
    stored = tmp_path / "node" / "data" / "node.sqlite3"
    assert database.execute(stored, "SELECT count(*) FROM dataset_records", ()) == [(0,)]
    assert database.execute(stored, "SELECT count(*) FROM invitations", ()) == [(0,)]


async def test_a_person_opens_the_nodes_own_pages(chromium, tmp_path):
    async with new_node(tmp_path / "node") as node_port:
        url = f"http://localhost:{node_port}/readyz"
        pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.DEVNULL}
        async with browser(chromium, tmp_path / "profile", "--dump-dom", url, **pipes) as process:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                shown, _ = await process.communicate()
    assert '"ready"' in shown.decode()
