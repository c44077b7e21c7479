"""A uid authorizes: it stands in no log."""

import pytest

from p2p_oicp.ocpi.tokens import masked_path


@pytest.mark.parametrize(
    ("path", "logged"),
    [
        ("/ocpi/2.2.1/emsp/tokens/04A1B2C3/authorize?type=RFID", "/ocpi/2.2.1/emsp/tokens/…?type=RFID"),
        ("https://cpo.example/tokens/DE/DCB/04A1B2C3 is away", "https://cpo.example/tokens/… is away"),
        ("/ocpi/2.2.1/emsp/tokens?offset=0", "/ocpi/2.2.1/emsp/tokens?offset=0"),
        ("/ocpi/2.2.1/emsp/cdrs/CDR1", "/ocpi/2.2.1/emsp/cdrs/CDR1"),
    ],
    ids=["authorize", "object", "list", "other module"],
)
def test_a_path_is_logged_without_the_ids_of_a_token(path, logged):
    assert masked_path(path) == logged
