"""Secrets appear in no log, no response, no export, no repr, no error."""

import json

import pytest
import structlog

from p2p_oicp.cli import keys as cli_keys
from p2p_oicp.crypto import keystore
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.peers.descriptor import Invitation
from tests.support.messages import START, authorize_start
from tests.support.pairing import Admin

TOKEN = "a-secret-of-the-backend-api"


async def test_secrets_appear_in_no_log_no_response_no_export_and_no_repr(stopped):
    """Two nodes pair, roam and fail, and everything that they output is collected."""
    for name in ("a", "b"):
        (stopped.folder / name / "peers.toml").write_text("")
    config = stopped.folder / "a" / "node.toml"
    config.write_text(config.read_text().replace("[backend_api]\n", f'[backend_api]\ntoken = "{TOKEN}"\n'))
    stopped.http.headers["Authorization"] = f"Bearer {TOKEN}"
    outputs = []
    with structlog.testing.capture_logs() as logs:
        async with stopped.running("a") as a, stopped.running("b") as b:
            admin, other = Admin(stopped, "a"), Admin(stopped, "b")
            link = (await admin.ask("POST", "/peers/invitations"))["link"]
            outputs.append(await other.ask("POST", "/peers/inspect", link=link))
            await other.ask("POST", "/peers/join", link=link)
            outputs.append(await other.ask("POST", "/peers/join", status=502, link=link.replace("key=", "key=A")[:-1]))
            session = (await stopped.a.post(START, authorize_start())).json["SessionID"]
            keystore.rotate(stopped.folder / "a" / "keys", now=a._clock.time(), activation_delay=0, overlap=60)
            await a.reload()
            outputs += [await admin.ask("GET", path) for path in ("/peers", f"/evidence/{session}")]
            outputs += [
                (await stopped.a.get("/readyz")).json,
                cli_keys.listed_keys(config),
                cli_keys.peers_file_entry(config),
            ]
            for node in (a, b):
                outputs += [
                    repr(part)
                    for part in (
                        node._settings,
                        node._peering,
                        node._peering.identity.signer,
                        node._peering.identity.signer.keys,
                    )
                ]
            for path in ("/.well-known/oicp-p2p", "/healthz", "/nothing"):
                async with stopped.http.get(f"http://127.0.0.1:{stopped.ports['a']}{path}") as answer:
                    outputs.append(await answer.text())
    everything = json.dumps([outputs, logs], default=repr)
    assert session in everything
    assert {"node.ready", "pairing.completed"} <= {entry["event"] for entry in logs}
    for secret in secrets_of(stopped, link):
        assert secret not in everything, "a secret in the outputs"


def secrets_of(pair, link: str) -> list[str]:
    keys = [file for name in ("a", "b") for file in (pair.folder / name / "keys").glob("*.key")]
    assert len(keys) == 3
    return [TOKEN, Invitation.from_link(link).token, *(file.read_text().splitlines()[1] for file in keys)]


async def test_errors_contain_no_secret(stopped):
    file = stopped.folder / "a" / "keys" / "node.key"
    secret = file.read_text().splitlines()[1]
    file.write_text(file.read_text().replace("BEGIN", "BEGUN"))
    with pytest.raises(ConfigurationError) as caught:
        async with stopped.running("a"):
            pass
    assert secret not in str(caught.value)


def test_the_links_token_is_not_in_a_repr():
    one = Invitation.new("http://a.example", "SHA256:" + "A" * 43)
    assert one.token not in repr(one)
