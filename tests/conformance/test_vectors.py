"""The shared test vectors, if they are available: every verdict of the layers schema and rule."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from p2p_oicp.oicp import encode
from p2p_oicp.oicp.findings import Severity
from p2p_oicp.oicp.validation import Verdict, judge
from tests.support.paths import SHARED

VECTORS = SHARED / "oicp" / "vectors.jsonl"

#: Reported by a rule on which the vectors have no verdict: E3, C2, M12, M13, I8, L7, and Bcrypt without a bcrypt hash.
EXTRA_FINDINGS = {
    "fraction-for-integer",
    "meter-backwards",
    "duration-mismatch",
    "negative-price",
    "lower-case-identifier",
    "implausible-energy",
    "not-bcrypt",
}


def _vectors() -> list[dict[str, Any]]:
    if not VECTORS.exists():
        pytest.skip("the shared test vectors are absent")
    lines = VECTORS.read_text().splitlines()
    vectors = [json.loads(line, parse_float=Decimal) for line in lines]
    return [vector for vector in vectors if vector["layer"] != "context"]


def _disagreement(vector: dict[str, Any]) -> str | None:
    """Return how our verdict differs from the vector's."""
    findings = judge(vector["operation"], vector["message"], encode(vector["payload"]))
    verdict, expected = Verdict.from_findings(findings), vector["expect"]
    if {verdict, expected} == {"accept", "accept-with-warning"} and {
        found.code for found in findings
    } <= EXTRA_FINDINGS:
        return None
    if verdict != expected:
        return f"{vector['id']}: {verdict}, not {expected}: {findings}"
    at = vector["pointer"] or ""
    errors = [found.pointer for found in findings if found.severity is Severity.ERROR]
    if errors and not any(at == pointer or at.startswith(f"{pointer}/") for pointer in errors):
        return f"{vector['id']}: rejected at {errors}, not at {at}"
    return None


def test_every_verdict_is_that_of_the_vectors():
    assert [complaint for vector in _vectors() if (complaint := _disagreement(vector))] == []
