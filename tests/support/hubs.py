"""A hub for tests with three CPOs and three EMPs, whose systems are told by their base URLs, on real sockets."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from p2p_oicp.config.hub import HubSettings
from p2p_oicp.hub import Hub
from tests.support.clients import Reply, TestClient
from tests.support.messages import card, cdr, plausible
from tests.support.own_systems import OwnSystem

CPOS = ("DE*AAA", "DE*BBB", "NL*CCC")
EMPS = ("DE-XXX", "DE-YYY", "NL-ZZZ")
#: The card of a driver of each EMP.
UIDS = dict(zip(EMPS, ("0000000A", "0000000B", "0000000C"), strict=True))


class HubClient(TestClient):
    """Speaks to a hub: OICP in the name of any partner, and /hub/v1."""

    async def call(self, method: str, path: str, body: Any = None) -> Reply:
        data, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
        sent = {} if body is None else {"data": data, "headers": headers}
        async with self._session.request(method, f"{self.base}/hub/v1/{path}", **sent) as response:
            return Reply(response.status, dict(response.headers), await response.json())

    async def tell(self, **partner: Any) -> Reply:
        return await self.call("POST", "partners", partner)

    async def script(self, *rules: dict) -> Reply:
        return await self.call("PUT", "script", {"rules": rules})

    async def exchanges(self, query: str = "") -> list[dict]:
        return (await self.call("GET", f"exchanges?{query}")).json["exchanges"]

    async def start(self, operator: str, identification: dict, **members: Any) -> Reply:
        body = {"OperatorID": operator, "EvseID": f"{operator}*E1", "Identification": identification, **members}
        return await self.post(f"charging/v21/operators/{operator}/authorize/start", body)

    async def remote_start(self, provider: str, evse: str) -> Reply:
        identification = {"RemoteIdentification": {"EvcoID": f"{provider}-C12345678-X"}}
        body = {"ProviderID": provider, "EvseID": evse, "Identification": identification}
        return await self.post(f"charging/v21/providers/{provider}/authorize-remote/start", body)

    async def settle(self, operator: str, session: str, uid: str, **members: Any) -> Reply:
        record = {**cdr(session, **plausible()), "EvseID": f"{operator}*E1", "Identification": card(uid), **members}
        return await self.post(f"cdrmgmt/v22/operators/{operator}/charge-detail-record", record)


@asynccontextmanager
async def running_hub(folder: Path, **settings: Any) -> AsyncIterator[HubClient]:
    """A hub on a free port."""
    options = {name: settings.pop(name) for name in ("script", "keeps") if name in settings}
    hub_settings = HubSettings.model_validate({**settings, "hub": {"port": 0, **settings.get("hub", {})}})
    async with Hub(hub_settings, folder, **options) as hub, aiohttp.ClientSession() as http:
        yield HubClient(http, hub.url)


@dataclass
class Roaming:
    """A hub, and the systems of its partners by their ids."""

    hub: HubClient
    systems: dict[str, OwnSystem] = field(default_factory=dict)

    def messages(self, party: str, part: str) -> list[dict]:
        return self.systems[party].bodies(part)


@asynccontextmanager
async def roaming(folder: Path, **settings: Any) -> AsyncIterator[Roaming]:
    """Three CPOs and three EMPs, who have told the hub where their systems are."""
    async with AsyncExitStack() as stack:
        each = Roaming(await stack.enter_async_context(running_hub(folder, **settings)))
        for party in (*CPOS, *EMPS):
            system = OwnSystem(frozenset({UIDS[party]} if party in UIDS else ()))
            each.systems[party] = await stack.enter_async_context(system)
            key = "operators" if party in CPOS else "providers"
            assert (await each.hub.tell(**{key: [party], "url": system.url})).status == 200
        yield each
