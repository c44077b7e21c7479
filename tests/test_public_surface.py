"""What other programs may rely on."""

import importlib.resources
import pkgutil

import pytest

import p2p_oicp

# Filled as the node grows; every change here is one for the changelog.
PUBLIC: list[str] = []

PACKAGES = ["p2p_oicp", *(f"p2p_oicp.{found.name}" for found in pkgutil.iter_modules(p2p_oicp.__path__) if found.ispkg)]


def test_the_public_names_are_just_these():
    assert p2p_oicp.__all__ == PUBLIC


@pytest.mark.parametrize("name", PACKAGES)
def test_what_a_package_offers_is_there_once(name):
    package = importlib.import_module(name)
    offered = list(getattr(package, "__all__", []))
    assert len(offered) == len(set(offered))
    assert [missing for missing in offered if not hasattr(package, missing)] == []


def test_the_package_tells_type_checkers_that_it_is_typed():
    assert importlib.resources.files("p2p_oicp").joinpath("py.typed").is_file()
