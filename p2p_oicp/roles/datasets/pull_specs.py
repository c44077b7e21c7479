"""How each dataset is pulled: by which operation, with which requests, and what the responses are.

`DatasetPuller` pulls peers for a node, ``p2p-oicp pull`` any endpoint for a script; how a request is sent is theirs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import orjson

from p2p_oicp.client import OicpReply
from p2p_oicp.clock import format_timestamp
from p2p_oicp.delivery.wakeup import NOT_OFFERED_CODES
from p2p_oicp.errors import PeerRejected
from p2p_oicp.oicp import (
    AuthenticationData,
    EvseDataPage,
    EvsePricings,
    EvseStatuses,
    Message,
    OperatorEvsePricing,
    OperatorEvseStatus,
    PricingProductData,
    PricingProducts,
    ProviderAuthenticationData,
    StatusCode,
    StatusCodeValue,
    read_records,
)
from p2p_oicp.oicp.operations import OPERATION_BY_NAME, Operation
from p2p_oicp.storage.datasets.models import DatasetKind

#: Returns the requests of a pull by some of our parties, for the data of some operators: which one asks, and the body.
RequestFactory = Callable[[Sequence[str], Sequence[str]], Iterator[tuple[str, bytes]]]
#: Sends a request, as `check_reply` wants the reply: the operation, the party that asks, the body, the query.
PullCall = Callable[[Operation, str, bytes, Mapping[str, str]], Awaitable[OicpReply]]

#: As many records as a page has at most (OICP 2.3, EMP-02; RULES P1).
PAGE_SIZE = 2000
# Against a peer whose pages never end.
_MAX_PAGES = 100_000
#: The clocks of two companies differ, and a record that is written during a pull has an earlier time (RULES S2).
CLOCK_SKEW_SECONDS = 300.0
#: HTTP statuses of an operation that is not offered; `delivery.wakeup.NOT_OFFERED_CODES` are the codes.
NOT_OFFERED_STATUSES = frozenset({404, 405, 501})


@dataclass(frozen=True, slots=True)
class PullSpec:
    """How a dataset is pulled.

    ``wrapper_type`` is the object around the records of a group in the response; None: the response is a page of
    records.
    """

    operation: Operation
    response_type: type[Message]
    wrapper_type: type[Message] | None
    build_requests: RequestFactory


# EVSE data and statuses are the same for all our providers, so one of them asks.
def _provider_request(parties: Sequence[str], _operators: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    yield parties[0], orjson.dumps({"ProviderID": parties[0]})


# Products and prices are offered to single providers: each of ours asks for its own.
def _product_requests(parties: Sequence[str], operators: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for provider in parties:
        yield provider, orjson.dumps({"OperatorIDs": operators})


def _price_requests(parties: Sequence[str], operators: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for provider in parties:
        yield provider, orjson.dumps({"ProviderID": provider, "OperatorIDs": operators})


def _operator_request(parties: Sequence[str], _operators: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    yield parties[0], orjson.dumps({"OperatorID": parties[0]})


#: The datasets whose pull has to name operators (OICP EMP-02).
BY_OPERATORS = frozenset({DatasetKind.PRICING_PRODUCT, DatasetKind.EVSE_PRICING})

PULL_SPECS: Mapping[DatasetKind, PullSpec] = MappingProxyType(
    {
        DatasetKind.EVSE_DATA: PullSpec(OPERATION_BY_NAME["PullEvseData"], EvseDataPage, None, _provider_request),
        DatasetKind.EVSE_STATUS: PullSpec(
            OPERATION_BY_NAME["PullEvseStatus"], EvseStatuses, OperatorEvseStatus, _provider_request
        ),
        DatasetKind.PRICING_PRODUCT: PullSpec(
            OPERATION_BY_NAME["PullPricingProductData"], PricingProducts, PricingProductData, _product_requests
        ),
        DatasetKind.EVSE_PRICING: PullSpec(
            OPERATION_BY_NAME["PullEVSEPricing"], EvsePricings, OperatorEvsePricing, _price_requests
        ),
        DatasetKind.AUTHENTICATION: PullSpec(
            OPERATION_BY_NAME["PullAuthenticationData"],
            AuthenticationData,
            ProviderAuthenticationData,
            _operator_request,
        ),
    }
)


def evse_data_request(
    provider: str, since: float | None, *, countries: Sequence[str] = (), operators: Sequence[str] = ()
) -> bytes:
    """Return a request for EVSE data.

    Args:
        provider: who asks.
        since: the watermark, for what has changed since then; None: for everything.
        countries: only of these.
        operators: only of these.
    """
    request: dict[str, object] = {"ProviderID": provider, "GeoCoordinatesResponseFormat": "Google"}
    if countries:
        request["CountryCodes"] = countries
    if operators:
        request["OperatorIds"] = operators
    if since is not None:
        request["LastCall"] = format_timestamp(since - CLOCK_SKEW_SECONDS)
    return orjson.dumps(request)


async def fetch_pages(call: PullCall, provider: str, body: bytes) -> AsyncIterator[OicpReply]:
    """Request EVSE data page after page; a page that does not say whether it is the last one is the last one (P3)."""
    operation = PULL_SPECS[DatasetKind.EVSE_DATA].operation
    for page_number in range(_MAX_PAGES):
        reply = await call(operation, provider, body, {"page": str(page_number), "size": str(PAGE_SIZE)})
        yield reply
        page = reply.message
        if not isinstance(page, EvseDataPage) or page.is_last or not read_records(EvseDataPage, reply.body).raw_records:
            return


def check_reply(name: str, operation: Operation, reply: OicpReply) -> OicpReply:
    """Return the reply to a pull; raise PeerRejected for a code of failure, whatever else the response contains."""
    status = getattr(reply.message, "status_code", None)
    code = str(status.code) if isinstance(status, StatusCode) else StatusCodeValue.SUCCESS
    if code != StatusCodeValue.SUCCESS or not isinstance(reply.message, operation.response):
        raise PeerRejected(name, f"refused {operation.name} with {code}", http_status=reply.http_status, code=code)
    return reply


def is_not_offered(error: PeerRejected) -> bool:
    """Whether a refusal means that the operation is not offered, now or in a minute."""
    return error.code in NOT_OFFERED_CODES or error.http_status in NOT_OFFERED_STATUSES
