"""The administration: systems that roam by OCPI."""

from __future__ import annotations

from p2p_oicp.server.openapi.endpoints import Endpoint, Parameter, Tag
from p2p_oicp.server.openapi.schemas import (
    FLAG,
    NUMBER,
    TEXT,
    TIME,
    WHOLE,
    array,
    described,
    members_of,
    nullable,
    one_of,
    record,
    text,
)

_MODULE_ENDPOINT = record(
    "OcpiEndpoint",
    "An interface of a partner.",
    {"module": text("`locations`."), "role": one_of(("SENDER", "RECEIVER"), "Its role."), "url": text("Where it is.")},
)
_PARTY = record("OcpiParty", "A party.", {"country_code": TEXT, "party_id": TEXT})
PARTNER = record(
    "OcpiPartner",
    "A system that roams by OCPI 2.2.1.",
    {
        "name": text("Its messages wait for `ocpi:NAME`."),
        "face": one_of(("cpo", "emsp"), "What the system is."),
        "profile": text("What is known of it."),
        "state": one_of(
            ("none", "invited", "registering", "registered", "suspended"),
            "How far its registration is; suspended: it refuses our credentials, and nothing is sent to it.",
        ),
        "parties": array(TEXT, "Those of our parties that it serves."),
        "as": array(TEXT, "Who we are to it; `*`: every peer under contract."),
        "presented": array(_PARTY, "Who we were to it when credentials were exchanged last."),
        "version": text("Of OCPI; empty: not registered."),
        "versions_url": text("Where its versions are; empty: not known."),
        "provisioned": described(FLAG, "Whether its tokens were exchanged by hand."),
        "endpoints": array(_MODULE_ENDPOINT),
        "missing": array(TEXT, "Modules that it lacks; what needs them is disabled."),
        "last_success": nullable(TIME),
        "last_failure": nullable(TIME),
        "last_error": text("Why the last request to it failed; empty: it did not."),
        "waiting": described(WHOLE, "What it has not got yet, and what came of it and could not be used yet."),
        "held": described(WHOLE, "CDRs that wait for a person."),
        "dropped": described(WHOLE, "CDRs that a person has dropped."),
    },
)
_NAME = {"name": described(TEXT, "The name of the partner in `[[ocpi.partners]]`.")}
_UNKNOWN = {404: "No table `[[ocpi.partners]]` has this name."}
_FITS_NOT = {409: "It does not fit the state of the partner; the text says what does."}
_FAILED = {502: "The partner does not answer, refuses, or lacks what is needed."}
_REGISTERED = members_of(
    {"version": text("Of OCPI."), "missing": array(TEXT, "Modules that it lacks."), "token": text("Shown once.")},
    optional=("token",),
)

LIST_OCPI_PARTNERS = Endpoint(
    method="GET",
    path="/admin/v1/ocpi/partners",
    name="listOcpiPartners",
    summary="All systems that roam by OCPI, and how each is.",
    tag=Tag.OCPI,
    answer=members_of({"partners": array(PARTNER)}),
)
INVITE_OCPI_PARTNER = Endpoint(
    method="POST",
    path="/admin/v1/ocpi/partners/{name}/invitation",
    name="inviteOcpiPartner",
    summary="Make a token (CREDENTIALS_TOKEN_A) by which the partner registers with us.",
    tag=Tag.OCPI,
    path_schemas=_NAME,
    body=members_of({"ttl": described(NUMBER, "Seconds that it lives; absent: `invitation_ttl`.")}, optional=("ttl",)),
    body_is_optional=True,
    answer=members_of({"token": text("Shown once."), "versions_url": TEXT, "expires": TIME}),
    errors={**_UNKNOWN, **_FITS_NOT},
    example={"ttl": 86400},
)
REGISTER_WITH_OCPI_PARTNER = Endpoint(
    method="POST",
    path="/admin/v1/ocpi/partners/{name}/registration",
    name="registerWithOcpiPartner",
    summary="Register with a partner that has invited us.",
    description="With `provisioned`, nothing is sent to its credentials endpoint: both tokens were exchanged by hand.",
    tag=Tag.OCPI,
    path_schemas=_NAME,
    body=members_of(
        {
            "token": text("The one that the partner has given us."),
            "url": text("Of its versions; absent: `versions_url`."),
            "provisioned": described(FLAG, "Whether both tokens were exchanged by hand."),
            "own_token": text("With `provisioned`: the token that the partner sends; absent: a new one."),
        },
        optional=("url", "provisioned", "own_token"),
    ),
    answer=_REGISTERED,
    errors={**_UNKNOWN, **_FITS_NOT, **_FAILED},
    example={"token": "the-token-of-an-invitation", "url": "https://cpo.example/ocpi/versions"},
)
REFRESH_OCPI_PARTNER = Endpoint(
    method="POST",
    path="/admin/v1/ocpi/partners/{name}/refresh",
    name="refreshOcpiPartner",
    summary="Exchange tokens and endpoints anew; a suspended partner goes on.",
    tag=Tag.OCPI,
    path_schemas=_NAME,
    answer=_REGISTERED,
    errors={**_UNKNOWN, **_FITS_NOT, **_FAILED},
)
UNREGISTER_OCPI_PARTNER = Endpoint(
    method="DELETE",
    path="/admin/v1/ocpi/partners/{name}/registration",
    name="unregisterOcpiPartner",
    summary="End a registration or invitation, also if the partner does not answer.",
    tag=Tag.OCPI,
    path_schemas=_NAME,
    query=(Parameter("forget", {"type": "string", "enum": ["true", "false"]}, "Delete all of its objects as well."),),
    answer=members_of({"unregistered": TEXT, "error": text("Why the partner has not answered.")}, optional=("error",)),
    errors=_UNKNOWN,
)

OCPI_ENDPOINTS = (
    LIST_OCPI_PARTNERS,
    INVITE_OCPI_PARTNER,
    REGISTER_WITH_OCPI_PARTNER,
    REFRESH_OCPI_PARTNER,
    UNREGISTER_OCPI_PARTNER,
)
