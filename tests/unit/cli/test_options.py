"""Options that mean the same at every command."""

import pytest

from p2p_oicp.cli import load_command
from tests.meta.test_documents import COMMANDS

#: Whatever lists, shows or checks has `--json`. These do something else, and print a line about it, or:
WITHOUT_JSON = {
    *("init", "run", "backup", "restore", "retry", "certs self-signed"),
    *("peers invite", "peers join", "peers accept", "peers remove", "cluster kill", "cluster restart"),
    *("keys generate", "keys rotate", "outbox retry", "outbox move", "outbox drop"),
    *("webhooks add", "webhooks remove", "webhooks test", "ocpi register", "ocpi refresh", "ocpi unregister"),
    *("ocpi push", "ocpi assign", "ocpi drop"),
    *("tokens add", "tokens remove", "evidence export", "cdrs retry", "cdrs confirm", "cdrs refuse"),
    "keys export",  # prints an entry of a peers file, which is TOML
    *("cdrs export", "schema", "openapi", "asyncapi", "ocpi show"),  # are JSON
    "send",  # prints what the other side has answered
}


def options(command: str) -> dict[str, object]:
    name, *subcommands = command.split()
    loaded = load_command(name)
    for subcommand in subcommands:
        loaded = loaded.commands[subcommand]
    return {option: parameter for parameter in loaded.params for option in parameter.opts if option.startswith("--")}


@pytest.mark.parametrize("command", COMMANDS)
def test_whatever_lists_shows_or_checks_is_there_for_programs_in_one_spelling(command):
    assert ("--json" in options(command)) is (command not in WITHOUT_JSON)
    assert not {"--format", "--output", "--out-format"} & options(command).keys()


@pytest.mark.parametrize("command", COMMANDS)
def test_relative_times_can_be_had_as_absolute_ones(command):
    if "--utc" in options(command):
        assert "--json" in options(command)
        assert options(command)["--utc"].help == "Absolute times in UTC, also at a terminal."


def test_the_list_of_exceptions_names_commands():
    assert set(COMMANDS) >= WITHOUT_JSON
