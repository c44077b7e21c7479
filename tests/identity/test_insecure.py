"""The forms of identity that prove nothing say so."""

from __future__ import annotations

import pytest

from p2p_oicp.identity import (
    BearerToken,
    ClaimedIdentityVerifier,
    InsecureSigner,
    Proof,
    RequestSigner,
    RequestVerifier,
    SignedParts,
)

REQUEST = {"method": "POST", "url": "http://peer.example/api/oicp", "body": b"{}", "to": "B"}


def test_an_insecure_signer_adds_nothing():
    signer: RequestSigner = InsecureSigner()
    assert dict(signer.sign(**REQUEST)) == {}


def test_a_bearer_token_is_sent_and_never_shown():
    signer: RequestSigner = BearerToken("s3cret")
    assert dict(signer.sign(**REQUEST)) == {"Authorization": "Bearer s3cret"}
    assert "s3cret" not in repr(signer)


@pytest.mark.parametrize("claimed", ["DE*GEF", None])
def test_a_claimed_identity_is_taken_over_and_marked_as_unproved(claimed):
    verifier: RequestVerifier = ClaimedIdentityVerifier()
    identity = verifier.verify(SignedParts("POST", "peer.example", "/", "", {}, b"", claimed_party=claimed))
    assert (identity.subject, identity.proof, identity.is_proven) == (claimed, Proof.NONE, False)


@pytest.mark.parametrize("form", [InsecureSigner, ClaimedIdentityVerifier])
def test_insecure_forms_say_loudly_what_they_do_not_prove(form):
    assert form.__doc__.startswith("PROVES NOTHING")
