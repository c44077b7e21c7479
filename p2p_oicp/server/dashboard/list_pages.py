"""The lists of the dashboard: sessions, CDRs, EVSEs, messages, quarantined records, tokens, settings, events, keys."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote, urlencode

from p2p_oicp.clock import format_timestamp
from p2p_oicp.oicp.operations import OPERATION_BY_NAME
from p2p_oicp.server.dashboard.admin_calls import Json
from p2p_oicp.server.dashboard.evse_facts import place_of, station_name
from p2p_oicp.server.dashboard.lists import Cell, Column, Filter, ListPage
from p2p_oicp.server.dashboard.rendering import mask_identification, masked_text
from p2p_oicp.storage.cdrs import CdrState
from p2p_oicp.storage.datasets.quarantine import MAX_RECORD_BYTES
from p2p_oicp.storage.event_log import EventType
from p2p_oicp.storage.outbox import BACKEND_PREFIX, OWN_PREFIXES
from p2p_oicp.storage.sessions import SessionState

_ROLES = ("cpo", "emp")
_FLAGS = ("true", "false")
_PEER = Filter("peer", "Peer", hint="its name")
_SINCE = Filter("since", "Since", hint="2026-03-01T00:00:00Z")


def _text(name: str) -> Callable[[Json], Cell]:
    return lambda record: Cell(record.get(name))


def _state(name: str = "state") -> Callable[[Json], Cell]:
    return lambda record: Cell(record.get(name) or "", "state" if record.get(name) else "text")


def _time(name: str) -> Callable[[Json], Cell]:
    return lambda record: Cell(record.get(name), "time")


def _flag(name: str) -> Callable[[Json], Cell]:
    return lambda record: Cell("yes" if record.get(name) else "")


def _number(name: str) -> Callable[[Json], Cell]:
    return lambda record: Cell(record.get(name), "number")


def _link(name: str, path: str) -> Callable[[Json], Cell]:
    def cell(record: Json) -> Cell:
        value = record.get(name)
        return Cell(value, "id", f"{path}/{quote(str(value), safe='')}" if value else "")

    return cell


def peer_cell(name: object) -> Cell:
    """Return a cell with a peer or backend, which leads to its page."""
    return Cell(name, "text", f"/ui/peers/{quote(str(name), safe='')}" if name else "")


def _peer(name: str = "peer") -> Callable[[Json], Cell]:
    return lambda record: peer_cell(record.get(name))


SESSIONS = ListPage(
    "sessions",
    "Sessions",
    "Charging sessions that this node took part in, the newest first. A remote start is uncertain until the other node "
    "has said what became of it.",
    "/sessions",
    "sessions",
    (
        Column("Session", _link("session_id", "/ui/sessions")),
        Column("State", _state()),
        Column("EVSE", _link("evse_id", "/ui/evses")),
        Column("Peer", _peer()),
        Column("Our role", lambda record: Cell(str(record["role"]).upper())),
        Column("Began by", _text("kind")),
        Column("Created", _time("created_at")),
        Column("Last change", _time("updated_at")),
    ),
    (
        Filter("state", "State", tuple(SessionState)),
        Filter("role", "Our role", _ROLES),
        _PEER,
        Filter("evse", "EVSE", hint="DE*ABC*E1234"),
        _SINCE,
    ),
    "No sessions yet. One begins when a driver shows a card at a station of the CPO, or an EMP starts one by its app; "
    "p2p-oicp demo shows what that looks like.",
    refresh=("session",),
    also=(("/ui/sessions?state=uncertain", "Uncertain remote starts"), ("/ui/sessions?state=charging", "Charging now")),
)


def _cdr_state(record: Json) -> Cell:
    return Cell("unconfirmed" if record["unconfirmed"] else record["state"], "state")


CDRS = ListPage(
    "cdrs",
    "Charge detail records",
    "What is billed: one record for each session. “delivered”: the peer has it; “accepted” and “disputed” is what the "
    "EMP's system has said of it; “dead” will not be sent again by itself.",
    "/cdrs",
    "cdrs",
    (
        Column("Session", _link("session_id", "/ui/cdrs")),
        Column("State", _cdr_state),
        Column("Peer", _peer()),
        Column("Our role", lambda record: Cell(str(record["role"]).upper())),
        Column("Received", _time("received_at")),
        Column("Delivered", _time("delivered_at")),
        Column("Verdict", lambda record: Cell(" ".join(filter(None, (record["code"], record["reason"]))))),
        Column("Doubts", _text("doubts")),
    ),
    (
        Filter("state", "State", tuple(CdrState)),
        Filter("role", "Our role", _ROLES),
        _PEER,
        Filter("unconfirmed", "Unconfirmed", _FLAGS),
        Filter("doubtful", "Doubtful", _FLAGS),
        _SINCE,
    ),
    "No charge detail records yet. The CPO's system sends one at the end of each session.",
    refresh=("cdr", "finding"),
    also=(
        ("/ui/cdrs?state=disputed", "Disputed"),
        ("/ui/cdrs?state=dead", "Dead"),
        ("/ui/cdrs?unconfirmed=true", "Unconfirmed"),
        ("/ui/cdrs?doubtful=true", "Doubtful"),
        ("/ui/actions/reconcile", "Fetch missing records …"),
    ),
)


EVSES = ListPage(
    "evses",
    "EVSEs",
    "Charging points: ours, and those that peers have sent, each with its status.",
    "/evses",
    "evses",
    (
        Column("EVSE", lambda record: _link("EvseID", "/ui/evses")(record["record"])),
        Column("Status", _state("status")),
        Column("Station", lambda record: Cell(station_name(record["record"]))),
        Column("Place", lambda record: Cell(place_of(record["record"]))),
        Column("From", lambda record: Cell("ours") if record["source"] == "own" else peer_cell(record["source"])),
        Column("Status since", _time("status_changed_at")),
        Column("Data changed", _time("changed_at")),
    ),
    (
        Filter("evse", "EVSE begins with", hint="DE*ABC*E1"),
        Filter("operator", "Operator", hint="DE*ABC"),
        Filter("country", "Country", hint="DEU"),
        Filter("peer", "From", hint="own, or a peer's name"),
    ),
    "No EVSE data yet. Our CPO system sends its own with PushEvseData; those of peers come by themselves once they are "
    "paired.",
    refresh=("evse_status",),
    also=(("/ui/map", "Map"), ("/ui/quality", "Data quality")),
)


DELIVERY = ListPage(
    "delivery",
    "Delivery",
    "Messages that wait to be sent: charge detail records and notifications. “dead” was refused for good and waits for "
    "you; “held” waits for a system of ours that is configured no more.",
    "/outbox",
    "messages",
    (
        Column("Message", _link("id", "/ui/delivery")),
        Column("State", _state()),
        Column("For", _peer("destination")),
        Column("Operation", _text("operation")),
        Column("Session", _link("session_key", "/ui/sessions")),
        Column("Waits since", lambda record: Cell(format_timestamp(float(record["created_at"])), "time")),
        Column("Tries", _number("attempts")),
        Column("Last error", _text("last_error")),
    ),
    (Filter("state", "State", ("waiting", "held", "dead")), Filter("destination", "For", hint="a peer's name")),
    "Nothing waits: everything was delivered.",
    refresh=("cdr", "session", "peer", "backend", "action"),
    also=(
        ("/ui/delivery?state=dead", "Dead"),
        ("/ui/delivery/quarantine", "Quarantined records"),
        ("/ui/actions/retry-dead", "Send all dead ones again …"),
    ),
)


def _masked_quarantined(record: Json) -> Json:
    """Return what is left of a rejected record and its findings.

    A finding quotes what it is about. Of identifications of drivers nothing that it says is shown, only where and what
    kind it is: too short a UID is a UID as well.
    """
    text, findings = str(record["record"]), record["findings"]
    if "Authentication" in str(record["operation"]):
        findings = [{**each, "message": each.get("code", "")} for each in findings]
    return {"record": masked_text(text, is_cut=len(text.encode()) >= MAX_RECORD_BYTES), "findings": findings}


QUARANTINE = ListPage(
    "delivery/quarantine",
    "Quarantined records",
    "Single records of peers that were not valid: the rest of their push was taken. Each with what is wrong and where.",
    "/quarantine",
    "quarantine",
    (
        Column("From", _peer("source")),
        Column("Operation", _text("operation")),
        Column("Findings", lambda record: Cell("; ".join(_finding(each) for each in record["findings"]))),
        Column("Times", _number("occurrences")),
        Column("First", _time("first_seen")),
        Column("Last", _time("last_seen")),
        Column("Record", _text("record")),
    ),
    (_PEER, Filter("operation", "Operation", tuple(sorted(OPERATION_BY_NAME)))),
    "Nothing is quarantined: every record of every peer was valid.",
    mask=_masked_quarantined,
    refresh=("finding",),
    also=(("/ui/delivery", "Delivery"),),
)


def _finding(finding: object) -> str:
    if isinstance(finding, dict):
        where = finding.get("pointer") or finding.get("field") or ""
        return ": ".join(filter(None, (str(where), str(finding.get("message") or finding.get("text") or ""))))
    return str(finding)


TOKENS = ListPage(
    "tokens",
    "Tokens",
    "The drivers that this node authorizes by itself, where the EMP has no contract system. They are masked.",
    "/tokens",
    "tokens",
    (
        Column("Token", lambda record: Cell(record["token"], "id")),
        Column("PIN", _flag("pin")),
        Column("Added", _time("added_at")),
    ),
    (Filter("token", "Begins with"),),
    "No tokens yet. Add the UID of a card or an EvcoID, and its driver may charge at every CPO peer.",
    mask=lambda record: {"token": mask_identification(str(record["token"]))},
    refresh=("action",),
    also=(("/ui/actions/add-token", "Add a token …"), ("/ui/actions/revoke-token", "Revoke a token …")),
)

SETTINGS = ListPage(
    "settings",
    "Settings",
    "What this node goes by, and where each value comes from. Secrets are masked. They are changed in node.toml.",
    "/settings",
    "settings",
    (
        Column("Table", _text("table")),
        Column("Setting", lambda record: Cell(record["key"], "id")),
        Column("Value", lambda record: Cell(record["value"], "id")),
        Column("Source", lambda record: Cell(record["source"])),
        Column("Meaning", _text("description")),
    ),
    (Filter("table", "Table"), Filter("source", "Source", ("file", "environment", "program", "default"))),
    also=(("/ui/settings/keys", "Signing keys"), ("/ui/actions/reload", "Read files again …")),
)

KEYS = ListPage(
    "settings/keys",
    "Signing keys",
    "Our keys and those of our peers, by their fingerprints.",
    "/keys",
    "keys",
    (
        Column("Owner", _text("owner")),
        Column("Fingerprint", lambda record: Cell(record["key_id"], "id")),
        Column("Signs now", _flag("signs")),
        Column("Valid", _flag("is_valid")),
        Column("From", _time("valid_from")),
        Column("Until", _time("valid_until")),
    ),
    (Filter("owner", "Owner"),),
    also=(("/ui/settings", "Settings"), ("/ui/actions/rotate-key", "Make a new key …")),
)


def _subject(record: Json) -> Cell:
    """Return what an event is about, with its page."""
    for name, path in (("session_id", "/ui/sessions"), ("evse", "/ui/evses"), ("evse_id", "/ui/evses")):
        if record.get(name):
            return _link(name, path)(record)
    if record.get("peer"):
        return peer_cell(record["peer"])
    name = next((each for each in ("backend", "operation", "key", "certificate", "action") if record.get(each)), "")
    text = record.get(name, "")
    is_backend = isinstance(text, str) and text.startswith(OWN_PREFIXES)
    return peer_cell(text) if is_backend else Cell(text, "id")


LOG = ListPage(
    "log",
    "Log",
    "What happened on this node, the newest first.",
    "/events/newest",
    "events",
    (
        Column("When", lambda record: Cell(format_timestamp(float(record["at"])), "time")),
        Column("What", lambda record: Cell(f"{record['type'].replace('_', ' ')}: {record['what']}")),
        Column("Of", _subject),
        Column("Peer", _peer()),
        Column("Text", _text("text")),
        Column("Times", _number("count")),
    ),
    (Filter("type", "Type", tuple(EventType)),),
    "Nothing has happened yet.",
    refresh=tuple(EventType),
)


def _exchange(record: Json) -> Cell:
    return Cell(record.get("operation") or record["path"], "text", f"/ui/traffic/{record['number']}")


def _partner(record: Json) -> Cell:
    """Return with whom an exchange was, and which way it went."""
    name = record.get("peer") or (f"{BACKEND_PREFIX}{record['backend']}" if record.get("backend") else "")
    return peer_cell(name) if name else Cell(record.get("address") or "nobody known")


def _duration(record: Json) -> Cell:
    return Cell(f"{float(record['seconds']) * 1000:.0f}", "number")


TRAFFIC = ListPage(
    "traffic",
    "Traffic",
    "The newest requests and answers that this node has recorded, with peers and with our own systems; “in”: we were "
    "called.",
    "/exchanges",
    "exchanges",
    (
        Column("When", lambda record: Cell(format_timestamp(float(record["at"])), "time")),
        Column("Way", _text("direction")),
        Column("With", _partner),
        Column("Request", _exchange),
        Column("Session", _link("session_id", "/ui/sessions")),
        Column("EVSE", _link("evse_id", "/ui/evses")),
        Column("HTTP", _number("http_status")),
        Column("Code", _text("code")),
        Column("ms", _duration),
        Column("No answer because", _text("error")),
    ),
    (_PEER, Filter("operation", "Operation", tuple(OPERATION_BY_NAME)), Filter("session", "Session", hint="its id")),
    'Nothing is recorded. In node.toml, [exchanges] record = "memory" (or "disk") lets the node record.',
    refresh=tuple(EventType),
    is_newest_last=True,
)

#: All lists, by their paths below ``/ui``.
LISTS = {
    each.name: each for each in (SESSIONS, CDRS, EVSES, DELIVERY, QUARANTINE, TOKENS, SETTINGS, KEYS, LOG, TRAFFIC)
}


def action_url(action: str, **parameters: str) -> str:
    """Return the URL of the page on which an action is confirmed."""
    return f"/ui/actions/{action}?{urlencode(parameters)}"
