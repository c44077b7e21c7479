"""A person's browser, without JavaScript: it follows links and sends the forms of the dashboard."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlencode

import aiohttp

from tests.support.waiting import eventually


@dataclass
class Browser:
    """A person's browser: it keeps cookies, follows redirects, and sends the forms of the pages that it was shown."""

    http: aiohttp.ClientSession
    base: str

    async def open(self, path: str, status: int = 200, **headers: str) -> str:
        async with self.http.get(self.base + path, headers=headers) as answer:
            self.answer = answer
            assert answer.status == status, await answer.text()
            return await answer.text()

    async def send(self, path: str, status: int = 200, *, origin: str | None = None, **fields: str) -> str:
        headers = {"Origin": origin or self.base}
        async with self.http.post(self.base + path, data=fields, headers=headers) as answer:
            self.answer = answer
            assert answer.status == status, await answer.text()
            return await answer.text()

    async def log_in(self, token: str) -> str:
        return await self.send("/ui/login", token=token, person="Kim", next="/ui")

    async def act(self, name: str, status: int = 200, **fields: str) -> str:
        page = await self.open(f"/ui/actions/{name}?{urlencode(fields)}")
        return await self.send(f"/ui/actions/{name}", status, csrf=form_token(page), reason="a reason", **fields)


def form_token(page: str) -> str:
    return re.search(r'name="csrf" value="([^"]+)"', page)[1]


@asynccontextmanager
async def browser(base: str) -> AsyncIterator[Browser]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as http:
        yield Browser(http, base)


async def until_page(person: Browser, path: str, words: str) -> str:
    """Open a page until it has these words, and return it."""
    pages = []

    async def has_words() -> bool:
        pages.append(await person.open(path))
        return words in pages[-1]

    await eventually(has_words)
    return pages[-1]
