"""Turns values into HTML: the templates, and how times, numbers, messages and identifications are shown.

Everything that is put into a template is escaped there, or in `live`; no other value is marked as safe.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from p2p_oicp.clock import Clock, format_timestamp
from p2p_oicp.oicp.masking import MASK, mask
from p2p_oicp.server.dashboard.action_table import NOTICES
from p2p_oicp.storage.event_log import EventType

FOLDER = Path(__file__).parent
STATIC, VENDORED = FOLDER / "static", FOLDER.parent / "static" / "vendor"
_VENDORED_FILES = (
    "htmx.org/dist/htmx.min.js",
    "htmx-ext-sse/dist/sse.min.js",
    # Of the map alone.
    "leaflet/dist/leaflet.css",
    "leaflet/dist/leaflet.js",
    "leaflet.markercluster/dist/MarkerCluster.css",
    "leaflet.markercluster/dist/leaflet.markercluster.js",
    "topojson-client/dist/topojson-client.min.js",
    "world-atlas/countries-50m.json",
)
_UNITS = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))
_VISIBLE_CHARACTERS = 2
_MAX_SHOWN_BYTES = 256 * 1024
_EVCO_ID = re.compile(r"([A-Za-z]{2}[*-]?[A-Za-z0-9]{3})[*-].*")
#: How well what a word says is: the class of its badge.
_GOOD = frozenset(
    {"in sync", "accepted", "settled", "up", "available", "yes", "charging", "000", "agreed", "delivered"}
)
_BAD = frozenset(
    {"failing", "held", "dead", "disputed", "refused", "down", "outofservice", "error", "not_answering", "uncertain"}
)
_WAITING = frozenset(
    {"behind", "waiting", "paused", "received", "reserved", "occupied", "notice", "unconfirmed", "requested"}
)
PAGES = frozenset(
    {
        "/ui",
        "/ui/peers",
        "/ui/delivery",
        "/ui/sessions",
        "/ui/cdrs",
        "/ui/evses",
        "/ui/tokens",
        "/ui/settings",
        "/ui/log",
        "/ui/topology",
        "/ui/traffic",
        "/ui/map",
        "/ui/messages",
    }
)
_IDENTIFICATION_KEYS = frozenset({"identification_key", "stop_identification_keys"})
_encoder = msgspec.json.Encoder(decimal_format="number")
# Numbers stay as they were written.
_decode = msgspec.json.Decoder(float_hook=Decimal).decode


class ShownPage(Protocol):
    """What a template knows of the request for its page."""

    @property
    def url(self) -> str:
        """Where it is fetched again."""

    @property
    def reveals(self) -> bool:
        """Whether it shows what identifies drivers."""


class Renderer:
    """Renders templates for one node.

    Args:
        node: its name.
        parties: the ids that it speaks for.
        clock: what "3 min ago" is counted by.
    """

    def __init__(self, node: str, parties: str, clock: Clock) -> None:
        self._clock = clock
        self._environment = Environment(
            loader=FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters.update(
            ago=self.ago,
            badge=badge,
            json=pretty,
            json_text=pretty_text,
            grouped=grouped,
            masked=mask_identification,
            moment=moment,
        )
        self._environment.globals.update(
            node=node, parties=parties, static=static_url, live=live, notices=NOTICES, pages=PAGES
        )

    def render(self, template: str, **values: object) -> bytes:
        """Return a page as UTF-8."""
        return self._environment.get_template(template).render(**values).encode("utf-8", "replace")

    def ago(self, at: str | float | Decimal | None) -> str:
        """Return how long ago a time was, or when it will be: ``3 min ago``, ``in 2 h``."""
        if not at:
            return "never"
        seconds = self._clock.time() - (datetime.fromisoformat(at).timestamp() if isinstance(at, str) else float(at))
        text = next((f"{int(abs(seconds) / unit)} {name}" for unit, name in _UNITS if abs(seconds) >= unit), "")
        if not text:
            return "now"
        return f"{text} ago" if seconds > 0 else f"in {text}"


def live(name: str, request: ShownPage, events: Sequence[str]) -> Markup:
    """Return the attributes of a part of a page that is fetched again after events, at most once a second.

    What is shown unmasked stays as it is: without the ticket, which ends, it would be masked under the reader's eyes.

    Args:
        name: the id of the part.
        request: of the page.
        events: the types of events after which it is fetched; ``tick``: any.
    """
    types = tuple(EventType) if "tick" in events else events
    trigger = ", ".join(f"sse:{each} throttle:1s" for each in types)
    if not trigger or request.reveals:
        return Markup(' id="{}"').format(name)
    return Markup(' id="{}" hx-get="{}" hx-trigger="{}" hx-select="#{}" hx-swap="outerHTML"').format(
        name, request.url, trigger, name
    )


def moment(at: str | float | Decimal | None) -> str:
    """Return a time as ISO 8601; empty for none."""
    if not at:
        return ""
    return at if isinstance(at, str) else format_timestamp(float(at))


def badge(text: object) -> str:
    """Return the class of a state: good, bad, waiting or plain."""
    word = str(text).lower()
    if word in _GOOD:
        return "good"
    return "bad" if word in _BAD else "waiting" if word in _WAITING else "plain"


def pretty(value: object, *, masked: bool = True) -> str:
    """Return JSON over several lines, without what identifies a driver unless it is revealed."""
    body = _encoder.encode(value)
    if masked:
        found = mask(body, _MAX_SHOWN_BYTES)
        if found.is_cut or found.text is None:
            return found.text or ""
        body = found.text.encode()
    return msgspec.json.format(body, indent=2).decode()


def pretty_text(body: bytes) -> str:
    """Return JSON that was received over several lines, masked; what is no JSON as it is."""
    try:
        return pretty(msgspec.Raw(body))
    except msgspec.MsgspecError:
        return body.decode(errors="replace")


def masked_json(value: Any) -> Any:  # noqa: ANN401 - JSON values
    """Return a JSON value without what identifies a driver."""
    found = mask(body := _encoder.encode(value), len(body))
    return None if found.text is None else _without_keys(_decode(found.text))


def _without_keys(value: Any) -> Any:  # noqa: ANN401 - JSON values
    """Return a value without the keys by which the node itself compares what identifies drivers."""
    if isinstance(value, list):
        return [_without_keys(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: " ".join(map(mask_identification, str(each).split()))
        if name in _IDENTIFICATION_KEYS
        else _without_keys(each)
        for name, each in value.items()
    }


def masked_text(text: str, *, is_cut: bool = False) -> str:
    """Return a JSON text without what identifies a driver; of one that is no JSON nothing, for it may say anything.

    Args:
        text: a message, or its beginning.
        is_cut: whether it may be a beginning.
    """
    body = text.encode(errors="replace")
    found = mask(body, len(body))
    if found.text is None and is_cut:
        found = mask(body, len(body) - 1)
    return MASK if found.text is None else found.text


def encode_json(value: object) -> bytes:
    """Return a JSON value with its numbers as they were written."""
    return _encoder.encode(value)


def mask_identification(text: str) -> str:
    """Return of a UID or EvcoID as much as tells it from the others of a list."""
    if match := _EVCO_ID.fullmatch(text):
        return f"{match[1]}-***{text[-_VISIBLE_CHARACTERS:]}"
    return f"***{text[-_VISIBLE_CHARACTERS:]}"


def grouped(number: Decimal | float | None) -> str:
    """Return a number with its thousands apart."""
    return "" if number is None else f"{number:,}"


@cache
def static_url(name: str) -> str:
    """Return the URL of a file of the pages, which changes with its content."""
    digest = hashlib.sha256(static_files()[name]).hexdigest()[:12]
    return f"/ui/static/{digest}/{name}"


@cache
def static_files() -> Mapping[str, bytes]:
    """Return all files of the pages, by their names below ``/ui/static/<digest>/``."""
    own = [(str(file.relative_to(STATIC)), file) for file in sorted(STATIC.rglob("*")) if file.is_file()]
    vendored = [(f"vendor/{name}", VENDORED / name) for name in _VENDORED_FILES]
    return {name: file.read_bytes() for name, file in (*own, *vendored)}
