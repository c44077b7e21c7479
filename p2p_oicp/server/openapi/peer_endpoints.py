"""The administration: peers, their settings, pairing with them, and the evidence of what they have signed."""

from __future__ import annotations

from p2p_oicp.oicp.operations import OPERATIONS
from p2p_oicp.server.openapi.endpoints import Endpoint, Parameter, Tag
from p2p_oicp.server.openapi.schemas import (
    FLAG,
    NUMBER,
    SECONDS,
    TEXT,
    TIME,
    WHOLE,
    any_of,
    array,
    described,
    mapping,
    members_of,
    nullable,
    one_of,
    record,
    text,
)
from p2p_oicp.server.openapi.status_endpoints import CHECK, HEALTH, HEALTH_MEMBERS

DATASETS = ("EvseData", "EvseStatus", "PricingProductData", "EVSEPricing", "AuthenticationData")
_OPERATION_NAMES = one_of([operation.name for operation in OPERATIONS])
_NOT_FOUND = {404: "There is no such peer."}
_CONFLICT = "It cannot be done as things are; the answer says why, and what can be."
_PEER_FAILED = "The other node did not answer, refused, or is not the one that it should be."

_PUBLISH_RULE = members_of(
    {
        "evse_ids": array(TEXT, "Beginnings of EvseIDs."),
        "operators": array(TEXT),
        "stations": array(TEXT),
        "products": array(TEXT),
        "countries": array(TEXT, "ISO 3166 alpha-3 codes."),
    },
    optional=("evse_ids", "operators", "stations", "products", "countries"),
)
_PUBLISH = record(
    "Publish",
    "What of our own datasets a peer may see; absent members: no limit.",
    {"include": _PUBLISH_RULE, "exclude": _PUBLISH_RULE},
    optional=("include", "exclude"),
)
_PULL = record(
    "Pull",
    "How a dataset of a peer is pulled.",
    {
        "interval": nullable(NUMBER, "Seconds between two pulls; 0: never; null: as `pull_interval`."),
        "countries": array(TEXT, "ISO 3166 alpha-3 codes."),
        "operators": array(TEXT),
    },
    optional=("interval", "countries", "operators"),
)
_PULLS = mapping(_PULL, "By dataset.")
_SUMMARY = {
    **HEALTH_MEMBERS,
    "failures": described(WHOLE, "In a row, of the worst channel."),
    "last_error": nullable(TEXT),
    "problem": nullable(TEXT),
}
_PEER = record(
    "Peer",
    "A peer: its entry with the keys of the peers file, its trust, and how it is doing.",
    {
        **_SUMMARY,
        "url": TEXT,
        "operators": array(TEXT),
        "providers": array(TEXT),
        "path": text("What its base URL is followed by."),
        "services": nullable(array(TEXT), "The operations that it serves; null: all."),
        "may_call": nullable(array(TEXT), "The operations that it may request; null: all of its role."),
        "profile": one_of(("oicp", "wwcp", "hub")),
        "security": array(one_of(("signature", "mtls")), "The credentials that its requests must have."),
        "public_keys": array(TEXT),
        "certificates": array(TEXT),
        "default_route": FLAG,
        "networks": array(TEXT),
        "publish": nullable(_PUBLISH),
        "pull_interval": nullable(NUMBER),
        "pull": _PULLS,
        "requests_per_second": nullable(NUMBER),
        "concurrent": nullable(WHOLE),
        "max_body": nullable(WHOLE),
        "source": text("Where its entry comes from: the peers file, pairing, or discovery."),
        "trust": TEXT,
        "keys": array(TEXT, "The fingerprints of its keys."),
        "held_parties": array(TEXT, "Parties that are not agreed with it."),
        "waiting": described(WHOLE, "Messages in the outbox."),
    },
)
_BACKEND = record("Backend", "How a system of our own is doing.", _SUMMARY)
_CANDIDATE = record(
    "Candidate",
    "A node that was found in the local network, and not accepted.",
    {
        "name": TEXT,
        "url": TEXT,
        "operators": array(TEXT),
        "providers": array(TEXT),
        "fingerprint": TEXT,
        "trust": TEXT,
    },
)
_DESCRIPTOR = record(
    "Descriptor",
    "What a node says of itself, signed.",
    {
        "name": TEXT,
        "url": TEXT,
        "operators": array(TEXT),
        "providers": array(TEXT),
        "fingerprint": text("Of the key that has signed it: compare it with what the other company says."),
        "keys": array(members_of({"key_id": TEXT, "valid_from": SECONDS, "valid_until": nullable(SECONDS)})),
        "operations": array(TEXT),
        "require": array(TEXT, "The credentials that requests to it must have."),
        "software": TEXT,
    },
)
_AGREED = array(TEXT, "The OperatorIDs and ProviderIDs that a person has agreed to; absent: any.")
_LINK = text("An invitation, or the URL of a node.")
_SETTINGS = record(
    "PeerSettings",
    "What a peer may see, and how it is pulled.",
    {"name": TEXT, "publish": nullable(_PUBLISH), "pull": _PULLS, "pull_interval": nullable(NUMBER)},
)
_PEERS_PATH = "/admin/v1/peers"
_PEER_PATH = f"{_PEERS_PATH}/{{name}}"

