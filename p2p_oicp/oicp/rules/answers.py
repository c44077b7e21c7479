"""Answers agree with their status codes, pages with themselves (RULES M3, P2)."""

from __future__ import annotations

from p2p_oicp.oicp.codes import Code
from p2p_oicp.oicp.common import Acknowledgement
from p2p_oicp.oicp.enumerations import AuthorizationStatus
from p2p_oicp.oicp.pulls import ChargeDetailRecordPage, EvseDataPage
from p2p_oicp.oicp.rules.here import Here
from p2p_oicp.oicp.sessions import Authorization, AuthorizationStart


def result_and_code(answer: Acknowledgement, here: Here) -> None:
    """Expect Result true beside 000, and only there."""
    code = answer.status_code.code
    if answer.result != (code == Code.SUCCESS):
        said = f"Result is {str(answer.result).lower()}, but Code is '{code}'"
        here.warn("contradictory-code", said, "status_code", "code")


def status_and_code(answer: Authorization, here: Here) -> None:
    """Expect Authorized beside 000, and only there; it names the provider (D47)."""
    code, status = answer.status_code.code, answer.authorization_status
    authorized = status is AuthorizationStatus.AUTHORIZED
    if authorized != (code == Code.SUCCESS):
        here.warn("contradictory-code", f"AuthorizationStatus is {status}, but Code is '{code}'", "status_code", "code")
    if authorized and answer.provider_id is None:
        here.warn("authorized-without-provider", "Authorized, but ProviderID is absent", "provider_id")


def session_of_authorization(answer: AuthorizationStart, here: Here) -> None:
    """Expect a positive authorization to name its session (CPO-02)."""
    if answer.authorization_status is AuthorizationStatus.AUTHORIZED and answer.session_id is None:
        here.warn("authorized-without-session", "Authorized, but SessionID is absent", "session_id")


def page_counts(page: EvseDataPage | ChargeDetailRecordPage, here: Here) -> None:
    """Expect the members of the paging to agree with each other and with the content."""
    count = len(page.content) if here.scope.count is None else here.scope.count
    content = here.pointer("content")
    skipped = any(found.pointer.startswith(content) for found in page.field_findings)
    if page.number_of_elements is not None and page.number_of_elements != count and not skipped:
        said = f"numberOfElements is {page.number_of_elements}, but content has {count}"
        here.warn("contradictory-page", said, "number_of_elements")
    if page.number is None:
        return
    if page.first is not None and page.first != (page.number == 0):
        said = f"first is {str(page.first).lower()}, but number is {page.number}"
        here.warn("contradictory-page", said, "first")
    if page.last is None or page.total_pages is None:
        return
    if page.last != (page.number + 1 >= page.total_pages):
        said = f"last is {str(page.last).lower()}, but number is {page.number} of totalPages {page.total_pages}"
        here.warn("contradictory-page", said, "last")
