"""The thin I/O part: one request out, one bounded answer in, within one deadline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlencode

import aiohttp
from yarl import URL

from p2p_oicp.clock import Clock, Mint, SystemClock
from p2p_oicp.identity import InsecureSigner, RequestSigner
from p2p_oicp.oicp import Operation
from p2p_oicp.transport.answers import Answer, Reply, check_status, read_reply
from p2p_oicp.transport.bodies import OFFERED_CODINGS, BoundedBody
from p2p_oicp.transport.failures import FOREIGN, typed
from p2p_oicp.transport.upload import JSON_UTF8, Upload

# Below the 60 s and 75 s after which common servers close an idle connection: we rarely write into a closed one.
_KEEP_ALIVE = 45.0
_CHUNK = 64 * 1024
_MOST_CONNECTIONS = 1024
_MOST_CONNECTIONS_PER_PEER = 256
RECIPIENT = "P2P-Recipient"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to send: ``name`` is for people, ``url`` the base, ``profile`` how the other side speaks.

    ``recipient`` names parties, separated by commas: a node that answers for none of them, because it has taken over
    the address, refuses with 421.
    """

    name: str
    url: str
    profile: str = "oicp"
    recipient: str | None = None


class OicpClient:
    """Calls other OICP systems over kept-alive connections; an async context manager.

    Raises only PeerError and its subclasses. Redirects are not followed, cookies not kept, nothing is sent twice.
    ``max_body`` bounds every answer, in bytes after decompression.
    """

    def __init__(
        self,
        *,
        mint: Mint,
        signer: RequestSigner | None = None,
        user_agent: str,
        max_body: int,
        clock: Clock | None = None,
    ) -> None:
        self._mint = mint
        self._clock = clock or SystemClock()
        self._signer = signer or InsecureSigner()
        self._max_body = max_body
        self._fixed_headers = {
            "Content-Type": JSON_UTF8,
            "Accept": JSON_UTF8,
            "Accept-Encoding": OFFERED_CODINGS,
            "User-Agent": user_agent,
        }
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=_MOST_CONNECTIONS, limit_per_host=_MOST_CONNECTIONS_PER_PEER, keepalive_timeout=_KEEP_ALIVE
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers=self._fixed_headers,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(
        self,
        endpoint: Endpoint,
        operation: Operation,
        party: str | None,
        body: bytes,
        *,
        deadline: float,
        query: Mapping[str, str] | None = None,
        process_id: str | None = None,
    ) -> Reply:
        """Send one OICP request; ``deadline`` is in seconds, for the whole exchange.

        ``party`` is the sender's id for the path. Without a Process-ID one is minted. An answer with
        ``Result: false`` or ``NotAuthorized`` is a Reply, not an error.
        """
        url = operation.url(endpoint.url, party)
        if query:
            url = f"{url}?{urlencode(query)}"
        headers = {"Process-ID": process_id or self._mint.process_id()}
        if endpoint.recipient:
            headers[RECIPIENT] = endpoint.recipient
        answer = await self._post(endpoint.name, url, body, deadline, headers)
        return read_reply(answer, operation, now=self._clock.time())

    async def post_json(
        self, url: str, payload: bytes, *, deadline: float, peer: str | None = None
    ) -> tuple[int, bytes]:
        """Send JSON that is not OICP; return the 2xx status and the body as UTF-8; any other status raises."""
        answer = await self._post(peer or url, url, payload, deadline, {})
        check_status(answer, now=self._clock.time(), is_oicp=False)
        return answer.status, answer.text()

    async def get_json(self, url: str, *, deadline: float, peer: str | None = None) -> tuple[int, bytes]:
        """Ask for JSON that is not OICP; return the 2xx status and the body as UTF-8; any other status raises."""
        answer = await self._exchange("GET", peer or url, url, b"", deadline, {})
        check_status(answer, now=self._clock.time(), is_oicp=False)
        return answer.status, answer.text()

    async def _post(self, peer: str, url: str, body: bytes, deadline: float, headers: Mapping[str, str]) -> Answer:
        return await self._exchange("POST", peer, url, body, deadline, headers)

    async def _exchange(
        self, method: str, peer: str, url: str, body: bytes, deadline: float, headers: Mapping[str, str]
    ) -> Answer:
        """Exchange one request for one answer; the only place where aiohttp's exceptions are met."""
        if self._session is None:
            raise RuntimeError("OicpClient is used outside its async with block")
        signed = self._signer.sign(method=method, url=url, body=body)
        upload = Upload(body)
        try:
            async with self._session.request(
                method,
                URL(url, encoded=True),
                data=upload if method == "POST" else None,
                headers={**headers, **signed},
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=deadline),
            ) as response:
                content = await self._read(peer, response)
                return Answer(peer, response.status, response.headers, content)
        except FOREIGN as exc:
            raise typed(peer, exc, sent=upload.begun) from exc

    async def _read(self, peer: str, response: aiohttp.ClientResponse) -> bytes:
        coding = response.headers.get("Content-Encoding", "")
        if not coding and response.content_length is not None and response.content_length <= self._max_body:
            return await response.read()
        body = BoundedBody(peer, limit=self._max_body, coding=coding)
        async for chunk in response.content.iter_chunked(_CHUNK):
            body.add(chunk)
        return body.finish()
