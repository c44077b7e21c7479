"""What a listener serves besides: whether the node lives and is ready, metrics, and these documents."""

from __future__ import annotations

from p2p_oicp.server.openapi.endpoints import Access, Endpoint, Tag
from p2p_oicp.server.openapi.schemas import (
    OBJECT,
    TEXT,
    WHOLE,
    any_of,
    array,
    described,
    members_of,
    one_of,
    record,
    reference,
    text,
)

_ALIVE = members_of({"status": one_of(("ok",))})
_READINESS = record(
    "Readiness",
    "Whether the node takes messages; without the token, only `status`.",
    {
        "status": one_of(("ready", "unavailable")),
        "store": text("Why the database cannot be used."),
        "node": TEXT,
        "peer_api": text("Where the peer API listens."),
        "security": array(TEXT),
        "warning": TEXT,
        "insecure_peers": array(TEXT),
        "degraded": array(TEXT, "A sentence for each part that does not work."),
        "hub": text("Where a hub listens."),
        "partners": described(WHOLE, "Of a hub."),
    },
    optional=("store", "node", "peer_api", "security", "warning", "insecure_peers", "degraded", "hub", "partners"),
)

LIVENESS = Endpoint(
    method="GET",
    path="/livez",
    name="getLiveness",
    summary="Does the process answer?",
    tag=Tag.HEALTH,
    access=Access.OPEN,
    answer=_ALIVE,
)
HEALTH = Endpoint(
    method="GET",
    path="/healthz",
    name="getHealth",
    summary="As `/livez`.",
    tag=Tag.HEALTH,
    access=Access.OPEN,
    answer=_ALIVE,
)
READINESS = Endpoint(
    method="GET",
    path="/readyz",
    name="getReadiness",
    summary="Does the node take messages? HTTP 503 if not.",
    tag=Tag.HEALTH,
    access=Access.DETAILS,
    answer=_READINESS,
    other_bodies={503: ("It takes none now.", any_of(_READINESS, reference("Refusal")))},
)
METRICS = Endpoint(
    method="GET",
    path="/metrics",
    name="getMetrics",
    summary="Metrics in Prometheus' text format; what names a peer with the token only.",
    tag=Tag.HEALTH,
    access=Access.DETAILS,
    answer=TEXT,
    answer_types=("text/plain",),
)
OPENAPI = Endpoint(
    method="GET",
    path="/openapi.json",
    name="getOpenapi",
    summary="This document.",
    tag=Tag.HEALTH,
    access=Access.OPEN,
    answer=OBJECT,
)
OCPI_OPENAPI = Endpoint(
    method="GET",
    path="/ocpi/openapi.json",
    name="getOcpiOpenapi",
    summary="The OpenAPI document of the listener for OCPI partners.",
    tag=Tag.HEALTH,
    access=Access.OPEN,
    answer=OBJECT,
)
ASYNCAPI = Endpoint(
    method="GET",
    path="/asyncapi.json",
    name="getAsyncapi",
    summary="The AsyncAPI 3.0 document of the events.",
    tag=Tag.HEALTH,
    access=Access.OPEN,
    answer=OBJECT,
)
PAGE = Endpoint(
    method="GET",
    path="/docs",
    name="getPage",
    summary="A page that shows this document, and sends requests.",
    tag=Tag.HEALTH,
    access=Access.OPEN,
    answer=TEXT,
    answer_types=("text/html",),
)
PAGE_FILE = Endpoint(
    method="GET",
    path="/docs/{file}",
    name="getPageFile",
    summary="A file of that page.",
    tag=Tag.HEALTH,
    access=Access.OPEN,
    path_schemas={"file": one_of(("page.js", "page.css", "swagger-ui-bundle.js", "swagger-ui.css"))},
    answer=TEXT,
    answer_types=("text/javascript", "text/css"),
    errors={404: "The page has no such file."},
)

ALIVE_ENDPOINTS = (LIVENESS, HEALTH)
LISTENER_ENDPOINTS = (*ALIVE_ENDPOINTS, READINESS, METRICS, OPENAPI, OCPI_OPENAPI, ASYNCAPI, PAGE, PAGE_FILE)
