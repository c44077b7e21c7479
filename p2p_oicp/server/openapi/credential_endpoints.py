"""The administration: the token list, and signing keys."""

from __future__ import annotations

from p2p_oicp.server.openapi.endpoints import Endpoint, Parameter, Tag
from p2p_oicp.server.openapi.schemas import (
    FLAG,
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

_KEY = record(
    "Key",
    "A signing key of this node or of a peer.",
    {
        "key_id": text("Its fingerprint."),
        "valid_from": nullable(TIME),
        "valid_until": nullable(TIME),
        "is_valid": FLAG,
        "owner": text("The name of the node or peer."),
        "is_own": FLAG,
        "signs": described(FLAG, "Whether this node signs with it now."),
    },
)
_TOKEN = text("A UID, or an EvcoID.")
_TOKEN_REQUEST = record(
    "TokenRequest",
    "A driver whom this node may authorize by itself.",
    {"token": _TOKEN, "pin": text("The PIN of an EvcoID; only its hash is stored.")},
    optional=("pin",),
)

LIST_KEYS = Endpoint(
    method="GET",
    path="/admin/v1/keys",
    name="listKeys",
    summary="The signing keys of this node and of its peers.",
    tag=Tag.STATUS,
    query=(Parameter("owner", TEXT, "Only those of this node or peer, by its name."),),
    answer=members_of({"keys": array(_KEY)}),
)
ADD_TOKEN = Endpoint(
    method="POST",
    path="/admin/v1/tokens",
    name="addToken",
    summary="Put a driver on the token list; one who is on it already is replaced.",
    tag=Tag.RECORDS,
    body=_TOKEN_REQUEST,
    answer=members_of({"added": described(WHOLE, "1.")}),
    errors={400: "It is neither a UID nor an EvcoID, or a PIN that no EvcoID belongs to."},
    example={"token": "04A1B2C3D4E5F6"},
)
REMOVE_TOKEN = Endpoint(
    method="DELETE",
    path="/admin/v1/tokens/{token}",
    name="removeToken",
    summary="Take a driver off the token list.",
    tag=Tag.RECORDS,
    answer=members_of({"revoked": described(WHOLE, "1.")}),
    errors={404: "The list does not have it."},
    path_schemas={"token": _TOKEN},
)
ROTATE_KEY = Endpoint(
    method="POST",
    path="/admin/v1/keys/rotate",
    name="rotateKey",
    summary="Make a new signing key, which signs from now on.",
    tag=Tag.STATUS,
    description="It is announced by the signature of the old one, with which peers that have not fetched it verify for "
    "seven days; as `p2p-oicp keys rotate` does it.",
    answer=members_of({"key_id": described(TEXT, "The fingerprint of the new key.")}),
    errors={409: "It cannot be made, or is made and cannot be used yet."},
)

CREDENTIAL_ENDPOINTS = (LIST_KEYS, ADD_TOKEN, REMOVE_TOKEN, ROTATE_KEY)
