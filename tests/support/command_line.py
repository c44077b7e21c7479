"""The command line, called in this process."""

import sys
from dataclasses import dataclass

import pytest

from p2p_oicp import cli


@dataclass
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def p2p_oicp(monkeypatch, capsys):
    def command(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["p2p-oicp", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Outcome(end.value.code or 0, captured.out, captured.err)

    return command
