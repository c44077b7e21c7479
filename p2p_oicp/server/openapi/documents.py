"""The OpenAPI documents: one for each kind of listener, of its endpoints and of the operations of OICP.

The document of the backend API has everything that a node serves: the paths of the peer API too, with that server
beside them. That of the peer API has what peers may know, that of a hub what a hub serves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cache
from types import MappingProxyType
from typing import Any

from p2p_oicp.oicp.operations import BASE_PATH, OPERATIONS, Party
from p2p_oicp.oicp.schemas import operation_components, operation_paths
from p2p_oicp.server.openapi.credential_endpoints import CREDENTIAL_ENDPOINTS
from p2p_oicp.server.openapi.endpoints import JSON, Access, Endpoint, Tag, by_path
from p2p_oicp.server.openapi.evse_endpoints import EVSE_ENDPOINTS
from p2p_oicp.server.openapi.hub_endpoints import HUB_ENDPOINTS
from p2p_oicp.server.openapi.listener_endpoints import ALIVE_ENDPOINTS, LISTENER_ENDPOINTS, OPENAPI
from p2p_oicp.server.openapi.log_endpoints import LOG_ENDPOINTS
from p2p_oicp.server.openapi.map_endpoints import MAP_ENDPOINTS
from p2p_oicp.server.openapi.node_endpoints import NODE_ENDPOINTS
from p2p_oicp.server.openapi.ocpi_endpoints import OCPI_ENDPOINTS
from p2p_oicp.server.openapi.ocpi_object_endpoints import OCPI_OBJECT_ENDPOINTS
from p2p_oicp.server.openapi.peer_endpoints import PEER_ENDPOINTS
from p2p_oicp.server.openapi.record_endpoints import RECORD_ENDPOINTS
from p2p_oicp.server.openapi.schemas import Json, resolve
from p2p_oicp.server.openapi.status_endpoints import STATUS_ENDPOINTS
from p2p_oicp.server.openapi.webhook_endpoints import WEBHOOK_ENDPOINTS
from p2p_oicp.version import VERSION

OPENAPI_VERSION = "3.1.0"


class Listener(StrEnum):
    """Which listener a document describes."""

    BACKEND = "backend"
    PEER = "peer"
    HUB = "hub"


ADMIN_ENDPOINTS = (
    *STATUS_ENDPOINTS,
    *PEER_ENDPOINTS,
    *RECORD_ENDPOINTS,
    *MAP_ENDPOINTS,
    *EVSE_ENDPOINTS,
    *LOG_ENDPOINTS,
    *WEBHOOK_ENDPOINTS,
    *CREDENTIAL_ENDPOINTS,
    *OCPI_ENDPOINTS,
    *OCPI_OBJECT_ENDPOINTS,
)
#: What each listener serves besides OICP.
SERVED: Mapping[Listener, Sequence[Endpoint]] = MappingProxyType(
    {
        Listener.BACKEND: (*ADMIN_ENDPOINTS, *LISTENER_ENDPOINTS),
        Listener.PEER: (*NODE_ENDPOINTS, *ALIVE_ENDPOINTS, OPENAPI),
        Listener.HUB: (*HUB_ENDPOINTS, *ADMIN_ENDPOINTS, *LISTENER_ENDPOINTS),
    }
)
_DESCRIPTIONS: Mapping[Listener, str] = MappingProxyType(
    {
        Listener.BACKEND: (
            "All that a node serves. The backend API is for the systems of its own company: OICP, as a clearing house "
            "would serve it, and the administration. The peer API is for the nodes of others: OICP again, in the role "
            "of whom a message is for, and what nodes say to each other (`/p2p/v1`)."
        ),
        Listener.PEER: "What a node serves to the nodes of others: OICP, and what nodes say to each other (`/p2p/v1`).",
        Listener.HUB: "What a hub for tests serves: OICP for all its partners, its script, and the administration.",
    }
)
_SECURITY_SCHEMES: Mapping[str, Any] = MappingProxyType(
    {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "The token of the backend API: `init` writes it to keys/backend.token.",
        },
        "clientCertificate": {
            "type": "mutualTLS",
            "description": "A client certificate: of a peer, pinned or of a configured CA; of our own systems, of "
            "`[backend_api] ca`.",
        },
        "signature": {
            "type": "apiKey",
            "in": "header",
            "name": "Signature",
            "description": "An HTTP message signature (RFC 9421) with Content-Digest (RFC 9530), by Ed25519 or ECDSA "
            "P-256: the headers Signature-Input, Signature and Content-Digest. It covers @method, @authority, @path, "
            "@query, content-digest and content-type, with created, expires, nonce and keyid; ±5 minutes, once. The "
            "answer is signed, and covers the signature of the request.",
        },
    }
)
_NOTHING: Json = {}
_TOKEN: Json = {"token": []}
_CERTIFICATE: Json = {"clientCertificate": []}
_SIGNATURE: Json = {"signature": []}
_REQUIREMENTS: Mapping[Access, list[Json]] = MappingProxyType(
    {
        Access.OPEN: [],
        Access.DETAILS: [_NOTHING, _TOKEN],
        Access.TOKEN: [_TOKEN],
        Access.PEER: [_SIGNATURE, _CERTIFICATE],
        Access.INVITATION: [_SIGNATURE],
    }
)
#: What the credentials of OICP are; which of them count, the settings say.
_OICP_REQUIREMENTS: Mapping[Listener, list[Json]] = MappingProxyType(
    {
        Listener.BACKEND: [_NOTHING, _TOKEN, _CERTIFICATE, _SIGNATURE],
        Listener.PEER: [_SIGNATURE, _CERTIFICATE, _NOTHING],
        Listener.HUB: [_NOTHING, _TOKEN],
    }
)
# Every path may be answered with these, whatever it does (DESIGN section 8).
_ERRORS: Mapping[int, str] = MappingProxyType(
    {
        400: "The request cannot be read, or a parameter is wrong; the text says which, and what is expected.",
        401: "It needs credentials.",
        403: "It was sent by a web page of another site.",
        404: "There is no such path.",
        405: "The path has no such method.",
        408: "The body did not arrive in time.",
        413: "The body is too large.",
        415: "The body is no JSON, or is compressed where that is not served.",
        421: "It is meant for another host, or another node.",
        429: "Too many requests; Retry-After says when to come back.",
        500: "This node failed; its log has the details.",
        503: "Too much to do, or the database cannot be used now.",
    }
)
_PEER_SERVER: Json = {
    "url": "{peerApi}",
    "description": "The peer API.",
    "variables": {"peerApi": {"default": "https://node.example:8320", "description": "`[peer_api] url`."}},
}
_PEER_SERVERS = [_PEER_SERVER]


@cache
def openapi_document(listener: Listener) -> Json:
    """Return the OpenAPI 3.1 document of a listener. It is made once, and takes some tenths of a second."""
    components = operation_components(OPERATIONS)
    paths = _oicp_paths(listener)
    for path, endpoints in by_path(SERVED[listener]).items():
        paths[path] = _path_item(endpoints, components)
    if listener is Listener.BACKEND:
        peer_only = by_path(each for each in SERVED[Listener.PEER] if each.path not in paths)
        paths |= {path: {"servers": _PEER_SERVERS, **_path_item(each, components)} for path, each in peer_only.items()}
    used = {tag for item in paths.values() for method in item.values() if "tags" in method for tag in method["tags"]}
    return {
        "openapi": OPENAPI_VERSION,
        "info": {
            "title": f"p2p-oicp: the {listener} API" if listener is not Listener.HUB else "p2p-oicp: a hub for tests",
            "version": VERSION,
            "description": _DESCRIPTIONS[listener],
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}] if listener is not Listener.PEER else _PEER_SERVERS,
        "tags": [{"name": tag.value} for tag in Tag if tag in used],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": dict(_SECURITY_SCHEMES)},
    }


def _oicp_paths(listener: Listener) -> Json:
    """Return the paths of OICP, which are the same at all listeners."""
    paths = operation_paths(OPERATIONS, BASE_PATH)
    senders = {f"{BASE_PATH}/{path}": row.sender for row in OPERATIONS for path in (row.path, *row.aliases)}
    for path, item in paths.items():
        operation = item["post"]
        operation["tags"] = [Tag.CPO if senders[path] is Party.CPO else Tag.EMP]
        operation["security"] = _OICP_REQUIREMENTS[listener]
        operation["responses"] |= _errors({}, operation["responses"])
    return paths


def _path_item(endpoints: Sequence[Endpoint], components: Json) -> Json:
    return {endpoint.method.lower(): _operation(endpoint, components) for endpoint in endpoints}


def _operation(endpoint: Endpoint, components: Json) -> Json:
    body, parameters = endpoint.request_body(components), endpoint.parameters()
    answered = {"200": {"description": "The answer.", "content": endpoint.answer_content(components)}}
    return {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        **({"description": endpoint.description} if endpoint.description else {}),
        "tags": [endpoint.tag.value],
        **({"parameters": parameters} if parameters else {}),
        **({"requestBody": body} if body is not None else {}),
        "security": _REQUIREMENTS[endpoint.access],
        "responses": {**answered, **_errors(endpoint.errors, answered), **_other_bodies(endpoint, components)},
    }


def _errors(own: Mapping[int, str], known: Mapping[str, object]) -> Json:
    """Return the answers to what goes wrong; ``own`` are those of one path."""
    answers = {}
    for status, description in sorted({**_ERRORS, **own}.items()):
        if str(status) not in known:
            schemas = [{"$ref": "#/components/schemas/Refusal"}]
            if status == 400:  # noqa: PLR2004 - what is no text, or nested too deeply, is answered as of OICP
                schemas.append({"$ref": "#/components/schemas/ValidationErrors"})
            schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
            answers[str(status)] = {"description": description, "content": {JSON: {"schema": schema}}}
    return answers


def _other_bodies(endpoint: Endpoint, components: Json) -> Json:
    """Return the answers of an endpoint whose HTTP status is an error, and whose body is more than a refusal."""
    return {
        str(status): {"description": description, "content": {JSON: {"schema": resolve(schema, components)}}}
        for status, (description, schema) in endpoint.other_bodies.items()
    }
