"""Who may look at the dashboard, and who may change something by it (DESIGN section 7, "Local").

A person logs in with the token of the backend listener, or with ``[dashboard] read_only_token``, and gets a signed
cookie: ``HttpOnly``, ``SameSite=Strict``, for twelve hours, and until the node is restarted. Every form carries a token
that belongs to the cookie. A node without a token has its administration open to whoever reaches the listener, and the
dashboard as well: the cookie is given without asking, for the sake of the forms.

Browsers send a cookie to all ports of a host. So its name has the port: several nodes of one machine do not log each
other out.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie

import msgspec

from p2p_oicp.clock import Clock
from p2p_oicp.crypto.signed_values import ValueSigner, new_nonce

_LOGIN_SECONDS = 12 * 3600.0
_REVEAL_SECONDS = 300.0
_MAX_NAME_LENGTH = 60
_LOGIN, _FORM, _REVEAL = "login", "form", "reveal"
# A token is guessed neither by hand nor by a program that waits as long.
_MAX_FAILURES, _FAILURE_WINDOW_SECONDS = 20, 60.0


class Login(msgspec.Struct, frozen=True):
    """Who looks at the dashboard.

    Attributes:
        person: the name that was given at the login; it proves nothing, and stands in the event log.
        may_act: whether it was the token that may change things.
        nonce: what forms and tickets of this login are bound to.
        until: when it ends, in seconds since the epoch.
    """

    person: str
    may_act: bool
    nonce: str
    until: float


class _Ticket(msgspec.Struct, frozen=True):
    path: str
    nonce: str
    until: float


_read_login = msgspec.msgpack.Decoder(Login).decode
_read_ticket = msgspec.msgpack.Decoder(_Ticket).decode


class DashboardAccess:
    """Logs people in, and knows them again.

    Args:
        token: of the backend listener; None: there is none.
        read_only_token: opens the pages, and changes nothing; None: there is none.
        clock: the time.
    """

    def __init__(self, token: str | None, read_only_token: str | None, clock: Clock) -> None:
        self._token = token
        self._read_only_token = read_only_token
        self._clock = clock
        self._signer = ValueSigner()
        self._failures: list[float] = []

    @property
    def is_open(self) -> bool:
        """Whether whoever reaches the listener is let in."""
        return self._token is None

    def log_in(self, token: str, person: str) -> Login | None:
        """Return the login of whoever has a token; None where it is none."""
        may_act = self._is(token, self._token)
        if not may_act and not self._is(token, self._read_only_token):
            self._failures.append(self._clock.monotonic())
            return None
        return self._login(person, may_act=may_act)

    def log_in_anyone(self) -> Login | None:
        """Return a login where no token is needed."""
        return self._login("", may_act=True) if self.is_open else None

    def has_too_many_failures(self) -> bool:
        """Whether so many tokens of the last minute were wrong that no more are tried."""
        began = self._clock.monotonic() - _FAILURE_WINDOW_SECONDS
        self._failures = [at for at in self._failures if at > began]
        return len(self._failures) >= _MAX_FAILURES

    def find_login(self, headers: Mapping[str, str]) -> Login | None:
        """Return the login of a request's cookie; None where there is none, or it has ended."""
        try:
            cookie = SimpleCookie(headers.get("Cookie", "")).get(_cookie_name(headers))
        except CookieError:
            return None
        value = None if cookie is None else self._signer.read(_LOGIN, cookie.value)
        if value is None:
            return None
        login = _read_login(value)
        return login if login.until > self._clock.time() else None

    def cookie_of(self, login: Login | None, headers: Mapping[str, str], *, is_secure: bool) -> str:
        """Return the value of ``Set-Cookie`` that keeps a login, or ends it (None)."""
        value = "" if login is None else self._signer.sign(_LOGIN, msgspec.msgpack.encode(login))
        seconds = int(_LOGIN_SECONDS) if login is not None else 0
        secure = "; Secure" if is_secure else ""
        return f"{_cookie_name(headers)}={value}; Path=/ui; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"

    def form_token(self, login: Login) -> str:
        """Return what each form of a login carries."""
        return self._signer.token(_FORM, login.nonce)

    def is_form_token(self, login: Login, token: str) -> bool:
        """Whether a form comes from a page that this login was shown."""
        return self._signer.is_token(_FORM, login.nonce, token)

    def reveal_ticket(self, login: Login, path: str) -> str:
        """Return what lets a login see one page unmasked for some minutes."""
        ticket = _Ticket(path, login.nonce, self._clock.time() + _REVEAL_SECONDS)
        return self._signer.sign(_REVEAL, msgspec.msgpack.encode(ticket))

    def may_see(self, login: Login, path: str, ticket: str) -> bool:
        """Whether a ticket is this login's, for this page, and has not ended."""
        value = self._signer.read(_REVEAL, ticket)
        if value is None:
            return False
        read = _read_ticket(value)
        return read.path == path and read.nonce == login.nonce and read.until > self._clock.time()

    def _login(self, person: str, *, may_act: bool) -> Login:
        return Login(person.strip()[:_MAX_NAME_LENGTH], may_act, new_nonce(), self._clock.time() + _LOGIN_SECONDS)

    def _is(self, presented: str, token: str | None) -> bool:
        return token is not None and hmac.compare_digest(presented.encode(errors="replace"), token.encode())


def _cookie_name(headers: Mapping[str, str]) -> str:
    port = headers.get("Host", "").rpartition(":")[2]
    return f"p2p_oicp_{port}" if port.isascii() and port.isdigit() else "p2p_oicp"
