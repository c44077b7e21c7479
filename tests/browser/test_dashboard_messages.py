"""A message is written in a real browser: a fault is seen at its place, mended, and the message is sent."""

import pytest
from playwright.async_api import expect

from tests.browser.test_dashboard import alpha, chromium, page

__all__ = ["alpha", "chromium", "page"]


@pytest.mark.parametrize("javascript", [True, False])
async def test_a_message_is_corrected_by_its_finding_and_sent(chromium, alpha, javascript):
    async with alpha.node():
        context = await chromium.new_context(java_script_enabled=javascript)
        page = await context.new_page()
        await alpha.log_in(page)
        await page.get_by_role("link", name="Messages", exact=True).click()
        await page.get_by_role("link", name="AuthorizeStart").click()
        message = page.get_by_role("textbox", name="Message of DE*ALF")
        text = await message.input_value()
        await message.fill(text.replace("04A1B2C3D4E5F6", "04A1"))
        await page.get_by_role("button", name="Send").click()
        await expect(page.locator("#findings .marked")).to_contain_text("hexadecimal digits")
        await message.fill((await message.input_value()).replace("04A1", "04A1B2C3D4E5F6"))
        await page.get_by_role("button", name="Check").click()
        await expect(page.get_by_role("status")).to_contain_text("Nothing speaks against this message")
        await page.get_by_role("button", name="Send").click()
        await page.get_by_label("Reason").fill("a test")
        await page.get_by_role("button", name="Send it").click()
        await expect(page.get_by_role("region", name="Answer")).to_contain_text("NotAuthorized")
        await page.get_by_role("link", name="Log", exact=True).first.click()
        await expect(page.get_by_text("Kim: a test")).to_be_visible()
        await context.close()
