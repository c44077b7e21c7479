"""What the pages of a node use of other projects is what their makers have released (``scripts/vendor`` copies it)."""

import csv
import hashlib
import importlib.util
import json
import re
import tomllib

import pytest

from tests.support.paths import ROOT

VENDOR = ROOT / "p2p_oicp" / "server" / "static" / "vendor"
with (VENDOR / "files.tsv").open(encoding="utf-8", newline="") as file:
    TABLE = list(csv.DictReader(file, delimiter="\t"))
PACKAGE_JSON = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))
LOCKED = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))["packages"]
# None of them asks more of whoever passes a node on than to pass these files on with it.
PERMITTED_LICENCES = {"Apache-2.0", "MIT", "ISC", "BSD-2-Clause", "BSD-3-Clause", "0BSD"}


@pytest.fixture(scope="module")
def program():
    spec = importlib.util.spec_from_file_location("vendored_files", ROOT / "scripts" / "vendored_files.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_file_is_the_one_of_the_table_and_there_is_no_other():
    listed = {f"{row['package']}/{row['file']}": row["sha256"] for row in TABLE}
    present = {
        path.relative_to(VENDOR).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.rglob("*")
        if path.is_file() and path.name != "files.tsv"
    }
    assert present == listed


def test_versions_are_exact_and_the_same_in_package_json_its_lock_and_the_table():
    versions = PACKAGE_JSON["dependencies"]
    assert [version for version in versions.values() if not re.fullmatch(r"\d+\.\d+\.\d+", version)] == []
    assert {name: LOCKED[f"node_modules/{name}"]["version"] for name in versions} == versions
    assert {row["package"]: row["version"] for row in TABLE} == versions


def test_every_package_has_files_and_its_licence_beside_them_and_the_licence_is_a_free_one():
    for package, names in PACKAGE_JSON["vendor"].items():
        rows = [row for row in TABLE if row["package"] == package]
        assert {row["file"] for row in rows} > set(names)
        assert any(re.match(r"(.*-)?LICEN[SC]E|COPYING", row["file"]) for row in rows), package
        assert {row["licence"] for row in rows} <= PERMITTED_LICENCES


def test_the_lock_has_the_hash_of_every_package_and_the_address_of_no_registry():
    packages = {name: entry for name, entry in LOCKED.items() if name}
    assert [name for name, entry in packages.items() if not entry["integrity"].startswith("sha512-")] == []
    assert [name for name, entry in packages.items() if "resolved" in entry] == []


def test_a_package_without_a_licence_is_not_copied(program, tmp_path):
    with pytest.raises(SystemExit, match="has no file with its licence"):
        program.licences_of(tmp_path)


def test_the_wheel_has_them():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "server/static/**" in project["tool"]["setuptools"]["package-data"]["p2p_oicp"]
