"""The documents describe what is there."""

import re
from collections.abc import Iterator

import pytest
from typer.main import get_command

from p2p_oicp.cli import app, load_command
from tests.meta.source import LAYERS
from tests.support.paths import ROOT

DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def commands() -> Iterator[str]:
    for name in get_command(app).commands:
        subcommands = getattr(load_command(name), "commands", None)
        yield from [f"{name} {subcommand}" for subcommand in subcommands] if subcommands else [name]


COMMANDS = list(commands())


@pytest.mark.parametrize("command", COMMANDS)
def test_the_pages_for_users_name_every_command(command):
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    assert any(f"p2p-oicp {command}" in page.read_text() for page in pages)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_and_option_has_a_help_text(command):
    name, *subcommands = command.split()
    loaded = load_command(name)
    for subcommand in subcommands:
        loaded = loaded.commands[subcommand]
    assert loaded.help
    # Rich takes a word in brackets for a style, and leaves it out.
    texts = [loaded.help, *(parameter.help or "" for parameter in loaded.params if parameter.name != "help")]
    assert [words for text in texts for words in re.findall(r"(?<!\\)\[[a-z_ .]+\]", text)] == []
    without_help = [parameter.name for parameter in loaded.params if parameter.name != "help" and not parameter.help]
    assert without_help == []


@pytest.mark.parametrize(("name", "listed"), get_command(app).commands.items())
def test_the_list_of_commands_repeats_their_own_help(name, listed):
    assert listed.help == load_command(name).help.split("\n\n")[0]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_link_leads_to_a_file(document):
    links = re.findall(r"\]\(([^)#:]+)\)", document.read_text())
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_contributing_lists_the_layers_in_their_order():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    listed = re.findall(r"`(\w+)`", text.split("in this list:")[1].split(".")[0])
    assert listed == [layer for layer in LAYERS if layer]


def test_the_license_is_the_one_that_the_package_names():
    assert "Apache License" in (ROOT / "LICENSE").read_text()
