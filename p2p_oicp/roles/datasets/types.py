"""What pulls and authorizations search records by: a few columns beside the bytes.

What is special about each kind of state: its keys and groups, whose it is, how it stands on the wire.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import msgspec
import orjson

from p2p_oicp.oicp import (
    AnyRecord,
    AuthenticationDataRecord,
    EvcoID,
    EvseDataRecord,
    EvsePricing,
    EvseStatusRecord,
    GeoCoordinates,
    Identification,
    Message,
    OperatorID,
    PricingProductDataRecord,
    ProviderID,
    PullEvseDataRecord,
    RecordView,
)
from p2p_oicp.oicp.geo import parse_position
from p2p_oicp.oicp.message import split_members
from p2p_oicp.oicp.operations import OPERATION_BY_NAME, Operation, Party
from p2p_oicp.peers import Peer
from p2p_oicp.storage.datasets.geo_index import cell_of
from p2p_oicp.storage.datasets.models import (
    ALL_PROVIDERS,
    DatasetKind,
    DatasetRecord,
    EvseIndexRow,
    RecordGroup,
    TokenIndexRow,
)

# What a pull says about a record (OICP 2.3, PullEvseDataRecordType); the answering node says it anew.
_PULL_ONLY_MEMBERS = ("deltaType", "lastUpdate", "OperatorID", "OperatorId", "OperatorName")


def strip_pull_members(raw: bytes, record: EvseDataRecord | RecordView) -> bytes:
    """Return a record without what only pulled records have; nearly always these are the bytes as they came."""
    if record.delta_type is None and record.last_update is None and not _has_operator_members(record):
        return raw
    members = split_members(raw)
    for name in _PULL_ONLY_MEMBERS:
        members.pop(name, None)
    return msgspec.json.encode(members)


def _has_operator_members(record: EvseDataRecord | RecordView) -> bool:
    if isinstance(record, RecordView):
        return issubclass(record.model, PullEvseDataRecord)
    extra = record.model_extra
    return isinstance(record, PullEvseDataRecord) or bool(extra and extra.keys() & {*_PULL_ONLY_MEMBERS})


def evse_index_row(record: EvseDataRecord | RecordView, group_key: str) -> EvseIndexRow:
    """Return the columns of a charging spot."""
    operator = record.evse_id.operator
    latitude, longitude = _parse_coordinates(record.geo_coordinates)
    return EvseIndexRow(
        evse_key=record.evse_id.key,
        operator_key=operator.key if operator else "",
        group_key=group_key,
        country=str(record.address.country).upper(),
        latitude=latitude,
        longitude=longitude,
        geo_cell=None if latitude is None or longitude is None else cell_of(latitude, longitude),
        accessibility=str(record.accessibility or ""),
        calibration_law_data=str(record.calibration_law_data_availability or ""),
        authentication_modes=encode_multivalue(record.authentication_modes),
        renewable_energy=record.renewable_energy,
        hubject_compatible=record.is_hubject_compatible,
        open_24_hours=record.is_open_24_hours,
    )


def geo_format_of(record: EvseDataRecord) -> str:
    """Return the notation that all places of a record have, an empty text where there is no such one."""
    coordinates, entrance = record.geo_coordinates, record.geo_charging_point_entrance
    if coordinates.google is not None and (entrance is None or entrance.google is not None):
        return "Google"
    for member, name in (("decimal_degree", "DecimalDegree"), ("degree_minute_seconds", "DegreeMinuteSeconds")):
        if all(getattr(each, member) is not None for each in (coordinates, entrance) if each is not None):
            return name
    return ""


def _parse_coordinates(coordinates: GeoCoordinates) -> tuple[float | None, float | None]:
    """Return latitude and longitude; nearly all places are in Google's notation, with a blank."""
    if coordinates.google is not None:
        latitude, separator, longitude = coordinates.google.coordinates.partition(" ")
        try:
            if separator:
                return float(latitude), float(longitude)
        except ValueError:
            pass  # with a comma, or without a blank: read it the long way
    position = parse_position(coordinates)
    return (float(position.latitude), float(position.longitude)) if position else (None, None)


def encode_multivalue(values: Sequence[str]) -> str:
    """Return texts so that one of them is found as ``listed([one])``."""
    return "\n{}\n".format("\n\n".join(values)) if values else ""


