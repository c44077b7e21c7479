"""The forms of identity that prove nothing say so."""

from __future__ import annotations

from p2p_oicp.crypto import BearerToken, NoOpSigner, RequestSigner

REQUEST = {"method": "POST", "url": "http://peer.example/api/oicp", "body": b"{}", "to": "B"}


def test_the_noop_signer_adds_no_headers():
    signer: RequestSigner = NoOpSigner()
    assert dict(signer.sign(**REQUEST)) == {}


def test_a_bearer_token_is_sent_and_is_in_no_repr():
    signer: RequestSigner = BearerToken("s3cret")
    assert dict(signer.sign(**REQUEST)) == {"Authorization": "Bearer s3cret"}
    assert "s3cret" not in repr(signer)


def test_the_docstring_of_the_noop_signer_begins_with_insecure():
    assert NoOpSigner.__doc__.startswith("INSECURE")
