"""An OICP server of somebody else, which answers pulls as a test says, on a real socket."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

SUCCESS = {"StatusCode": {"Code": "000"}}
PAGE_SIZE = 2
#: The last parts of the paths, and the operations there.
OPERATIONS = {
    "data-records": "PullEvseData",
    "status-records": "PullEvseStatus",
    "pricing-products": "PullPricingProductData",
    "evse-pricing": "PullEVSEPricing",
}


def evse(number: int, **members: Any) -> dict[str, Any]:
    return {"EvseID": f"DE*ABC*E{number}", "OperatorID": "DE*ABC", "OperatorName": "ABC", **members}


@dataclass
class PullServer:
    """What it answers: records, or in place of an operation's answer a status and a body.

    ``changes`` are the records of a delta; ``requests`` are the operations and bodies that came; ``dates`` has its
    time at its end, in place of the right one.
    """

    url: str = ""
    evses: list[Any] = field(default_factory=list)
    changes: list[Any] = field(default_factory=list)
    statuses: dict[str, str] = field(default_factory=dict)
    products: list[Any] = field(default_factory=list)
    answers: dict[str, tuple[int, str, bytes]] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    dates: list[str] = field(default_factory=list)

    def answer(self, operation: str, body: dict[str, Any], page: int) -> dict[str, Any]:
        if operation == "PullEvseData":
            records = self.changes if "LastCall" in body else self.evses
            content = records[page * PAGE_SIZE : (page + 1) * PAGE_SIZE]
            is_last = (page + 1) * PAGE_SIZE >= len(records)
            return {"content": content, "number": page, "last": is_last, "totalElements": len(records), **SUCCESS}
        wrapper = {"OperatorID": "DE*ABC", "OperatorName": "ABC"}
        if operation == "PullEvseStatus":
            records = [{"EvseID": evse_id, "EvseStatus": status} for evse_id, status in self.statuses.items()]
            return {"EvseStatuses": {"OperatorEvseStatus": [{**wrapper, "EvseStatusRecord": records}]}, **SUCCESS}
        if operation == "PullPricingProductData":
            group = {**wrapper, "PricingDefaultPrice": 0.5, "PricingProductDataRecords": self.products}
            return {"PricingProductData": [group], **SUCCESS}
        return {"EVSEPricing": [], **SUCCESS}


@contextmanager
def pull_server() -> Iterator[PullServer]:
    """Run such a server on a free port of loopback."""
    server = PullServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            parts = urlsplit(self.path)
            operation = OPERATIONS[parts.path.rpartition("/")[2]]
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.requests.append((operation, body))
            server.headers.append(dict(self.headers))
            status, media_type, content = server.answers.get(operation, (200, "application/json", b""))
            if not content:
                page = int(parse_qs(parts.query).get("page", ["0"])[0])
                content = json.dumps(server.answer(operation, body, page)).encode()
            self.send_response(status)
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return server.dates[-1] if server.dates else super().date_time_string(timestamp)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
