"""How a fake backend answers: by rules of the test, the newest first, and else as a well-behaved backend would."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from p2p_oicp.testing.requests import Json

Answer = Json | Callable[[Json], Json]


@dataclass
class Rule:
    """One scripted answer; it counts for all requests of its operation, or for the next ``times`` ones.

    Attributes:
        answer: the JSON object, or a function that makes it of the request; None: the usual answer.
        status: the HTTP status.
        delay: seconds before the answer.
        hangs: there is never an answer.
        drops: the connection is closed instead of an answer.
        condition: what the request has to fulfil.
    """

    operation: str
    answer: Answer | None = None
    status: int = 200
    delay: float = 0.0
    hangs: bool = False
    drops: bool = False
    times: int | None = None
    condition: Callable[[Json], bool] | None = None
    used: int = field(default=0, init=False)

    def applies(self, operation: str, body: Json) -> bool:
        """Whether it is for this request."""
        is_left = self.times is None or self.used < self.times
        return is_left and operation == self.operation and (self.condition is None or self.condition(body))

    def answer_to(self, body: Json, usual: Callable[[], Json]) -> Json:
        """Return the answer."""
        if self.answer is None:
            return usual()
        return self.answer(body) if callable(self.answer) else self.answer


class Script:
    """The rules of a fake backend; a test may add some while it answers."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._lock = threading.Lock()

    def add(self, rule: Rule) -> None:
        """Add a rule, which goes before all others."""
        with self._lock:
            self._rules.insert(0, rule)

    def clear(self) -> None:
        """Remove all rules."""
        with self._lock:
            self._rules.clear()

    def choose(self, operation: str, body: Json) -> Rule:
        """Return the rule for a request, and count it as used."""
        with self._lock:
            rule = next((each for each in self._rules if each.applies(operation, body)), Rule(operation))
            rule.used += 1
            return rule


def acknowledgement(code: str = "000", info: str | None = None, **members: object) -> Json:
    """Return an Acknowledgement: positive with 000, else a refusal."""
    return {"Result": code == "000", "StatusCode": _status(code, info), **members}


def authorization(code: str = "000", info: str | None = None, **members: object) -> Json:
    """Return the answer to AuthorizeStart or AuthorizeStop: Authorized with 000, else a refusal."""
    verdict = "Authorized" if code == "000" else "NotAuthorized"
    return {"AuthorizationStatus": verdict, "StatusCode": _status(code, info), **members}


def _status(code: str, info: str | None) -> Json:
    return {"Code": code} if info is None else {"Code": code, "AdditionalInfo": info}
