"""Field types: what one member may hold, declared as an annotation (``Annotated[str, TextField(50)]``).

A field type defines two forms:

- ``schema()``, the strict form. Pydantic's core checks it in native code, and the JSON Schema is generated from it.
- ``read()``, the lenient form, used only after the strict one failed. It returns what can be parsed and reports a
  finding for each deviation from the documents.

Invariant: what passes ``schema()`` has no findings in ``read()`` and the same value; a test holds the two together.

The module also has the code lists of ISO 3166-1 (alpha-3) and ISO 4217, with withdrawn and customary codes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema
from typing_extensions import override

from p2p_oicp.oicp.findings import Finding, Severity


class Unparsable:
    """The type of ``UNPARSABLE``, which marks a value that cannot be parsed at all."""


UNPARSABLE: Final = Unparsable()
# A finding travels in an answer and stands in one log line; a received value may be megabytes.
_MAX_VALUE_LENGTH = 80

#: Codes of limits that real signed meter values exceed: errors in ``validate``, known defects to a receiver (RULES D3).
SOFT_LENGTH_LIMIT: Final = "longer-than-foreseen"
SOFT_COUNT_LIMIT: Final = "more-than-foreseen"


def format_value(value: object) -> str:
    """Return a value as a finding quotes it, cut to 80 characters."""
    text = value if isinstance(value, str) else repr(value)
    return f"'{text}'" if len(text) <= _MAX_VALUE_LENGTH else f"'{text[:_MAX_VALUE_LENGTH]}…'"


@cache
def enum_values(options: type[StrEnum]) -> frozenset[str]:
    """Return the wire values of an enumeration."""
    return frozenset(map(str, options))


def json_type(value: object) -> str:
    """Return the JSON type of a decoded value, with its article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, str):
        return "a string"
    if isinstance(value, dict):
        return "an object"
    return "an array" if isinstance(value, list) else "a number"


@dataclass(slots=True)
class FindingCollector:
    """Collects the findings of one lenient parse."""

    findings: list[Finding] = field(default_factory=list)
    #: Set when no message is left: a wrong JSON type, or a mandatory member that is missing.
    fatal: bool = False
    #: Set inside a record of a pulled page, where older data has nulls in mandatory members (CONFORMANCE D38).
    pulled: bool = False

    def error(self, pointer: str, code: str, message: str) -> None:
        """Report a violation of the documents; the value could be parsed."""
        self.findings.append(Finding(Severity.ERROR, pointer, code, message))

    def warn(self, pointer: str, code: str, message: str) -> None:
        """Report a deviation that is accepted."""
        self.findings.append(Finding(Severity.WARNING, pointer, code, message))

    def known_defect(self, pointer: str, code: str, message: str) -> None:
        """Report a value where the protocol is narrower than real hardware."""
        self.findings.append(Finding(Severity.KNOWN_DEFECT, pointer, code, message))

    def unparsable(self, pointer: str, code: str, message: str) -> Unparsable:
        """Report a value that cannot be parsed; without it there may be no message."""
        self.fatal = True
        self.error(pointer, code, message)
        return UNPARSABLE

    def fail(self) -> None:
        """Record that no message is left."""
        self.fatal = True

    def wrong_type(self, value: object, pointer: str, expected: str, *, secret: bool = False) -> Unparsable:
        """Report a value of another JSON type than expected; a secret value is not quoted."""
        actual = json_type(value) if secret else f"{json_type(value)} ({format_value(value)})"
        return self.unparsable(pointer, "wrong-type", f"must be {expected}, not {actual}")


class FieldType:
    """Base of all field types."""

    def schema(self) -> CoreSchema:
        """Return the strict form, for pydantic's core."""
        raise NotImplementedError

    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        """Parse a value leniently; never raises.

        Args:
            value: The decoded JSON value; never None, because null is the same as absent.
            pointer: Where the value stands in the message.
            collector: Receives a finding for each deviation.

        Returns:
            The Python value, or UNPARSABLE.
        """
        raise NotImplementedError

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        return self.schema()


@dataclass(frozen=True)
class TextField(FieldType):
    """A text of ``minimum`` to ``maximum`` characters (code points): the column "Field Length" of the documents."""

    maximum: int | None = None
    minimum: int = 0
    #: The value is not quoted in findings: a PIN, for instance.
    secret: bool = False
    #: Real values exceed the limit, and a cut one would be useless (RULES D3).
    soft_limit: bool = False

    @override
    def schema(self) -> CoreSchema:
        return core_schema.str_schema(strict=True, min_length=self.minimum or None, max_length=self.maximum)

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        if not isinstance(value, str):
            return collector.wrong_type(value, pointer, "a string", secret=self.secret)
        if self.maximum is not None and len(value) > self.maximum:
            code = SOFT_LENGTH_LIMIT if self.soft_limit else "too-long"
            collector.error(pointer, code, f"has {len(value)} characters, at most {self.maximum} are allowed")
        elif len(value) < self.minimum:
            collector.error(pointer, "too-short", f"has {len(value)} characters, at least {self.minimum} are needed")
        return value


