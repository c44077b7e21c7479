"""Pages of an answer (boxes P1 and P2): which one is wanted, and the envelope around its records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qs

import orjson

from p2p_oicp.errors import Refusal
from p2p_oicp.roles.answers import SUCCESS, status_code
from p2p_oicp.roles.context import Answer

# "default 20, maximum 2000" (EMP-02, eRoamingGetChargeDetailRecords; the integration guide for EVSE data).
_USUAL_SIZE = 20
_LARGEST_SIZE = 2000
_DATA_ERROR = "022"
_BAD_REQUEST = 400
# So that what it is multiplied with is still a number for the database.
_MOST_DIGITS = 12


@dataclass(frozen=True, slots=True)
class PageWanted:
    """A page: ``number`` from 0, at most ``size`` records."""

    number: int = 0
    size: int = _USUAL_SIZE

    @property
    def offset(self) -> int:
        """How many records come before it."""
        return self.number * self.size

    @classmethod
    def of(cls, query: str) -> PageWanted:
        """Read ``page`` and ``size``; a larger size than 2000 is clamped. Raises Refusal 022."""
        return _wanted(query)

    def answer(self, records: Sequence[bytes], total: int) -> Answer:
        """Return the page with all members of the envelope: another implementation loops forever without ``last``."""
        return self.answer_joined([b",".join(records)], len(records), total)

    def answer_joined(self, texts: Sequence[bytes], count: int, total: int) -> Answer:
        """Return the page; ``texts`` in a row are ``count`` records with commas between."""
        pages = max(1, -(-total // self.size))
        envelope = {
            "number": self.number,
            "size": self.size,
            "totalElements": total,
            "last": self.number + 1 >= pages,
            "totalPages": pages,
            "first": self.number == 0,
            "numberOfElements": count,
            "StatusCode": status_code(SUCCESS),
        }
        # What stands around them is joined with the records: a page of some megabytes is copied once.
        return Answer(b"".join((b'{"content":[', *texts, b"],", orjson.dumps(envelope)[1:])))


@lru_cache(maxsize=1024)
def _wanted(query: str) -> PageWanted:
    given = parse_qs(query)
    number, size = _number(given, "page", 0), _number(given, "size", _USUAL_SIZE)
    return PageWanted(number, min(max(size, 1), _LARGEST_SIZE))


def _number(given: dict[str, list[str]], name: str, usual: int) -> int:
    text = given.get(name, [str(usual)])[-1]
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        expected = f"expected a whole number from 0, of {_MOST_DIGITS} digits at most"
        raise Refusal(_DATA_ERROR, f"{name}={text[:20]}: {expected}", http_status=_BAD_REQUEST)
    return int(text)
