"""Two nodes that are paired through their admin APIs."""


class Admin:
    """The admin API of one node."""

    def __init__(self, pair, name: str) -> None:
        self._http = pair.http
        self._base = f"http://127.0.0.1:{pair.ports[name + ' backend']}"

    async def ask(self, method: str, path: str, status: int = 200, **members) -> dict:
        async with self._http.request(method, f"{self._base}/admin/v1{path}", json=members) as answer:
            content = await answer.json(content_type=None)
            assert answer.status == status, content
            return content

    async def names(self) -> list[str]:
        return [peer["name"] for peer in (await self.ask("GET", "/peers"))["peers"]]


async def paired(a: Admin, b: Admin, **invitation) -> str:
    link = (await a.ask("POST", "/peers/invitations", **invitation))["link"]
    assert (await b.ask("POST", "/peers/join", link=link))["joined"] == "node a"
    return link
