"""The map in a real browser: an EVSE is found on it by hand and by keyboard, and a status changes by itself."""

from playwright.async_api import Page, expect

from tests.browser.test_dashboard import Company, alpha, chromium, page, push_status
from tests.support.dataset_messages import evse, google

__all__ = ["alpha", "chromium", "page"]

PUSH = "/api/oicp/evsepush/v23/operators/DE*ALF/data-records"


async def push_evses(page: Page, company: Company, *places: tuple[float, float]) -> None:
    records = [
        {**evse("0", GeoCoordinates=google(*place)), "EvseID": f"DE*ALF*E{number}"}
        for number, place in enumerate(places, 1)
    ]
    data = {"OperatorID": "DE*ALF", "OperatorName": "Alpha", "EvseDataRecord": records}
    body = {"ActionType": "fullLoad", "OperatorEvseData": data}
    answer = await page.context.request.post(company.url + PUSH, data=body)
    assert (await answer.json())["Result"] is True


async def test_an_evse_is_found_on_the_map_and_its_page_opens(page, alpha):
    async with alpha.node():
        await alpha.log_in(page)
        await push_evses(page, alpha, (50.93, 11.58), (54.09, 12.1))
        await push_status(page, alpha, "Available")
        await page.goto(f"{alpha.url}/ui/evses")
        await page.get_by_role("link", name="Map", exact=True).last.click()
        await expect(page.get_by_role("heading", name="2 EVSEs here")).to_be_visible()
        marker = page.get_by_role("button", name="DE*ALF*E1, Available")
        await expect(marker).to_have_text("A")
        # By itself: nobody has reloaded the page.
        await push_status(page, alpha, "Occupied")
        occupied = page.get_by_role("button", name="DE*ALF*E1, Occupied")
        await expect(occupied).to_have_text("O")
        await occupied.focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", name="DE*ALF*E1")).to_be_visible()


async def test_a_full_place_is_enlarged_from_the_list(page, alpha):
    async with alpha.node():
        await alpha.log_in(page)
        near_jena = [(50.9 + number / 10_000, 11.5) for number in range(600)]
        await push_evses(page, alpha, (54.09, 12.1), *near_jena)
        await page.goto(f"{alpha.url}/ui/map")
        full = page.locator("#map-list").get_by_role("button").first
        await expect(full).to_contain_text("EVSEs near 5")
        await full.click()
        await expect(page.locator("#map-list").get_by_text("54.09")).to_have_count(0)
        assert "#" in page.url
        await page.goto(f"{alpha.url}/ui/map?evse=DE*ALF*E600")
        await expect(page.locator("#map-list").get_by_role("link", name="DE*ALF*E600")).to_be_visible()


async def test_who_has_been_logged_out_is_led_to_the_login(page, alpha):
    async with alpha.node():
        await alpha.log_in(page)
        await push_evses(page, alpha, (50.93, 11.58))
        await page.goto(f"{alpha.url}/ui/map")
        await expect(page.get_by_role("heading", name="1 EVSE here")).to_be_visible()
        await page.context.clear_cookies()
        await page.get_by_role("button", name="Zoom out").click()
        await expect(page.get_by_label("Token")).to_be_visible()