def identification_key(identification: Identification) -> str:
    """Return what an identification is known by: its card, or its contract and how it is told."""
    uid = identification.uid
    if uid is not None:
        return f"uid:{uid.key}"
    for name in ("qr_code", "plug_and_charge", "remote"):
        variant = getattr(identification, name)
        if variant is not None:
            return f"{name}:{variant.evco_id.key}"
    return ""


def evco_ids(identification: Identification) -> list[EvcoID]:
    """Return every contract that an identification names."""
    variants = (identification.rfid, identification.qr_code, identification.plug_and_charge, identification.remote)
    candidates = (getattr(variant, "evco_id", None) for variant in variants)
    return [evco_id for evco_id in candidates if evco_id is not None]


def token_index_row(identification: Identification) -> TokenIndexRow:
    """Return the columns of an identification."""
    uid, contracts = identification.uid, evco_ids(identification)
    expiry = identification.rfid.expiry_date if identification.rfid else None
    return TokenIndexRow(
        uid_key=uid.key if uid else None,
        evco_id_key=contracts[0].key if contracts else None,
        expires_at=expiry.timestamp() if expiry else None,
    )


#: Inconsistent EvseID, inconsistent EvcoID (OICP 2.3, CodeType).
INCONSISTENT_EVSE_ID, INCONSISTENT_EVCO_ID = "018", "019"

OwningParty = OperatorID | ProviderID


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetType:
    """One kind of state (``delivery.StateKind``).

    ``around`` are the names of the object around the records (None: there is none), ``within`` those of the records;
    the first one is written, the others are also read. ``owners`` are the parties that a record belongs to.
    """

    dataset: DatasetKind
    operation: Operation
    publisher: Party
    wrapper_names: tuple[str, ...]
    list_names: tuple[str, ...]
    build_record: Callable[[bytes, AnyRecord, RecordGroup], DatasetRecord]
    parties_of: Callable[[AnyRecord], Sequence[OwningParty | None]]
    foreign_party_code: str = INCONSISTENT_EVSE_ID
    wrapper_is_versioned: bool = False
    has_audiences: bool = False

    @property
    def name(self) -> str:
        """What people call it."""
        return self.dataset.label

    def audiences_of(self, peer: Peer) -> Sequence[str] | None:
        """Return the audiences that this peer belongs to; None: it may see everything, as a clearing house does."""
        if not self.has_audiences or peer.default_route:
            return None
        return [ALL_PROVIDERS, *(provider.key for provider in peer.providers)]

    def push_body(self, wrapper: bytes, records: Sequence[bytes]) -> bytes:
        """Return a push's JSON from its second member to its end."""
        if not self.wrapper_names:
            return b'"%b":[%b]}' % (self.list_names[0].encode(), b",".join(records))
        return b'"%b":%b}' % (self.wrapper_names[0].encode(), self.wrap(wrapper, b",".join(records)))

    def wrap(self, wrapper: bytes, records: bytes) -> bytes:
        """Return the object around the records, with them."""
        separator = b"," if len(wrapper) > len(b"{}") else b""
        return b'%b%b"%b":[%b]}' % (wrapper[:-1], separator, self.list_names[0].encode(), records)

    def group_of_push(self, envelope: Message, party: str) -> RecordGroup:
        """Return the group that a push speaks of; ``party`` is the sender's id in the path."""
        members = split_members(envelope.to_json())
        wrapper = next((bytes(members[name]) for name in self.wrapper_names if name in members), b"{}")
        return self.group_of_wrapper(wrapper, party)

    def group_of_wrapper(self, wrapper_json: bytes, party: str) -> RecordGroup:
        """Return the group that the object around records speaks of."""
        members = {name: value for name, value in split_members(wrapper_json).items() if name not in self.list_names}
        wrapper = b"{%b}" % b",".join(b"%b:%b" % (orjson.dumps(name), bytes(value)) for name, value in members.items())
        ids = {name: orjson.loads(bytes(members[name])) for name in _ID_MEMBERS if name in members}
        if self.publisher is Party.EMP:
            provider = ProviderID(ids.get("ProviderID", party))
            return RecordGroup(provider.key, provider.text, wrapper)
        operator = OperatorID(ids.get("OperatorID", party))
        if self.dataset is not DatasetKind.PRICING_PRODUCT:
            return RecordGroup(operator.key, operator.text, wrapper)
        audience = audience_key(ids.get("ProviderID", ALL_PROVIDERS))
        return RecordGroup(f"{operator.key}|{audience}", operator.text, wrapper, audience)


_ID_MEMBERS = ("OperatorID", "ProviderID")


