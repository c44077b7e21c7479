"""Field types of numbers and times: decimals that are never binary floats, times that keep their offset (RULES T11)."""

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

from p2p_oicp.oicp.field_types import FieldType, FindingCollector, Unparsable, format_value

#: A number beyond these is refused: 1e999999999 is eleven bytes on the wire and gigabytes when it is written out.
_MAX_EXPONENT = 400
_MAX_DIGITS = 400
#: Arithmetic that never raises, and does not round sums and products of numbers within the limits above.
EXACT_CONTEXT = Context(prec=3 * (_MAX_EXPONENT + _MAX_DIGITS), traps=[])
#: Beyond these, the strict form fails and the lenient parser decides. 10**18 fits into 64 bits.
_FAST_PATH_LIMIT = 10**18
_FAST_PATH_DIGITS = 36

_DECIMAL_TEXT = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_INSTANT_PATTERN = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,30})?(?:Z|[+-][0-9]{2}:[0-9]{2})"
_INSTANT_REGEX = re.compile(_INSTANT_PATTERN, re.ASCII)


def decimal_places(number: Decimal) -> int:
    """Return how many decimal places a number needs; 10.500 needs one."""
    exponent = number.normalize(EXACT_CONTEXT).as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _is_within_limits(number: Decimal) -> bool:
    return abs(number.adjusted()) <= _MAX_EXPONENT and len(number.as_tuple().digits) <= _MAX_DIGITS


@dataclass(frozen=True)
class DecimalField(FieldType):
    """A decimal number."""

    #: More decimal places are accepted with a warning.
    decimals: int | None = None
    #: One document says integer, another one number, and real values have fractions: a known defect (RULES E3).
    integer: bool = False
    minimum: int | None = None
    #: The largest documented value; real hardware exceeds it: a known defect (RULES D1, D2).
    documented_maximum: int | Decimal | None = None
    #: Numbers in quotes are accepted with a warning (D11).
    accept_strings: bool = True

    @override
    def schema(self) -> CoreSchema:
        lower = -_FAST_PATH_LIMIT if self.minimum is None else self.minimum
        upper = _FAST_PATH_LIMIT if self.documented_maximum is None else self.documented_maximum
        decimal_schema = core_schema.decimal_schema(
            strict=True,
            allow_inf_nan=False,
            decimal_places=0 if self.integer else self.decimals,
            max_digits=_FAST_PATH_DIGITS,
            ge=Decimal(lower),
            le=Decimal(upper),
        )
        integer_schema = core_schema.int_schema(strict=True, ge=lower, le=int(upper))
        # The JSON decoder returns integers as int and everything else as Decimal; the attribute is always a Decimal.
        return core_schema.union_schema(
            [core_schema.no_info_after_validator_function(Decimal, integer_schema), decimal_schema],
            mode="left_to_right",
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "number"} | ({} if self.minimum is None else {"minimum": self.minimum})

    def fits_fast_path(self, value: object) -> bool:
        """Whether ``read`` would certainly report nothing; for record views, which parse one value at a time."""
        if not isinstance(value, Decimal) or self.decimals is not None or self.integer:
            return False
        lower = -_FAST_PATH_LIMIT if self.minimum is None else self.minimum
        upper = _FAST_PATH_LIMIT if self.documented_maximum is None else self.documented_maximum
        return (
            lower <= value <= upper and value.adjusted() > -_FAST_PATH_DIGITS and len(str(value)) <= _FAST_PATH_DIGITS
        )

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        number = self._parse_number(value, pointer, collector)
        if isinstance(number, Unparsable):
            return number
        if self.minimum is not None and number < self.minimum:
            collector.error(pointer, "too-small", f"{number} is less than {self.minimum}")
        elif self.documented_maximum is not None and number > self.documented_maximum:
            collector.known_defect(
                pointer,
                "beyond-the-documents",
                f"{number} is kept, though OICP 2.3 foresees at most {self.documented_maximum}",
            )
        if self.integer and decimal_places(number):
            collector.known_defect(
                pointer, "fraction-for-integer", f"{number} is kept, though OICP 2.3 foresees {number:.0f}, an integer"
            )
        if self.decimals is not None and decimal_places(number) > self.decimals:
            count = decimal_places(number)
            collector.warn(
                pointer, "too-many-decimals", f"{number} has {count} decimals, at most {self.decimals} are foreseen"
            )
        return number

    def _parse_number(self, value: object, pointer: str, collector: FindingCollector) -> Decimal | Unparsable:
        if isinstance(value, str) and self.accept_strings and _DECIMAL_TEXT.fullmatch(value):
            collector.warn(
                pointer, "text-for-number", f"must be a number, so the string {format_value(value)} is read as one"
            )
            value = Decimal(value)
        # A Python bool is an int.
        if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
            return collector.wrong_type(value, pointer, "a number")
        number = Decimal(value)
        if not _is_within_limits(number):
            return collector.unparsable(
                pointer, "number-out-of-range", f"{format_value(str(number))} is beyond the numbers that are accepted"
            )
        return number


