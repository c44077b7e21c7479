"""Two commits are compared row by row, by the ratios of their pairs of runs."""

import pytest

from bench.compare import Comparison, _disjoint, compare_rows


def row(measured, cpu=None, *, at_least=False, unit="ms"):
    return {"measured": measured, "cpu": cpu, "at_least": at_least, "unit": unit}


def rows(*measured, **kwargs):
    return [{(1, "AuthorizeStart"): row(value, **kwargs)} for value in measured]


@pytest.mark.parametrize(
    ("old", "new", "at_least", "verdict"),
    [
        pytest.param((10, 10, 10), (10.2, 10.2, 10.2), False, "", id="within the tolerance"),
        pytest.param((10, 10, 10), (10.4, 10.5, 10.6), False, "worse", id="more than allowed in each pair"),
        pytest.param((10, 10, 10), (9.9, 10.5, 10.6), False, "unclear", id="one pair disagrees"),
        pytest.param((10, 10, 10), (9, 9.5, 9.6), False, "better", id="less is better"),
        pytest.param((10, 10, 10), (9, 9.5, 9.6), True, "worse", id="more is better, and it is less"),
        pytest.param((0, 0, 0), (0, 0, 0), False, "", id="nothing against nothing"),
        pytest.param((0, 0, 0), (1, 1, 1), False, "worse", id="something against nothing"),
    ],
)
def test_a_row_is_worse_only_beyond_the_tolerance_and_in_every_pair(old, new, at_least, verdict):
    pairs = zip(rows(*old, at_least=at_least), rows(*new, at_least=at_least), strict=True)
    (comparison,) = compare_rows(pairs)
    assert comparison.verdict == verdict


def test_the_ratio_is_the_median_of_the_pairs_and_cpu_is_a_figure_of_its_own():
    old, new = rows(10, 20, 30, cpu=5.0), rows(11, 20, 33, cpu=4.0)
    measured, cpu = compare_rows(zip(old, new, strict=True))
    assert (measured.ratio, measured.unit, measured.ratios) == (1.1, "ms", [1.1, 1.0, 1.1])
    assert (cpu.ratio, cpu.unit, cpu.verdict) == (0.8, "µs CPU", "better")


def test_a_row_that_one_commit_lacks_is_not_compared():
    assert compare_rows([({(1, "old name"): row(1)}, {(1, "new name"): row(1)})]) == []


def test_bars_that_are_measured_together_are_one_group_and_bar_10_none():
    assert sorted(_disjoint([(1, 2), (3,), (7, 9), (9,), (10,)])) == [[1, 2], [3], [7, 9]]


def test_ratios_are_taken_pair_by_pair():
    comparison = Comparison(bar=1, what="x", unit="", at_least=False, old=(1.0, 2.0), new=(2.0, 2.0))
    assert comparison.ratios == [2.0, 1.0]
