"""The page with the API documents works in a real browser, within its own content security policy."""

import asyncio
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from tests.browser.devtools import opened
from tests.browser.test_cross_site import TIMEOUT_SECONDS, chromium, new_node
from tests.support.waiting import eventually

__all__ = ["chromium"]

STATUS = "#operations-Status-getStatus"
ANSWER = f"document.querySelector('{STATUS} .live-responses-table')?.innerText"
INLINE = "document.head.append(Object.assign(document.createElement('script'), {textContent: 'window.ran = 1'}))"


@asynccontextmanager
async def shown(chromium, folder):
    """The page of a new node, as soon as it shows all parts of the document."""
    async with asyncio.timeout(TIMEOUT_SECONDS), new_node(folder / "node") as port:
        url = f"http://127.0.0.1:{port}/docs"
        async with opened(chromium, folder / "profile", url) as page:
            await page.until("document.querySelectorAll('.opblock-tag').length >= 8")
            yield page, port


async def ask_for_the_status(page) -> str:
    await page.click("#operations-tag-Status button.expand-operation")
    await page.click(f"{STATUS} .opblock-summary-control")
    await page.click(f"{STATUS} .try-out__btn")
    await page.click(f"{STATUS} .execute")
    return await page.until(ANSWER)


async def test_the_page_shows_the_document_and_sends_requests_and_no_other_host_hears_of_it(chromium, tmp_path):
    async with shown(chromium, tmp_path) as (page, port):
        await page.click(".btn.authorize")
        await page.fill("#auth-bearer-value", (tmp_path / "node" / "keys" / "backend.token").read_text().strip())
        await page.click(".auth-btn-wrapper .authorize")
        await page.click(".auth-btn-wrapper .btn-done")
        assert "Alpha" in await ask_for_the_status(page)
        assert page.complaints == []
        assert {urlsplit(url).netloc for url in page.requests if not url.startswith("data:")} == {f"127.0.0.1:{port}"}


async def test_without_a_token_the_page_is_shown_and_the_administration_is_not(chromium, tmp_path):
    async with shown(chromium, tmp_path) as (page, _):
        assert "401" in await ask_for_the_status(page)


async def test_the_policy_lets_no_other_script_run_and_no_request_leave_for_another_host(chromium, tmp_path):
    async with shown(chromium, tmp_path) as (page, _):
        await page.evaluate(INLINE)
        await page.evaluate("fetch('http://127.0.0.2:1/').catch(() => 0); 1")
        await eventually(lambda: len(page.complaints) >= 2)
        assert all("Content Security Policy" in each for each in page.complaints)
        assert await page.evaluate("window.ran === undefined")
