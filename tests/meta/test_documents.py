"""The papers of the house say what is."""

import re
from collections.abc import Iterator

import pytest
from typer.main import get_command

from p2p_oicp.cli import app, load_command
from tests.support.paths import ROOT

PAPERS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
ROOMS = {path.stem for path in (ROOT / "p2p_oicp").iterdir() if path.suffix in {"", ".py"} and path.name[0] != "_"}


def commands() -> Iterator[str]:
    for name in get_command(app).commands:
        parts = getattr(load_command(name), "commands", None)
        yield from [f"{name} {part}" for part in parts] if parts else [name]


COMMANDS = list(commands())


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readme_names_every_command(command):
    assert f"p2p-oicp {command}" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_explains_itself(command):
    name, *parts = command.split()
    found = load_command(name)
    for part in parts:
        found = found.commands[part]
    assert found.help
    silent = [parameter.name for parameter in found.params if parameter.name != "help" and not parameter.help]
    assert silent == []


@pytest.mark.parametrize(("name", "listed"), get_command(app).commands.items())
def test_the_list_of_commands_says_what_they_say_themselves(name, listed):
    assert listed.help == load_command(name).help.split("\n\n")[0]


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_link_leads_somewhere(paper):
    links = re.findall(r"\]\(([^)#:]+)\)", paper.read_text())
    assert [link for link in links if not (paper.parent / link).exists()] == []


def test_newcomers_are_told_of_every_room():
    told = (ROOT / "CONTRIBUTING.md").read_text()
    assert [room for room in sorted(ROOMS) if f"`{room}`" not in told] == []


def test_the_license_is_the_one_that_the_package_names():
    assert "Apache License" in (ROOT / "LICENSE").read_text()