@dataclass(frozen=True)
class PatternField(FieldType):
    """A text that matches a regular expression as a whole."""

    pattern: str
    #: A sentence about the expected form, with an example.
    format_hint: str
    #: A wider expression, accepted with a warning.
    lenient_pattern: str | None = None
    secret: bool = False

    @override
    def schema(self) -> CoreSchema:
        return core_schema.str_schema(strict=True, pattern=f"^(?:{self.pattern})$")

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        if not isinstance(value, str):
            return collector.wrong_type(value, pointer, "a string", secret=self.secret)
        # fullmatch and ASCII: "$" accepts a trailing newline, and "\d" the digits of other scripts.
        if not re.fullmatch(self.pattern, value, re.ASCII):
            text = "the value" if self.secret else format_value(value)
            if self.lenient_pattern and re.fullmatch(self.lenient_pattern, value, re.ASCII):
                collector.warn(pointer, "inexact-form", f"{text} is read, but {self.format_hint}")
            else:
                collector.error(pointer, "malformed", f"{text} cannot be read: {self.format_hint}")
        return value


@dataclass(frozen=True)
class OpenEnumField(FieldType):
    """An open enumeration: an unknown text is kept and reported."""

    options: type[StrEnum]
    #: Spellings of other documents of OICP, accepted without a finding.
    alternatives: tuple[str, ...] = ()
    accepted_with_warning: tuple[str, ...] = ()
    #: An unknown text is a known defect, since hardware may be newer than the list (RULES D4).
    extensible: bool = False
    #: JSON booleans are read as their text (RULES T3).
    accept_booleans: bool = False

    @override
    def schema(self) -> CoreSchema:
        return core_schema.literal_schema([*map(str, self.options), *self.alternatives])

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        if self.accept_booleans and isinstance(value, bool):
            collector.warn(
                pointer, "boolean-for-text", f"must be a string, so {str(value).lower()} is read as its text"
            )
            return str(value).lower()
        if not isinstance(value, str):
            return collector.wrong_type(value, pointer, "a string")
        if value in enum_values(self.options) or value in self.alternatives:
            return value
        if value in self.accepted_with_warning:
            collector.warn(
                pointer,
                "inexact-value",
                f"{format_value(value)} is read, but {self._format_options()} are the documents' values",
            )
        elif self.extensible and self._may_be_newer_value(value):
            collector.known_defect(
                pointer,
                "newer-than-the-list",
                f"{format_value(value)} is kept, though OICP 2.3 lists {self._format_options()}",
            )
        else:
            collector.error(pointer, "unknown-value", f"{format_value(value)} is none of {self._format_options()}")
        return value

    def _may_be_newer_value(self, value: str) -> bool:
        """Whether a text may name new hardware, and is no misspelling of a listed value."""
        return bool(value) and value != "Unspecified" and value.casefold() not in map(str.casefold, self.options)

    def _format_options(self) -> str:
        return ", ".join(f"'{option}'" for option in self.options)


@dataclass(frozen=True)
class BooleanField(FieldType):
    """A JSON boolean."""

    @override
    def schema(self) -> CoreSchema:
        return core_schema.bool_schema(strict=True)

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        return value if isinstance(value, bool) else collector.wrong_type(value, pointer, "a boolean")


@dataclass(frozen=True)
class StatusCodeField(FieldType):
    """A status code: three digits as a string. A number is read, an unknown code is kept (OICP 2.3, CodeType)."""

    codes: type[StrEnum]

    @override
    def schema(self) -> CoreSchema:
        return core_schema.literal_schema([*map(str, self.codes)])

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        if isinstance(value, int) and not isinstance(value, bool):
            collector.error(pointer, "number-for-text", f"must be a string such as '000', not the number {value}")
            return f"{value:03}"
        if not isinstance(value, str):
            return collector.wrong_type(value, pointer, "a string")
        if value not in enum_values(self.codes):
            collector.warn(
                pointer,
                "unknown-status-code",
                f"{format_value(value)} is no status code of OICP 2.3, such as '000' or '022'",
            )
        return value

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "examples": [str(code) for code in self.codes]}


