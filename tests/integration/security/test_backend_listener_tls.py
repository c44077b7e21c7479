"""The backend API over TLS: our own systems prove themselves by a client certificate, or by the token."""

import asyncio
import ssl
import time
from contextlib import asynccontextmanager

import aiohttp
import pytest

from p2p_oicp.cli import client
from p2p_oicp.cli.status import fetch_status
from p2p_oicp.config import load_settings
from p2p_oicp.crypto.tls import Certificate, fingerprint_of, self_signed
from p2p_oicp.errors import ConfigurationError, PeerUnreachable
from p2p_oicp.node import Node
from tests.support.clients import TestClient
from tests.support.messages import START, authorize_start

TOKEN = "a-token-of-the-backend-api"
LINES = 'certificate = "listener.crt"\nkey = "listener.key"\n'
WITH_CA = f'{LINES}ca = "system.crt"\ntoken = "{TOKEN}"\n'
WITH_TOKEN = {"Authorization": f"Bearer {TOKEN}"}


def write_certificate(folder, name: str) -> None:
    key, certificate = self_signed(name, [], ["127.0.0.1"], now=time.time(), days=1)
    (folder / f"{name}.crt").write_bytes(certificate)
    (folder / f"{name}.key").write_bytes(key)


@asynccontextmanager
async def serving(pair, lines: str):
    """Node A, whose backend API has these further lines; returns it with the folder of its settings."""
    folder = pair.folder / "a"
    for name in ("listener", "system", "foreign"):
        write_certificate(folder, name)
    file = folder / "node.toml"
    file.write_text(file.read_text().replace("[backend_api]\n", f"[backend_api]\n{lines}"))
    async with Node(load_settings(file), cpo=pair.csms) as node:
        yield node, folder


def context_of(folder, name: str | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=folder / "listener.crt")
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if name is not None:
        context.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.key")
    return context


async def start(pair, context, **headers) -> int:
    api = TestClient(pair.http, f"https://127.0.0.1:{pair.ports['a backend']}")
    return (await api.post(START, authorize_start(), ssl=context, headers=headers)).status


async def get(pair, path: str, context, **headers) -> int:
    url = f"https://127.0.0.1:{pair.ports['a backend']}{path}"
    async with pair.http.get(url, ssl=context, headers=headers) as response:
        return response.status


async def test_oicp_and_commands_work_over_tls(stopped):
    async with serving(stopped, LINES) as (node, folder):
        assert node.backend_url.startswith("https://")
        assert await start(stopped, context_of(folder)) == 200
        report = await asyncio.to_thread(fetch_status, folder / "node.toml")
    assert report["node"] == "node a"
    assert [each["subject"] for each in report["certificates"]] == ["CN=listener"]


async def test_with_ca_oicp_needs_a_client_certificate_or_the_token(stopped):
    async with serving(stopped, WITH_CA) as (_, folder):
        assert await start(stopped, context_of(folder)) == 401
        assert await start(stopped, context_of(folder, "system")) == 200
        assert await start(stopped, context_of(folder), **WITH_TOKEN) == 200
        assert await get(stopped, "/metrics", context_of(folder, "system")) == 200
        assert await get(stopped, "/livez", context_of(folder)) == 200


async def test_a_client_certificate_does_not_open_the_administration(stopped):
    async with serving(stopped, WITH_CA) as (_, folder):
        for path in ("/admin/v1/status", "/admin/v1/peers", "/api/oicp/../../admin/v1/status"):
            assert await get(stopped, path, context_of(folder, "system")) in {401, 404, 405}
        assert await get(stopped, "/admin/v1/status", context_of(folder, "system"), **WITH_TOKEN) == 200
        assert (await asyncio.to_thread(fetch_status, folder / "node.toml"))["node"] == "node a"


async def test_with_require_token_a_certificate_does_not_do(stopped):
    async with serving(stopped, WITH_CA + "require_token = true\n") as (_, folder):
        assert await start(stopped, context_of(folder, "system")) == 401
        assert await start(stopped, context_of(folder, "system"), **WITH_TOKEN) == 200


async def test_a_certificate_of_another_ca_ends_in_the_handshake(stopped):
    async with serving(stopped, WITH_CA) as (_, folder):
        with pytest.raises((aiohttp.ClientError, ssl.SSLError)):
            await start(stopped, context_of(folder, "foreign"))


async def test_without_ca_no_client_certificate_is_needed_or_looked_at(stopped):
    async with serving(stopped, LINES) as (_, folder):
        assert await start(stopped, context_of(folder, "foreign")) == 200


async def shown_by(pair) -> str:
    loose = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    loose.check_hostname, loose.verify_mode = False, ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", pair.ports["a backend"], ssl=loose)
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return fingerprint_of(shown)


async def test_a_renewed_certificate_is_shown_after_a_reload_and_a_bad_one_never(stopped):
    async with serving(stopped, LINES) as (node, folder):
        write_certificate(folder, "listener")
        with pytest.raises(PeerUnreachable, match="another certificate"):
            await asyncio.to_thread(client.call_admin, folder / "node.toml", "GET", "/admin/v1/status")
        await node.reload()
        renewed = Certificate.from_pem((folder / "listener.crt").read_bytes()).fingerprint
        assert await shown_by(stopped) == renewed
        (folder / "listener.crt").write_text("no certificate")
        await node.reload()
        assert await shown_by(stopped) == renewed


async def test_a_file_that_cannot_be_used_is_one_line_at_the_start(stopped):
    with pytest.raises(ConfigurationError, match=r"^\[backend_api\] .*absent.pem: cannot be used"):
        async with serving(stopped, LINES.replace("listener.crt", "absent.pem")):
            pass
