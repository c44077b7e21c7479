"""The public names of the package, on which other programs rely."""

import ast
import importlib
import importlib.resources
import pkgutil

import pytest

import p2p_oicp

# Every change here is one for the changelog.
PUBLIC = [
    "ConfigurationError",
    "CpoBackend",
    "EmpBackend",
    "Node",
    "P2pOicpError",
    "PeerError",
    "Refusal",
    "Settings",
    "load_settings",
]

PACKAGES = ["p2p_oicp", *(f"p2p_oicp.{found.name}" for found in pkgutil.iter_modules(p2p_oicp.__path__) if found.ispkg)]


def test_the_public_names_are_just_these():
    assert p2p_oicp.__all__ == PUBLIC


@pytest.mark.parametrize("name", PACKAGES)
def test_what_a_package_offers_is_there_once(name):
    package = importlib.import_module(name)
    offered = list(getattr(package, "__all__", []))
    assert len(offered) == len(set(offered))
    assert [missing for missing in offered if not hasattr(package, missing)] == []


def test_type_checkers_and_the_interpreter_see_the_same_names():
    stub = importlib.resources.files("p2p_oicp").joinpath("__init__.pyi").read_text()
    assignment = next(node for node in ast.parse(stub).body if isinstance(node, ast.Assign))
    assert ast.literal_eval(assignment.value) == PUBLIC


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="Nothing"):
        p2p_oicp.Nothing  # noqa: B018


def test_the_package_tells_type_checkers_that_it_is_typed():
    assert importlib.resources.files("p2p_oicp").joinpath("py.typed").is_file()
