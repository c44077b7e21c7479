"""Control characters in what others wrote reach no terminal."""

import ast
import io

import pytest
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from p2p_oicp import cli
from p2p_oicp.cli.common import Console, echo
from tests.meta.source import MODULES

EVIL = "x\x1b[2J\x1b]0;title\x07\x9b31m\u202ey"


def table() -> Table:
    made = Table("Peer", title=EVIL)
    made.add_row(EVIL)
    made.add_row(Panel(EVIL))
    return made


@pytest.mark.parametrize("content", [EVIL, Text(EVIL, style="bold red"), table()], ids=["text", "styled", "table"])
@pytest.mark.parametrize("is_terminal", [True, False])
def test_the_console_writes_only_its_own_control_characters(content, is_terminal):
    console = Console(file=(out := io.StringIO()), force_terminal=is_terminal, width=200, color_system="standard")
    console.print(content, markup=False)
    text = out.getvalue()
    assert "title" in text
    assert "\\u009b31m" in text
    for foreign in ("\x1b[2J", "\x1b]0", "\x07", "\x9b", "\u202e"):
        assert foreign not in text


def test_echo_keeps_lines_and_nothing_else(capsys):
    echo(f"{EVIL}\n\tnext")
    echo(EVIL, err=True)
    captured = capsys.readouterr()
    assert captured.out.split("\n")[1:] == ["\tnext", ""]
    assert captured.out.split("\n")[0].isprintable()
    assert captured.err.removesuffix("\n").isprintable()


def test_an_error_is_one_printable_line(capsys):
    with pytest.raises(SystemExit):
        cli._exit_with_error(f"the peer says {EVIL}", 2)
    assert capsys.readouterr().err.removesuffix("\n").isprintable()


def test_no_command_prints_in_another_way():
    allowed = {"p2p_oicp.cli.common"}
    offenders = [
        f"{module.name}:{node.lineno}"
        for module in MODULES.values()
        if module.name.startswith("p2p_oicp.cli.") and module.name not in allowed
        for node in ast.walk(ast.parse(module.text))
        if (
            isinstance(node, ast.ImportFrom)
            and node.module == "rich.console"
            and any(alias.name == "Console" for alias in node.names)
        )
        or (isinstance(node, ast.Attribute) and ast.unparse(node) in {"typer.echo", "typer.secho", "click.echo"})
        or (isinstance(node, ast.Name) and node.id == "print")
    ]
    assert not offenders
