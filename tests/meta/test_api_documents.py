"""What a listener serves and what its document has are the same, and the documents are valid."""

import json
from collections.abc import Iterator

import msgspec
import pytest
from jsonschema import Draft7Validator, Draft202012Validator
from openapi_spec_validator import validate

from p2p_oicp import apps
from p2p_oicp.cli.init import NodeTemplate, write_node_files
from p2p_oicp.config import load_settings
from p2p_oicp.config.hub import HubSettings, HubTable
from p2p_oicp.events import EVENT_DEFINITIONS
from p2p_oicp.events.cloud_events import encode_event, encode_missed
from p2p_oicp.events.types import EventData
from p2p_oicp.events.view import ViewedEvent
from p2p_oicp.hub import Hub
from p2p_oicp.node import Node
from p2p_oicp.oicp.operations import BASE_PATH, OPERATIONS
from p2p_oicp.server import RequestRouter
from p2p_oicp.server.openapi.asyncapi import asyncapi_document
from p2p_oicp.server.openapi.documents import SERVED, Listener, openapi_document
from p2p_oicp.simulator.node_files import free_ports
from tests.support.api_documents import closed
from tests.support.paths import ROOT

METHODS = {"get", "put", "post", "delete", "patch", "head", "options", "trace"}
# For people, in a browser.
PAGES = ("/ui",)


class RecordedRouter(RequestRouter):
    """A router that can be looked at."""

    made: list[RequestRouter]

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.made.append(self)


@pytest.fixture
def routers(monkeypatch) -> list[RequestRouter]:
    RecordedRouter.made = made = []
    monkeypatch.setattr(apps, "RequestRouter", RecordedRouter)
    return made


def served_by(router: RequestRouter) -> set[tuple[str, str]]:
    return {(method, path) for method, path in router.paths() if not path.startswith(PAGES)}


def documented(listener: Listener) -> set[tuple[str, str]]:
    own = {(endpoint.method, endpoint.path) for endpoint in SERVED[listener]}
    in_document = {(method, path) for method, path, _ in operations(listener) if (method, path) in own}
    assert in_document == own
    return in_document


def operations(listener: Listener) -> Iterator[tuple[str, str, dict]]:
    for path, item in openapi_document(listener)["paths"].items():
        yield from ((method.upper(), path, each) for method, each in item.items() if method in METHODS)


CURE = "declare each route as an Endpoint of p2p_oicp/server/openapi, and make it by Endpoint.route"


async def test_a_node_serves_what_its_documents_have_and_nothing_else(routers, tmp_path):
    template = NodeTemplate("Both", ("DE*ALF",), ("DE-BET",), ("signature",), *free_ports(2))
    write_node_files(tmp_path, template)
    async with Node(load_settings(tmp_path / "node.toml")):
        pass
    by_listener = {"/admin/v1/status" in {path for _, path in each.paths()}: each for each in routers}
    assert served_by(by_listener[True]) == documented(Listener.BACKEND), CURE
    assert served_by(by_listener[False]) == documented(Listener.PEER), CURE


async def test_a_hub_serves_what_its_document_has_and_nothing_else(routers, tmp_path):
    async with Hub(HubSettings(hub=HubTable(port=0)), tmp_path):
        pass
    (router,) = routers
    assert served_by(router) == documented(Listener.HUB), CURE


@pytest.mark.parametrize("listener", Listener)
def test_an_openapi_document_is_valid_and_has_every_operation_of_oicp(listener):
    document = openapi_document(listener)
    validate(document)
    paths = {f"{BASE_PATH}/{path}" for row in OPERATIONS for path in (row.path, *row.aliases)}
    assert paths <= document["paths"].keys()


@pytest.mark.parametrize("listener", Listener)
def test_each_request_has_a_name_a_sentence_its_tag_and_who_may_send_it(listener):
    document, every = openapi_document(listener), list(operations(listener))
    names = [operation["operationId"] for _, _, operation in every]
    assert len(names) == len(set(names))
    for method, path, operation in every:
        assert operation["summary"], (method, path)
        assert operation["tags"][0] in {tag["name"] for tag in document["tags"]}, (method, path)
        assert "security" in operation, (method, path)


def test_what_peers_see_has_nothing_of_the_administration():
    text = json.dumps(openapi_document(Listener.PEER))
    assert "/admin/" not in text
    assert "/metrics" not in text
    peer_paths = set(openapi_document(Listener.PEER)["paths"])
    assert peer_paths <= set(openapi_document(Listener.BACKEND)["paths"])


@pytest.mark.parametrize("listener", Listener)
def test_every_example_fits_its_schema(listener):
    document, checked = openapi_document(listener), 0
    for _, path, operation in operations(listener):
        bodies = [operation.get("requestBody", {}), operation["responses"]["200"]]
        for media in (media for body in bodies for media in body.get("content", {}).values()):
            values = [media["example"]] if "example" in media else [each["value"] for each in examples_of(media)]
            schema = {**media["schema"], "components": document["components"]}
            for value in values:
                checked += 1
                assert list(Draft202012Validator(schema).iter_errors(value)) == [], path
    assert checked > len(OPERATIONS)


def examples_of(media: dict) -> list[dict]:
    return list(media.get("examples", {}).values())


def test_the_asyncapi_document_is_valid_and_has_every_event_in_both_channels():
    document = asyncapi_document()
    schema = json.loads((ROOT / "tests" / "support" / "schemas" / "asyncapi-3.0.0.json").read_text(encoding="utf-8"))
    assert list(Draft7Validator(schema).iter_errors(document)) == []
    names = {each.name for each in EVENT_DEFINITIONS}
    assert set(document["channels"]["events"]["messages"]) == names
    assert set(document["channels"]["webhooks"]["messages"]) == {f"cloudevents.{name}" for name in names}


def test_every_sample_of_the_asyncapi_document_fits_its_schema():
    document = asyncapi_document()
    for name, message in document["components"]["messages"].items():
        schema = {**message["payload"], "components": document["components"]}
        assert message["examples"], name
        for example in message["examples"]:
            assert list(Draft202012Validator(schema).iter_errors(example["payload"])) == [], name


def test_cloud_events_are_encoded_as_the_asyncapi_document_says():
    document = asyncapi_document()
    components = {"components": closed(document["components"])}
    for definition in EVENT_DEFINITIONS:
        sample, source = definition.sample, "https://node.example"
        if isinstance(sample, EventData):
            encoded = encode_event(ViewedEvent(1, sample, msgspec.json.encode(sample)), source)
        else:
            encoded = encode_missed(sample, source, 1)
        payload = document["components"]["messages"][f"cloudevents.{definition.name}"]["payload"]
        validator = Draft202012Validator({**closed(payload), **components})
        assert list(validator.iter_errors(json.loads(encoded.body))) == [], definition.name