def audience_key(text: str) -> str:
    """Return the canonical form of a provider or ``*``."""
    return ALL_PROVIDERS if text == ALL_PROVIDERS else ProviderID(text).key


def _status_record(raw: bytes, record: AnyRecord, group: RecordGroup) -> DatasetRecord:
    status: EvseStatusRecord = record  # type: ignore[assignment]
    return DatasetRecord(status.evse_id.key, group.key, raw, str(status.evse_status).lower())


def _evse_record(raw: bytes, record: AnyRecord, group: RecordGroup) -> DatasetRecord:
    evse: EvseDataRecord = record  # type: ignore[assignment]
    return DatasetRecord(
        evse.evse_id.key,
        group.key,
        strip_pull_members(raw, evse),
        geo_format_of(evse),
        evse_index_row(evse, group.key),
    )


def _product_record(raw: bytes, record: AnyRecord, group: RecordGroup) -> DatasetRecord:
    product: PricingProductDataRecord = record  # type: ignore[assignment]
    return DatasetRecord(f"{group.key}|{product.product_id}", group.key, raw, group.audience)


def _evse_price_record(raw: bytes, record: AnyRecord, group: RecordGroup) -> DatasetRecord:
    price: EvsePricing = record  # type: ignore[assignment]
    return DatasetRecord(f"{price.evse_id.key}|{price.provider_id.key}", group.key, raw, price.provider_id.key)


def _identification_record(raw: bytes, record: AnyRecord, group: RecordGroup) -> DatasetRecord:
    authentication_record: AuthenticationDataRecord = record  # type: ignore[assignment]
    key = identification_key(authentication_record.identification)
    return DatasetRecord(key, group.key, raw, "", token_index_row(authentication_record.identification))


def _operator_parties(record: AnyRecord) -> Sequence[OwningParty | None]:
    evse: EvseDataRecord | EvseStatusRecord | EvsePricing = record  # type: ignore[assignment]
    return (evse.evse_id.operator,)


def _provider_parties(record: AnyRecord) -> Sequence[OwningParty | None]:
    authentication_record: AuthenticationDataRecord = record  # type: ignore[assignment]
    return [evco_id.provider for evco_id in evco_ids(authentication_record.identification)]


def _no_parties(_record: AnyRecord) -> Sequence[OwningParty | None]:
    return ()


DATASET_TYPES: Mapping[DatasetKind, DatasetType] = MappingProxyType(
    {
        kind.dataset: kind
        for kind in (
            DatasetType(
                dataset=DatasetKind.EVSE_DATA,
                operation=OPERATION_BY_NAME["PushEvseData"],
                publisher=Party.CPO,
                wrapper_names=("OperatorEvseData", "OperatorEVSEData"),
                list_names=("EvseDataRecord",),
                build_record=_evse_record,
                parties_of=_operator_parties,
            ),
            DatasetType(
                dataset=DatasetKind.EVSE_STATUS,
                operation=OPERATION_BY_NAME["PushEvseStatus"],
                publisher=Party.CPO,
                wrapper_names=("OperatorEvseStatus", "OperatorEVSEStatus"),
                list_names=("EvseStatusRecord", "EVSEStatusRecord"),
                build_record=_status_record,
                parties_of=_operator_parties,
            ),
            DatasetType(
                dataset=DatasetKind.PRICING_PRODUCT,
                operation=OPERATION_BY_NAME["PushPricingProductData"],
                publisher=Party.CPO,
                wrapper_names=("PricingProductData",),
                list_names=("PricingProductDataRecords",),
                build_record=_product_record,
                parties_of=_no_parties,
                wrapper_is_versioned=True,
                has_audiences=True,
            ),
            DatasetType(
                dataset=DatasetKind.EVSE_PRICING,
                operation=OPERATION_BY_NAME["PushEVSEPricing"],
                publisher=Party.CPO,
                wrapper_names=(),
                list_names=("EVSEPricing",),
                build_record=_evse_price_record,
                parties_of=_operator_parties,
                has_audiences=True,
            ),
            DatasetType(
                dataset=DatasetKind.AUTHENTICATION,
                operation=OPERATION_BY_NAME["PushAuthenticationData"],
                publisher=Party.EMP,
                wrapper_names=("ProviderAuthenticationData",),
                list_names=("AuthenticationDataRecord",),
                build_record=_identification_record,
                parties_of=_provider_parties,
                foreign_party_code=INCONSISTENT_EVCO_ID,
            ),
        )
    }
)
