"""The dashboard in a real browser: companies are paired, a failing peer turns red by itself, no host is asked."""

import gzip
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

from p2p_oicp.cli.init import NodeTemplate, write_node_files
from p2p_oicp.config import load_settings
from p2p_oicp.node import Node
from p2p_oicp.simulator.node_files import free_ports
from tests.browser.test_cross_site import CHROMIUM

ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
WIDTHS = (320, 768, 1440)
PAGES = (
    "/ui", "/ui/topology", "/ui/peers", "/ui/traffic", "/ui/actions/invite", "/ui/actions/join", "/ui/delivery",
    "/ui/sessions", "/ui/cdrs", "/ui/evses", "/ui/map", "/ui/messages", "/ui/messages/authorize-start",
    "/ui/tokens", "/ui/settings", "/ui/settings/keys", "/ui/log",
)  # fmt: skip
MAX_FIRST_LOAD_BYTES = 100_000
RED_WITHIN_MILLISECONDS = 3000
# Of a node that was stopped; the last is what htmx says of a stream that ends with its page.
GONE = ("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "[object Event]")


class Company:
    """A node as ``init`` makes one, in this process, and the browser of a person who has logged in."""

    def __init__(self, folder, name: str, **parties: tuple[str, ...]) -> None:
        self.folder, self.name = folder / name, name
        ports = free_ports(2)
        template = NodeTemplate(
            name, parties.get("operators", ()), parties.get("providers", ()), ("signature",), *ports
        )
        self.folder.mkdir()
        write_node_files(self.folder, template)
        self.settings = load_settings(self.folder / "node.toml")
        self.url = f"http://127.0.0.1:{self.settings.backend_api.port}"
        self.token = (self.folder / "keys" / "backend.token").read_text().strip()

    def node(self) -> Node:
        return Node(self.settings)

    async def log_in(self, page: Page) -> None:
        await page.goto(f"{self.url}/ui")
        await page.get_by_label("Token").fill(self.token)
        await page.get_by_label("Your name").fill("Kim")
        await page.get_by_role("button", name="Log in").click()
        await expect(page.get_by_role("heading", level=1)).to_be_visible()


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    if CHROMIUM is None and os.environ.get("REQUIRE_BROWSER"):
        pytest.fail("REQUIRE_BROWSER is set, and there is no Chromium here: apt-get install chromium")
    if CHROMIUM is None:
        pytest.skip("needs Chromium (apt-get install chromium); `.ci/run --part browser` installs it")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        await browser.close()


@pytest.fixture
async def page(chromium) -> AsyncIterator[Page]:
    """A page of which every request to another host, error, and violation of the content security policy fails."""
    page = await chromium.new_page()
    problems: list[str] = []
    page.on("request", lambda request: problems.append(request.url) if is_foreign(request.url) else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda line: problems.append(line.text) if is_fault(line) else None)
    yield page
    assert problems == []


def is_foreign(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "data:", "blob:"))


def is_fault(line: ConsoleMessage) -> bool:
    return line.type == "error" and not any(error in line.text for error in GONE)


@pytest.fixture
def alpha(tmp_path) -> Company:
    return Company(tmp_path, "Alpha", operators=("DE*ALF",))


@pytest.fixture
def beta(tmp_path) -> Company:
    return Company(tmp_path, "Beta", providers=("DE-BET",))


async def test_companies_are_paired_and_a_peer_that_goes_away_turns_red_by_itself(chromium, page, alpha, beta):
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(alpha.node())
        other = await stack.enter_async_context(AsyncExitStack())
        await other.enter_async_context(beta.node())
        await alpha.log_in(page)
        await page.goto(f"{alpha.url}/ui/actions/invite")
        await page.get_by_label("Reason").fill("contract of March")
        await page.get_by_role("button", name="Create the invitation").click()
        link = await page.get_by_role("textbox", name="Link").input_value()
        await page.goto(f"{alpha.url}/ui/peers")
        await join(await chromium.new_page(), beta, link)
        # By itself: nobody has reloaded the page.
        await expect(page.get_by_role("link", name="Beta")).to_be_visible(timeout=5000)
        await page.goto(f"{alpha.url}/ui")
        await expect(page.get_by_role("heading", level=1)).to_contain_text("well", timeout=10_000)
        await other.aclose()
        await push_status(page, alpha, "Available")
        await expect(page.get_by_text("Connection refused").first).to_be_visible(timeout=RED_WITHIN_MILLISECONDS)


