from __future__ import annotations

import re

import pytest

from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "language.md"


@pytest.mark.parametrize("example", re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
def test_an_example_of_the_page_runs(example):
    exec(compile(example, str(PAGE), "exec"), {})  # noqa: S102  # our own page
