"""Signed meter values of a CDR (GATEWAY 13.4): whole or not at all, for a cut signature proves nothing."""

from __future__ import annotations

import re
from typing import Any

from p2p_oicp.ocpi_mapping.losses import Losses
from p2p_oicp.oicp.enums import MeteringStatus

_MAX_VALUES, _MAX_VALUE, _MAX_KEY, _MAX_URL, _MAX_ENCODING = 10, 3000, 1000, 200, 50
_MAX_OCPI_VALUE, _MAX_OCPI_KEY, _MAX_OCPI_URL, _MAX_METHOD = 5000, 512, 512, 36
_ORDER = {MeteringStatus.START: 0, MeteringStatus.PROGRESS: 1, MeteringStatus.END: 2}
_WITH_VERSION = re.compile(r"(.*\S) ([0-9]{1,9})", re.ASCII)
_UNKNOWN_ENCODING = "unknown"


def to_signed_values(signed_data: dict[str, Any] | None, losses: Losses) -> dict[str, Any]:
    """Return SignedMeteringValues and CalibrationLawVerificationInfo of the signed data of a CDR."""
    if not signed_data:
        return {}
    values = _to_values(signed_data["signed_values"], losses)
    version = signed_data.get("encoding_method_version")
    encoding = signed_data["encoding_method"] + ("" if version is None else f" {version}")
    info = {
        "PublicKey": _whole(signed_data.get("public_key"), _MAX_KEY, "/signed_data/public_key", losses),
        "MeteringSignatureUrl": _whole(signed_data.get("url"), _MAX_URL, "/signed_data/url", losses),
        "MeteringSignatureEncodingFormat": _whole(encoding, _MAX_ENCODING, "/signed_data/encoding_method", losses),
    }
    info = {name: value for name, value in info.items() if value}
    members: dict[str, Any] = {"SignedMeteringValues": values} if values else {}
    return members | ({"CalibrationLawVerificationInfo": info} if info else {})


def _to_values(signed_values: list[dict[str, Any]], losses: Losses) -> list[dict[str, Any]]:
    """Return the values from start to end; of more than ten the first nine and the last."""
    values: list[tuple[MeteringStatus, str]] = []
    for position, value in enumerate(signed_values):
        place = f"/signed_data/signed_values/{position}"
        losses.add_members(value, place, ("plain_data",))
        if text := _whole(value["signed_data"], _MAX_VALUE, f"{place}/signed_data", losses):
            values.append((_status_of(value["nature"]), text))
    values.sort(key=lambda value: _ORDER[value[0]])
    if len(values) > _MAX_VALUES:
        losses.add("/signed_data/signed_values", "too-many", f"has {len(values)} values, OICP has {_MAX_VALUES}")
        values = [*values[: _MAX_VALUES - 1], values[-1]]
    return [{"SignedMeteringValue": text, "MeteringStatus": str(status)} for status, text in values]


def _status_of(nature: str) -> MeteringStatus:
    match nature.strip().lower():
        case "start":
            return MeteringStatus.START
        case "end":
            return MeteringStatus.END
    return MeteringStatus.PROGRESS


def _whole(text: str | None, maximum: int, pointer: str, losses: Losses) -> str | None:
    """Return a text that fits, whole; None, and a loss, for one that is too long."""
    if text and len(text) > maximum:
        losses.add(pointer, "too-long", f"has {len(text)} characters, and at most {maximum} fit: it is left out")
        return None
    return text


def from_signed_values(record: dict[str, Any], losses: Losses) -> dict[str, Any]:
    """Return the signed data of a record; OICP has no plain data beside it."""
    values = []
    for position, value in enumerate(record.get("SignedMeteringValues") or []):
        pointer = f"/SignedMeteringValues/{position}/SignedMeteringValue"
        if text := _whole(value.get("SignedMeteringValue"), _MAX_OCPI_VALUE, pointer, losses):
            nature = value.get("MeteringStatus") or str(MeteringStatus.PROGRESS)
            values.append({"nature": nature, "plain_data": "", "signed_data": text})
    if not values:
        return {}
    place = "/CalibrationLawVerificationInfo"
    info = record.get("CalibrationLawVerificationInfo") or {}
    losses.add_members(info, place, ("CalibrationLawCertificateID", "SignedMeteringValuesVerificationInstruction"))
    members = {
        **_encoding(info.get("MeteringSignatureEncodingFormat"), losses),
        "public_key": _whole(info.get("PublicKey"), _MAX_OCPI_KEY, f"{place}/PublicKey", losses),
        "signed_values": values,
        "url": _whole(info.get("MeteringSignatureUrl"), _MAX_OCPI_URL, f"{place}/MeteringSignatureUrl", losses),
    }
    return {"signed_data": {name: value for name, value in members.items() if value is not None}}


def _encoding(text: str | None, losses: Losses) -> dict[str, Any]:
    """Return method and version of an encoding: the number behind the last blank is the version."""
    match = _WITH_VERSION.fullmatch(text or "")
    method = match[1] if match else text or _UNKNOWN_ENCODING
    pointer = "/CalibrationLawVerificationInfo/MeteringSignatureEncodingFormat"
    members: dict[str, Any] = {"encoding_method": losses.cut(method, _MAX_METHOD, pointer)}
    return members | ({"encoding_method_version": int(match[2])} if match else {})
