"""The source of the package as the tests of its structure read it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.support.paths import ROOT

PACKAGE = "p2p_oicp"

#: From the bottom up: each package or module imports only those before it, and itself.
LAYERS = (
    "errors",
    "clock",
    "concurrency",
    "version",
    "logs",
    "tracing",
    "oicp",
    "ocpi",
    "ocpi_mapping",
    "crypto",
    "peers",
    "config",
    "storage",
    "events",
    "client",
    "backends",
    "peering",
    "delivery",
    "roles",
    "ocpi_gateway",
    "server",
    "builder",
    "apps",
    "node",
    "hub",
    "runner",
    "",  # the package itself: what it offers to other programs
    "simulator",
    "testing",
    "cli",
)

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    name: str
    path: Path
    text: str

    @property
    def layer(self) -> str:
        return self.name.split(".")[1] if "." in self.name else ""

    @property
    def lines(self) -> int:
        return self.text.count("\n")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    def imported(self, nodes: Iterable[ast.AST] | None = None) -> Iterator[tuple[str, int]]:
        """Return what the nodes (None: all) import, with the line; of our own package always the module's name."""
        for node in nodes or ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((alias.name, node.lineno) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name}:{node.lineno} imports relatively"
                yield from ((_module_of(node.module or "", alias.name), node.lineno) for alias in node.names)

    def functions(self) -> Iterator[Function]:
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))

    def is_in(self, *places: str) -> bool:
        """Tell whether it is one of the modules or packages (``crypto``, ``peers.routing``), or within one."""
        return any(f"{self.name}.".startswith(f"{PACKAGE}.{place}.") for place in places)


def _module_of(parent: str, name: str) -> str:
    return f"{parent}.{name}" if f"{parent}.{name}" in MODULES or not parent.startswith(PACKAGE) else parent


def _read(path: Path) -> Module:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    return Module(name, path, path.read_text(encoding="utf-8"))


MODULES: dict[str, Module] = {}
MODULES |= {module.name: module for module in map(_read, sorted((ROOT / PACKAGE).rglob("*.py")))}
