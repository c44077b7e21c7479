"""What nodes say to each other beside OICP, below ``/p2p/v1`` of the peer API (DESIGN section 4)."""

from __future__ import annotations

from p2p_oicp.delivery.hello import HELLO_PATH
from p2p_oicp.delivery.node_protocol import CDRS_PATH, PROBE_PATH, SESSIONS_PATH, VERDICTS_PATH
from p2p_oicp.peers.descriptor import DESCRIPTOR_PATH, PAIRINGS_PATH
from p2p_oicp.server.openapi.endpoints import Access, Endpoint, Parameter, Tag
from p2p_oicp.server.openapi.schemas import (
    ANYTHING,
    FLAG,
    NUMBER,
    OBJECT,
    SECONDS,
    TEXT,
    TIME,
    WHOLE,
    Component,
    any_of,
    array,
    described,
    members_of,
    nullable,
    one_of,
    record,
    reference,
    text,
)
from p2p_oicp.storage.cdrs import CdrState
from p2p_oicp.storage.sessions import SessionState

_PARTY = (
    Parameter("operator", TEXT, "Who asks: an OperatorID of the peer; this or `provider`.", example="DE*ABC"),
    Parameter("provider", TEXT, "Who asks: a ProviderID of the peer.", example="DE-DCB"),
)
_UNAUTHORIZED = {401: "The sender has not proved who it is (017)."}
_SINCE = Parameter("since", {**NUMBER, "default": 0}, "Seconds since 1970.")
_CURSOR = Parameter("cursor", TEXT, "Of the page before; absent: the first page.")

_SIGNED_DESCRIPTOR = record(
    "SignedDescriptor",
    "What a node says of itself: JSON as a text, so that its bytes are those that are signed.",
    {
        "payload": text("JSON: name, url, operators, providers, keys, certificates, operations, security, extensions."),
        "key_id": text("The fingerprint of the key that has signed the payload."),
        "signature": text("Base64."),
        "proofs": array(members_of({"key_id": TEXT, "signature": TEXT}), "The same by the node's other keys."),
    },
    optional=("proofs",),
)
_GAP = array(NUMBER, "Beginning and end, in seconds since 1970.")
_EPOCH_MEMBERS = {
    "epoch": text("The id of a database."),
    "copied_from": nullable(ANYTHING, "The id of the database whose backup it was restored from."),
    "gap": nullable(_GAP, "The time whose messages are lost."),
}
_EPOCH = record("StoreEpoch", "A database of a node, before the present one.", _EPOCH_MEMBERS)
_HELLO_MEMBERS = {
    "name": TEXT,
    "operators": array(TEXT),
    "providers": array(TEXT),
    **_EPOCH_MEMBERS,
    "earlier": array(_EPOCH),
    "extensions": array(TEXT, "What this node offers of `/p2p/v1`."),
    "agreed": array(TEXT, "The parties of the other side that this side has agreed to."),
}
_HELLO = record(
    "Hello",
    "I am up; these are my parties, and my databases.",
    {**_HELLO_MEMBERS, "call_back": described(FLAG, "Whether to send a hello back before the answer.")},
    optional=("epoch", "copied_from", "gap", "earlier", "extensions", "agreed", "call_back"),
)
_HELLO_ANSWER = record(
    "HelloAnswer",
    "The same of the other side; only its name and parties, where it does not know the sender.",
    {
        "known": FLAG,
        **_HELLO_MEMBERS,
        "call_back": members_of({"url": TEXT, "cause": nullable(TEXT), "error": nullable(TEXT)}),
    },
    optional=("epoch", "copied_from", "gap", "earlier", "extensions", "agreed", "call_back"),
)
_STORE_MEMBERS = described(
    OBJECT, "What the node says of its databases in a hello, where it does not know the session for sure."
)
_STATUS_MEMBERS = {
    "state": one_of(SessionState),
    "Kind": TEXT,
    "SessionID": TEXT,
    "OperatorID": TEXT,
    "ProviderID": TEXT,
    "EvseID": TEXT,
    "IdentificationKey": TEXT,
    "StopIdentificationKeys": TEXT,
    "CPOPartnerSessionID": nullable(TEXT),
    "EMPPartnerSessionID": nullable(TEXT),
    "CreatedAt": SECONDS,
    "RefusalCode": TEXT,
    "StopAccepted": FLAG,
    "Unconfirmed": FLAG,
    "Events": array(members_of({"at": SECONDS, "event": TEXT})),
    "Evidence": text("An evidence file."),
    "Hello": _STORE_MEMBERS,
}
_SESSION_STATUS = record(
    "SessionStatus",
    "A session as a node has it; a listed one has only its state, its id, its time and the mark.",
    _STATUS_MEMBERS,
    optional=[name for name in _STATUS_MEMBERS if name != "state"],
)
_UNKNOWN_SESSION = record(
    "UnknownSession",
    "This node knows no such session between it and the sender.",
    {
        "StatusCode": reference("StatusCode"),
        "state": one_of(("unknown",)),
        "Gaps": array(_GAP, "The times whose messages its databases have lost."),
        "StoreCreatedAt": SECONDS,
        "Hello": _STORE_MEMBERS,
    },
)
_EXPORTED_CDR = record(
    "ExportedCdr",
    "A CDR as it is stored; a listed one has no record.",
    {
        "State": one_of(CdrState),
        "SessionID": TEXT,
        "Digest": text("SHA-256 of the bytes."),
        "Code": TEXT,
        "Text": TEXT,
        "ReceivedAt": SECONDS,
        "Record": described(OBJECT, "The ChargeDetailRecord of OICP."),
    },
    optional=("SessionID", "Digest", "Code", "Text", "ReceivedAt", "Record"),
)


