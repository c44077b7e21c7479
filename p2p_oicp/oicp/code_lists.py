"""The codes of countries (ISO 3166-1 alpha-3) and currencies (ISO 4217), with withdrawn and customary ones."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema
from typing_extensions import override

from p2p_oicp.oicp.field_types import MISSPELT_VALUE, FieldType, FindingCollector, format_value


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
    """A code of three capital letters; withdrawn and customary codes are accepted with a warning."""

    standard: str
    codes: frozenset[str]
    nonstandard_codes: frozenset[str]
    #: Lower case is accepted with a warning.
    accept_lower_case: bool

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
        known = self.codes | self.nonstandard_codes
        similar = self.similar_value(value)
        if value in known or (self.accept_lower_case and value.upper() in known):
            collector.warn(
                pointer, "inexact-code", f"{format_value(value)} is read, but is no current code of {self.standard}"
            )
        elif similar is not None:
            text = f"is no code of {self.standard} (three capital letters): did you mean {format_value(similar)}?"
            collector.error(pointer, MISSPELT_VALUE, f"{format_value(value)} {text}")
        else:
            collector.error(
                pointer, "unknown-code", f"{format_value(value)} is no code of {self.standard} (three capital letters)"
            )
        return value

    def similar_value(self, value: str) -> str | None:
        """Return the code that a text is but for letter case and blanks."""
        code = value.strip().upper()
        return code if code in self.codes or code in self.nonstandard_codes else None


COUNTRY = CodeListField("ISO 3166-1 alpha-3", COUNTRIES, NONSTANDARD_COUNTRIES, accept_lower_case=True)
# Not with prices: a hub and other implementations refuse it.
CURRENCY = CodeListField("ISO 4217", CURRENCIES, WITHDRAWN_CURRENCIES, accept_lower_case=False)