async def join(page: Page, company: Company, link: str) -> None:
    await company.log_in(page)
    await page.goto(f"{company.url}/ui/actions/join")
    await page.get_by_role("textbox", name="Link").fill(link)
    await page.get_by_role("button", name="Show who it is").click()
    await expect(page.get_by_text("DE*ALF").first).to_be_visible()
    await page.get_by_label("Reason").fill("contract of March")
    await page.get_by_role("button", name="Become peers").click()
    await expect(page.get_by_role("status")).to_contain_text("Done")
    await page.close()


async def push_status(page: Page, company: Company, status: str) -> None:
    """Push a status by the CPO's backend, for the node to send to its peers."""
    records = [{"EvseID": "DE*ALF*E1", "EvseStatus": status}]
    statuses = {"OperatorID": "DE*ALF", "OperatorName": "Alpha", "EvseStatusRecord": records}
    body = {"ActionType": "fullLoad", "OperatorEvseStatus": statuses}
    path = "/api/oicp/evsepush/v21/operators/DE*ALF/status-records"
    answer = await page.context.request.post(company.url + path, data=body)
    assert (await answer.json())["Result"] is True


async def test_every_page_fits_a_phone_a_tablet_and_a_desk(page, alpha):
    async with alpha.node():
        await alpha.log_in(page)
        for width in WIDTHS:
            await page.set_viewport_size({"width": width, "height": 800})
            for path in PAGES:
                await page.goto(alpha.url + path)
                assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (path, width)


async def test_without_javascript_a_person_logs_in_acts_and_downloads(chromium, alpha):
    async with alpha.node():
        context = await chromium.new_context(java_script_enabled=False)
        page = await context.new_page()
        await alpha.log_in(page)
        await page.goto(f"{alpha.url}/ui/actions/add-token")
        await page.get_by_label("UID or EvcoID").fill("04A1B2C3D4E5F6")
        await page.get_by_label("Reason").fill("a new driver")
        await page.get_by_role("button", name="Add it").click()
        await expect(page.get_by_role("status")).to_contain_text("Done")
        async with page.expect_download() as download:
            await page.get_by_role("link", name="CSV").click()
        assert (await (await download.value).path()).read_text().count("\n") >= 2
        await context.close()


async def test_the_first_load_is_small(page, alpha):
    async with alpha.node():
        await alpha.log_in(page)
        urls: list[str] = []
        page.on("request", lambda request: urls.append(request.url))
        await page.reload(wait_until="load")
        files = {url for url in urls if not url.endswith("/ui/events")}
        bodies = [await (await page.context.request.get(url)).body() for url in files]
        assert len(bodies) >= 4
        assert sum(len(gzip.compress(body)) for body in bodies) < MAX_FIRST_LOAD_BYTES


@pytest.fixture
def axe() -> str:
    """The file of axe-core, which looks for what keeps people out."""
    file = os.environ.get("AXE_CORE", "")
    if not file and os.environ.get("REQUIRE_BROWSER"):
        pytest.fail("REQUIRE_BROWSER is set, and AXE_CORE does not name axe-core's axe.min.js")
    if not file:
        pytest.skip("needs axe-core (npm); AXE_CORE names its axe.min.js; `.ci/run --part browser` fetches it")
    return file


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_page_keeps_anybody_out(chromium, alpha, axe, scheme):
    async with alpha.node():
        # The content security policy would keep axe-core itself out.
        context = await chromium.new_context(bypass_csp=True, color_scheme=scheme)
        page = await context.new_page()
        await alpha.log_in(page)
        await push_status(page, alpha, "Available")
        checked = 0
        for path in PAGES:
            await page.goto(alpha.url + path)
            await page.add_script_tag(path=axe)
            result = await page.evaluate("axe.run()")
            checked += len(result["passes"])
            assert [(each["id"], each["nodes"][0]["html"]) for each in result["violations"]] == [], path
        assert checked > 100
        await context.close()
