"""The administration: what is known of EVSEs beside their records."""

from __future__ import annotations

from p2p_oicp.server.openapi.endpoints import LIMIT, Endpoint, Parameter, Tag
from p2p_oicp.server.openapi.schemas import (
    NUMBER,
    OBJECT,
    TEXT,
    TIME,
    WHOLE,
    array,
    described,
    members_of,
    nullable,
    record,
    text,
)

_SOURCE = text("`own`, or the peer that has sent it.")
_DEDUCTION = record(
    "EvseDeduction",
    "Points that the data of an EVSE loses, and what a driver misses.",
    {"code": text("The kind."), "points": WHOLE, "text": TEXT},
)
_QUALITY = record(
    "EvseQuality",
    "How good the data of an EVSE is for a driver; a judgement, and no rule of OICP.",
    {"source": _SOURCE, "score": described(WHOLE, "Of 100."), "deductions": array(_DEDUCTION)},
)
_STATUS = record(
    "EarlierStatus",
    "A status that an EVSE had.",
    {"source": _SOURCE, "status": nullable(TEXT, "Null: it was withdrawn."), "since": TIME, "until": TIME},
)
_VERSION = record(
    "EarlierVersion",
    "A record that an EVSE had.",
    {
        "source": _SOURCE,
        "since": TIME,
        "until": TIME,
        "record": nullable(OBJECT, "As it was received; null: it was withdrawn."),
    },
)
_PRICE = record(
    "EvsePrice",
    "A product that applies at an EVSE.",
    {
        "source": _SOURCE,
        "provider": text("For which it applies; `*`: for all."),
        "product_id": TEXT,
        "product": nullable(OBJECT, "As it was received; null: its operator has sent no product of this name."),
    },
)
_DEFAULT_PRICE = record(
    "DefaultPrice",
    "What an operator takes where no product applies.",
    {
        "source": _SOURCE,
        "provider": text("For which it applies; `*`: for all."),
        "price": nullable(NUMBER),
        "currency": nullable(TEXT),
        "unit": nullable(text("As OICP has it.")),
        "since": nullable(TIME),
    },
)
EVSE_DETAILS = Endpoint(
    method="GET",
    path="/admin/v1/evses/{evse_id}/details",
    name="getEvseDetails",
    summary="What an EVSE costs, its earlier statuses and versions, and how good its data is.",
    description="At most the newest 300 statuses and 20 versions, as far as they are stored.",
    tag=Tag.RECORDS,
    answer=members_of(
        {
            "status_days": described(NUMBER, "For how many days earlier statuses are stored."),
            "version_days": described(NUMBER, "For how many days earlier versions are stored."),
            "quality": array(_QUALITY),
            "statuses": array(_STATUS, "The newest first, without the present one."),
            "versions": array(_VERSION, "The newest first, without the present one."),
            "prices": array(_PRICE),
            "default_prices": array(_DEFAULT_PRICE),
        }
    ),
    errors={404: "There is no such EVSE here."},
)
_OPERATOR_QUALITY = record(
    "OperatorQuality",
    "How good the data of an operator is, by a sample of its records.",
    {
        "operator": TEXT,
        "evses": described(WHOLE, "How many it has; 10,000 stands for more."),
        "sampled": described(WHOLE, "How many of them were looked at."),
        "score": nullable(described(WHOLE, "Of 100, on average.")),
        "deductions": array(
            record(
                "OperatorDeduction",
                "A kind of deductions.",
                {
                    "code": text("The kind."),
                    "points": WHOLE,
                    "text": text("As it is of the example."),
                    "records": described(WHOLE, "How many of the sampled records lose them."),
                    "example": text("The EvseID of one of them."),
                },
            ),
            "What costs most points, first.",
        ),
    },
)
EVSE_QUALITY = Endpoint(
    method="GET",
    path="/admin/v1/evse-quality",
    name="getEvseQuality",
    summary="How good the data of operators is, by samples of their records.",
    tag=Tag.RECORDS,
    query=(
        Parameter("operator", TEXT, "Only this one.", example="DE*ABC"),
        LIMIT,
        Parameter("cursor", TEXT, "Of the page before, unchanged; absent: the first page."),
    ),
    answer=members_of({"operators": array(_OPERATOR_QUALITY), "cursor": nullable(TEXT)}),
)
EVSE_ENDPOINTS = (EVSE_DETAILS, EVSE_QUALITY)
