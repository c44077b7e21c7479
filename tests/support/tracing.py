"""Which files of the package run while nodes in this process do something: by node, and by the task they run in."""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

from aiohttp import BaseConnector
from aiohttp.web_request import BaseRequest

import p2p_oicp
from p2p_oicp.storage.sqlite.store import SqliteStore

_PACKAGE = Path(p2p_oicp.__file__).parent

#: Set while a node is started: all its tasks and callbacks inherit it.
NODE: ContextVar[str] = ContextVar("node", default="")
_WORK: ContextVar[str] = ContextVar("work", default="")
_ORIGIN: ContextVar[Origin | None] = ContextVar("origin", default=None)


class Origin(NamedTuple):
    """What a function runs for: a node, and the path of a request or the name of a background task."""

    node: str
    work: str


class Seen(NamedTuple):
    """A file that ran for ``origin``, after it had passed ``boundaries`` sockets and backends, or in a transaction."""

    origin: Origin
    boundaries: int
    in_transaction: bool
    file: str


class FileTracer:
    """Collects the files that run while it records, in all threads.

    A function that runs in a transaction counts for the task that asked for the transaction, not for the writer's.
    """

    def __init__(self) -> None:
        self._files: dict[CodeType, str | None] = {}
        self._is_active = False
        self._boundaries: Counter[Origin] = Counter()
        self._seen: set[Seen] = set()

    @contextmanager
    def installed(self) -> Iterator[FileTracer]:
        """Trace what runs from now on, also in threads that start from now on."""
        write, create_request, send = SqliteStore.write, BaseRequest.__init__, BaseConnector.connect
        SqliteStore.write = _with_origin(write)
        BaseRequest.__init__ = _with_path(create_request)
        BaseConnector.connect = self.at_boundary(send)
        threading.setprofile(self._on_event)
        sys.setprofile(self._on_event)
        try:
            yield self
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
            SqliteStore.write, BaseRequest.__init__, BaseConnector.connect = write, create_request, send

    @contextmanager
    def recording(self) -> Iterator[set[Seen]]:
        """Return what runs within the block."""
        self._seen = set()
        self._boundaries.clear()
        self._is_active = True
        try:
            yield self._seen
        finally:
            self._is_active = False

    def at_boundary(self, function: Any) -> Any:
        """Return ``function``, which sends a request or is a backend's, so that a call of it counts as a boundary."""

        @functools.wraps(function)
        async def counted(*args: Any, **kwargs: Any) -> Any:
            self._boundaries[current_origin()] += 1
            return await function(*args, **kwargs)

        return counted

    def _on_event(self, frame: FrameType, event: str, _argument: Any) -> None:
        if event == "call" and self._is_active:
            code = frame.f_code
            file = self._files.get(code, "")
            if file == "":
                file = self._files[code] = _own_file(code)
            if file is not None:
                origin = current_origin()
                self._seen.add(Seen(origin, self._boundaries[origin], _ORIGIN.get() is not None, file))


def _own_file(code: CodeType) -> str | None:
    path = Path(code.co_filename)
    return str(path.relative_to(_PACKAGE)) if path.is_relative_to(_PACKAGE) else None


def current_origin() -> Origin:
    if (origin := _ORIGIN.get()) is not None:
        return origin
    try:
        task = asyncio.current_task()
    except RuntimeError:  # a thread without an event loop
        task = None
    # Tasks that nobody named work for the task or the request that started them, whose context they copied.
    if task is not None and not task.get_name().startswith("Task-"):
        _WORK.set(task.get_name())
    return Origin(NODE.get(), _WORK.get())


def _with_path(create_request: Any) -> Any:
    @functools.wraps(create_request)
    def traced_create_request(request: BaseRequest, message: Any, *args: Any, **kwargs: Any) -> None:
        # In the connection's task: whatever it does until its next request is for this one.
        _WORK.set(message.path.partition("?")[0])
        create_request(request, message, *args, **kwargs)

    return traced_create_request


def _with_origin(write: Any) -> Any:
    @functools.wraps(write)
    def traced_write(store: SqliteStore, job: Any, *args: Any, **kwargs: Any) -> Any:
        origin = current_origin()

        def traced_job(*job_args: Any) -> Any:
            token = _ORIGIN.set(origin)
            try:
                return job(*job_args)
            finally:
                _ORIGIN.reset(token)

        return write(store, traced_job, *args, **kwargs)

    return traced_write
