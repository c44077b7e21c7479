"""How each dataset is pulled: by which operation, with which requests, and what the responses are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import orjson

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
)
from p2p_oicp.oicp.operations import OPERATION_BY_NAME, Operation
from p2p_oicp.peers import Peer
from p2p_oicp.storage.datasets.models import DatasetKind

#: Returns the requests of a pull, for the data of some operators: the party that asks, and the body.
RequestFactory = Callable[[Peer, Sequence[str]], Iterator[tuple[str, bytes]]]


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
def _provider_request(local_peer: Peer, _operators: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    provider = local_peer.providers[0].text
    yield provider, orjson.dumps({"ProviderID": provider})


# Products and prices are offered to single providers: each of ours asks for its own.
def _product_requests(local_peer: Peer, operators: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for provider in local_peer.providers:
        yield provider.text, orjson.dumps({"OperatorIDs": operators})


def _price_requests(local_peer: Peer, operators: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for provider in local_peer.providers:
        yield provider.text, orjson.dumps({"ProviderID": provider.text, "OperatorIDs": operators})


def _operator_request(local_peer: Peer, _operators: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    operator = local_peer.operators[0].text
    yield operator, orjson.dumps({"OperatorID": operator})


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