@dataclass(frozen=True)
class IntegerField(FieldType):
    """An integer from ``minimum`` to ``maximum``."""

    minimum: int | None = None
    maximum: int | None = None
    #: The largest documented value; real hardware exceeds it: a known defect (RULES D1, D2).
    documented_maximum: int | None = None

    @override
    def schema(self) -> CoreSchema:
        return core_schema.int_schema(
            strict=True,
            ge=self.minimum,
            le=self.maximum if self.documented_maximum is None else self.documented_maximum,
        )

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        # 16.0 is an integer. Order: the limits first, or an exponent of a billion would be computed.
        if (
            isinstance(value, Decimal)
            and _is_within_limits(value)
            and value == value.to_integral_value(context=EXACT_CONTEXT)
        ):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            return collector.wrong_type(value, pointer, "an integer")
        if self.minimum is not None and value < self.minimum:
            collector.error(pointer, "too-small", f"{value} is less than {self.minimum}")
        elif self.maximum is not None and value > self.maximum:
            collector.error(pointer, "too-large", f"{format_value(value)} is more than {self.maximum}")
        elif self.documented_maximum is not None and value > self.documented_maximum:
            collector.known_defect(
                pointer,
                "beyond-the-documents",
                f"{value} is kept, though OICP 2.3 foresees at most {self.documented_maximum}",
            )
        return value


@dataclass(frozen=True)
class DateTimeField(FieldType):
    """A date and time with its offset (OICP 2.3, 01 Communication Paradigms, Time zones)."""

    @override
    def schema(self) -> CoreSchema:
        # fromisoformat instead of pydantic's own parser: both forms must give the same value, and the lenient one has
        # no other parser. The second schema is for messages that are built in Python.
        text = core_schema.str_schema(strict=True, pattern=f"^{_INSTANT_PATTERN}$")
        return core_schema.union_schema(
            [
                core_schema.no_info_after_validator_function(datetime.fromisoformat, text),
                core_schema.datetime_schema(strict=True, tz_constraint="aware"),
            ],
            mode="left_to_right",
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "format": "date-time", "pattern": f"^{_INSTANT_PATTERN}$"}

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        if not isinstance(value, str):
            return collector.wrong_type(value, pointer, "a date and time as a string")
        if _INSTANT_REGEX.fullmatch(value):
            try:
                return datetime.fromisoformat(value)
            except ValueError as exc:
                return collector.unparsable(pointer, "no-such-time", f"{format_value(value)} does not exist: {exc}")
        expected = "2020-09-23T14:18:53+02:00, with seconds and offset"
        return collector.unparsable(
            pointer, "malformed-time", f"{format_value(value)} is no date and time like {expected}"
        )


#: A time on the wire; its received offset is kept.
Instant = Annotated[AwareDatetime, DateTimeField()]
#: Consumed energy in kWh: Decimal(,3).
Energy = Annotated[Decimal, DecimalField(decimals=3, minimum=0)]
#: A meter reading in kWh: Decimal(,3).
MeterValue = Annotated[Decimal, DecimalField(decimals=3)]
