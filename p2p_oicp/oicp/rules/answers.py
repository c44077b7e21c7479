"""Answers agree with their status codes, pages with themselves (RULES M3, P2)."""

from __future__ import annotations

from p2p_oicp.oicp.codes import Code
from p2p_oicp.oicp.common import Acknowledgement, StatusCode
from p2p_oicp.oicp.enumerations import AuthorizationStatus
from p2p_oicp.oicp.kinds import Notes
from p2p_oicp.oicp.pulls import ChargeDetailRecordPage, EvseDataPage
from p2p_oicp.oicp.rules.scope import Scope
from p2p_oicp.oicp.sessions import AuthorizationStart, AuthorizationStop


def result_and_code(answer: Acknowledgement, at: str, notes: Notes, _: Scope) -> None:
    """Expect Result true beside 000, and only there."""
    if answer.result != (answer.status_code.code == Code.SUCCESS):
        _contradiction(
            f"Result is {str(answer.result).lower()}", answer.status_code, at + answer.token("status_code"), notes
        )


def status_and_code(answer: AuthorizationStart | AuthorizationStop, at: str, notes: Notes, _: Scope) -> None:
    """Expect Authorized beside 000, and only there; it names the provider (D47)."""
    authorized = answer.authorization_status is AuthorizationStatus.AUTHORIZED
    if authorized != (answer.status_code.code == Code.SUCCESS):
        said = f"AuthorizationStatus is {answer.authorization_status}"
        _contradiction(said, answer.status_code, at + answer.token("status_code"), notes)
    if authorized and answer.provider_id is None:
        notes.warn(
            at + answer.token("provider_id"), "authorized-without-provider", "Authorized, but ProviderID is absent"
        )


def _contradiction(said: str, code: StatusCode, at: str, notes: Notes) -> None:
    notes.warn(at + code.token("code"), "contradictory-code", f"{said}, but Code is {code.code or 'empty'}")


def session_of_authorization(answer: AuthorizationStart, at: str, notes: Notes, _: Scope) -> None:
    """Expect a positive authorization to name its session (CPO-02)."""
    if answer.authorization_status is AuthorizationStatus.AUTHORIZED and answer.session_id is None:
        notes.warn(at + answer.token("session_id"), "authorized-without-session", "Authorized, but SessionID is absent")


def page_counts(page: EvseDataPage | ChargeDetailRecordPage, at: str, notes: Notes, scope: Scope) -> None:
    """Expect the members of the paging to agree with each other and with the content."""
    content = at + page.token("content")
    skipped = any(found.pointer.startswith(content) for found in page.field_findings)
    count = len(page.content) if scope.count is None else scope.count
    if page.number_of_elements is not None and page.number_of_elements != count and not skipped:
        said = f"numberOfElements is {page.number_of_elements}, but content has {count}"
        notes.warn(at + page.token("number_of_elements"), "contradictory-page", said)
    if page.number is None:
        return
    if page.first is not None and page.first != (page.number == 0):
        said = f"first is {str(page.first).lower()}, but number is {page.number}"
        notes.warn(at + page.token("first"), "contradictory-page", said)
    if None not in (page.last, page.total_pages) and page.last != (page.number + 1 >= (page.total_pages or 0)):
        said = f"last is {str(page.last).lower()}, but number is {page.number} of totalPages {page.total_pages}"
        notes.warn(at + page.token("last"), "contradictory-page", said)
