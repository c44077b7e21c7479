"""The kinds of numbers and times: decimals that never were binary floats, times that keep their offset."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from decimal import Context, Decimal
from typing import Annotated

from pydantic import AwareDatetime, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema
from typing_extensions import override

from p2p_oicp.oicp.kinds import Kind, Notes, Unreadable, shown

#: Powers of ten and digits beyond which a number is refused, before a calculation with it costs memory or time.
_MAGNITUDE = 400
_DIGITS = 400
#: Arithmetic that neither rounds nor raises within this range.
EXACT = Context(prec=3 * (_MAGNITUDE + _DIGITS), traps=[])
#: Beyond these, a number is left to the tolerant reader.
_COMMON_LIMIT = 10**18
_COMMON_DIGITS = 36

_DECIMAL_TEXT = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_INSTANT = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,30})?(?:Z|[+-][0-9]{2}:[0-9]{2})"
_INSTANT_FORM = re.compile(_INSTANT, re.ASCII)


def places(number: Decimal) -> int:
    """Return how many decimal places a number needs: 10.500 needs one."""
    exponent = number.normalize(EXACT).as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _is_sane(number: Decimal) -> bool:
    return abs(number.adjusted()) <= _MAGNITUDE and len(number.as_tuple().digits) <= _DIGITS


@dataclass(frozen=True)
class Number(Kind):
    """A decimal number; ``decimals`` places at most, ``usual`` is the largest value that the documents foresee.

    ``whole``: one document says integer, the other number, and real values have fractions (RULES E3).
    """

    decimals: int | None = None
    whole: bool = False
    minimum: int | None = None
    usual: int | Decimal | None = None
    texts: bool = True

    @override
    def schema(self) -> CoreSchema:
        least = -_COMMON_LIMIT if self.minimum is None else self.minimum
        most = _COMMON_LIMIT if self.usual is None else self.usual
        number = core_schema.decimal_schema(
            strict=True,
            allow_inf_nan=False,
            decimal_places=0 if self.whole else self.decimals,
            max_digits=_COMMON_DIGITS,
            ge=Decimal(least),
            le=Decimal(most),
        )
        whole = core_schema.int_schema(strict=True, ge=least, le=int(most))
        return core_schema.union_schema(
            [core_schema.no_info_after_validator_function(Decimal, whole), number], mode="left_to_right"
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "number"} | ({} if self.minimum is None else {"minimum": self.minimum})

    def is_common(self, value: object) -> bool:
        """Whether a value is faultless at first sight, as nearly all are."""
        if not isinstance(value, Decimal) or self.decimals is not None or self.whole:
            return False
        least = -_COMMON_LIMIT if self.minimum is None else self.minimum
        most = _COMMON_LIMIT if self.usual is None else self.usual
        return least <= value <= most and value.adjusted() > -_COMMON_DIGITS and len(str(value)) <= _COMMON_DIGITS

    @override
    def read(self, value: object, at: str, notes: Notes) -> object:
        number = self._number(value, at, notes)
        if isinstance(number, Unreadable):
            return number
        if self.minimum is not None and number < self.minimum:
            notes.error(at, "too-small", f"{number} is less than {self.minimum}")
        elif self.usual is not None and number > self.usual:
            notes.defect(at, "beyond-the-documents", f"{number} is kept, though OICP 2.3 foresees at most {self.usual}")
        if self.whole and places(number):
            notes.defect(
                at, "fraction-for-integer", f"{number} is kept, though OICP 2.3 foresees {number:.0f}, an integer"
            )
        if self.decimals is not None and places(number) > self.decimals:
            found = places(number)
            notes.warn(at, "too-many-decimals", f"{number} has {found} decimals, at most {self.decimals} are foreseen")
        return number

    def _number(self, value: object, at: str, notes: Notes) -> Decimal | Unreadable:
        if isinstance(value, str) and self.texts and _DECIMAL_TEXT.fullmatch(value):
            notes.warn(at, "text-for-number", f"must be a number, so the string {shown(value)} is read as one")
            value = Decimal(value)
        if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
            return notes.wrong_type(value, at, "a number")
        number = Decimal(value)
        if not _is_sane(number):
            return notes.unreadable(at, "number-out-of-range", f"{shown(str(number))} is no amount that can be meant")
        return number


@dataclass(frozen=True)
class Whole(Kind):
    """An integer from ``minimum`` to ``maximum``; ``usual`` is the largest value that the documents foresee."""

    minimum: int | None = None
    maximum: int | None = None
    usual: int | None = None

    @override
    def schema(self) -> CoreSchema:
        return core_schema.int_schema(
            strict=True, ge=self.minimum, le=self.maximum if self.usual is None else self.usual
        )

    @override
    def read(self, value: object, at: str, notes: Notes) -> object:
        if isinstance(value, Decimal) and _is_sane(value) and value == value.to_integral_value(context=EXACT):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            return notes.wrong_type(value, at, "an integer")
        if self.minimum is not None and value < self.minimum:
            notes.error(at, "too-small", f"{value} is less than {self.minimum}")
        elif self.maximum is not None and value > self.maximum:
            notes.error(at, "too-large", f"{shown(value)} is more than {self.maximum}")
        elif self.usual is not None and value > self.usual:
            notes.defect(at, "beyond-the-documents", f"{value} is kept, though OICP 2.3 foresees at most {self.usual}")
        return value


@dataclass(frozen=True)
class InstantKind(Kind):
    """A date and time with its offset (OICP 2.3, 01 Communication Paradigms, Time zones)."""

    @override
    def schema(self) -> CoreSchema:
        text = core_schema.str_schema(strict=True, pattern=f"^{_INSTANT}$")
        return core_schema.union_schema(
            [
                core_schema.no_info_after_validator_function(datetime.fromisoformat, text),
                core_schema.datetime_schema(strict=True, tz_constraint="aware"),
            ],
            mode="left_to_right",
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "format": "date-time", "pattern": f"^{_INSTANT}$"}

    @override
    def read(self, value: object, at: str, notes: Notes) -> object:
        if not isinstance(value, str):
            return notes.wrong_type(value, at, "a date and time as a string")
        if _INSTANT_FORM.fullmatch(value):
            try:
                return datetime.fromisoformat(value)
            except ValueError as exc:
                return notes.unreadable(at, "no-such-time", f"{shown(value)} does not exist: {exc}")
        wanted = "2020-09-23T14:18:53+02:00, with seconds and offset"
        return notes.unreadable(at, "malformed-time", f"{shown(value)} is no date and time like {wanted}")


#: A time on the wire; the offset it came with is kept.
Instant = Annotated[AwareDatetime, InstantKind()]
#: Energy that was consumed, in kWh: Decimal(,3).
Energy = Annotated[Decimal, Number(decimals=3, minimum=0)]
#: A meter's value in kWh: Decimal(,3).
MeterValue = Annotated[Decimal, Number(decimals=3)]
