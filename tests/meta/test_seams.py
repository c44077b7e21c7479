"""Time, ids, randomness, tasks, threads and event loops come from three modules.

With them replaced, a whole cluster can be simulated deterministically.
``clock`` gives times and ids, ``concurrency`` tasks and threads, ``runner`` the event loop. `asyncio.sleep`, timeouts,
``gather`` and TaskGroups are the loop's own business. Key material, tokens and salts use the system's randomness.
"""

import ast
from collections.abc import Iterator

from tests.meta.source import MODULES, Module

SEAMS = ("clock", "concurrency", "runner")
# Programs of their own, beside a node; and the samples of fleets, whose randomness is seeded.
FREE = ("cli", "simulator", "testing", "oicp.sample_fleets")
KEY_MATERIAL = ("crypto", "peers.descriptor")

MODULES_OF_SEAMS = {"time", "uuid", "uuid_utils", "random", "threading", "concurrent", "multiprocessing", "uvloop"}
CALLS_OF_SEAMS = {
    "create_task",
    "ensure_future",
    "to_thread",
    "run_in_executor",
    "run_coroutine_threadsafe",
    "new_event_loop",
    "set_event_loop",
}
DOTTED_CALLS_OF_SEAMS = {
    "asyncio.run",
    "asyncio.Runner",
    "datetime.now",
    "datetime.utcnow",
    "datetime.datetime.now",
    "date.today",
}


def test_time_ids_tasks_threads_and_loops_come_from_the_seams():
    offenders = [
        f"{module.name}:{line} {what}"
        for module in MODULES.values()
        if not module.is_in(*SEAMS, *FREE)
        for line, what in sorted({*imports_of_seams(module), *calls_of_seams(module)})
    ]
    assert not offenders, "\n".join(offenders)


def imports_of_seams(module: Module) -> Iterator[tuple[int, str]]:
    for name, line in module.imported():
        library = name.split(".")[0]
        if library in MODULES_OF_SEAMS or (library == "secrets" and not module.is_in(*KEY_MATERIAL)):
            yield line, f"imports {name}"


def calls_of_seams(module: Module) -> Iterator[tuple[int, str]]:
    groups = task_groups(module)
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute):
            dotted, owner = ast.unparse(node), ast.unparse(node.value)
            if dotted in DOTTED_CALLS_OF_SEAMS or (node.attr in CALLS_OF_SEAMS and owner not in groups):
                yield node.lineno, dotted


def task_groups(module: Module) -> set[str]:
    """Return the names that TaskGroups are given."""
    return {
        ast.unparse(item.optional_vars)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.AsyncWith)
        for item in node.items
        if item.optional_vars is not None and "TaskGroup(" in ast.unparse(item.context_expr)
    }
