"""What the demonstration has checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby


@dataclass(frozen=True, slots=True)
class Check:
    """One sentence that must be true at that point of the day; ``detail`` says what was found where it is not."""

    scene: str
    sentence: str
    held: bool
    detail: str = ""


@dataclass
class Report:
    """All checks of one run."""

    checks: list[Check] = field(default_factory=list)
    exchanges: int = 0
    seconds: float = 0.0

    @property
    def failed(self) -> list[Check]:
        """Checks that did not hold."""
        return [check for check in self.checks if not check.held]

    @property
    def held(self) -> bool:
        """Whether something was checked and all of it held."""
        return bool(self.checks) and not self.failed

    def by_scene(self) -> list[tuple[str, list[Check]]]:
        """Return the checks in their order, grouped by scene."""
        return [(scene, list(checks)) for scene, checks in groupby(self.checks, key=lambda check: check.scene)]
