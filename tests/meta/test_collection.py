"""Every worker of a parallel run collects the same tests, in the same order."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

COLLECT = (sys.executable, "-m", "pytest", "-o", "addopts=", "-p", "no:cacheprovider", "--collect-only", "-q", "tests")


def collection(seed: int, file: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
    with file.open("w") as output:
        return subprocess.Popen(COLLECT, cwd=ROOT, env=environment, stdout=output, text=True)


def names_in(file: Path) -> list[str]:
    return [line for line in file.read_text().splitlines() if "::" in line]


def test_names_of_tests_do_not_depend_on_the_order_of_a_set(tmp_path):
    """Each process has another hash seed: an id made of a set is another one in each of them."""
    files = [tmp_path / "1", tmp_path / "2"]
    processes = [collection(seed, file) for seed, file in enumerate(files, 1)]
    assert [process.wait() for process in processes] == [0, 0]
    first, second = map(names_in, files)
    assert len(first) > 1000
    assert sorted(set(first) ^ set(second)) == []
    assert first == second
