"""What this project is built on has no known holes, and what is installed to work on it is locked, byte for byte."""

import re
import tomllib
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.support.paths import ROOT

# The first release without a hole that is known; no older one may be installed with this project.
FIXED_IN = {
    "aiohttp": "3.14.3",
    "cryptography": "50",
    "filelock": "3.20.3",
    "orjson": "3.11.6",
    "pynacl": "1.6.2",
    "zeroconf": "0.149.17",
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DEPENDENCIES = [Requirement(text) for text in PROJECT["dependencies"]]
DEVELOPMENT = [Requirement(text) for text in PROJECT["optional-dependencies"]["dev"]]
# One requirement over several lines: name==version ; marker, then a --hash of each file.
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8").replace("\\\n", " ")
LOCKED = [line.split(" --hash=") for line in LOCK.splitlines() if line and not line.lstrip().startswith("#")]
ENVIRONMENT = (ROOT / "scripts" / "_environment").read_text(encoding="utf-8")


def lower_bound(requirement: Requirement) -> Version | None:
    return next((Version(spec.version) for spec in requirement.specifier if spec.operator == ">="), None)


def locked_versions() -> dict[str, set[Version]]:
    versions: dict[str, set[Version]] = {}
    for text, *_ in LOCKED:
        requirement = Requirement(text.strip())
        (spec,) = requirement.specifier
        assert spec.operator == "==", text
        versions.setdefault(canonicalize_name(requirement.name), set()).add(Version(spec.version))
    return versions


def test_every_dependency_has_a_lower_bound_and_those_with_known_holes_the_release_that_mended_them():
    bounds = {requirement.name: lower_bound(requirement) for requirement in (*DEPENDENCIES, *DEVELOPMENT)}
    assert [name for name, bound in bounds.items() if bound is None] == []
    assert FIXED_IN.keys() <= bounds.keys()
    assert [name for name, version in FIXED_IN.items() if bounds[name] < Version(version)] == []


def test_the_lock_has_a_version_of_each_dependency_within_its_bounds():
    locked = locked_versions()
    offenders = [
        f"{requirement}: locked {sorted(map(str, versions))}"
        for requirement in (*DEPENDENCIES, *DEVELOPMENT)
        for versions in [locked.get(canonicalize_name(requirement.name), set())]
        if not versions or not all(requirement.specifier.contains(version) for version in versions)
    ]
    assert not offenders, "\n".join(offenders)


def test_every_locked_release_is_locked_by_the_hashes_of_its_files():
    assert len(LOCKED) > 40
    for text, *hashes in LOCKED:
        assert hashes, text
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", each.strip()) for each in hashes), text


def test_what_is_installed_here_is_what_is_locked():
    needed = {canonicalize_name(name) for name in dependency_tree()}
    locked = locked_versions()
    installed = {name: Version(metadata.version(name)) for name in needed}
    assert len(installed) > 15
    assert {name: version for name, version in installed.items() if version not in locked.get(name, set())} == {}


def dependency_tree() -> set[str]:
    """Return what the project needs at run time, with what that needs, of what applies on this machine."""
    found, pending = set(), [requirement for requirement in DEPENDENCIES if applies(requirement)]
    while pending:
        requirement = pending.pop()
        if requirement.name in found:
            continue
        found.add(requirement.name)
        texts = metadata.requires(requirement.name) or []
        pending += [each for each in map(Requirement, texts) if applies(each, requirement.extras)]
    return found


def applies(requirement: Requirement, extras: frozenset[str] | set[str] = frozenset()) -> bool:
    return requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in (*extras, ""))


def test_the_environment_is_installed_from_the_lock_and_from_nothing_else():
    installs = [line for line in ENVIRONMENT.splitlines() if "pip[@]" in line]
    locked = [line for line in installs if "--require-hashes --requirement requirements.lock" in line]
    assert locked
    assert all("--no-deps --editable ." in line for line in installs if line not in locked)
    assert "requirements.lock" in ENVIRONMENT.partition("state=")[2].partition("\n")[0]
