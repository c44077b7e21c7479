"""What a hub for tests serves besides: partners, script, recorded exchanges (``/hub/v1``)."""

from __future__ import annotations

from p2p_oicp.config.hub import PartnerSettings, ScriptRule
from p2p_oicp.server.openapi.endpoints import Endpoint, Parameter, Tag
from p2p_oicp.server.openapi.log_endpoints import EXCHANGE, OPERATION
from p2p_oicp.server.openapi.schemas import (
    ANYTHING,
    FLAG,
    NUMBER,
    TEXT,
    WHOLE,
    Json,
    array,
    described,
    mapping,
    members_of,
    one_of,
    record,
    text,
)

_NUMBERS, _FLAGS, _WHOLE = {"wait"}, {"accept", "hang", "drop"}, {"times", "http_status"}


def _rule_members() -> dict[str, Json]:
    """Return the members of a rule, with the descriptions of the settings."""
    members = {}
    for name, field in ScriptRule.model_fields.items():
        kind = NUMBER if name in _NUMBERS else FLAG if name in _FLAGS else WHOLE if name in _WHOLE else TEXT
        members[name] = described(kind, field.description or "")
    return members


_RULE = record("ScriptRule", "Which requests are answered how.", _rule_members(), optional=[*ScriptRule.model_fields])
_USED_RULE = record(
    "UsedScriptRule",
    "A rule of the script, with how often it was used.",
    {**_rule_members(), "used": WHOLE},
    optional=[*ScriptRule.model_fields],
)
_PARTNER_MEMBERS = {
    "name": TEXT,
    "operators": array(TEXT),
    "providers": array(TEXT),
    "url": {"type": ["string", "null"], "description": "Where its system is called; null: it is asked nothing."},
    "path": text("What its URL is followed by."),
    "push": array(TEXT, "The datasets that are sent to it."),
}
_PARTNER = record("Partner", "A company that roams through the hub.", _PARTNER_MEMBERS)
_NEW_PARTNER = record(
    "NewPartner",
    "A partner, with the keys of `[[partners]]`.",
    _PARTNER_MEMBERS
    | {
        name: described(ANYTHING, field.description or "")
        for name, field in PartnerSettings.model_fields.items()
        if name not in _PARTNER_MEMBERS and name != "paths"
    }
    | {"paths": mapping(TEXT, "By the name of an operation, its path where it is none of OICP's.")},
    optional=[*_PARTNER_MEMBERS, *PartnerSettings.model_fields],
)
_RULES = members_of({"rules": array(_USED_RULE)})
_PARTNERS_PATH, _SCRIPT_PATH, _EXCHANGES_PATH = "/hub/v1/partners", "/hub/v1/script", "/hub/v1/exchanges"

LIST_PARTNERS = Endpoint(
    method="GET",
    path=_PARTNERS_PATH,
    name="listPartners",
    summary="The partners.",
    tag=Tag.HUB,
    answer=members_of({"partners": array(_PARTNER)}),
)
PUT_PARTNER = Endpoint(
    method="POST",
    path=_PARTNERS_PATH,
    name="putPartner",
    summary="Add or change a partner.",
    tag=Tag.HUB,
    body=_NEW_PARTNER,
    example={"providers": ["DE-DCB"]},
    answer=members_of({"partner": _PARTNER}),
)
SHOW_SCRIPT = Endpoint(
    method="GET",
    path=_SCRIPT_PATH,
    name="getScript",
    summary="The rules of the script, in their order.",
    tag=Tag.HUB,
    answer=_RULES,
)
REPLACE_SCRIPT = Endpoint(
    method="PUT",
    path=_SCRIPT_PATH,
    name="replaceScript",
    summary="Answer by another script from now on.",
    tag=Tag.HUB,
    body=members_of({"rules": array(_RULE)}, optional=("rules",)),
    example={"rules": [{"operation": "AuthorizeStart", "refuse": "102"}]},
    answer=_RULES,
)
DELETE_SCRIPT = Endpoint(
    method="DELETE",
    path=_SCRIPT_PATH,
    name="deleteScript",
    summary="Answer without a script from now on.",
    tag=Tag.HUB,
    answer=_RULES,
)
LIST_EXCHANGES = Endpoint(
    method="GET",
    path=_EXCHANGES_PATH,
    name="listHubExchanges",
    summary="Recorded exchanges that match, the oldest first.",
    tag=Tag.HUB,
    query=(
        Parameter("partner", TEXT, "Only those with this partner."),
        OPERATION,
        Parameter("direction", one_of(("in", "out")), "Only those that were received, or sent."),
        Parameter("session", TEXT, "Only those of this SessionID."),
        Parameter("evse_id", TEXT, "Only those of this EVSE."),
        Parameter("uid", TEXT, "Only those with this UID."),
        Parameter("code", TEXT, "Only those that were answered with this status code."),
        Parameter("after", {**WHOLE, "default": 0}, "Only those with higher numbers."),
        Parameter("limit", {**WHOLE, "default": 1000}, "How many at most; more than 1000 count as 1000."),
        Parameter("wait", {**WHOLE, "default": 0}, "Seconds to wait until there is one; at most 60."),
    ),
    answer=members_of({"exchanges": array(EXCHANGE), "newest": described(WHOLE, "The number to go on `after`.")}),
)
DELETE_EXCHANGES = Endpoint(
    method="DELETE",
    path=_EXCHANGES_PATH,
    name="deleteHubExchanges",
    summary="Delete all recorded exchanges; the numbers go on.",
    tag=Tag.HUB,
    answer=members_of({"exchanges": array(EXCHANGE)}),
)

HUB_ENDPOINTS = (
    LIST_PARTNERS, PUT_PARTNER, SHOW_SCRIPT, REPLACE_SCRIPT, DELETE_SCRIPT, LIST_EXCHANGES, DELETE_EXCHANGES,
)  # fmt: skip
