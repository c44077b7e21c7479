"""The administration: how the node is, its settings and keys, and trying its connections."""

from __future__ import annotations

from p2p_oicp.delivery.connection_checks import Outcome
from p2p_oicp.delivery.health import ChannelState
from p2p_oicp.server.openapi.endpoints import Endpoint, Parameter, Tag
from p2p_oicp.server.openapi.schemas import (
    ANYTHING,
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

PROBLEM = record(
    "Problem",
    "What a person has to do something about, or should know.",
    {
        "severity": one_of(("error", "notice")),
        "name": text("The peer or backend, or `this node`."),
        "channels": array(TEXT),
        "cause": text("The same problem always has the same cause; for programs."),
        "text": text("What is wrong."),
        "cure": text("What to do."),
        "error": text("The last error, in the words of whoever gave it."),
        "since": nullable(TIME),
        "tries": described(WHOLE, "Failures in a row."),
        "next_try": nullable(TIME),
        "count": described(WHOLE, "Of messages or groups."),
    },
)
CHANNEL = record(
    "Channel",
    "One way by which something goes to a peer or backend, or comes from it: outbox, a dataset, pulls, hello.",
    {
        "channel": TEXT,
        "state": one_of(ChannelState),
        "behind": described(WHOLE, "Messages or changes that wait."),
        "total": nullable(WHOLE, "Of a dataset that is behind: of so many records; null where there are too many."),
        "behind_since": nullable(TIME),
        "last_success": nullable(TIME),
        "troubles": array(PROBLEM),
    },
)
#: The members of the health of a peer or backend.
HEALTH_MEMBERS = {
    "name": TEXT,
    "up": described(
        FLAG, "Whether nothing that was tried last has failed, but for single messages that it has read and refused."
    ),
    "held": nullable(TEXT, "Why what it says of itself does not count."),
    "paused": nullable(
        members_of({"since": TIME, "reason": TEXT}), "Deliveries to it are paused by a person: since when, and why."
    ),
    "latency": nullable(
        members_of(
            {
                "requests": described(WHOLE, "How many of the last ones it is read from."),
                "p50": described(NUMBER, "Seconds within which half of them were answered."),
                "p95": described(NUMBER, "Seconds within which 95 of 100 were answered."),
            }
        ),
        "How long requests to a peer took; null: there were none since the start.",
    ),
    "last_seen": nullable(TIME),
    "clock_skew_seconds": nullable(NUMBER, "By how much its clock is ahead of ours."),
    "channels": array(CHANNEL),
}
HEALTH = record("Health", "How a peer or a system of our own is doing.", HEALTH_MEMBERS)
CHECK = record(
    "Check",
    "One check, and what became of it.",
    {
        "check": TEXT,
        "name": TEXT,
        "outcome": one_of(Outcome),
        "text": TEXT,
        "cure": text("What to do."),
        "error": TEXT,
    },
)
_STATUS = record(
    "Status",
    "Is all well?",
    {
        "ok": described(FLAG, "Whether there is no problem with the severity `error`."),
        "node": TEXT,
        "version": TEXT,
        "at": TIME,
        "running_since": TIME,
        "problems": array(PROBLEM),
        "peers": array(HEALTH),
        "backends": array(HEALTH),
        "without_backend": array(
            record(
                "PartiesWithoutBackend",
                "Parties of ours that no backend is configured for.",
                {"role": one_of(("cpo", "emp")), "parties": array(TEXT), "text": TEXT},
            )
        ),
        "invitations": array(members_of({"expires": TIME}), "Those that can be redeemed."),
        "disk": members_of({"total_bytes": WHOLE, "free_bytes": WHOLE}, optional=("total_bytes", "free_bytes")),
        "database": members_of({"file": TEXT, "bytes": WHOLE}),
        "certificates": array(members_of({"subject": TEXT, "not_after": TIME})),
    },
)
_SETTING = record(
    "Setting",
    "A setting with its source.",
    {
        "table": text("Of node.toml; empty for what stands outside of tables."),
        "key": TEXT,
        "value": described(ANYTHING, "Secrets are masked."),
        "source": one_of(("file", "environment", "program", "default")),
        "description": TEXT,
    },
)
_PROCESS = members_of(
    {
        "version": TEXT,
        "python": TEXT,
        "openssl": TEXT,
        "platform": TEXT,
        "connections": described(WHOLE, "How many each listener takes."),
        "open_files": nullable(WHOLE),
        "max_open_files": nullable(WHOLE),
    }
)

STATUS = Endpoint(
    method="GET",
    path="/admin/v1/status",
    name="getStatus",
    summary="Is all well? What is stuck, since when, why, and what to do.",
    tag=Tag.STATUS,
    answer=_STATUS,
)
DOCTOR = Endpoint(
    method="POST",
    path="/admin/v1/doctor",
    name="runDoctor",
    summary="Try all connections now: peers, our own systems, the public URL.",
    tag=Tag.STATUS,
    description="No OICP message is sent to anybody. It takes some seconds for each peer that does not answer.",
    answer=members_of({"checks": array(CHECK), "process": _PROCESS}),
)
RELOAD = Endpoint(
    method="POST",
    path="/admin/v1/reload",
    name="reload",
    summary="Read keys, certificates and the peers file again.",
    tag=Tag.STATUS,
    answer=members_of({"reloaded": FLAG}),
    errors={409: "Something of it cannot be used; it stays as it was."},
)
SETTINGS = Endpoint(
    method="GET",
    path="/admin/v1/settings",
    name="listSettings",
    summary="Each setting with its source and meaning; secrets are masked.",
    tag=Tag.STATUS,
    query=(
        Parameter("table", TEXT, "Only those of a table of node.toml.", example="peer_api"),
        Parameter("source", one_of(("file", "environment", "program", "default")), "Only those from there."),
    ),
    answer=members_of({"settings": array(_SETTING)}),
)

FIGURES = Endpoint(
    method="GET",
    path="/admin/v1/figures",
    name="getFigures",
    summary="How much was to do in each minute of the last day, the oldest first.",
    description="In memory: after a restart it begins anew.",
    tag=Tag.STATUS,
    answer=members_of(
        {
            "since": described(TIME, "Since when the node counts."),
            "minutes": array(
                record(
                    "Minute",
                    "What was to do in a minute.",
                    {
                        "at": described(TIME, "When it ended."),
                        "seconds": described(NUMBER, "How long it really was."),
                        "requests": described(WHOLE, "That came in, at all listeners."),
                        "failures": described(WHOLE, "Of these, that were invalid or could not be served."),
                        "p95": nullable(NUMBER, "95 of 100 were answered within so many seconds."),
                    },
                )
            ),
        }
    ),
)

STATUS_ENDPOINTS = (STATUS, DOCTOR, RELOAD, SETTINGS, FIGURES)
