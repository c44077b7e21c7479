"""Which part of the package may import what."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.meta.source import LAYERS, MODULES, PACKAGE
from tests.support.paths import ROOT

# Library: who may import it. Nothing else knows of sockets, SQL, multicast, metrics, keys or terminals.
HTTP = ("client", "server", "simulator", "testing")
SQL = ("storage",)
USERS = {
    "aiohttp": HTTP,
    "yarl": (*HTTP, "cli.client"),
    "http": HTTP,  # but http.HTTPStatus, whose names are no I/O
    "urllib.request": (),
    "socket": (*HTTP, "runner"),  # the service manager's
    "sqlite3": ("storage.sqlite",),
    "aiosqlite": ("storage.sqlite",),
    "asyncpg": ("storage.postgres",),
    "greenlet": ("storage.postgres",),
    "sqlalchemy": SQL,
    "alembic": SQL,
    "zeroconf": ("peering.discovery",),
    "prometheus_client": ("server",),
    "cryptography": ("crypto",),
    "nacl": ("crypto",),
    "bcrypt": ("crypto",),
    "opentelemetry": ("tracing",),
    "jinja2": ("server.dashboard",),
    "segno": ("server.dashboard",),
    "typer": ("cli",),
    "rich": ("cli", "simulator"),
}
# Pure: they compute, and neither wait for anything nor write a log.
PURE = (
    "oicp",
    "ocpi",
    "ocpi_mapping",
    "peers.models",
    "peers.routing",
    "crypto.http_signatures",
    "crypto.structured_fields",
)


def test_every_module_is_part_of_a_layer():
    assert [module.name for module in MODULES.values() if module.layer not in {*LAYERS, "__main__"}] == []


def test_a_layer_imports_only_the_layers_below_it():
    offenders = [
        f"{module.name}:{line} imports {name}"
        for module in MODULES.values()
        if module.layer in LAYERS
        for name, line in module.imported()
        if name.startswith(PACKAGE)
        if LAYERS.index(MODULES[name].layer) > LAYERS.index(module.layer)
    ]
    assert not offenders, "\n".join(offenders)


def test_a_library_is_used_only_where_its_layer_is():
    offenders = [
        f"{module.name}:{line} imports {name}"
        for module in MODULES.values()
        for name, line in module.imported()
        for library, users in USERS.items()
        if f"{name}.".startswith(f"{library}.") and name != "http.HTTPStatus" and not module.is_in(*users)
    ]
    assert not offenders, "\n".join(offenders)


def test_pure_modules_neither_wait_nor_write_logs():
    offenders = [
        f"{module.name}:{line} imports {name}"
        for module in MODULES.values()
        if module.is_in(*PURE)
        for name, line in module.imported()
        if name.split(".")[0] in {"asyncio", "structlog", "logging", "socket", "threading"}
    ]
    assert not offenders, "\n".join(offenders)


def test_the_tables_above_name_modules_that_exist():
    places = {place for users in USERS.values() for place in users} | {*PURE, *LAYERS} - {""}
    assert [place for place in sorted(places) if f"{PACKAGE}.{place}" not in MODULES] == []


def test_no_modules_import_each_other_in_a_cycle():
    graph = {
        module.name: {
            name for name, _ in module.imported(at_import_time(module.tree)) if name in MODULES and name != module.name
        }
        for module in MODULES.values()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as exc:
        pytest.fail(" → ".join(exc.args[1]))


def at_import_time(node: ast.AST) -> Iterator[ast.AST]:
    """Walk what runs when a module is imported: not the bodies of functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from at_import_time(child)


def test_our_own_package_is_never_imported_for_types_only():
    offenders = [
        f"{module.name}:{line} imports {name}"
        for module in MODULES.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for name, line in module.imported(ast.walk(node))
        if name.startswith(PACKAGE)
    ]
    assert not offenders, "\n".join(offenders)


@pytest.mark.parametrize("package", ["oicp", "ocpi", "ocpi_mapping", "peers", "config"])
def test_protocol_peers_and_settings_load_without_network_or_database(package):
    node_only = {"aiohttp", "sqlalchemy", "zeroconf", "aiosqlite", "typer", "uvloop"}
    if package.startswith(("oicp", "ocpi")):
        node_only.add("cryptography")
    assert loaded_by(f"{PACKAGE}.{package}") & node_only == set()


def test_help_loads_no_package_but_the_command_line():
    loaded = {name.split(".")[1] for name in loaded_by(f"{PACKAGE}.cli") if name.startswith(f"{PACKAGE}.")}
    assert loaded == {"cli", "errors", "version"}


def loaded_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_every_job_says_what_it_is_about():
    offenders = [
        f"{module.name}:{node.lineno}"
        for module in MODULES.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and is_write(node.func)
        if len(node.args) < 3 and "about" not in {keyword.arg for keyword in node.keywords}
    ]
    assert not offenders, "\n".join(offenders)


def is_write(function: ast.expr) -> bool:
    """Whether this is `write` or `write_once` of a store."""
    return (
        isinstance(function, ast.Attribute)
        and function.attr in {"write", "write_once"}
        and ast.unparse(function.value).endswith(("store", "_store"))
    )
