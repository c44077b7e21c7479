"""What a gateway sends to its own node: messages of OICP, as the company's own system would.

Two kinds of failures: a refusal for good (`NodeRefused`), which trying again does not change, and everything else
(`NodeUnavailable`), after which the same message is sent again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from p2p_oicp.errors import P2pOicpError, PeerError, PeerRejected, StoreError
from p2p_oicp.ocpi.base import encode_json
from p2p_oicp.oicp import Acknowledgement, InvalidMessage, Message
from p2p_oicp.oicp.enums import INDETERMINATE_CODES, StatusCodeValue
from p2p_oicp.oicp.message import decode, encode

#: Sends one message to this node and returns its answer.
SendMessage = Callable[[Message], Awaitable[Message]]

_INVALID = "invalid"
_MAX_TEXT = 300


class NodeRefused(P2pOicpError):
    """The node refuses a message for good; ``code`` is that of OICP, or ``invalid``."""

    def __init__(self, code: str, info: str) -> None:
        super().__init__(f"{code} {info}".strip()[:_MAX_TEXT])
        self.code = code
        self.info = info


class NodeUnavailable(P2pOicpError):
    """The node cannot take a message now, so that it is sent again later."""


class NodeCalls:
    """Sends messages to this node.

    Args:
        send: the in-process client of a backend.
    """

    def __init__(self, send: SendMessage) -> None:
        self._send = send

    async def deliver(self, model: type[Message], value: Mapping[str, Any]) -> None:
        """Send a message that the node acknowledges. Raises NodeRefused, NodeUnavailable."""
        answer = await self._call(model, value)
        status = getattr(answer, "status_code", None)
        code = str(status.code) if status is not None else ""
        if isinstance(answer, Acknowledgement) and answer.result:
            return
        info = getattr(status, "additional_info", None) or getattr(status, "description", None) or ""
        if code in INDETERMINATE_CODES:
            raise NodeUnavailable(f"{code} {info}".strip())
        raise NodeRefused(code or StatusCodeValue.DATA_ERROR, info)

    async def ask(self, model: type[Message], value: Mapping[str, Any]) -> dict[str, Any]:
        """Send a message and return its answer as JSON. Raises NodeRefused, NodeUnavailable."""
        answer: dict[str, Any] = decode(encode(await self._call(model, value)))  # type: ignore[assignment]
        return answer

    async def _call(self, model: type[Message], value: Mapping[str, Any]) -> Message:
        try:
            return await self._send(model.from_json(encode_json(value)))
        except InvalidMessage as error:
            raise NodeRefused(_INVALID, str(error)) from error
        except PeerRejected as error:
            raise NodeRefused(error.code or _INVALID, error.reason) from error
        except (PeerError, StoreError) as error:
            raise NodeUnavailable(str(error)) from error
