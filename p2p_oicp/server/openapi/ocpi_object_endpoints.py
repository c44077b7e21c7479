"""The administration: objects of OCPI partners, what could not be carried, and CDRs that wait for a person."""

from __future__ import annotations

from p2p_oicp.server.openapi.endpoints import Endpoint, Parameter, Tag
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
    one_of,
    record,
    text,
)

_NAME = {"name": described(TEXT, "The name of the partner in `[[ocpi.partners]]`.")}
_KINDS = ("location", "session", "cdr", "tariff")
_STATES = ("pending", "carried", "waiting", "held", "dropped")
_CDR = {**_NAME, "id": described(TEXT, "The id of the CDR, in any letter case.")}
_UNKNOWN = {404: "There is no such partner, or no such object of it."}
_FAILED = {502: "The partner does not answer, or refuses."}
_FITS_NOT = {409: "It is impossible now; the text says why."}

FINDING = record(
    "OcpiFinding",
    "What could not be carried of an object, or was wrong with it.",
    {
        "kind": one_of((*_KINDS, "token"), "Of what."),
        "id": text("Of the object; of a token masked."),
        "code": text("The kind of the finding, which never changes its name."),
        "pointer": text("Where, as a JSON pointer (RFC 6901); empty: in the whole of it."),
        "message": TEXT,
        "at": TIME,
    },
)
PARTNER_OBJECT = record(
    "OcpiObject",
    "An object of a partner, and what became of it.",
    {
        "kind": one_of(_KINDS),
        "id": text("As the partner writes it."),
        "country_code": TEXT,
        "party_id": TEXT,
        "state": one_of(_STATES, "waiting: it belongs to no session that is known yet; held: it waits for a person."),
        "reason": text("Why it is held, waits, or was not carried; empty: it was."),
        "session_id": nullable(TEXT, "The session that it belongs to."),
        "last_updated": TIME,
        "received_at": TIME,
        "object": described(OBJECT, "As received, without what identifies a driver."),
        "findings": array(FINDING),
    },
    optional=("findings",),
)
HELD_CDR = record(
    "OcpiHeldCdr",
    "A CDR of a partner that waits for a person.",
    {
        "id": TEXT,
        "reason": text("Why it could not be carried."),
        "received_at": TIME,
        "evse_id": TEXT,
        "start": TEXT,
        "end": TEXT,
        "energy": described(NUMBER, "In kWh."),
        "ocpi_session": nullable(TEXT, "The Session.id that it names."),
        "provider": text("The party of its token."),
        "session_id": nullable(TEXT, "The session that it belongs to, if that is known."),
    },
)
_PULLED = members_of(
    {
        "module": TEXT,
        "objects": described(WHOLE, "That were read."),
        "refused": described(WHOLE, "Of them, those that could not be read."),
        "removed": described(WHOLE, "Objects that the partner has no more."),
    }
)

PULL_FROM_OCPI_PARTNER = Endpoint(
    method="POST",
    path="/admin/v1/ocpi/partners/{name}/pull",
    name="pullFromOcpiPartner",
    summary="Read the lists of a partner now.",
    tag=Tag.OCPI,
    path_schemas=_NAME,
    body=members_of(
        {
            "module": one_of(("locations", "tariffs", "sessions", "cdrs"), "Absent: all."),
            "since": described(TIME, "Only what has changed since; absent: as far as it is due."),
        },
        optional=("module", "since"),
    ),
    body_is_optional=True,
    answer=members_of({"pulled": array(_PULLED)}),
    errors={**_UNKNOWN, **_FITS_NOT, **_FAILED},
    example={"module": "locations"},
)
PUSH_TO_OCPI_PARTNER = Endpoint(
    method="POST",
    path="/admin/v1/ocpi/partners/{name}/push",
    name="pushToOcpiPartner",
    summary="Send a partner everything again that it gets from us.",
    tag=Tag.OCPI,
    path_schemas=_NAME,
    body=members_of({"module": one_of(("tokens",), "Absent: all.")}, optional=("module",)),
    body_is_optional=True,
    answer=members_of({"sent": described(WHOLE, "Objects.")}),
    errors={**_UNKNOWN, **_FITS_NOT, **_FAILED},
    example={"module": "tokens"},
)
SHOW_OCPI_OBJECT = Endpoint(
    method="GET",
    path="/admin/v1/ocpi/partners/{name}/objects/{kind}/{id}",
    name="showOcpiObject",
    summary="What came of a partner, what was made of it, and what was lost.",
    tag=Tag.OCPI,
    path_schemas={**_NAME, "kind": one_of(_KINDS), "id": described(TEXT, "In any letter case.")},
    answer=members_of({"objects": array(PARTNER_OBJECT, "Of several parties, if these have the same id.")}),
    errors=_UNKNOWN,
)
LIST_OCPI_LOSSES = Endpoint(
    method="GET",
    path="/admin/v1/ocpi/partners/{name}/losses",
    name="listOcpiLosses",
    summary="What could not be carried of a partner's objects, the newest first.",
    tag=Tag.OCPI,
    path_schemas=_NAME,
    query=(Parameter("limit", {"type": "integer", "minimum": 1, "maximum": 10000}, "So many at most."),),
    answer=members_of({"losses": array(FINDING)}),
    errors=_UNKNOWN,
)
LIST_HELD_OCPI_CDRS = Endpoint(
    method="GET",
    path="/admin/v1/ocpi/partners/{name}/held",
    name="listHeldOcpiCdrs",
    summary="CDRs of a partner that wait for a person, the oldest first.",
    tag=Tag.OCPI,
    path_schemas=_NAME,
    answer=members_of({"held": array(HELD_CDR)}),
    errors=_UNKNOWN,
)
ASSIGN_OCPI_CDR = Endpoint(
    method="POST",
    path="/admin/v1/ocpi/partners/{name}/held/{id}/assignment",
    name="assignOcpiCdr",
    summary="Carry a held CDR as that of a session.",
    tag=Tag.OCPI,
    path_schemas=_CDR,
    body=members_of({"session_id": text("SessionID of OICP.")}),
    answer=PARTNER_OBJECT,
    errors={**_UNKNOWN, **_FITS_NOT},
    example={"session_id": "0199c1c2-7b1f-7c3a-9d52-4f1f0a6a8c11"},
)
DROP_OCPI_CDR = Endpoint(
    method="DELETE",
    path="/admin/v1/ocpi/partners/{name}/held/{id}",
    name="dropOcpiCdr",
    summary="Decide that a held CDR is carried nowhere; it stays stored.",
    tag=Tag.OCPI,
    path_schemas=_CDR,
    answer=PARTNER_OBJECT,
    errors={**_UNKNOWN, **_FITS_NOT},
)

OCPI_OBJECT_ENDPOINTS = (
    PULL_FROM_OCPI_PARTNER,
    PUSH_TO_OCPI_PARTNER,
    SHOW_OCPI_OBJECT,
    LIST_OCPI_LOSSES,
    LIST_HELD_OCPI_CDRS,
    ASSIGN_OCPI_CDR,
    DROP_OCPI_CDR,
)
