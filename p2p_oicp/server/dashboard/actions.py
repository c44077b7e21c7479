"""Actions of people: a page that asks, with a reason; the call; an event that says who has done what, and why.

To show what identifies a driver is an action as well (`ActionPages.reveal`).
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import segno

from p2p_oicp.clock import Clock
from p2p_oicp.oicp import StatusCodeValue
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.dashboard.access import DashboardAccess, Login
from p2p_oicp.server.dashboard.action_table import ACTIONS, Action
from p2p_oicp.server.dashboard.admin_calls import AdminCalls
from p2p_oicp.server.dashboard.requests import SECURITY_HEADERS, PageRequest, PageServer, is_own_path, redirect
from p2p_oicp.server.problems import HttpError
from p2p_oicp.storage import Store
from p2p_oicp.storage.event_log import Event, EventType, emit
from p2p_oicp.storage.job_keys import ANY_ORDER

_MAX_REASON_LENGTH = 300
_NAMELESS = "somebody with the token"


class ActionPages:
    """Asks, acts, and writes down who did it.

    Args:
        admin: does it.
        pages: the frame of a page.
        access: gives the tickets that reveal.
        store: of the events.
        clock: the time.
    """

    def __init__(
        self, admin: AdminCalls, pages: PageServer, access: DashboardAccess, store: Store, clock: Clock
    ) -> None:
        self._admin = admin
        self._pages = pages
        self._access = access
        self._store = store
        self._clock = clock

    async def ask(self, request: PageRequest) -> OperationResponse:
        """Show what will happen, and the form that lets it."""
        action = _find(request)
        values = {each.name: request.query.get(each.name, "") for each in action.fields}
        return self._confirmation(request, action, values)

    async def act(self, request: PageRequest) -> OperationResponse:
        """Do it, and go on where the person has come from."""
        action, name = _find(request), request.parameter("name")
        values = {each.name: request.form.get(each.name, "").strip() for each in action.fields}
        values["reason"] = reason = request.form.get("reason", "").strip()[:_MAX_REASON_LENGTH]
        missing = [each.label or each.name for each in action.fields if each.is_required and not values[each.name]]
        missing += ["Reason"] if action.changes and not reason else []
        if missing:
            return self._confirmation(request, action, values, f"Please fill in: {', '.join(missing)}.", 400)
        try:
            answer = await self._call(action, values)
        except HttpError as error:
            return self._confirmation(request, action, values, error.info, error.http_status)
        if action.changes:
            await self.record(request.login, name, values.get(action.subject, ""), reason)
        if action.file:
            return _file(action, values, answer)
        if action.result:
            return self._result(request, action, values, answer)
        texts = {key: value for key, value in answer.items() if isinstance(value, str)}
        return redirect(f"{action.way_back({**values, **texts})}?{urlencode({'notice': name})}")

    def _result(
        self, request: PageRequest, action: Action, values: Mapping[str, str], answer: Mapping[str, Any]
    ) -> OperationResponse:
        return self._pages.page(
            request,
            action.result,
            title=action.title,
            answer=answer,
            values=values,
            qr=_qr_code(answer),
            back=action.way_back(values),
        )

    async def ask_reveal(self, request: PageRequest) -> OperationResponse:
        """Ask why what identifies a driver is to be shown."""
        target = _target(request.query.get("target", ""))
        return self._pages.page(request, "reveal.html", title="Show unmasked", target=target, reason_missing=False)

    async def reveal(self, request: PageRequest) -> OperationResponse:
        """Write it down, and show the page unmasked for some minutes."""
        target, reason = _target(request.form.get("target", "")), request.form.get("reason", "").strip()
        if not reason:
            return self._pages.page(
                request, "reveal.html", 400, title="Show unmasked", target=target, reason_missing=True
            )
        await self.record(request.login, "reveal", target, reason[:_MAX_REASON_LENGTH])
        ticket = self._access.reveal_ticket(request.login, target)
        return redirect(f"{quote(target)}?{urlencode({'reveal': ticket})}")

    async def record(self, login: Login, what: str, subject: str, reason: str) -> None:
        """Write down who has done what, and why. Raises StoreError."""
        text = f"{login.person or _NAMELESS}: {reason}"
        event = Event(EventType.ACTION, what, self._clock.time(), subject, text=text)
        await self._store.write(lambda tx: emit(tx, event), about=ANY_ORDER)

    async def _call(self, action: Action, values: Mapping[str, str]) -> dict[str, Any]:
        names = [name for _, name, _, _ in string.Formatter().parse(action.path) if name]
        try:
            body = None if action.body is None else action.body(values)
        except ValueError as error:
            raise HttpError(400, StatusCodeValue.DATA_ERROR, f"expected a number: {error}") from error
        return await self._admin.call(
            action.method,
            action.path,
            query={name: values[name] for name in action.query if values.get(name)},
            body=body,
            parameters={name: _parameter(action.parameters.get(name, name), values) for name in names},
        )

    def _confirmation(
        self, request: PageRequest, action: Action, values: Mapping[str, str], problem: str = "", http_status: int = 200
    ) -> OperationResponse:
        return self._pages.page(
            request,
            "confirm.html",
            http_status,
            title=action.title,
            action=action,
            values=values,
            question=action.sentence(values),
            problem=problem,
            back=action.way_back(values),
        )


def _find(request: PageRequest) -> Action:
    action = ACTIONS.get(name := request.parameter("name"))
    if action is None:
        raise HttpError(404, StatusCodeValue.DATA_ERROR, f"there is no action {name[:40]}")
    return action


def _parameter(source: str, values: Mapping[str, str]) -> str:
    return source[1:] if source.startswith("=") else values[source]


def _target(path: str) -> str:
    if not is_own_path(path) or "?" in path:
        raise HttpError(400, StatusCodeValue.DATA_ERROR, "target: expected the path of a page")
    return path


def _file(action: Action, values: Mapping[str, str], answer: Mapping[str, Any]) -> OperationResponse:
    """Return what the answer has as a file to save."""
    name = "".join(each for each in action.file.format_map(values) if each.isalnum() or each in "-.")
    headers = {**SECURITY_HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}
    return OperationResponse(str(answer["file"]).encode(), headers=headers)


def _qr_code(answer: Mapping[str, Any]) -> tuple[int, str] | None:
    """Return the side of a QR code in modules and the path of its dark ones; None for an answer without a link."""
    link = answer.get("link")
    if not isinstance(link, str):
        return None
    rows = [list(row) for row in segno.make(link, micro=False).matrix_iter(border=4)]
    path = "".join(f"M{x} {y}h1v1h-1z" for y, row in enumerate(rows) for x, dark in enumerate(row) if dark)
    return len(rows), path
