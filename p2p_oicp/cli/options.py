"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigOption = Annotated[
    Path, typer.Option("--config", "-c", metavar="FILE", help="Settings of the node, as `init` writes them.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON list, for programs.")]
