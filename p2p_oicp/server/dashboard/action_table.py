"""What people may do by the dashboard: each action with its question, its fields, and the call that does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

Values = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the form.

    Attributes:
        name: of the value.
        label: what stands beside it.
        hint: an example.
        is_required: whether the person must fill it in.
        kind: text, textarea or hidden; what is hidden comes with the link.
    """

    name: str
    label: str = ""
    hint: str = ""
    is_required: bool = True
    kind: str = "text"


def hidden(name: str) -> Field:
    """Return a field that comes with the link to the action."""
    return Field(name, is_required=False, kind="hidden")


@dataclass(frozen=True, slots=True)
class Action:
    """An action.

    Attributes:
        title: what it does, as a heading.
        question: what will happen, for the person who confirms; values in braces.
        button: what stands on the button.
        method: of the call.
        path: of the call, below ``/admin/v1``.
        fields: what it needs.
        subject: the value that the event names.
        back: where the person goes on; values, and members of the answer, in braces.
        query: the values that go into the query.
        body: makes the body of the values; None: there is none.
        is_dangerous: whether something is lost.
        result: a template that shows the answer; empty: the person is led back.
        file: the name of the file that the answer has for the person to save, with values in braces; empty: none.
        changes: whether it changes something, or names drivers: then it needs a reason, and is an event.
        parameters: of the path: the name of the value, or ``=text``; absent: the value of the same name.
    """

    title: str
    question: str
    button: str
    method: str
    path: str
    fields: tuple[Field, ...] = ()
    subject: str = ""
    back: str = "/ui"
    query: tuple[str, ...] = ()
    body: Callable[[Values], dict[str, Any]] | None = None
    is_dangerous: bool = False
    result: str = ""
    file: str = ""
    changes: bool = True
    parameters: Mapping[str, str] = field(default_factory=dict)

    def sentence(self, values: Values) -> str:
        """Return the question with its values."""
        return self.question.format_map(_Blank(values))

    def way_back(self, values: Values) -> str:
        """Return the URL at which a person goes on."""
        return self.back.format_map(_Blank({name: quote(value, safe="") for name, value in values.items()}))


