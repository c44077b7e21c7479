"""The editor of messages: write one, have it checked, send it as one of our own systems would, see what is answered.

Whoever may only look can check. Sending is an action: it is an event, with who and why, before it is done; what
changes something at others asks first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from p2p_oicp.clock import Clock
from p2p_oicp.crypto.signed_values import new_nonce
from p2p_oicp.oicp import StatusCodeValue
from p2p_oicp.oicp.findings import Finding, Severity
from p2p_oicp.oicp.operations import OPERATION_BY_COMMAND, OPERATIONS, Operation, Party
from p2p_oicp.oicp.sample_fleets import evse_id_of
from p2p_oicp.oicp.samples import OPERATOR, PROVIDER
from p2p_oicp.oicp.schemas import request_schemas
from p2p_oicp.oicp.validation import judge
from p2p_oicp.peers import Peer
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.dashboard.actions import ActionPages
from p2p_oicp.server.dashboard.admin_calls import AdminCalls
from p2p_oicp.server.dashboard.message_form import (
    annotated,
    as_curl,
    consequence_of,
    first_or,
    sample_of,
    session_id_of,
)
from p2p_oicp.server.dashboard.message_sender import Answer, MessageSender
from p2p_oicp.server.dashboard.node_pages import as_json
from p2p_oicp.server.dashboard.requests import PageRequest, PageServer, require_right
from p2p_oicp.server.problems import HttpError

_MAX_SENT = 1000
_MAX_REASON_LENGTH = 300
_CHECK, _SEND, _CONFIRMED = "check", "send", "confirmed"


class _Draft(NamedTuple):
    """What stands in the form."""

    operation: Operation
    sender: str
    addressee: str
    text: str
    senders: Sequence[str]
    addressees: Sequence[str]


class MessagePages:
    """Serves the editor.

    Args:
        admin: knows peers and EVSEs.
        pages: the frame of a page.
        actions: writes down what was done.
        sender: sends.
        own: this node's entry, with the parties that it may send for.
        clock: the time.
    """

    def __init__(
        self,
        admin: AdminCalls,
        pages: PageServer,
        actions: ActionPages,
        sender: MessageSender,
        own: Peer,
        clock: Clock,
    ) -> None:
        self._admin = admin
        self._pages = pages
        self._actions = actions
        self._sender = sender
        self._own = own
        self._clock = clock
        # A page that is loaded anew sends its form again; the message is sent once.
        self._sent: deque[str] = deque(maxlen=_MAX_SENT)

    async def list_operations(self, request: PageRequest) -> OperationResponse:
        """Show what can be sent."""
        ours = [party for party in Party if self._senders(party)]
        groups = {party.value: [each for each in OPERATIONS if each.sender is party] for party in ours}
        return self._pages.page(request, "messages.html", title="Messages", groups=groups)

    async def edit(self, request: PageRequest) -> OperationResponse:
        """Show the form with a sample."""
        draft = await self._draft(request, request.query)
        schemas = request_schemas(draft.operation)
        content = {"operation": draft.operation.name, "sample": draft.text, "schemas": schemas}
        if (answer := as_json(request, content)) is not None:
            return answer
        return self._form(request, draft)

    async def submit(self, request: PageRequest) -> OperationResponse:
        """Check a message, ask before it is sent, or send it: what the button says."""
        draft, action = await self._draft(request, request.form), request.form.get("action", _CHECK)
        findings = self._check(draft)
        if action == _CHECK or any(each.severity is Severity.ERROR for each in findings):
            return self._form(request, draft, findings, is_checked=True)
        require_right(request.login)
        reason = request.form.get("reason", "").strip()[:_MAX_REASON_LENGTH]
        consequence = consequence_of(draft.operation, draft.sender, len(draft.addressees))
        if consequence and (action != _CONFIRMED or not reason):
            return self._confirmation(request, draft, consequence, is_reason_missing=action == _CONFIRMED)
        return await self._send(request, draft, findings, reason or "no reason needed: it only reads")

    async def _send(
        self, request: PageRequest, draft: _Draft, findings: Sequence[Finding], reason: str
    ) -> OperationResponse:
        if (once := request.form.get("once", "")) in self._sent or not once:
            info = "this message was sent before; open the editor again to send another one"
            raise HttpError(409, StatusCodeValue.DATA_ERROR, info)
        self._sent.append(once)
        # Order: before it is sent, so that none is sent of which nothing is known.
        await self._actions.record(request.login, "send-message", draft.operation.name, reason)
        answer = await self._sender.send(draft.operation, draft.sender, draft.text.encode())
        return self._form(request, draft, findings, answer)

    def _form(
        self,
        request: PageRequest,
        draft: _Draft,
        findings: Sequence[Finding] = (),
        answer: Answer | None = None,
        *,
        is_checked: bool = False,
    ) -> OperationResponse:
        return self._pages.page(
            request,
            "message_editor.html",
            title=draft.operation.name,
            draft=draft,
            findings=findings,
            is_checked=is_checked,
            has_errors=any(each.severity is Severity.ERROR for each in findings),
            lines=annotated(draft.text, findings) if findings else (),
            schemas=request_schemas(draft.operation),
            asks_first=bool(consequence_of(draft.operation, draft.sender, 0)),
            curl=as_curl(draft.operation, request.origin, draft.sender, draft.text),
            answer=answer,
            session_id=session_id_of(answer.body, draft.text) if answer is not None else "",
            once=new_nonce(),
        )

    def _confirmation(
        self, request: PageRequest, draft: _Draft, consequence: str, *, is_reason_missing: bool
    ) -> OperationResponse:
        return self._pages.page(
            request,
            "message_confirm.html",
            400 if is_reason_missing else 200,
            title=f"Send {draft.operation.name}",
            draft=draft,
            consequence=consequence,
            is_reason_missing=is_reason_missing,
            once=new_nonce(),
        )

    def _check(self, draft: _Draft) -> list[Finding]:
        now = datetime.fromtimestamp(self._clock.time(), UTC)
        found = judge(draft.operation.name, "request", draft.text.encode("utf-8", "replace"), now=now)
        return sorted(found, key=lambda each: each.severity is not Severity.ERROR)

    async def _draft(self, request: PageRequest, values: Mapping[str, str]) -> _Draft:
        operation = OPERATION_BY_COMMAND.get(command := request.parameter("operation"))
        senders = self._senders(operation.sender) if operation is not None else []
        if operation is None or not senders:
            info = f"{command[:60]} is nothing that this node's own systems send"
            raise HttpError(404, StatusCodeValue.DATA_ERROR, info)
        peers = (await self._admin.get("/peers"))["peers"]
        name = "providers" if operation.sender is Party.CPO else "operators"
        addressees = [party for peer in peers for party in peer[name]]
        sender, addressee = values.get("sender", ""), values.get("addressee", "")
        sender = sender if sender in senders else senders[0]
        addressee = addressee if addressee in addressees else first_or(addressees, "")
        text = values.get("text") or await self._sample(operation, sender, addressee)
        return _Draft(operation, sender, addressee, text, senders, addressees)

    async def _sample(self, operation: Operation, sender: str, addressee: str) -> str:
        is_cpo = operation.sender is Party.CPO
        operator, provider = (sender, addressee or PROVIDER) if is_cpo else (addressee or OPERATOR, sender)
        known = (await self._admin.get("/evses", {"operator": operator, "limit": "1"}))["evses"]
        evse_id = first_or((str(each["record"]["EvseID"]) for each in known), evse_id_of(operator))
        return sample_of(operation, (operator, provider), evse_id, self._sender.new_session_id(), self._clock.time())

    def _senders(self, role: Party) -> list[str]:
        parties = self._own.operators if role is Party.CPO else self._own.providers
        return [party.text for party in parties]
