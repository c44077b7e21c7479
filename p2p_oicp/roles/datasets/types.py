"""What differs between the five datasets: keys, groups, parties, JSON around the records, columns of the index.

`DATASET_TYPES` has one `DatasetType` for each dataset. All other modules treat the datasets alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import msgspec
import orjson

from p2p_oicp.oicp import (
    AnyRecord,
    AuthenticationDataRecord,
    EvcoID,
    EvseDataLike,
    EvsePricing,
    EvseStatusRecord,
    GeoCoordinates,
    Identification,
    Message,
    OperatorID,
    PricingProductDataRecord,
    ProviderID,
    RecordStream,
)
from p2p_oicp.oicp.enums import StatusCodeValue
from p2p_oicp.oicp.geo import cell_of, parse_position
from p2p_oicp.oicp.message import split_members
from p2p_oicp.oicp.operations import OPERATION_BY_NAME, Operation, Party
from p2p_oicp.peers import Peer
from p2p_oicp.storage.datasets.models import (
    ALL_PROVIDERS,
    DatasetKind,
    DatasetRecord,
    EvseIndexRow,
    RecordGroup,
    TokenIndexRow,
)

#: A party that a record belongs to.
OwningParty: TypeAlias = OperatorID | ProviderID

# Members that only pulled EVSE data has (OICP 2.3, PullEvseDataRecordType). The node that answers a pull adds its own.
_PULL_ONLY_MEMBERS = ("deltaType", "lastUpdate", "OperatorID", "OperatorId", "OperatorName")
_ID_MEMBERS = ("OperatorID", "ProviderID")


#: So many records are named in a refusal.
MAX_LISTED_NAMES = 10


def name_of(record: AnyRecord | None) -> str:
    """Return what people call a record: its EvseID or ProductID, as it was written."""
    name = getattr(record, "evse_id", None) or getattr(record, "product_id", None)
    return str(name) if name else "an identification"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetType:
    """The description of one dataset; it is also the codec by which replication writes pushes.

    Attributes:
        dataset: the dataset.
        name: its name in logs and in names of workers.
        operation: the operation that pushes it.
        publisher: the role that owns it.
        wrapper_names: names of the object around the records of a push; empty: there is none. The first name is
            written, the others are read as well.
        list_names: names of the list of records; the first one is written.
        build_record: makes the stored record of its bytes, its message (or view) and its group.
        parties_of: returns the parties that a record belongs to; None: an id that is not canonical.
        foreign_party_code: the code that refuses records of parties that the sender does not answer for.
        wrapper_is_versioned: a changed wrapper has to be pushed, even if no record has changed.
        has_audiences: a record is for one provider or for all, and peers get only those for them.
        allows_empty_push: a push may have no records (OICP 2.3: 0…n).

    """

    dataset: DatasetKind
    name: str
    operation: Operation
    publisher: Party
    wrapper_names: tuple[str, ...]
    list_names: tuple[str, ...]
    build_record: Callable[[bytes, Any, RecordGroup], DatasetRecord]
    parties_of: Callable[[Any], Sequence[OwningParty | None]]
    foreign_party_code: StatusCodeValue = StatusCodeValue.INCONSISTENT_EVSE_ID
    wrapper_is_versioned: bool = False
    has_audiences: bool = False
    allows_empty_push: bool = True

    @property
    def is_of_evses(self) -> bool:
        """Whether each record is of an EVSE, and its key begins with that of the EVSE."""
        return self.dataset in {DatasetKind.EVSE_DATA, DatasetKind.EVSE_STATUS, DatasetKind.EVSE_PRICING}

    def audiences_of(self, peer: Peer) -> Sequence[str] | None:
        """Return the audiences that a peer belongs to; None: it may see everything, as a clearing house does."""
        if not self.has_audiences or peer.default_route:
            return None
        return [ALL_PROVIDERS, *(provider.key for provider in peer.providers)]

    def names_of(self, stream: RecordStream[Message] | None, group: RecordGroup, keys: Sequence[str]) -> list[str]:
        """Return the first of the records with these keys, as their sender wrote them, in each spelling (RULES I11).

        A key that is there twice is looked for twice.
        """
        occurrences, found = Counter(keys), dict[str, list[str]]()
        for index, raw in enumerate(stream.raw_records if stream else ()):
            record = stream.fast_view(raw) or stream.read_at(index).record if stream else None
            key = self.build_record(raw, record, group).key if record is not None else ""
            if key not in occurrences or (len(found) == MAX_LISTED_NAMES and key not in found):
                continue
            found.setdefault(key, []).append(name_of(record))
            is_complete = len(found) == min(len(occurrences), MAX_LISTED_NAMES)
            if is_complete and all(len(names) >= occurrences[key] for key, names in found.items()):
                break
        return [" = ".join(dict.fromkeys(names)) for names in found.values()]

    async def pushed_wrapper(self, wrapper: bytes) -> bytes:
        """Return the object around the records of a group as it is pushed: as it came."""
        return wrapper

    def push_body(self, wrapper: bytes, records: Sequence[bytes]) -> bytes:
        """Return the JSON of a push behind its first member, ActionType."""
        if not self.wrapper_names:
            return b'"%b":[%b]}' % (self.list_names[0].encode(), b",".join(records))
        return b'"%b":%b}' % (self.wrapper_names[0].encode(), self.wrap(wrapper, b",".join(records)))

    def wrap(self, wrapper: bytes, records: bytes) -> bytes:
        """Return the wrapper with the list of records as its last member; ``records`` are joined by commas."""
        separator = b"," if len(wrapper) > len(b"{}") else b""
        return b'%b%b"%b":[%b]}' % (wrapper[:-1], separator, self.list_names[0].encode(), records)

    def party_of(self, group: RecordGroup) -> OwningParty:
        """Return the party that publishes a group."""
        return ProviderID(group.party) if self.publisher is Party.EMP else OperatorID(group.party)

    def group_of_push(self, envelope: Message, party: str) -> RecordGroup:
        """Return the group of a push; ``party`` is the id of the sender in the path."""
        members = split_members(envelope.to_json())
        wrapper = next((bytes(members[name]) for name in self.wrapper_names if name in members), b"{}")
        return self.group_of_wrapper(wrapper, party)

    def group_of_wrapper(self, wrapper_json: bytes, party: str) -> RecordGroup:
        """Return the group of the object around records; ``party`` owns it if the object names no party."""
        members = {name: value for name, value in split_members(wrapper_json).items() if name not in self.list_names}
        wrapper = b"{%b}" % b",".join(b"%b:%b" % (orjson.dumps(name), bytes(value)) for name, value in members.items())
        values = {name: orjson.loads(bytes(members[name])) for name in _ID_MEMBERS if name in members}
        # Anything else is not an id; reading the object as a message says so.
        ids = {name: value for name, value in values.items() if isinstance(value, str)}
        if self.publisher is Party.EMP:
            provider = ProviderID(ids.get("ProviderID", party))
            return RecordGroup(provider.key, provider.text, wrapper)
        operator = OperatorID(ids.get("OperatorID", party))
        if self.dataset is not DatasetKind.PRICING_PRODUCT:
            return RecordGroup(operator.key, operator.text, wrapper)
        # Products are offered to one provider or to all: each offer is a group, so that a fullLoad replaces only it.
        audience = audience_key(ids.get("ProviderID", ALL_PROVIDERS))
        return RecordGroup(f"{operator.key}|{audience}", operator.text, wrapper, audience)


def audience_key(text: str) -> str:
    """Return the canonical form of a provider's id or of ``*``."""
    return ALL_PROVIDERS if text == ALL_PROVIDERS else ProviderID(text).key