class _Blank(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return ""


def _options(*names: str) -> Callable[[Values], dict[str, Any]]:
    return lambda values: {name: values[name] for name in names if values.get(name)}


def _invitation(values: Values) -> dict[str, Any]:
    hours = values.get("hours", "")
    return {"expires_in": float(hours) * 3600} if hours else {}


def _with_parties(*names: str) -> Callable[[Values], dict[str, Any]]:
    """Return what makes a body of some values, and of the parties that the person was shown: to no others is agreed."""

    def make_body(values: Values) -> dict[str, Any]:
        parties = [each.strip() for each in values.get("parties", "").split(",") if each.strip()]
        return {**_options(*names)(values), "parties": parties}

    return make_body


_SESSION_FIELDS = (hidden("session"), hidden("role"))
_PEER_FIELD = hidden("peer")
_OTHER_COMPANY = Field("peer", "The driver's company, if it is not known", "a peer's name", is_required=False)
#: By their names in the URL.
ACTIONS: Mapping[str, Action] = {
    "retry-message": Action(
        "Send a message again", "Message {id} will be sent again at once.", "Send again",
        "POST", "/outbox/{id}/retry", (hidden("id"),), "id", "/ui/delivery",
    ),
    "discard-message": Action(
        "Discard a message", "Message {id} will be deleted for good: nobody will receive it.", "Discard it",
        "DELETE", "/outbox/{id}", (hidden("id"),), "id", "/ui/delivery", is_dangerous=True,
    ),
    "retry-dead": Action(
        "Send dead messages again",
        "All messages that were refused for good will be sent again; with a name, only those for it.", "Send all again",
        "POST", "/outbox/retry", (Field("destination", "Only for", "a peer's name", is_required=False),),
        "destination", "/ui/delivery", query=("destination",),
    ),
    "retry-peer": Action(
        "Try again now", "Everything that waits for {peer} will be tried again at once.", "Try again",
        "POST", "/peers/{name}/retry", (_PEER_FIELD,), "peer", "/ui/peers/{peer}", parameters={"name": "peer"},
    ),
    "check-peer": Action(
        "Check a peer", "This node will greet {peer} and have itself greeted, each signed.", "Check",
        "POST", "/peers/{name}/check", (_PEER_FIELD,), "peer", "/ui/peers/{peer}", parameters={"name": "peer"},
        result="checked.html",
    ),
    "invite": Action(
        "Invite a company",
        "You get a link to send to the other company, by a way that only it reads: whoever has it may become a peer, "
        "once.", "Create the invitation",
        "POST", "/peers/invitations", (Field("hours", "Valid for hours", "24", is_required=False),), "",
        "/ui/peers", body=_invitation, result="invited.html",
    ),
    "join": Action(
        "Join with a link",
        "Paste the link that the other company has sent you. You will see who it is before anything is agreed.",
        "Show who it is",
        "POST", "/peers/inspect", (Field("link", "Link", "p2p-oicp://…", kind="textarea"),), "",
        "/ui/peers", body=_options("link"), changes=False, result="inspected.html",
    ),
    "confirm-join": Action(
        "Become peers", "This node and the other one will exchange keys, and roam for the parties above.",
        "Become peers",
        "POST", "/peers/join",
        (hidden("link"), hidden("parties"), Field("alias", "Our name for it", is_required=False)), "parties",
        "/ui/peers/{joined}", body=_with_parties("link", "alias"),
    ),
    "accept": Action(
        "Accept a peer",
        "You agree to what {peer} says of itself: its parties ({parties}), and the key {fingerprint}.", "Accept",
        "POST", "/peers/{name}/accept", (_PEER_FIELD, hidden("fingerprint"), hidden("parties")), "peer", "/ui/peers",
        body=_with_parties("fingerprint"), parameters={"name": "peer"},
    ),
    "review-parties": Action(
        "Review the parties of a peer",
        "This node will ask {peer} for which parties it speaks now. Nothing is agreed before you have seen them.",
        "Show them",
        "POST", "/peers/inspect", (_PEER_FIELD, hidden("url")), "peer", "/ui/peers/{peer}",
        body=lambda values: {"link": values.get("url", "")}, changes=False, result="parties.html",
    ),
    "accept-parties": Action(
        "Agree to the parties of a peer",
        "{peer} may speak for {parties} from now on.", "Agree to these parties",
        "POST", "/peers/{name}/accept", (_PEER_FIELD, hidden("parties")), "peer", "/ui/peers/{peer}",
        body=_with_parties(), parameters={"name": "peer"},
    ),
    "pause-peer": Action(
        "Pause deliveries to a peer",
        "Charge detail records, notifications and data for {peer} wait until you resume them; nothing is lost. What a "
        "driver waits for goes on, and what {peer} sends is taken.", "Pause",
        "POST", "/peers/{name}/pause", (_PEER_FIELD,), "peer", "/ui/peers/{peer}",
        body=_options("reason"), parameters={"name": "peer"},
    ),
    "resume-peer": Action(
        "Resume deliveries to a peer", "What waits for {peer} is sent now, in its order.", "Resume",
        "POST", "/peers/{name}/resume", (_PEER_FIELD,), "peer", "/ui/peers/{peer}",
        body=_options("reason"), parameters={"name": "peer"},
    ),
    "remove-peer": Action(
        "Remove a peer",
        "{peer} will be a peer no more: nothing is sent to it or accepted from it. To roam again, both need a new "
        "invitation.", "Remove it",
        "DELETE", "/peers/{name}", (_PEER_FIELD,), "peer", "/ui/peers", is_dangerous=True, parameters={"name": "peer"},
    ),
    "retry-cdr": Action(
        "Send a charge detail record again", "The record of session {session} will be sent again.", "Send again",
        "POST", "/cdrs/{session_id}/{action}", _SESSION_FIELDS, "session", "/ui/cdrs/{session}",
        body=_options("role"), parameters={"session_id": "session", "action": "=retry"},
    ),
    "confirm-cdr": Action(
        "Confirm a charge detail record",
        "You vouch that session {session} took place: its record counts, and is delivered.", "Confirm it",
        "POST", "/cdrs/{session_id}/{action}", (*_SESSION_FIELDS, _OTHER_COMPANY), "session", "/ui/cdrs/{session}",
        body=_options("role", "peer"), parameters={"session_id": "session", "action": "=confirm"},
    ),
    "refuse-cdr": Action(
        "Refuse a charge detail record",
        "The record of session {session} will be disputed; the CPO is given your reason.",
        "Refuse it",
        "POST", "/cdrs/{session_id}/{action}", _SESSION_FIELDS, "session", "/ui/cdrs/{session}",
        body=_options("role", "reason"), is_dangerous=True, parameters={"session_id": "session", "action": "=refuse"},
    ),
    "export-evidence": Action(
        "Signed evidence of a session",
        "You get a file with all that both sides have signed of session {session}, which p2p-oicp verify reads. It "
        "names the driver: pass it on only to who settles the dispute.", "Save the file",
        "GET", "/evidence/{session_id}", (hidden("session"),), "session", "/ui/sessions/{session}",
        parameters={"session_id": "session"}, file="evidence-{session}.json",
    ),
    "reconcile": Action(
        "Fetch missing records",
        "All CPO peers will be asked for charge detail records that never came. This may take a minute.", "Fetch them",
        "POST", "/cdrs/reconcile", (Field("since", "Since (empty: since the last time)", "2026-03-01T00:00:00Z",
        is_required=False), Field("peer", "Only from", "a peer's name", is_required=False)), "peer", "/ui/cdrs",
        body=_options("since", "peer"), result="reconciled.html",
    ),
    "add-token": Action(
        "Add a token", "The driver with this UID or EvcoID may charge from now on.", "Add it",
        "POST", "/tokens", (Field("token", "UID or EvcoID", "04A1B2C3D4E5F6"), Field("pin", "PIN, of an EvcoID only",
        is_required=False)), "", "/ui/tokens", body=_options("token", "pin"),
    ),
    "revoke-token": Action(
        "Revoke a token", "The driver with this UID or EvcoID may not charge any more.", "Revoke it",
        "DELETE", "/tokens/{token}", (Field("token", "UID or EvcoID"),), "", "/ui/tokens", is_dangerous=True,
    ),
    "rotate-key": Action(
        "Make a new signing key",
        "A new key signs from now on, announced by the signature of the old one. Peers fetch it by themselves.",
        "Make it", "POST", "/keys/rotate", (), "", "/ui/settings/keys",
    ),
    "reload": Action(
        "Read files again", "Keys, certificates and the peers file will be read again.", "Read them",
        "POST", "/reload", (), "", "/ui/settings",
    ),
}  # fmt: skip
#: What a person is shown after an action that leads back.
NOTICES: Mapping[str, str] = {name: f"Done: {action.title.lower()}." for name, action in ACTIONS.items()}
