from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "language.md"


@pytest.mark.parametrize("example", re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
def test_an_example_of_the_page_runs(example):
    exec(compile(example, str(PAGE), "exec"), {})  # noqa: S102  # our own page
