"""What a fake backend was sent, with what a test may assert of it; and the answers that it got."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
Condition = Callable[[Json], bool]

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request that a fake backend was sent; ``party`` is the id in its path, ``body`` its JSON object.

    The operation is empty where the path is none of OICP's. The names of ``headers`` may be given in any letter case.
    """

    operation: str
    party: str | None
    path: str
    headers: Mapping[str, str]
    body: Json

    def __getitem__(self, member: str) -> Any:  # noqa: ANN401 - any JSON
        return self.body[member]

    def matches(self, operation: str, members: Json, condition: Condition | None) -> bool:
        """Whether it is one of that operation that has these members and fulfils the condition."""
        has_members = all(self.body.get(name) == value for name, value in members.items())
        return self.operation == operation and has_members and (condition is None or condition(self.body))


@dataclass(frozen=True, slots=True)
class Reply:
    """A node's answer: HTTP status, headers, and the JSON object; ``reply["SessionID"]`` is a member of it."""

    status: int
    headers: Mapping[str, str]
    body: Json

    def __getitem__(self, member: str) -> Any:  # noqa: ANN401 - any JSON
        return self.body[member]

    @property
    def code(self) -> str | None:
        """The OICP status code, None if there is none."""
        status = self.body.get("StatusCode")
        return str(status["Code"]) if isinstance(status, dict) and "Code" in status else None

    @property
    def is_positive(self) -> bool:
        """Whether the request was granted: HTTP 200 alone does not say so."""
        granted = self.body.get("Result", self.body.get("AuthorizationStatus", self.code in {None, "000"}))
        return self.status < 400 and granted in {True, "Authorized"}  # noqa: PLR2004 - HTTP's own boundary


@dataclass
class RequestLog:
    """The requests of a fake backend, in their order; threads may add and wait at the same time."""

    owner: str
    _requests: list[RecordedRequest] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def add(self, request: RecordedRequest) -> None:
        """Append one and wake up who waits."""
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()

    def all(self) -> list[RecordedRequest]:
        """Return all so far."""
        with self._changed:
            return list(self._requests)

    def clear(self) -> None:
        """Forget all so far."""
        with self._changed:
            self._requests.clear()

    def find(self, operation: str, members: Json, condition: Condition | None) -> list[RecordedRequest]:
        """Return those that match."""
        return [each for each in self.all() if each.matches(operation, members, condition)]

    def wait_for(
        self, operation: str, members: Json, condition: Condition | None, *, count: int, timeout: float
    ) -> RecordedRequest:
        """Return the newest that matches when there are ``count``; raise AssertionError after ``timeout`` seconds."""

        def matches() -> list[RecordedRequest]:
            return [each for each in self._requests if each.matches(operation, members, condition)]

        with self._changed:
            if self._changed.wait_for(lambda: len(matches()) >= count, timeout):
                return matches()[-1]
        raise AssertionError(f"{self._expectation(operation, members, count)} within {timeout:g} s; {self._summary()}")

    def check_count(
        self, operation: str, members: Json, condition: Condition | None, count: int | None
    ) -> list[RecordedRequest]:
        """Return those that match; raise AssertionError unless there are ``count``, or one at least."""
        matches = self.find(operation, members, condition)
        if (not matches) if count is None else (len(matches) != count):
            expectation = self._expectation(operation, members, count)
            raise AssertionError(f"{expectation}, not {len(matches)}; {self._summary()}")
        return matches

    def _expectation(self, operation: str, members: Json, count: int | None) -> str:
        number = "at least 1" if count is None else str(count)
        what = f" with {json.dumps(members)}" if members else ""
        return f"{self.owner}: expected {number} {operation}{what}"

    def _summary(self) -> str:
        requests = self.all()
        if not requests:
            return "it was sent nothing"
        lines = [f"  {each.operation} {json.dumps(each.body, ensure_ascii=False)[:200]}" for each in requests]
        return "\n".join(["it was sent:", *lines[-_SHOWN:]])