LIST_PEERS = Endpoint(
    method="GET",
    path=_PEERS_PATH,
    name="listPeers",
    summary="All peers with their entries, trust and channels; candidates; and our own backends.",
    tag=Tag.PEERS,
    answer=members_of({"peers": array(_PEER), "candidates": array(_CANDIDATE), "backends": array(HEALTH)}),
)
SHOW_PEER = Endpoint(
    method="GET",
    path=_PEER_PATH,
    name="getPeer",
    summary="One peer, or one of our own backends.",
    tag=Tag.PEERS,
    answer=any_of(_PEER, _BACKEND),
    errors=_NOT_FOUND,
)
RETRY_PEER = Endpoint(
    method="POST",
    path=f"{_PEER_PATH}/retry",
    name="retryPeer",
    summary="Try again now what waits for a peer or a backend.",
    tag=Tag.PEERS,
    query=(Parameter("channel", TEXT, "Only this one: outbox, a dataset, hello or pull; absent: all."),),
    answer=members_of({"retried": array(TEXT, "The channels.")}),
    errors={404: "There is no such peer, or no such channel."},
)
_REASON = members_of({"reason": text("Stands in the event log.")}, optional=("reason",))
PAUSE_PEER = Endpoint(
    method="POST",
    path=f"{_PEER_PATH}/pause",
    name="pausePeer",
    summary="Let deliveries to a peer wait until they are resumed; nothing is lost.",
    description="Messages of the outbox and changes of datasets wait, also over restarts. What a driver waits for is "
    "sent and served as ever.",
    tag=Tag.PEERS,
    body=_REASON,
    body_is_optional=True,
    example={"reason": "maintenance at their side"},
    answer=members_of({"paused": text("The name of the peer."), "since": TIME, "reason": TEXT}),
    errors=_NOT_FOUND,
)
RESUME_PEER = Endpoint(
    method="POST",
    path=f"{_PEER_PATH}/resume",
    name="resumePeer",
    summary="Go on with deliveries to a peer: what has waited is sent now.",
    tag=Tag.PEERS,
    body=_REASON,
    body_is_optional=True,
    example={"reason": "they are back"},
    answer=members_of({"resumed": text("The name of the peer."), "was_paused": FLAG}),
    errors=_NOT_FOUND,
)
CHECK_PEER = Endpoint(
    method="POST",
    path=f"{_PEER_PATH}/check",
    name="checkPeer",
    summary="Send a signed hello in both directions.",
    tag=Tag.PEERS,
    answer=members_of({"checks": array(CHECK)}),
    errors=_NOT_FOUND,
)
INVITE = Endpoint(
    method="POST",
    path=f"{_PEERS_PATH}/invitations",
    name="createInvitation",
    summary="Make a link by which one other company pairs with this node.",
    tag=Tag.PEERS,
    body=members_of(
        {
            "services": array(_OPERATION_NAMES, "What the new peer may request; absent: everything."),
            "expires_in": {**NUMBER, "exclusiveMinimum": 0, "maximum": 2_592_000, "description": "Seconds; a day."},
        },
        optional=("services", "expires_in"),
    ),
    body_is_optional=True,
    example={"expires_in": 3600},
    answer=members_of({"link": text("It is a secret until it is used."), "expires_at": TIME}),
    errors={409: _CONFLICT},
)
INSPECT = Endpoint(
    method="POST",
    path=f"{_PEERS_PATH}/inspect",
    name="inspectNode",
    summary="Fetch the descriptor of the node that made a link, or has a URL.",
    tag=Tag.PEERS,
    body=members_of({"link": _LINK}),
    answer=_DESCRIPTOR,
    errors={409: _CONFLICT, 502: _PEER_FAILED},
)
JOIN = Endpoint(
    method="POST",
    path=f"{_PEERS_PATH}/join",
    name="joinNode",
    summary="Pair with the node that made a link.",
    tag=Tag.PEERS,
    body=members_of(
        {"link": text("An invitation."), "alias": text("Our name for it."), "parties": _AGREED},
        optional=("alias", "parties"),
    ),
    answer=members_of({"joined": text("The name of the new peer.")}),
    errors={409: _CONFLICT, 502: _PEER_FAILED},
)
ACCEPT_PEER = Endpoint(
    method="POST",
    path=f"{_PEER_PATH}/accept",
    name="acceptPeer",
    summary="Accept a candidate as a peer, or the parties that a peer names now.",
    tag=Tag.PEERS,
    body=members_of(
        {"fingerprint": text("Of a candidate: its key."), "parties": _AGREED}, optional=("fingerprint", "parties")
    ),
    body_is_optional=True,
    answer=members_of(
        {"accepted": TEXT, "open_sessions": array(TEXT, "SessionIDs of parties that it names no more.")},
        optional=("open_sessions",),
    ),
    errors={409: _CONFLICT, 502: _PEER_FAILED},
)
REMOVE_PEER = Endpoint(
    method="DELETE",
    path=_PEER_PATH,
    name="removePeer",
    summary="Un-pair, at both sides.",
    tag=Tag.PEERS,
    answer=members_of(
        {
            "removed": TEXT,
            "peer_error": nullable(TEXT, "What prevented the other side from removing this node."),
            "open_sessions": array(TEXT, "SessionIDs that go on; what is sent for them is refused."),
        }
    ),
    errors={409: _CONFLICT},
)
SET_PUBLISH = Endpoint(
    method="POST",
    path=f"{_PEER_PATH}/publish",
    name="setPublish",
    summary="Limit what a paired peer may see of our datasets.",
    tag=Tag.PEERS,
    body=_PUBLISH,
    example={"include": {"operators": ["DE*ABC"]}},
    answer=_SETTINGS,
    errors={409: _CONFLICT},
)
CLEAR_PUBLISH = Endpoint(
    method="DELETE",
    path=f"{_PEER_PATH}/publish",
    name="clearPublish",
    summary="Let a paired peer see everything.",
    tag=Tag.PEERS,
    answer=_SETTINGS,
    errors={409: _CONFLICT},
)
SET_PULL = Endpoint(
    method="POST",
    path=f"{_PEER_PATH}/pull",
    name="setPull",
    summary="Set how a paired peer is pulled.",
    tag=Tag.PEERS,
    body=members_of(
        {"pull_interval": nullable(NUMBER, "Seconds, for all datasets."), **dict.fromkeys(DATASETS, _PULL)},
        optional=("pull_interval", *DATASETS),
    ),
    example={"pull_interval": 300},
    answer=_SETTINGS,
    errors={409: _CONFLICT},
)
CLEAR_PULL = Endpoint(
    method="DELETE",
    path=f"{_PEER_PATH}/pull",
    name="clearPull",
    summary="Pull a peer no more.",
    tag=Tag.PEERS,
    query=(Parameter("dataset", one_of(DATASETS), "Only the settings of this one; absent: all."),),
    answer=_SETTINGS,
    errors={409: _CONFLICT},
)
EVIDENCE = Endpoint(
    method="GET",
    path="/admin/v1/evidence/{session_id}",
    name="exportEvidence",
    summary="All that the partner and this node have signed of a session, as an evidence file.",
    tag=Tag.PEERS,
    query=(Parameter("peer", TEXT, "Where several peers have signed something."),),
    answer=members_of({"file": text("Its content; `p2p-oicp evidence verify` reads it.")}),
    errors={409: "Nothing of it was signed.", 502: _PEER_FAILED},
)

PEER_ENDPOINTS = (
    LIST_PEERS, SHOW_PEER, RETRY_PEER, CHECK_PEER, INVITE, INSPECT, JOIN, ACCEPT_PEER, REMOVE_PEER, SET_PUBLISH,
    CLEAR_PUBLISH, SET_PULL, CLEAR_PULL, EVIDENCE, PAUSE_PEER, RESUME_PEER,
)  # fmt: skip
