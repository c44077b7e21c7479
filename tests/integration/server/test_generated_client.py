"""A client and models that generators make of a node's own documents work with that node.

The generators are programs of their own, with packages of their own: `.ci/run --part integration` installs them, and
then their absence is a failure.
"""

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.messages import CDR, START, authorize_start, cdr, plausible
from tests.support.nodes import configured, start_session
from tests.support.signed_nodes import SignedPair

CLIENT_GENERATOR, MODEL_GENERATOR = "openapi-python-client", "datamodel-codegen"
TIMEOUT_SECONDS = 120

CLIENT_PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
from node_client import AuthenticatedClient
from node_client.api.events import list_events
from node_client.api.peers import get_peer, list_peers
from node_client.api.records import get_cdr, list_cdrs
from node_client.api.status import get_status
from node_client.models import Refusal

with AuthenticatedClient(base_url=sys.argv[2], token="any") as client:
    (record,) = list_cdrs.sync(client=client, role="cpo").cdrs
    unknown = get_peer.sync(client=client, name="nobody")
    assert isinstance(unknown, Refusal), unknown
    print(json.dumps({
        "ok": get_status.sync(client=client).ok,
        "peers": [(peer.name, peer.up) for peer in list_peers.sync(client=client).peers],
        "cdr": [record.session_id, record.state],
        "consumed": get_cdr.sync(record.session_id, client=client).cdrs[0].record.to_dict()["ConsumedEnergy"],
        "events": [[each.type_, each.what] for each in list_events.sync(client=client, type_=["cdr"]).events],
    }))
"""

# A type of events is a module, what has become of its subject a class of it; of an open list there is one class.
MODELS_PROGRAM = """
import importlib, json, sys
sys.path.insert(0, sys.argv[1])
models = importlib.import_module("event_models")
capitalized = lambda name: "".join(part.title() for part in name.split("_"))
read = []
for event in json.load(sys.stdin):
    kind, what = event["type"], event["what"]
    model = getattr(models, capitalized(kind), None) or getattr(getattr(models, kind), capitalized(what))
    read.append([kind, model.model_validate(event).what])
print(json.dumps(read))
"""


def generator(name: str) -> str:
    found = shutil.which(name)
    if found is None and os.environ.get("REQUIRE_GENERATORS"):
        pytest.fail(f"REQUIRE_GENERATORS is set, and there is no {name} here: pip install it into a place of its own")
    if found is None:
        pytest.skip(f"needs {name} in the PATH; `.ci/run --part integration` installs it")
    return found


async def run(*command: object, given: str = "") -> str:
    done = await asyncio.to_thread(
        subprocess.run, [*map(str, command)], input=given, capture_output=True, text=True, timeout=TIMEOUT_SECONDS,
        check=False, env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def python_of(program: str) -> Path:
    """Return the interpreter of the place where a generator is installed: it has what the generated code needs."""
    return Path(program).resolve().parent / "python"


@pytest.fixture
async def pair(tmp_path):
    """Two nodes, and a session that was charged and settled."""
    async with configured(SignedPair, tmp_path) as pair, pair.running("a"), pair.running("b"):
        pair.session = await start_session(pair)
        assert (await pair.a.post(CDR, cdr(pair.session, **plausible()))).code == "000"
        await pair.a.post(START, {**authorize_start(), "EvseID": "nonsense"})
        await pair.at_rest("a")
        yield pair


async def test_a_generated_client_lists_peers_cdrs_and_events(pair, tmp_path):
    program = generator(CLIENT_GENERATOR)
    url = f"http://127.0.0.1:{pair.ports['a backend']}"
    config, script = tmp_path / "config.yaml", tmp_path / "use.py"
    config.write_text("literal_enums: true\n")
    script.write_text(CLIENT_PROGRAM)
    generated = tmp_path / "generated" / "node_client"
    generated.parent.mkdir()
    await run(
        program, "generate", "--url", f"{url}/openapi.json", "--meta", "none", "--output-path", generated,
        "--config", config,
    )  # fmt: skip
    result = json.loads(await run(python_of(program), script, generated.parent, url))
    assert result == {
        "ok": True,
        "peers": [["node b", True]],
        "cdr": [pair.session, "accepted"],
        "consumed": 0,
        "events": [["cdr", "received"], ["cdr", "accepted"]],
    }


async def events_of(pair, count: int) -> list[dict]:
    """Return the first events of the stream, as systems read them."""
    url, events = f"http://127.0.0.1:{pair.ports['a backend']}/events?after=0", []
    async with asyncio.timeout(10), pair.http.get(url) as stream:
        async for line in stream.content:
            if line.startswith(b"data: "):
                events.append(json.loads(line.removeprefix(b"data: ")))
                if len(events) == count:
                    break
    return events


async def test_generated_models_read_the_events_of_the_stream(pair, tmp_path):
    program = generator(MODEL_GENERATOR)
    url = f"http://127.0.0.1:{pair.ports['a backend']}"
    async with pair.http.get(f"{url}/asyncapi.json") as answer:
        (tmp_path / "asyncapi.json").write_bytes(await answer.read())
    (tmp_path / "read.py").write_text(MODELS_PROGRAM)
    await run(
        program, "--input", tmp_path / "asyncapi.json", "--input-file-type", "asyncapi", "--output-model-type",
        "pydantic_v2.BaseModel", "--output", tmp_path / "event_models",
    )  # fmt: skip
    admin = f"{url}/admin/v1/events"
    async with pair.http.get(admin) as answer:
        newest = (await answer.json())["newest"]
    events = await events_of(pair, newest)
    read = json.loads(await run(python_of(program), tmp_path / "read.py", tmp_path, given=json.dumps(events)))
    assert read == [[event["type"], event["what"]] for event in events]
    assert {("session", "settled"), ("cdr", "accepted")} <= {(kind, what) for kind, what in read}
    assert "refusal" in {kind for kind, _ in read}
