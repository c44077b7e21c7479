"""The command line, called in this process."""

import sys
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import structlog

from p2p_oicp import cli, runner


@dataclass
class Outcome:
    code: int
    out: str
    err: str


@contextmanager
def own_logs(monkeypatch):
    """Make the logs that a command sets up those of this test only."""
    configure_logs, was_configured = (
        runner.configure_logs,
        structlog.get_config() if structlog.is_configured() else None,
    )

    def configure(*arguments) -> None:
        configure_logs(*arguments)
        # A logger that is cached would go on writing where the command wrote.
        structlog.configure(cache_logger_on_first_use=False)

    monkeypatch.setattr(runner, "configure_logs", configure)
    # By default, and after `capture_logs`, structlog prints: what nodes of this process log is no output of a command.
    if isinstance(structlog.get_config()["logger_factory"], structlog.PrintLoggerFactory):
        structlog.configure(logger_factory=structlog.ReturnLoggerFactory(), cache_logger_on_first_use=False)
    yield
    structlog.reset_defaults()
    if was_configured:
        structlog.configure(**was_configured)


@pytest.fixture
def p2p_oicp(monkeypatch, capsys):
    def command(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["p2p-oicp", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Outcome(end.value.code or 0, captured.out, captured.err)

    with own_logs(monkeypatch):
        yield command
