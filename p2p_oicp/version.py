"""The version of this program, stated once: the package's metadata is read from here."""

from typing import Final

VERSION: Final = "0.2.0"
