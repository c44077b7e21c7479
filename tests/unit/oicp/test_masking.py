import json
import time

import pytest

from p2p_oicp.oicp.masking import mask

LIMIT = 10_000


@pytest.mark.parametrize(
    ("identification", "expected"),
    [
        ({"RFIDMifareFamilyIdentification": {"UID": "04AB12CD"}}, {"RFIDMifareFamilyIdentification": {"UID": "***"}}),
        (
            {"RemoteIdentification": {"EvcoID": "DE-DCB-C1234567-X"}},
            {"RemoteIdentification": {"EvcoID": "DE-DCB-***"}},
        ),
        ({"RFIDIdentification": {"PrintedNumber": "9876-5432"}}, {"RFIDIdentification": {"PrintedNumber": "***"}}),
        ({"PIN": 1234}, {"PIN": "***"}),
        ({"pin": "1234"}, {"pin": "***"}),
        ({"HashedPIN": {"Value": 'a}b"', "LegacyHashData": {"Salt": "s"}}}, {"HashedPIN": "***"}),
        ({"UID": ["04AB12CD"]}, {"UID": "***"}),
    ],
)
def test_what_identifies_a_driver_is_masked(identification, expected):
    body = json.dumps({"Identification": identification, "EvseID": "DE*GEF*E1"}, indent=1).encode()
    assert json.loads(mask(body, LIMIT).text) == {"Identification": expected, "EvseID": "DE*GEF*E1"}


def test_a_name_with_an_escape_is_masked_as_well():
    assert mask(b'{"\\u0055ID": "04AB12CD"}', LIMIT).text == '{"\\u0055ID":"***"}'


@pytest.mark.parametrize("body", [b"UID=04AB12CD", b"{'UID': '04AB12CD'}", b'{"a": 04AB12CD}', b"\xff\xfe", b""])
def test_of_what_is_no_json_nothing_is_left(body):
    assert mask(body, LIMIT).text is None


def test_of_a_large_message_the_beginning_is_masked():
    masked = mask(b'{"UID": "04AB12CD", "more": [1.50, 2]}', 16)
    assert (masked.text, masked.is_cut) == ('{"UID": "***"', True)


def test_what_an_answer_repeats_of_the_request_is_masked():
    request = mask(b'{"UID": "04AB12CDxx"}', LIMIT)
    answer = mask(b'{"errorMessage": "04AB12CDxx is no UID"}', LIMIT, request.secrets)
    assert answer.text == '{"errorMessage":"*** is no UID"}'


def test_numbers_stay_as_they_were_written():
    assert mask(b'{"ConsumedEnergy": 10.500}', LIMIT).text == '{"ConsumedEnergy":10.500}'


@pytest.mark.parametrize("part", [b'\\"', b'"', b'"UID":[', b'"UID":{"a":', b'"\\x', b"["])
def test_no_message_takes_long(part):
    body = b"{" + part * (64_000 // len(part))
    started = time.perf_counter()
    mask(body, 64_000)
    assert time.perf_counter() - started < 1
