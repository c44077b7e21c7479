"""The identifiers of OICP as value types: the received text, compared by its canonical key.

Separators, one leading ``+`` and letter case carry no meaning (OICP 2.3, 03 Data Types, Restricted Strings):
``DE*ABC`` and ``deabc`` are the same operator. Equality, hash and order all come from ``key`` (RULES I10); the text is
never rewritten (I11). A malformed identifier can be constructed, compared and written back: ``is_valid`` is false, and
parsing a message reports it (I13). ``identifier_problems`` says what is wrong with it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, ClassVar, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


def _without_separators(text: str) -> str:
    return text.removeprefix("+").replace("*", "").replace("-", "").replace("|", "").upper()


class Identifier:
    """Base of all identifiers; construction never raises."""

    __slots__ = ("_key", "text")

    text: str
    _key: str | None  # computed on first use: most identifiers of a message are never compared

    #: The documented expression.
    pattern: ClassVar[str] = r"(?!)"
    #: A wider expression, accepted with a warning; None: only ``pattern``.
    lenient_pattern: ClassVar[str | None] = None
    #: A valid identifier, for findings and schemas.
    example: ClassVar[str]
    #: How many of them messages share: those of companies and stations come again and again, and a shared one has its
    #: canonical form already.
    shared: ClassVar[int] = 0
    _lenient_regex: ClassVar[re.Pattern[str]]
    _strict_regex: ClassVar[re.Pattern[str]]

    def __init_subclass__(cls) -> None:
        cls._strict_regex = re.compile(cls.pattern, re.ASCII)
        cls._lenient_regex = re.compile(cls.lenient_pattern or cls.pattern, re.ASCII)

    def __init__(self, text: str) -> None:
        _set_text(self, text)
        _set_key(self, None)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: {name} cannot be set to {value!r}")

    @staticmethod
    def _canonical(text: str) -> str:
        return _without_separators(text)

    @property
    def key(self) -> str:
        """The canonical form, for lookups and comparison; never written on the wire (RULES I11)."""
        key = self._key
        if key is None:
            key = self._canonical(self.text)
            _set_key(self, key)
        return key

    @property
    def is_valid(self) -> bool:
        """Whether the text is accepted as such an identifier, perhaps with a warning."""
        return self._lenient_regex.fullmatch(self.text) is not None

    @property
    def is_exact(self) -> bool:
        """Whether the text has the documented form."""
        return self._strict_regex.fullmatch(self.text) is not None

    @property
    def is_lower_case(self) -> bool:
        """Whether only its letter case differs from the documented form (RULES I8)."""
        # ASCII: some other characters have an upper case within it.
        text = self.text
        return not self.is_exact and text.isascii() and self._strict_regex.fullmatch(text.upper()) is not None

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.text!r})"

    def __eq__(self, other: object) -> bool:
        if self.__class__ is not other.__class__:
            return NotImplemented
        return self.key == other.key

    def __lt__(self, other: Self) -> bool:
        if self.__class__ is not other.__class__:
            return NotImplemented
        return self.key < other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        return type(self), (self.text,)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        # pydantic-core matches with Rust's regex, where "$" is the end of the text and never before a newline.
        text = core_schema.str_schema(strict=True, pattern=f"^(?:{cls.pattern})$")
        make = lru_cache(maxsize=cls.shared)(cls) if cls.shared else cls
        return core_schema.union_schema(
            [core_schema.no_info_after_validator_function(make, text), core_schema.is_instance_schema(cls)],
            mode="left_to_right",
            serialization=core_schema.to_string_ser_schema(),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "pattern": f"^(?:{cls.pattern})$", "examples": [cls.example]}


# The slots are written past __setattr__, which makes identifiers immutable. Through object.__setattr__ it costs more,
# and a push of 10,000 records constructs many thousands.
_set_text = Identifier.__dict__["text"].__set__
_set_key = Identifier.__dict__["_key"].__set__


class CompanyIdentifier(Identifier):
    """Base of identifiers that begin with a country and a company, by the rules of ISO or of DIN.

    ``lenient_pattern`` marks that beginning with a group that is named after the standard.
    """

    __slots__ = ()

    def _company(self) -> tuple[str, str] | None:
        """Return the standard, and the received text of country and company; None if malformed."""
        match = self._lenient_regex.fullmatch(self.text)
        return (match.lastgroup, match[match.lastgroup]) if match and match.lastgroup else None

    @property
    def standard(self) -> str | None:
        """``ISO`` or ``DIN``; None if malformed. A text that both allow is ISO (RULES I5)."""
        company = self._company()
        return company[0] if company else None

    @property
    def country(self) -> str | None:
        """The ISO 3166-1 alpha-2 code, or the dialling code of a DIN operator; None if malformed."""
        company = self._company()
        if company is None:
            return None
        text = company[1]
        return text[:2].upper() if text[0].isalpha() else text.removeprefix("+").partition("*")[0]


class OperatorID(CompanyIdentifier):
    """A charge point operator (OICP 2.3, OperatorIDType): ISO ``DE*ABC`` or DIN ``+49*536``."""

    __slots__ = ()
    pattern = r"[A-Za-z]{2}\*?[A-Za-z0-9]{3}|\+?[0-9]{1,3}\*[0-9]{3}"
    lenient_pattern = r"(?P<ISO>[A-Za-z]{2}\*?[A-Za-z0-9]{3})|(?P<DIN>\+?[0-9]{1,3}\*[0-9]{3})"
    example = "DE*ABC"
    shared = 1024


class ProviderID(CompanyIdentifier):
    """An e-mobility provider (OICP 2.3, ProviderIDType): ``DE-8EO``, ``DE*8EO``, ``DE8EO``."""

    __slots__ = ()
    pattern = r"[A-Za-z]{2}[*-]?[A-Za-z0-9]{3}"
    # The published class contains a ``|`` that was meant as an "or".
    lenient_pattern = r"(?P<ISO>[A-Za-z]{2}-?[A-Za-z0-9]{3})|(?P<DIN>[A-Za-z]{2}[*|][A-Za-z0-9]{3})"
    example = "DE-DCB"
    shared = 1024


class ProviderIDOrAll(Identifier):
    """The recipient of a price: one provider, or ``*`` for all (OICP 2.3, PricingProductDataType)."""

    # A type of its own: a mistyped ProviderID must not publish a price to everyone (RULES I9). The example is not "*":
    # nobody who has mistyped an id may be led to it.
    __slots__ = ()
    pattern = rf"\*|{ProviderID.pattern}"
    lenient_pattern = rf"\*|{ProviderID.lenient_pattern}"
    example = ProviderID.example

    @staticmethod
    def _canonical(text: str) -> str:
        return text if text == "*" else _without_separators(text)

    @property
    def is_all(self) -> bool:
        """Whether the price is for every provider."""
        return self.text == "*"

    @property
    def provider(self) -> ProviderID | None:
        """The one provider; None for all, and if malformed."""
        return ProviderID(self.text) if self.is_valid and not self.is_all else None


class EvseID(CompanyIdentifier):
    """An EVSE (OICP 2.3, EvseIDType): ISO ``DE*AB7*E840*6487`` or DIN ``+49*810*000*438``."""

    __slots__ = ()
    pattern = r"[A-Z]{2}\*?[A-Z0-9]{3}\*?E[A-Z0-9*]{1,30}|\+?[0-9]{1,3}\*[0-9]{3}\*[0-9*]{1,32}"
    lenient_pattern = (
        r"(?P<ISO>[A-Za-z]{2}\*?[A-Za-z0-9]{3})\*?[Ee][A-Za-z0-9*]{1,30}|(?P<DIN>\+?[0-9]{1,3}\*[0-9]{3})\*[0-9*]{1,32}"
    )
    example = "DE*ABC*ETEST1"
    shared = 4096

    @property
    def operator(self) -> OperatorID | None:
        """The operator of the EVSE; None if malformed (RULES I12)."""
        return _operator_of_evse(self.text)


# Drivers charge at the same few thousand EVSEs again and again.
@lru_cache(maxsize=4096)
def _operator_of_evse(text: str) -> OperatorID | None:
    company = EvseID(text)._company()  # noqa: SLF001 - of this module
    return _cached_operator_id(company[1]) if company else None


# A push has thousands of EVSEs of few operators; a cached operator keeps its computed key.
_cached_operator_id = lru_cache(maxsize=1024)(OperatorID)


class ChargingPoolID(CompanyIdentifier):
    """A group of charging stations (OICP 2.3, ChargingPoolIDType): ``IT*123*P456*AB789``."""

    __slots__ = ()
    # The published grammar demands an alphanumeric after the P and allows up to 31 characters; the published expression
    # allows a "*" there, and 30.
    pattern = r"[A-Za-z]{2}\*?[A-Za-z0-9]{3}\*?P[A-Za-z0-9][A-Za-z0-9*]{0,29}"
    lenient_pattern = r"(?P<ISO>[A-Za-z]{2}\*?[A-Za-z0-9]{3})\*?P[A-Za-z0-9*]{1,31}"
    example = "IT*123*P456*AB789"

    @property
    def operator(self) -> OperatorID | None:
        """The operator of the pool; None if malformed."""
        company = self._company()
        return OperatorID(company[1]) if company else None


class EvcoID(CompanyIdentifier):
    """A driver's contract (OICP 2.3, EvcoIDType): ISO ``DE-8EO-CAet5e4XY-3`` or DIN ``DE*8EO*Aet5e4*3``."""

    __slots__ = ()
    # The published expression allows lower case, which its prose turns into upper case (RULES I8).
    pattern = (
        r"[A-Z]{2}-?[A-Z0-9]{3}-?C[A-Z0-9]{8}-?[A-Z0-9]"
        r"|[A-Z]{2}[*-]?[A-Z0-9]{3}[*-]?[A-Z0-9]{6}[*-]?[0-9X]"
    )
    # The published classes contain a ``|`` that was meant as an "or". ISO is tried first.
    lenient_pattern = (
        r"(?P<ISO>[A-Za-z]{2}-?[A-Za-z0-9]{3})-?[Cc][A-Za-z0-9]{8}-?[A-Za-z0-9|]"
        r"|(?P<DIN>[A-Za-z]{2}[*|-]?[A-Za-z0-9]{3})[*|-]?[A-Za-z0-9]{6}[*|-]?[0-9Xx|]"
    )
    example = "DE-8EO-CAET5E4XY-3"

    @property
    def provider(self) -> ProviderID | None:
        """The provider of the contract; None if malformed (RULES I12)."""
        company = self._company()
        return ProviderID(company[1]) if company else None