def strip_pull_members(raw: bytes, record: EvseDataLike) -> bytes:
    """Return EVSE data without the members that only pulled EVSE data has; nearly always the same bytes."""
    # Only a pulled record has the attribute operator_id. In a pushed one, such members are extra ones.
    if (
        record.delta_type is None
        and record.last_update is None
        and not hasattr(record, "operator_id")
        and not (record.model_extra and record.model_extra.keys() & {*_PULL_ONLY_MEMBERS})
    ):
        return raw
    members = split_members(raw)
    for name in _PULL_ONLY_MEMBERS:
        members.pop(name, None)
    return msgspec.json.encode(members)


def evse_index_row(record: EvseDataLike, group_key: str) -> EvseIndexRow:
    """Return the columns by which EVSE data is searched."""
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


def geo_format_of(record: EvseDataLike) -> str:
    """Return the notation of all coordinates of a record; empty if they differ, or are not known."""
    evse = record.geo_coordinates
    other = record.geo_charging_point_entrance or evse
    if evse.google is not None and other.google is not None:  # nearly all are
        return "Google"
    if evse.decimal_degree is not None and other.decimal_degree is not None:
        return "DecimalDegree"
    if evse.degree_minute_seconds is not None and other.degree_minute_seconds is not None:
        return "DegreeMinuteSeconds"
    return ""


def _parse_coordinates(coordinates: GeoCoordinates) -> tuple[float | None, float | None]:
    """Return latitude and longitude in degrees."""
    # Nearly all coordinates are in Google's notation with a blank; all other forms are left to the parser.
    if coordinates.google is not None:
        latitude, separator, longitude = coordinates.google.coordinates.partition(" ")
        try:
            if separator:
                return float(latitude), float(longitude)
        except ValueError:
            pass
    position = parse_position(coordinates)
    return (float(position.latitude), float(position.longitude)) if position else (None, None)


def encode_multivalue(values: Sequence[str]) -> str:
    """Return values as one text, in which ``encode_multivalue([value])`` is found as a part."""
    return "\n{}\n".format("\n\n".join(values)) if values else ""


