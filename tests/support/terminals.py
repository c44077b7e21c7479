"""A program at a pseudo-terminal, as a person sits at one."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence

from tests.support.paths import ROOT

TIMEOUT_SECONDS = 60.0
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal:
    """The command line at a terminal; ``program`` are other arguments of Python than ``-m p2p_oicp``."""

    def __init__(
        self,
        *arguments: str,
        width: int = 80,
        program: Sequence[str] = ("-m", "p2p_oicp"),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
        inherited = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
        self._process = subprocess.Popen(
            [sys.executable, *program, *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=inherited | {"TERM": "xterm", "PYTHONPATH": str(ROOT)} | dict(environment or {}),
            start_new_session=True,
        )
        os.close(slave)
        self._output = b""

    @property
    def text(self) -> str:
        """What was printed until now, without colours."""
        return _ESCAPES.sub("", self.raw)

    @property
    def raw(self) -> str:
        return self._output.decode(errors="replace").replace("\r\n", "\n")

    def read_until(self, words: str) -> None:
        """Read until ``words`` were printed."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while words not in self.text:
            assert time.monotonic() < deadline, self.text
            assert self._read(), f"it has ended without {words}: {self.text}"

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def exit_code(self) -> int:
        """Read to the end, and return the exit code."""
        while self._read():
            pass
        os.close(self._master)
        return self._process.wait(TIMEOUT_SECONDS)

    def _read(self) -> bool:
        readable, _, _ = select.select([self._master], [], [], TIMEOUT_SECONDS)
        assert readable, self.text
        try:
            block = os.read(self._master, 4096)
        except OSError:  # the terminal's end
            return False
        self._output += block
        return bool(block)
