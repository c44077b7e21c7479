"""The layer ``context`` of the shared vectors: each vector against a running node in the state of its context.

One company is CPO and EMP, so its node is the clearing house between its own two backends. A vector with an unknown
partner, or one without a contract, is sent to the peer API.
"""

import json
import time
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

import pytest

from p2p_oicp.config import load_settings
from p2p_oicp.node import Node
from p2p_oicp.oicp import Identification, OperatorID, ProviderID, SessionID
from p2p_oicp.oicp.common import token_key
from p2p_oicp.oicp.operations import OPERATION_BY_NAME, Operation, Party
from p2p_oicp.peers.models import OWN_PEER_ID
from p2p_oicp.simulator.node_files import free_ports
from p2p_oicp.storage import sessions
from p2p_oicp.storage.sessions import Session, SessionState
from tests.support.clients import TestClient
from tests.support.dataset_messages import evse
from tests.support.nodes import FakeContracts, FakeCsms
from tests.support.paths import SHARED

VECTORS = SHARED / "oicp" / "vectors.jsonl"
OPERATOR, PROVIDER = "DE*ABC", "DE-DCB"

# Our own vectors, one for each family, for checkouts without the shared ones.
OURS = [
    {
        "id": "ours: a remote start at an EVSE that was not published",
        "operation": "AuthorizeRemoteStart",
        "expect": "reject",
        "status_code": "603",
        "context": {"evses": {"DE*ABC*EOTHER": {"IsHubjectCompatible": True}}},
        "payload": {
            "ProviderID": PROVIDER,
            "EvseID": "DE*ABC*E1",
            "Identification": {"RemoteIdentification": {"EvcoID": "DE-DCB-C00000001-1"}},
        },
    },
    {
        "id": "ours: a stop of an unknown session",
        "operation": "AuthorizeStop",
        "expect": "reject",
        "status_code": "400",
        "context": {"path": {"operatorID": OPERATOR}, "sessions": {}},
        "payload": {
            "SessionID": "00000000-0000-4000-8000-000000000001",
            "OperatorID": OPERATOR,
            "Identification": {"RFIDMifareFamilyIdentification": {"UID": "0000AAAA"}},
        },
    },
    {
        "id": "ours: an open session is stopped",
        "operation": "AuthorizeStop",
        "expect": "accept",
        "status_code": None,
        "context": {
            "sessions": {
                "00000000-0000-4000-8000-000000000002": {
                    "state": "open",
                    "operator": OPERATOR,
                    "provider": PROVIDER,
                    "authorized": "online",
                    "identification": {"RFIDMifareFamilyIdentification": {"UID": "0000AAAA"}},
                }
            }
        },
        "payload": {
            "SessionID": "00000000-0000-4000-8000-000000000002",
            "OperatorID": OPERATOR,
            "Identification": {"RFIDMifareFamilyIdentification": {"UID": "0000AAAA"}},
        },
    },
    {
        "id": "ours: an unknown partner",
        "operation": "PullEvseStatus",
        "expect": "reject",
        "status_code": "300",
        "context": {"partner_known": False},
        "payload": {"ProviderID": PROVIDER},
    },
    {
        "id": "ours: a partner without a contract",
        "operation": "PullEvseStatus",
        "expect": "reject",
        "status_code": "210",
        "context": {"contract": False},
        "payload": {"ProviderID": PROVIDER},
    },
]


def shared() -> list[dict]:
    if not VECTORS.exists():
        return [{"id": "absent"}]
    lines = map(json.loads, VECTORS.read_text().splitlines())
    return [vector for vector in lines if vector["layer"] == "context"]


def operation_of(vector: dict) -> Operation:
    name = vector["operation"]
    return OPERATION_BY_NAME["ChargingNotifications" if name.startswith("ChargingNotifications") else name]


def sender(vector: dict, operation: Operation) -> str:
    """Return the party for the path: from the context, else from the message."""
    parameter = {Party.CPO: "operatorID", Party.EMP: "providerID"}[operation.sender]
    party = vector["context"].get("path", {}).get(parameter)
    if party:
        return party
    text = json.dumps(vector["payload"])
    prefix = '"OperatorID": "' if operation.sender is Party.CPO else '"ProviderID": "'
    party = text.partition(prefix)[2].partition('"')[0]
    return party if party not in {"", "*"} else {Party.CPO: OPERATOR, Party.EMP: PROVIDER}[operation.sender]


def parties(vector: dict, operation: Operation) -> tuple[list[str], list[str]]:
    """Return the operators and providers of the node."""
    context, party = vector["context"], sender(vector, operation)
    if context.get("certificate_matches") is False:
        return ["DE*QQQ"], ["DE-QQQ"]
    if "path-body-mismatch" in vector["id"]:
        party = {Party.CPO: OPERATOR, Party.EMP: PROVIDER}[operation.sender]
    operators = [party] if operation.sender is Party.CPO else [OPERATOR]
    providers = [party] if operation.sender is Party.EMP else [PROVIDER]
    return operators + context.get("sub_operators", []), providers + context.get("sub_providers", [])