def identification_key(identification: Identification) -> str:
    """Return the key of an identification: its UID, or its contract with the kind of the identification."""
    uid = identification.uid
    if uid is not None:
        return f"uid:{uid.key}"
    for name in ("qr_code", "plug_and_charge", "remote"):
        variant = getattr(identification, name)
        if variant is not None:
            return f"{name}:{variant.evco_id.key}"
    return ""


def evco_ids(identification: Identification) -> list[EvcoID]:
    """Return all contracts of an identification."""
    variants = (identification.rfid, identification.qr_code, identification.plug_and_charge, identification.remote)
    candidates = (getattr(variant, "evco_id", None) for variant in variants)
    return [evco_id for evco_id in candidates if evco_id is not None]


def token_index_row(identification: Identification) -> TokenIndexRow:
    """Return the columns by which an identification is found."""
    uid, contracts = identification.uid, evco_ids(identification)
    expiry = identification.rfid.expiry_date if identification.rfid else None
    return TokenIndexRow(
        uid_key=uid.key if uid else None,
        evco_id_key=contracts[0].key if contracts else None,
        expires_at=expiry.timestamp() if expiry else None,
    )


def _status_record(raw: bytes, record: EvseStatusRecord, group: RecordGroup) -> DatasetRecord:
    status = str(record.evse_status)
    return DatasetRecord(record.evse_id.key, group.key, raw, status.lower(), status=status)


def _evse_record(raw: bytes, record: EvseDataLike, group: RecordGroup) -> DatasetRecord:
    return DatasetRecord(
        record.evse_id.key,
        group.key,
        strip_pull_members(raw, record),
        geo_format_of(record),
        evse_index_row(record, group.key),
    )


def _product_record(raw: bytes, record: PricingProductDataRecord, group: RecordGroup) -> DatasetRecord:
    return DatasetRecord(f"{group.key}|{record.product_id}", group.key, raw, group.audience)


def _evse_price_record(raw: bytes, record: EvsePricing, group: RecordGroup) -> DatasetRecord:
    return DatasetRecord(f"{record.evse_id.key}|{record.provider_id.key}", group.key, raw, record.provider_id.key)


def _identification_record(raw: bytes, record: AuthenticationDataRecord, group: RecordGroup) -> DatasetRecord:
    key = identification_key(record.identification)
    return DatasetRecord(key, group.key, raw, "", token_index_row(record.identification))


def _operator_parties(record: EvseDataLike | EvseStatusRecord | EvsePricing) -> Sequence[OwningParty | None]:
    return (record.evse_id.operator,)


def _provider_parties(record: AuthenticationDataRecord) -> Sequence[OwningParty | None]:
    return [evco_id.provider for evco_id in evco_ids(record.identification)]


def _no_parties(_record: AnyRecord) -> Sequence[OwningParty | None]:
    return ()


#: All datasets, in the order in which a peer is pulled.
DATASET_TYPES: Mapping[DatasetKind, DatasetType] = MappingProxyType(
    {
        dataset_type.dataset: dataset_type
        for dataset_type in (
            DatasetType(
                dataset=DatasetKind.EVSE_DATA,
                name=DatasetKind.EVSE_DATA.label,
                operation=OPERATION_BY_NAME["PushEvseData"],
                publisher=Party.CPO,
                wrapper_names=("OperatorEvseData", "OperatorEVSEData"),
                list_names=("EvseDataRecord",),
                build_record=_evse_record,
                parties_of=_operator_parties,
            ),
            DatasetType(
                dataset=DatasetKind.EVSE_STATUS,
                name=DatasetKind.EVSE_STATUS.label,
                operation=OPERATION_BY_NAME["PushEvseStatus"],
                publisher=Party.CPO,
                wrapper_names=("OperatorEvseStatus", "OperatorEVSEStatus"),
                list_names=("EvseStatusRecord", "EVSEStatusRecord"),
                build_record=_status_record,
                parties_of=_operator_parties,
            ),
            DatasetType(
                dataset=DatasetKind.PRICING_PRODUCT,
                name=DatasetKind.PRICING_PRODUCT.label,
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
                name=DatasetKind.EVSE_PRICING.label,
                operation=OPERATION_BY_NAME["PushEVSEPricing"],
                publisher=Party.CPO,
                wrapper_names=(),
                list_names=("EVSEPricing",),
                build_record=_evse_price_record,
                parties_of=_operator_parties,
                has_audiences=True,
                allows_empty_push=False,
            ),
            DatasetType(
                dataset=DatasetKind.AUTHENTICATION,
                name=DatasetKind.AUTHENTICATION.label,
                operation=OPERATION_BY_NAME["PushAuthenticationData"],
                publisher=Party.EMP,
                wrapper_names=("ProviderAuthenticationData",),
                list_names=("AuthenticationDataRecord",),
                build_record=_identification_record,
                parties_of=_provider_parties,
                foreign_party_code=StatusCodeValue.INCONSISTENT_EVCO_ID,
            ),
        )
    }
)
