"""What `status` says of a node: of its own backends, where there are some and where there are none."""

import asyncio
import json
import time
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import pytest

from p2p_oicp.cli.client import call_admin
from p2p_oicp.cli.status import fetch_status, print_status
from p2p_oicp.config import load_settings
from p2p_oicp.node import Node
from p2p_oicp.peering import components
from p2p_oicp.simulator.node_files import free_ports
from tests.support.nodes import configured
from tests.support.signed_nodes import SignedPair


@asynccontextmanager
async def started(folder, name, lines="", **backends):
    async with configured(partial(SignedPair, extra_config=lines), folder) as pair, AsyncExitStack() as stack:
        settings = load_settings(pair.folder / name / "node.toml")
        await stack.enter_async_context(Node(settings, **backends))
        yield await asyncio.to_thread(fetch_status, pair.folder / name / "node.toml")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a", "No backend configured for DE*GEF: remote starts and stops are refused with 320"),
        ("b", "No backend configured for DE-GDF: the token list of this node answers"),
    ],
)
async def test_a_node_without_a_backend_shows_none_and_says_so(tmp_path, capsys, name, text):
    async with started(tmp_path, name) as report:
        assert report["backends"] == []
        print_status(report)
    assert text in " ".join(capsys.readouterr().out.split())


async def test_a_backend_that_is_configured_is_shown(tmp_path):
    (port,) = free_ports(1)
    lines = f'[[backends]]\nname = "csms"\nrole = "cpo"\nurl = "http://127.0.0.1:{port}"\n'
    async with configured(SignedPair, tmp_path) as pair:
        file = pair.folder / "a" / "node.toml"
        file.write_text(file.read_text() + lines)
        async with Node(load_settings(file)):
            report = await asyncio.to_thread(fetch_status, file)
    assert [each["name"] for each in report["backends"]] == ["backend:csms"]
    assert report["without_backend"] == []
    json.dumps(report)


async def test_a_backend_that_is_a_python_object_is_shown(tmp_path):
    async with started(tmp_path, "a", cpo=object()) as report:
        assert [each["name"] for each in report["backends"]] == ["backend:cpo"]


async def test_a_signing_key_that_ends_without_another_is_a_notice_before_and_a_problem_after(tmp_path, monkeypatch):
    endings = {"a": time.time() + 3 * 86_400, "b": time.time() - 60, "c": time.time() + 400 * 86_400}
    monkeypatch.setattr(components, "last_endings", lambda _keys: endings)
    async with started(tmp_path, "a") as report:
        own = report["node"]
    shown = {each["name"]: each for each in report["problems"] if "signatures" in each["channels"]}
    assert {name: each["severity"] for name, each in shown.items()} == {
        "this node" if own == "a" else "a": "notice",
        "b": "error",
    }
    assert report["ok"] is False


async def test_an_open_invitation_is_shown(tmp_path, capsys):
    async with configured(SignedPair, tmp_path) as pair:
        file = pair.folder / "a" / "node.toml"
        async with Node(load_settings(file)):
            await asyncio.to_thread(call_admin, file, "POST", "/admin/v1/peers/invitations", {})
            report = await asyncio.to_thread(fetch_status, file)
    print_status(report)
    assert len(report["invitations"]) == 1
    assert "An invitation is open until" in capsys.readouterr().out
