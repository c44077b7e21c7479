"""Every statement of the program is understood by PostgreSQL, too."""

import asyncio
import subprocess
import sys

import orjson
import pytest

from p2p_oicp.storage.statements import Statement, written
from tests.support.paths import ROOT

UNDERSTOOD = 250  # there are more; a test that finds none would pass
# In a process of its own: tests make statements, too.
LIST = """
import gc, importlib, pkgutil, orjson, p2p_oicp
from p2p_oicp.storage.statements import RowStatement, Statement
for module in pkgutil.walk_packages(p2p_oicp.__path__, "p2p_oicp."):
    if not module.name.endswith("__main__") and ".migrations." not in module.name:
        importlib.import_module(module.name)
texts = [each.numbered().text for each in gc.get_objects() if isinstance(each, Statement | RowStatement)]
print(orjson.dumps(texts).decode())
"""


@pytest.fixture
async def tables(cluster):
    connections = pytest.importorskip("p2p_oicp.storage.postgres.tables")
    connection = await connections.open_checked(cluster.new_schema())
    try:
        yield connection
    finally:
        await connection.close()


async def test_postgresql_understands_every_statement_of_the_program(tables):
    texts = orjson.loads(await asyncio.to_thread(_list_texts))
    refusals = {text: error for text in texts if (error := await _refusal(tables, text))}
    assert refusals == {}
    assert len(texts) > UNDERSTOOD


async def test_a_statement_that_only_sqlite_understands_is_refused(tables):
    replacing = Statement("INSERT OR REPLACE INTO peers (id) VALUES (:id)", {})
    assert "syntax error" in await _refusal(tables, replacing.numbered().text)
    assert not await _refusal(tables, written(lambda d: f"SELECT {d.hex('digest')} FROM cdrs").numbered().text)


def _list_texts() -> bytes:
    return subprocess.run([sys.executable, "-c", LIST], cwd=ROOT, capture_output=True, check=True, timeout=60).stdout


async def _refusal(connection, text: str) -> str:
    try:
        await connection.prepare(text)
    except Exception as error:  # noqa: BLE001 - of any kind
        return f"{type(error).__name__}: {error}"
    return ""
