"""The forms of identity that prove nothing say so."""

from __future__ import annotations

from p2p_oicp.crypto import BearerToken, NoOpSigner, RequestSigner

REQUEST = {"method": "POST", "url": "http://peer.example/api/oicp", "body": b"{}", "to": "B"}


def test_an_insecure_signer_adds_nothing():
    signer: RequestSigner = NoOpSigner()
    assert dict(signer.sign(**REQUEST)) == {}


def test_a_bearer_token_is_sent_and_never_shown():
    signer: RequestSigner = BearerToken("s3cret")
    assert dict(signer.sign(**REQUEST)) == {"Authorization": "Bearer s3cret"}
    assert "s3cret" not in repr(signer)


def test_the_insecure_form_says_loudly_that_it_proves_nothing():
    assert NoOpSigner.__doc__.startswith("INSECURE")
