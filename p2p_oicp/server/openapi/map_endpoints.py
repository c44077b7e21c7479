"""The administration: where EVSEs are, for a map."""

from __future__ import annotations

from p2p_oicp.oicp.enums import EvseStatus
from p2p_oicp.server.openapi.endpoints import Endpoint, Parameter, Tag
from p2p_oicp.server.openapi.schemas import (
    FLAG,
    NUMBER,
    TEXT,
    WHOLE,
    array,
    described,
    members_of,
    nullable,
    one_of,
    record,
    text,
)

_CLUSTER = record(
    "EvseCluster",
    "EVSEs that are near each other.",
    {"evses": WHOLE, "latitude": described(NUMBER, "Of their middle."), "longitude": NUMBER},
)
_POINT = record(
    "EvsePoint",
    "An EVSE and where it is.",
    {
        "evse_id": TEXT,
        "latitude": nullable(NUMBER, "In degrees."),
        "longitude": nullable(NUMBER, "In degrees."),
        "status": nullable(text("As its operator has sent it.")),
        "station": text("The name of its station, or nothing."),
        "city": text("Of its address, or nothing."),
        "source": text("`own`, or the peer that has sent it."),
    },
)
EVSE_MAP = Endpoint(
    method="GET",
    path="/admin/v1/evse-map",
    name="getEvseMap",
    summary="Where EVSEs are: clusters of a large area, or single EVSEs of a small one.",
    description="An area with more than 500 EVSEs is answered by clusters. With `evse`, the answer is the first 20 "
    "whose EvseIDs begin so, wherever they are.",
    tag=Tag.RECORDS,
    query=(
        Parameter("box", TEXT, "West, south, east, north in degrees; absent: the world.", example="13.1,52.3,14,53"),
        Parameter("operator", TEXT, "Only those of this operator.", example="DE*ABC"),
        Parameter("status", one_of(EvseStatus), "Only those with this status."),
        Parameter("evse", TEXT, "Only those whose EvseIDs begin so.", example="DE*ABC*E1"),
    ),
    answer=members_of(
        {
            "total": described(WHOLE, "How many EVSEs there are in the area."),
            "status_counts": described(FLAG, "False: too many to look up their status; `status` does not count."),
            "clusters": array(_CLUSTER),
            "evses": array(_POINT),
        }
    ),
)
MAP_ENDPOINTS = (EVSE_MAP,)