@dataclass(frozen=True)
class LiteralField(FieldType):
    """A constant text that discriminates between messages, such as the ``Type`` of a charging notification."""

    expected: StrEnum

    @override
    def schema(self) -> CoreSchema:
        return core_schema.literal_schema([self.expected])

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        if value != self.expected or not isinstance(value, str):
            return collector.unparsable(
                pointer, "unknown-value", f"must be '{self.expected}' here, not {format_value(value)}"
            )
        return self.expected


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


COUNTRIES = _codes(
    """
    ABW AFG AGO AIA ALA ALB AND ARE ARG ARM ASM ATA ATF ATG AUS AUT AZE BDI BEL BEN BES BFA BGD BGR BHR BHS BIH
    BLM BLR BLZ BMU BOL BRA BRB BRN BTN BVT BWA CAF CAN CCK CHE CHL CHN CIV CMR COD COG COK COL COM CPV CRI CUB
    CUW CXR CYM CYP CZE DEU DJI DMA DNK DOM DZA ECU EGY ERI ESH ESP EST ETH FIN FJI FLK FRA FRO FSM GAB GBR GEO
    GGY GHA GIB GIN GLP GMB GNB GNQ GRC GRD GRL GTM GUF GUM GUY HKG HMD HND HRV HTI HUN IDN IMN IND IOT IRL IRN
    IRQ ISL ISR ITA JAM JEY JOR JPN KAZ KEN KGZ KHM KIR KNA KOR KWT LAO LBN LBR LBY LCA LIE LKA LSO LTU LUX LVA
    MAC MAF MAR MCO MDA MDG MDV MEX MHL MKD MLI MLT MMR MNE MNG MNP MOZ MRT MSR MTQ MUS MWI MYS MYT NAM NCL NER
    NFK NGA NIC NIU NLD NOR NPL NRU NZL OMN PAK PAN PCN PER PHL PLW PNG POL PRI PRK PRT PRY PSE PYF QAT REU ROU
    RUS RWA SAU SDN SEN SGP SGS SHN SJM SLB SLE SLV SMR SOM SPM SRB SSD STP SUR SVK SVN SWE SWZ SXM SYC SYR TCA
    TCD TGO THA TJK TKL TKM TLS TON TTO TUN TUR TUV TWN TZA UGA UKR UMI URY USA UZB VAT VCT VEN VGB VIR VNM VUT
    WLF WSM YEM ZAF ZMB ZWE
    """
)
#: Kosovo's customary code, and codes that were withdrawn since charging stations exist.
NONSTANDARD_COUNTRIES = frozenset({"XKX", "ANT", "SCG", "YUG", "ROM", "ZAR", "TMP"})

CURRENCIES = _codes(
    """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE
    CHF CHW CLF CLP CNY COP COU CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF
    GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR
    LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN
    PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS
    TMT TND TOP TRY TTD TWD TZS UAH UGX USD USN UYI UYU UYW UZS VED VES VND VUV WST XAF XAG XAU XBA XBB XBC XBD
    XCD XCG XDR XOF XPD XPF XPT XSU XTS XUA YER ZAR ZMW ZWG BGN
    """
)
WITHDRAWN_CURRENCIES = _codes(
    """
    ADP ANG ATS BEF BYR CSK CUC CYP DDM DEM ECS EEK ESP FIM FRF GHC GRD HRK IEP ITL LTL LUF LVL MGF MRO MTL MZM
    NLG PTE ROL RUR SDD SIT SKK SLL SRG STD TMM TRL UAK VEB VEF XEU YUM ZMK ZWL
    """
)


@dataclass(frozen=True)
class CodeListField(FieldType):
    """A code of three capital letters; lower-case, withdrawn and customary codes are accepted with a warning."""

    standard: str
    codes: frozenset[str]
    nonstandard_codes: frozenset[str]

    @override
    def schema(self) -> CoreSchema:
        return core_schema.literal_schema(sorted(self.codes))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        # The pattern alone: the list would stand in the schema of each message, and grows with the standard.
        return {"type": "string", "pattern": "^[A-Z]{3}$", "description": f"A code of {self.standard}."}

    @override
    def read(self, value: object, pointer: str, collector: FindingCollector) -> object:
        if not isinstance(value, str):
            return collector.wrong_type(value, pointer, "a string")
        if value in self.codes:
            return value
        if value.upper() in self.codes or value.upper() in self.nonstandard_codes:
            collector.warn(
                pointer, "inexact-code", f"{format_value(value)} is read, but is no current code of {self.standard}"
            )
        else:
            collector.error(
                pointer, "unknown-code", f"{format_value(value)} is no code of {self.standard} (three capital letters)"
            )
        return value


COUNTRY = CodeListField("ISO 3166-1 alpha-3", COUNTRIES, NONSTANDARD_COUNTRIES)
CURRENCY = CodeListField("ISO 4217", CURRENCIES, WITHDRAWN_CURRENCIES)
