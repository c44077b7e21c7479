"""docs/security.md names the tests that show what it says; they exist."""

import re

from tests.support.paths import ROOT

DOCUMENT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = set(re.findall(r"`(test_\w+)`", DOCUMENT))
ROWS = [line for line in DOCUMENT.splitlines() if line.startswith("| ") and not line.startswith(("| who |", "| --- |"))]


def test_every_threat_names_its_tests_and_they_exist():
    tests = {
        name for file in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", file.read_text())
    }
    assert NAMED - tests == set()
    assert len(ROWS) > 15
    assert [row for row in ROWS if "`test_" not in row] == []
