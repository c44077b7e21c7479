"""docs/flows.md: a real message of each flow runs through the files that the page names, and through no others."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.support.dataset_messages import PUSH_DATA, evse
from tests.support.messages import A_CPO, CDR, START, authorize_start, cdr, plausible
from tests.support.nodes import query, start_session
from tests.support.pairing import Admin
from tests.support.paths import ROOT
from tests.support.signed_nodes import SignedPair, require, stopped  # noqa: F401 - fixtures
from tests.support.tracing import NODE, FileTracer, Seen
from tests.support.waiting import eventually

DOCUMENT = ROOT / "docs" / "flows.md"
MAX_STEPS, MAX_INFRASTRUCTURE = 7, 26
# Reading and writing OICP, and cryptography, are done everywhere and decide nothing about where a message goes.
FREE = ("oicp/", "crypto/")
BACKEND_METHODS = ("authorize_start", "charge_detail_record")


@dataclass(frozen=True)
class Part:
    """What a node does for a request (the beginning of its path), or in a task (the beginning of its name).

    Args:
        boundaries: only what comes after so many sockets and backends, and before the next one.
        and_later: also what comes after the next ones.
        in_transaction: only what runs in a transaction (True), or outside (False).
    """

    node: str
    work: str
    boundaries: int = 0
    and_later: bool = False
    in_transaction: bool | None = None

    def holds(self, seen: Seen) -> bool:
        is_in_time = seen.boundaries == self.boundaries or (self.and_later and seen.boundaries > self.boundaries)
        is_in_place = self.in_transaction in {None, seen.in_transaction}
        is_its_own = seen.origin.node == self.node and seen.origin.work.startswith(self.work)
        return is_its_own and is_in_time and is_in_place


@dataclass
class Leg:
    """A part of a flow: the files that the page names for it, and those that ran."""

    steps: list[str] = field(default_factory=list)
    ran: set[str] = field(default_factory=set)


@dataclass
class Page:
    """docs/flows.md, and what ran of it."""

    infrastructure: list[str] = field(default_factory=list)
    legs: dict[str, Leg] = field(default_factory=dict)

    @classmethod
    def read(cls) -> Page:
        """Read legs (``###``) with their numbered steps, and the list of infrastructure."""
        page, section, leg = cls(), "", Leg()
        for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
            if line.startswith("## "):
                section = line.removeprefix("## ")
            elif line.startswith("### "):
                leg = page.legs[f"{section}: {line.removeprefix('### ')}"] = Leg()
            elif match := re.match(r"\d+\. `([\w/.]+)`: \w.{20,}", line):
                leg.steps.append(match[1])
            elif section == "Infrastructure" and (match := re.match(r"- `([\w/.]+)`: \w.{20,}", line)):
                page.infrastructure.append(match[1])
        return page

    def record(self, flow: str, parts: Mapping[str, Part], seen: set[Seen]) -> None:
        for title, part in parts.items():
            files = {each.file for each in seen if part.holds(each) and not each.file.startswith(FREE)}
            self.legs.setdefault(f"{flow}: {title}", Leg()).ran |= files

    def mistakes(self) -> Iterator[str]:
        infrastructure = set(self.infrastructure)
        if len(infrastructure) > MAX_INFRASTRUCTURE:
            yield f"{len(infrastructure)} files of infrastructure"
        for title, leg in self.legs.items():
            steps = set(leg.steps)
            if not 1 <= len(steps) <= MAX_STEPS:
                yield f"{title}: {len(steps)} steps"
            yield from (f"{title}: {file} runs and is not named" for file in sorted(leg.ran - steps - infrastructure))
            yield from (f"{title}: {file} is a step and does not run" for file in sorted(steps - leg.ran))
            yield from (f"{title}: {file} is a step and infrastructure" for file in sorted(steps & infrastructure))
        ran = set().union(*(leg.ran for leg in self.legs.values()))
        yield from (f"{file} is infrastructure that no flow uses" for file in sorted(infrastructure - ran))


@dataclass
class Player:
    """Sends the messages of the flows, each twice: the first time peers say hello and caches are filled."""

    pair: SignedPair
    page: Page
    tracer: FileTracer

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run both nodes, each in a context of its own; what the test does belongs to neither."""
        NODE.set("a")
        async with self.pair.running("a"):
            NODE.set("b")
            async with self.pair.running("b"):
                NODE.set("")
                yield

    @asynccontextmanager
    async def flow(
        self, name: str, parts: Mapping[str, Part], until: tuple[Part, str] | None = None
    ) -> AsyncIterator[None]:
        """Record what runs in the block, and afterwards until a part has reached a file."""
        with self.tracer.recording() as seen:
            yield
            if until is not None:
                part, file = until
                await eventually(lambda: any(part.holds(each) and each.file == file for each in list(seen)))
        self.page.record(name, parts, seen)

    async def authorize(self) -> None:
        path = f"/api/oicp/{START}"
        at_peer = {
            "Until the backend is asked": Part("b", path),
            "From the backend's answer to the response": Part("b", path, 1, and_later=True),
        }
        await self.pair.b_peer.post(START, authorize_start())
        async with self.flow("AuthorizeStart at the peer API", at_peer):
            await self.pair.b_peer.post(START, authorize_start())
        both = {
            "From the backend to the peer": Part("a", path),
            "From the peer's response to the backend": Part("a", path, 1, and_later=True),
        }
        await self.pair.a.post(START, authorize_start())
        async with self.flow("AuthorizeStart from the backend", both):
            assert (await self.pair.a.post(START, authorize_start())).code == "000"

    async def push(self) -> None:
        path, task = f"/api/oicp/{PUSH_DATA}", "evse data to"
        parts = {
            "From the backend to the store": Part("a", path),
            "From the store to the peer": Part("a", task),
            "At the peer": Part("b", path),
            "After the peer's acknowledgement": (after := Part("a", task, 1, and_later=True)),
        }
        await self._push_evse("1")
        # The replicator looks whether more lies behind its cursor, and then waits.
        async with self.flow("PushEvseData", parts, until=(after, "storage/datasets/change_feed.py")):
            await self._push_evse("2")

    async def _push_evse(self, name: str) -> None:
        """Push an EVSE to the CPO's node, and wait until the EMP's node has it and the cursor has moved."""
        data = {"OperatorID": A_CPO, "OperatorName": "GEF", "EvseDataRecord": [evse(name)]}
        reply = await self.pair.a.post(PUSH_DATA, {"ActionType": "insert", "OperatorEvseData": data})
        assert reply.code == "000"
        await eventually(lambda: query(self.pair, "b", "SELECT 1 FROM dataset_records WHERE key = ?", f"DEGEFE{name}"))
        replicated = "SELECT 1 FROM cursors WHERE change = (SELECT max(change) FROM dataset_records)"
        await eventually(lambda: query(self.pair, "a", replicated))

    async def settle(self) -> None:
        path, task = f"/api/oicp/{CDR}", "outbox of"
        parts = {
            "From the backend to the outbox": Part("a", path),
            "From the outbox to the peer": Part("a", task),
            "At the peer": Part("b", path, in_transaction=False),
            "At the peer, in the transactions": Part("b", path, in_transaction=True),
            "After the peer's acknowledgement": (after := Part("a", task, 1, and_later=True, in_transaction=False)),
            "In the transaction that deletes the message": Part("a", task, 1, and_later=True, in_transaction=True),
            "From the peer's outbox to its backend": Part("b", "outbox of backend"),
            "After the backend's answer": Part("b", "outbox of backend", 1, and_later=True),
        }
        await self._settle_session(await start_session(self.pair))
        session = await start_session(self.pair)
        # The dispatcher looks for the next message, and then waits.
        async with self.flow("Charge detail record", parts, until=(after, "storage/outbox.py")):
            await self._settle_session(session)

    async def _settle_session(self, session: str) -> None:
        records = len(self.pair.contracts.records)
        assert (await self.pair.a.post(CDR, cdr(session, **plausible()))).code == "000"
        await self.pair.contracts.until(lambda contracts: len(contracts.records) > records)
        await self.pair.at_rest("a")
        await self.pair.at_rest("b")

    async def join(self) -> None:
        inviting, joining = Admin(self.pair, "a"), Admin(self.pair, "b")
        async with self.flow("Pairing", {"The invitation": Part("a", "/admin/v1/peers/invitations")}):
            link = (await inviting.ask("POST", "/peers/invitations"))["link"]
        path, join = "/p2p/v1/pairings", "/admin/v1/peers/join"
        parts = {
            "From the link to the inviting node's descriptor": Part("b", join),
            "From the descriptor to the request": Part("b", join, 1),
            "At the inviting node": Part("a", path, in_transaction=False),
            "At the inviting node, in the transaction": Part("a", path, in_transaction=True),
            "From the response to the new peer": Part("b", join, 2, and_later=True, in_transaction=False),
            "From the response to the new peer, in the transaction": Part("b", join, 2, in_transaction=True),
            "The workers of the new peer": Part("b", "start of"),
        }
        async with self.flow("Pairing", parts):
            await joining.ask("POST", "/peers/join", link=link)
            assert await eventually(lambda: query(self.pair, "b", "SELECT 1 FROM destinations"))


async def test_each_leg_names_the_files_that_decide_something(stopped):  # noqa: F811
    page, tracer = Page.read(), FileTracer()
    named = set(page.legs)
    player = Player(stopped, page, tracer)
    for name in BACKEND_METHODS:
        setattr(stopped.contracts, name, tracer.at_boundary(getattr(stopped.contracts, name)))
    with tracer.installed():
        async with player.running():
            await player.authorize()
            await player.push()
            await player.settle()
        for name in ("a", "b"):
            (stopped.folder / name / "peers.toml").write_text("")
        async with player.running():
            await player.join()
    assert [title for title, leg in page.legs.items() if title in named and not leg.ran] == []
    mistakes = list(page.mistakes())
    assert not mistakes, "\n".join(mistakes)
