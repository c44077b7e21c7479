"""Asks the running node to do something: ``/admin/v1/…`` on its backend listener."""

from __future__ import annotations

import http.client
import json
from http import HTTPStatus
from typing import Any

from p2p_oicp.errors import ConfigurationError, PeerRejected, PeerUnreachable
from p2p_oicp.settings import Settings

_DEADLINE_SECONDS = 30.0


def call(settings: Settings, method: str, path: str) -> dict[str, Any]:
    """Return the answer; raises PeerUnreachable where the node does not run, PeerRejected where it refuses."""
    api = settings.backend_api
    if not api.port:
        raise ConfigurationError("[backend_api] port = 0: a command cannot know the port; choose a fixed one")
    headers = {"Authorization": f"Bearer {api.token.get_secret_value()}"} if api.token else {}
    host = "127.0.0.1" if api.host in {"", "0.0.0.0", "::"} else api.host  # noqa: S104 - recognised, not bound
    connection = http.client.HTTPConnection(host, api.port, timeout=_DEADLINE_SECONDS)
    try:
        connection.request(method, f"/admin/v1/{path}", headers=headers)
        response = connection.getresponse()
        told = json.loads(response.read() or b"{}")
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = f"does not answer at {host}:{api.port} ({error}); is it running?"
        raise PeerUnreachable("the node", reason) from error
    finally:
        connection.close()
    if response.status != HTTPStatus.OK:
        status = told.get("StatusCode", {})
        info = status.get("AdditionalInfo") or f"HTTP {response.status}"
        raise PeerRejected("the node", info, http_status=response.status, code=status.get("Code"))
    return dict(told)
