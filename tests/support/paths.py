"""Where the repository stands, and the data that projects beside it share."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