def write(folder: Path, vector: dict, operation: Operation, ports: tuple[int, int]) -> Path:
    operators, providers = parties(vector, operation)
    context, from_peer = vector["context"], is_from_unknown_partner(vector["context"])
    if from_peer:
        operators, providers = ["FR*OUR"], ["FR-OUR"]
    peer = ""
    if context.get("contract") is False:
        role = {Party.CPO: "operators", Party.EMP: "providers"}[operation.sender]
        peer = '[[peer]]\nname = "partner"\nurl = "http://127.0.0.1:9"\n'
        peer += f'{role} = ["{sender(vector, operation)}"]\nmay_call = []\n'
    (folder / "peers.toml").write_text(peer)
    file = folder / "node.toml"
    file.write_text(
        f"[node]\nname = 'us'\noperators = {json.dumps(operators)}\nproviders = {json.dumps(providers)}\n"
        f"[peer_api]\nport = {ports[0]}\n[backend_api]\nport = {ports[1]}\n[security]\nrequire = []\n"
        "[storage]\nsynchronous = 'NORMAL'\n"
    )
    return file


def is_from_unknown_partner(context: dict) -> bool:
    return context.get("contract") is False or context.get("partner_known") is False


@asynccontextmanager
async def stage(tmp_path, http, vector, ports):
    """Run a node in the state of the vector's context."""
    operation = operation_of(vector)
    evses = vector["context"].get("evses", {})
    csms = FakeCsms(refuse_with=next((one["status_code"] for one in evses.values() if "status_code" in one), None))
    file = write(tmp_path, vector, operation, ports)
    async with Node(load_settings(file), cpo=csms, emp=FakeContracts()) as node:
        backend = TestClient(http, f"http://127.0.0.1:{ports[1]}")
        await publish(backend, evses)
        await push_identifications(backend, vector["context"].get("auth_records", []))
        for session_id, session in known_sessions(vector).items():
            await store_session(node, session_id, session, KINDS.get(operation.name, "authorize"))
        yield backend, TestClient(http, f"http://127.0.0.1:{ports[0]}")


# A stop is of the kind of its session (L4); the contexts do not say of which kind that is.
KINDS = {"AuthorizeRemoteReservationStop": "reservation"}


async def publish(backend: TestClient, evses: dict) -> None:
    records = [
        {**evse("1"), "EvseID": name, "IsHubjectCompatible": one["IsHubjectCompatible"]} for name, one in evses.items()
    ]
    if records:
        data = {"OperatorID": OPERATOR, "OperatorName": "ABC", "EvseDataRecord": records}
        pushed = {"ActionType": "fullLoad", "OperatorEvseData": data}
        assert (await backend.post(f"evsepush/v23/operators/{OPERATOR}/data-records", pushed)).code == "000"


async def push_identifications(backend: TestClient, identifications: list[dict]) -> None:
    if identifications:
        records = [{"Identification": identification} for identification in identifications]
        data = {"ProviderID": PROVIDER, "AuthenticationDataRecord": records}
        pushed = {"ActionType": "fullLoad", "ProviderAuthenticationData": data}
        assert (await backend.post(f"authdata/v21/providers/{PROVIDER}/push-request", pushed)).code == "000"


def known_sessions(vector: dict) -> dict:
    """Return the sessions of the context; a stop that must be accepted gets an open session."""
    session_id, in_context = vector["payload"].get("SessionID"), vector["context"].get("sessions")
    needs_session = vector["expect"] != "reject" and "Stop" in vector["operation"] and session_id
    if in_context is not None or not needs_session:
        return in_context or {}
    driver = {"RemoteIdentification": {"EvcoID": f"{PROVIDER}-C12345678-X"}}
    return {session_id: {"operator": OPERATOR, "provider": PROVIDER, "authorized": "online", "identification": driver}}


async def store_session(node: Node, session_id: str, description: dict, kind: str) -> None:
    identification = Identification.from_json(json.dumps(description["identification"]).encode())
    last, now = description.get("last_progress"), time.time()
    for role in ("cpo", "emp"):
        session = Session(
            role=role,
            session_key=SessionID(session_id).key,
            session_id=session_id,
            kind=kind,
            state=SessionState.AUTHORIZED,
            peer=OWN_PEER_ID,
            request_digest=b"",
            created_at=now,
            updated_at=now,
            operator_key=OperatorID(description["operator"]).key,
            operator_id=description["operator"],
            provider_key=ProviderID(description["provider"]).key,
            provider_id=description["provider"],
            identification_key=token_key(identification),
            offline=int(description["authorized"] == "offline"),
            progress_at=datetime.fromisoformat(last).timestamp() if last else None,
        )
        await node.store.write(lambda tx, session=session: sessions.insert_or_get(tx, session))


def verdict(answer) -> str | None:
    """Return the code of a refusal; None if the message was accepted."""
    if answer.status == 400:
        return "022"
    response = answer.json
    accepted = response.get("Result", True) and response.get("AuthorizationStatus", "Authorized") == "Authorized"
    code = (response.get("StatusCode") or {}).get("Code", "000")
    return None if accepted and code == "000" else code


@pytest.mark.parametrize("vector", [*OURS, *shared()], ids=lambda vector: vector["id"])
async def test_a_node_gives_the_verdict_of_a_vector_in_its_context(tmp_path, stopped, vector):
    if vector["id"] == "absent":
        pytest.skip("the shared test vectors are absent")
    operation = operation_of(vector)
    ports = free_ports(2)
    path = operation.path_for(sender(vector, operation))
    async with stage(tmp_path, stopped.http, vector, ports) as (backend, peer):
        caller = peer if is_from_unknown_partner(vector["context"]) else backend
        answer = await caller.post(path, vector["payload"])
    expected = vector["status_code"] if vector["expect"] == "reject" else None
    assert verdict(answer) == expected, answer.json
