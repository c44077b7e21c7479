"""Pushes and pulls of EVSE data, prices and authentication data, as backends send them."""

from tests.support.messages import A_CPO, B_EMP

PUSH_DATA = f"evsepush/v23/operators/{A_CPO}/data-records"
PULL_DATA = f"evsepull/v23/providers/{B_EMP}/data-records"
PUSH_PRODUCTS = f"dynamicpricing/v10/operators/{A_CPO}/pricing-products"
PULL_PRODUCTS = f"dynamicpricing/v10/providers/{B_EMP}/pricing-products"
PUSH_PRICES = f"dynamicpricing/v10/operators/{A_CPO}/evse-pricing"
PULL_PRICES = f"dynamicpricing/v10/providers/{B_EMP}/evse-pricing"
PUSH_AUTHENTICATION = f"authdata/v21/providers/{B_EMP}/push-request"
PULL_AUTHENTICATION = f"authdata/v21/operators/{A_CPO}/pull-request"


def google(latitude: float, longitude: float) -> dict:
    return {"Google": {"Coordinates": f"{latitude:.6f} {longitude:.6f}"}}


def evse(name: str, **members) -> dict:
    return {
        "EvseID": f"{A_CPO}*E{name}",
        "ChargingStationNames": [{"lang": "de", "value": f"Station {name}"}],
        "Address": {
            "Country": "DEU",
            "City": "Jena",
            "Street": "Am Planetarium",
            "PostalCode": "07743",
            "HouseNum": "1",
        },
        "GeoCoordinates": google(50.93, 11.58),
        "Plugs": ["Type 2 Outlet"],
        "ChargingFacilities": [{"PowerType": "AC_3_PHASE", "Power": 22}],
        "RenewableEnergy": True,
        "CalibrationLawDataAvailability": "Local",
        "AuthenticationModes": ["NFC RFID Classic", "REMOTE"],
        "PaymentOptions": ["Contract"],
        "ValueAddedServices": ["None"],
        "Accessibility": "Free publicly accessible",
        "HotlinePhoneNumber": "+4936411234567",
        "IsOpen24Hours": True,
        "IsHubjectCompatible": True,
        "DynamicInfoAvailable": "true",
        **members,
    }


def push_data(*records: dict, action: str = "fullLoad", operator: str = A_CPO) -> dict:
    return {
        "ActionType": action,
        "OperatorEvseData": {"OperatorID": operator, "OperatorName": "GEF", "EvseDataRecord": list(records)},
    }


def pull_data(notation: str = "Google", **members) -> dict:
    return {"ProviderID": B_EMP, "GeoCoordinatesResponseFormat": notation, **members}


def product(name: str, price: float = 0.5) -> dict:
    return {
        "ProductID": name,
        "ReferenceUnit": "KILOWATT_HOUR",
        "ProductPriceCurrency": "EUR",
        "PricePerReferenceUnit": price,
        "MaximumProductChargingPower": 22,
        "IsValid24hours": True,
        "ProductAvailabilityTimes": [],
    }


def push_products(*records: dict, action: str = "fullLoad", provider: str = "*", default: float = 1) -> dict:
    return {
        "ActionType": action,
        "PricingProductData": {
            "OperatorID": A_CPO,
            "OperatorName": "GEF",
            "ProviderID": provider,
            "PricingDefaultPrice": default,
            "PricingDefaultPriceCurrency": "EUR",
            "PricingDefaultReferenceUnit": "HOUR",
            "PricingProductDataRecords": list(records),
        },
    }


def evse_price(name: str, *products: str, provider: str = "*") -> dict:
    return {"EvseID": f"{A_CPO}*E{name}", "ProviderID": provider, "EvseIDProductList": list(products)}


def push_prices(*records: dict, action: str = "fullLoad") -> dict:
    return {"ActionType": action, "EVSEPricing": list(records)}


def card_record(uid: str) -> dict:
    return {"Identification": {"RFIDMifareFamilyIdentification": {"UID": uid}}}


def qr_record(evco: str = "DE-GDF-C12345678-X", **secret) -> dict:
    return {"Identification": {"QRCodeIdentification": {"EvcoID": evco, **secret}}}


def push_authentication(*records: dict, action: str = "fullLoad") -> dict:
    return {
        "ActionType": action,
        "ProviderAuthenticationData": {"ProviderID": B_EMP, "AuthenticationDataRecord": list(records)},
    }