class SessionID(Identifier):
    """A charging session (OICP 2.3, SessionIDType): the form of a GUID, but not only hexadecimal digits (RULES I7)."""

    __slots__ = ()
    pattern = r"[A-Za-z0-9]{8}(?:-[A-Za-z0-9]{4}){3}-[A-Za-z0-9]{12}"
    example = "b2688855-7f00-0002-6d8e-48d883f6abb6"

    @staticmethod
    def _canonical(text: str) -> str:
        return text.lower()


class UID(Identifier):
    """The number of an RFID card (OICP 2.3, UIDType): 8, 14 or 20 hexadecimal digits, upper case (RULES I8)."""

    __slots__ = ()
    pattern = r"[0-9A-F]{8}|[0-9A-F]{14}|[0-9A-F]{20}"
    lenient_pattern = r"[0-9A-Fa-f]{8}|[0-9A-Fa-f]{14}|[0-9A-Fa-f]{20}"
    example = "7568290FFF765F"

    @staticmethod
    def _canonical(text: str) -> str:
        return text.upper()


IDENTIFIERS: tuple[type[Identifier], ...] = (
    EvseID,
    OperatorID,
    ProviderID,
    ProviderIDOrAll,
    EvcoID,
    SessionID,
    UID,
    ChargingPoolID,
)