def _page(items: Component) -> dict[str, object]:
    return members_of({"Items": array(items), "Cursor": nullable(TEXT, "Of the next page; null at the end.")})


def _flag(name: str, description: str) -> Parameter:
    return Parameter(name, one_of(("true", "false")), description)


DESCRIPTOR = Endpoint(
    method="GET",
    path=DESCRIPTOR_PATH,
    name="getDescriptor",
    summary="The descriptor of this node, signed.",
    tag=Tag.NODES,
    access=Access.OPEN,
    answer=_SIGNED_DESCRIPTOR,
)
PAIR = Endpoint(
    method="POST",
    path=PAIRINGS_PATH,
    name="pair",
    summary="Join with an invitation.",
    tag=Tag.NODES,
    access=Access.INVITATION,
    description="The request is signed with the key of the invitation, whose public part is in the body.",
    body=members_of({"descriptor": _SIGNED_DESCRIPTOR, "proof_key": text("The public key, DER in base64.")}),
    answer=members_of(
        {"descriptor": _SIGNED_DESCRIPTOR, "services": nullable(array(TEXT), "What the sender may request; null: all.")}
    ),
    errors={**_UNAUTHORIZED, 409: "The inviting node cannot add this peer."},
)
UNPAIR = Endpoint(
    method="DELETE",
    path=f"{PAIRINGS_PATH}/self",
    name="unpair",
    summary="Be its peer no more.",
    tag=Tag.NODES,
    access=Access.PEER,
    answer=members_of({"removed": FLAG}),
    errors={**_UNAUTHORIZED, 409: "The sender stands in a file, which only a person changes."},
)
HELLO = Endpoint(
    method="POST",
    path=HELLO_PATH,
    name="hello",
    summary="I am up: send what waits for me.",
    tag=Tag.NODES,
    access=Access.PEER,
    body=_HELLO,
    example={"name": "Alpha", "operators": ["DE*ABC"], "providers": []},
    answer=_HELLO_ANSWER,
    errors=_UNAUTHORIZED,
)
PROBE = Endpoint(
    method="POST",
    path=PROBE_PATH,
    name="probe",
    summary="A body of up to 1 MB, which is discarded; once a minute and peer.",
    tag=Tag.NODES,
    access=Access.PEER,
    query=_PARTY,
    body=ANYTHING,
    answer=members_of({"bytes": WHOLE}),
    errors=_UNAUTHORIZED,
)
SHOW_SESSION = Endpoint(
    method="GET",
    path=f"{SESSIONS_PATH}/{{session_id}}",
    name="getPeerSession",
    summary="What do you know of this session? Only for its two parties.",
    tag=Tag.NODES,
    access=Access.PEER,
    query=(*_PARTY, Parameter("evidence", TEXT, "With the evidence file.", example="true")),
    answer=_SESSION_STATUS,
    errors=_UNAUTHORIZED,
    other_bodies={404: ("This node knows no such session.", any_of(_UNKNOWN_SESSION, reference("Refusal")))},
)
LIST_SESSIONS = Endpoint(
    method="GET",
    path=SESSIONS_PATH,
    name="exportSessions",
    summary="The sessions between the two that were opened since (extension `session-export`).",
    tag=Tag.NODES,
    access=Access.PEER,
    query=(*_PARTY, _SINCE, _CURSOR, _flag("evidence", "false: only which they are.")),
    answer=_page(_SESSION_STATUS),
    errors=_UNAUTHORIZED,
)
LIST_CDRS = Endpoint(
    method="GET",
    path=CDRS_PATH,
    name="exportCdrs",
    summary="The CDRs between the two that were received since (extension `session-export`).",
    tag=Tag.NODES,
    access=Access.PEER,
    query=(*_PARTY, _SINCE, _CURSOR, _flag("records", "false: only which they are.")),
    answer=_page(_EXPORTED_CDR),
    errors=_UNAUTHORIZED,
)
VERDICT = Endpoint(
    method="POST",
    path=VERDICTS_PATH,
    name="sendVerdict",
    summary="What the EMP's backend says of a CDR (extension `cdr-verdicts`).",
    tag=Tag.NODES,
    access=Access.PEER,
    query=(Parameter("provider", TEXT, "Who sends it: a ProviderID of the peer.", required=True),),
    body=members_of(
        {
            "SessionID": TEXT,
            "Digest": text("SHA-256 of the CDR as it was sent, in hexadecimal digits."),
            "Verdict": one_of(("accepted", "disputed")),
            "StatusCode": reference("StatusCode"),
            "At": TIME,
        },
        optional=("StatusCode", "At"),
    ),
    answer=reference("Acknowledgement"),
    errors=_UNAUTHORIZED,
)
NODE_ENDPOINTS = (
    DESCRIPTOR, PAIR, UNPAIR, HELLO, PROBE, SHOW_SESSION, LIST_SESSIONS, LIST_CDRS, VERDICT,
)  # fmt: skip
