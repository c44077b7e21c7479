"""Pages about EVSEs: one with its prices, history and quality of data; and the quality of all, by operator."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from p2p_oicp.clock import Clock
from p2p_oicp.oicp import StatusCodeValue
from p2p_oicp.roles.context import OperationResponse
from p2p_oicp.server.dashboard.admin_calls import AdminCalls, Json
from p2p_oicp.server.dashboard.evse_facts import describe_evse, objects_of, text_of
from p2p_oicp.server.dashboard.evse_history import compare_versions, draw_strips
from p2p_oicp.server.dashboard.node_pages import as_json
from p2p_oicp.server.dashboard.rendering import masked_json
from p2p_oicp.server.dashboard.requests import PageRequest, PageServer
from p2p_oicp.server.problems import HttpError
from p2p_oicp.storage.evse_details import MAX_STATUSES, MAX_VERSIONS

_UNITS = {
    "HOUR": "hour", "KILOWATT_HOUR": "kWh", "MINUTE": "minute", "START_FEE": "start", "FLAT_FEE": "session",
}  # fmt: skip


class EvsePages:
    """Shows EVSEs.

    Args:
        admin: has them.
        pages: the frame of a page.
        clock: where a strip of statuses ends.
    """

    def __init__(self, admin: AdminCalls, pages: PageServer, clock: Clock) -> None:
        self._admin = admin
        self._pages = pages
        self._clock = clock

    async def evse(self, request: PageRequest) -> OperationResponse:
        """Show an EVSE, from each source that has it."""
        name = request.parameter("id")
        evses = _masked((await self._admin.get("/evses/{evse_id}", evse_id=name))["evses"])
        details = _masked(await self._admin.get("/evses/{evse_id}/details", evse_id=name))
        if (answer := as_json(request, {"evses": evses, **details})) is not None:
            return answer
        return self._pages.page(
            request,
            "evse.html",
            title=name,
            evses=[{**each, "facts": describe_evse(each["record"])} for each in evses],
            details=details,
            prices=[_describe_price(each) for each in details["prices"]],
            default_prices=[{**each, "text": _default_text(each)} for each in details["default_prices"]],
            strips=draw_strips(evses, details["statuses"], self._clock.time(), MAX_STATUSES),
            changes=compare_versions(evses, details["versions"]),
            has_all_versions=len(details["versions"]) < MAX_VERSIONS,
        )

    async def quality(self, request: PageRequest) -> OperationResponse:
        """Show how good the data of operators is, and what costs them points."""
        query = {name: request.query[name].strip() for name in ("operator", "cursor") if request.query.get(name)}
        answer = await self._admin.get("/evse-quality", query)
        if (response := as_json(request, answer)) is not None:
            return response
        following = f"{request.path}?{urlencode({'cursor': answer['cursor']})}" if answer["cursor"] else None
        return self._pages.page(
            request, "quality.html", title="Data quality", operators=answer["operators"], chosen=query.get("operator"),
            following=following,
        )  # fmt: skip


def _masked(value: Any) -> Any:  # noqa: ANN401 - JSON values
    """Return a JSON value without what identifies a driver: a record of an EVSE may have any member."""
    if (found := masked_json(value)) is None:
        raise HttpError(502, StatusCodeValue.DATA_ERROR, "this record cannot be shown without what it hides")
    return found


def _describe_price(price: Json) -> Json:
    """Return a price in words: what it costs, when it is valid, and what comes in addition."""
    product = price["product"]
    if not isinstance(product, dict):
        return {**price, "text": "", "power": "", "valid": "", "more": ""}
    more = [
        f"{text_of(each.get('AdditionalReference'))}: {text_of(each.get('PricePerAdditionalReferenceUnit'))} "
        f"{product.get('ProductPriceCurrency', '')} per {_unit(each.get('AdditionalReferenceUnit'))}"
        for each in objects_of(product.get("AdditionalReferences"))
    ]
    times = [_time_text(each) for each in objects_of(product.get("ProductAvailabilityTimes"))]
    power = text_of(product.get("MaximumProductChargingPower"))
    return {
        **price,
        "text": _price_text(
            product.get("PricePerReferenceUnit"), product.get("ProductPriceCurrency"), product.get("ReferenceUnit")
        ),
        "power": f"up to {power} kW" if power else "",
        "valid": "always" if product.get("IsValid24hours") is True else "; ".join(filter(None, times)),
        "more": "; ".join(more),
    }


def _time_text(time: Json) -> str:
    periods = [
        f"{text_of(each.get('begin'))} to {text_of(each.get('end'))}" for each in objects_of(time.get("Periods"))
    ]
    return " ".join([text_of(time.get("on")), *periods]).strip()


def _default_text(price: Json) -> str:
    return _price_text(price["price"], price["currency"], price["unit"])


def _price_text(price: object, currency: object, unit: object) -> str:
    # A Decimal, as it was written.
    return f"{price} {text_of(currency)} per {_unit(unit)}" if price is not None else ""


def _unit(unit: object) -> str:
    return _UNITS.get(text_of(unit), text_of(unit))
