"""The tables ``[[backends]]``: this company's own systems, and which of its parties each of them serves.

A party belongs to at most one backend; a backend that lists no parties of a role serves all others of it, and there is
one such at most. `effective_backends` completes the tables by the short form (``cpo_url`` and ``emp_url``) and by what
serves the rest: the built-in token list for an EMP, nothing for a CPO. `backend_conflicts` finds the mistakes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainValidator, SecretStr, model_validator

from p2p_oicp.config.base import Seconds, SettingsSection, WholeNumber
from p2p_oicp.oicp.operations import BASE_PATH
from p2p_oicp.peers.models import (
    CertificateField,
    OperatorField,
    PartyID,
    PathField,
    ProviderField,
    UrlField,
    parse_name,
)

#: The names of the short form, and of the backends that a node without any has.
CPO_BACKEND, EMP_BACKEND = "cpo", "emp"
_MAX_TIMEOUT_SECONDS = 60
_NO_PATHS: Mapping[str, str] = MappingProxyType({})
_ROLES = {"cpo": ("operators", "OperatorIDs"), "emp": ("providers", "ProviderIDs")}


def destination_of(name: str) -> str:
    """Return the destination (outbox, health) of the backend ``name``; no peer has such a name."""
    return f"backend:{name}"


def parse_backend_name(value: object) -> str:
    """Return a name that may stand in a destination; raise ValueError."""
    name = parse_name(value)
    if ":" in name:
        raise ValueError(f'"{name}": expected a name without a colon')
    return name


def require_array_of_tables(value: object, table: str = "backends", what: str = "system") -> object:
    """Raise ValueError for one table in place of a list of them."""
    # "[backends]" is the most likely mistake, and pydantic would report a wrong type.
    if isinstance(value, dict):
        raise ValueError(f"expected [[{table}]], with two brackets: every {what} is an entry of a list")  # noqa: TRY004 - pydantic reports ValueError only
    return value


PushName = Literal["EvseData", "EvseStatus", "PricingProductData", "EVSEPricing", "AuthenticationData"]
_AUTHENTICATION = "AuthenticationData"
Timeout = Annotated[Seconds | None, Field(gt=0, le=_MAX_TIMEOUT_SECONDS)]


class BackendSettings(SettingsSection):
    """One of this company's own systems, and how it is called. Any number of them, each with a table of its own.

    `cpo_url` and `emp_url` of `[backend_api]` are the short form of two such tables, named `cpo` and `emp`. In the
    environment all tables are one list, as JSON.
    """

    name: Annotated[str, PlainValidator(parse_backend_name)] = Field(
        description="Name of the system in logs and on the command line. Its messages wait for `backend:NAME`."
    )
    role: Literal["cpo", "emp", "both"] = Field(
        description='"cpo" for a charging station management system, "emp" for a contract system, or "both".'
    )
    operators: tuple[OperatorField, ...] = Field(
        (),
        description="Those of our OperatorIDs that it serves. Empty: all that no other backend lists.",
    )
    providers: tuple[ProviderField, ...] = Field(
        (),
        description="Those of our ProviderIDs that it serves. Empty: all that no other backend lists.",
    )
    url: UrlField | None = Field(
        None,
        description="Base URL of the system. Absent: a Python object of this name, given to `Node(backends=…)`.",
    )
    path: PathField = Field(BASE_PATH, description="Where the paths of OICP begin, below url.")
    token: SecretStr | None = Field(
        None, min_length=8, description='Secret that is sent as "Authorization: Bearer TOKEN"; better in token_file.'
    )
    token_file: Path | None = Field(
        None, description="File of mode 0600 with that secret, relative to the folder of node.toml."
    )
    signature: bool = Field(
        default=False,
        description="Whether requests are signed with this node's keys (RFC 9421), as those to peers are.",
    )
    certificate: Path | None = Field(
        None,
        description="PEM file of the client certificate that is shown to the system, relative to the folder of "
        "node.toml; key as well.",
    )
    key: Path | None = Field(None, description="PEM file of its private key.")
    ca: Path | None = Field(
        None, description="PEM file of the CAs that may have issued the system's certificate. Absent: the machine's."
    )
    server_certificates: tuple[CertificateField, ...] = Field(
        (), description="Certificates of the system, or their fingerprints (SHA256:…); with any, no other is accepted."
    )
    authorize_timeout: Timeout = Field(
        None, description="Seconds to authorize a start or stop; at most `authorize_backend` of [deadlines]."
    )
    remote_timeout: Timeout = Field(
        None, description="Seconds to start, stop or reserve; at most `remote_backend` of [deadlines]."
    )
    record_timeout: Timeout = Field(None, description="Seconds to take a notification or a CDR.")
    concurrent: WholeNumber = Field(
        64,  # half of the slots for remote operations (`server.limits`): the other half stays for the others
        ge=1,
        description="Drivers' requests that it gets at a time. One more is refused at once, so that a system that "
        "hangs occupies no more than that.",
    )

    push: tuple[PushName, ...] = Field(
        (),
        description="What it is told of all our partners, as the clearing house would push it: EvseData, EvseStatus, "
        "PricingProductData and EVSEPricing of CPOs, to a contract system; AuthenticationData of EMPs, to a charging "
        "station management system.",
    )

    @property
    def table(self) -> str:
        """How the table is written, for messages."""
        return "[[backends]]"

    @property
    def own_paths(self) -> Mapping[str, str]:
        """By the name of an operation, its path at the system where it is none of OICP's."""
        return _NO_PATHS

    def serves_role(self, role: str) -> bool:
        """Return whether it is a backend of this role of the node."""
        return self.role in {role, "both"}

    def parties(self, role: str) -> Sequence[PartyID]:
        """Return the parties of a role that it lists; none: it serves all others."""
        return self.operators if role == "cpo" else self.providers

    @model_validator(mode="after")
    def _check_credentials(self) -> BackendSettings:
        if (self.certificate is None) != (self.key is None):
            raise ValueError('expected both or none of certificate = "…" and key = "…"')
        if self.token is not None and self.token_file is not None:
            raise ValueError("token and token_file: expected one of them")
        for role, (key, _) in _ROLES.items():
            if self.parties(role) and not self.serves_role(role):
                raise ValueError(f'{key} with role = "{self.role}": expected role = "{role}" or "both"')
        for name in self.push:
            role = "cpo" if name == _AUTHENTICATION else "emp"
            if not self.serves_role(role):
                raise ValueError(f'push has "{name}", which is for role = "{role}" or "both"')
        needs_tls = self.certificate or self.ca or self.server_certificates
        if needs_tls and not (self.url or "").startswith("https:"):
            raise ValueError('certificate, ca and server_certificates are for https; expected url = "https://…"')
        return self


BackendsField = Annotated[tuple[BackendSettings, ...], BeforeValidator(require_array_of_tables)]


@dataclass(frozen=True, slots=True)
class OwnParties:
    """The parties of this node, and the URLs of the short form."""

    operators: Sequence[PartyID]
    providers: Sequence[PartyID]
    cpo_url: str | None = None
    emp_url: str | None = None
    #: By role, the keys of those that an OCPI partner serves (`config.ocpi`).
    of_ocpi: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def of_role(self, role: str) -> Sequence[PartyID]:
        """Return our parties of one role."""
        return self.operators if role == "cpo" else self.providers


def effective_backends(configured: Sequence[BackendSettings], own: OwnParties) -> list[BackendSettings]:
    """Return all backends: the tables, the short form, and what serves the parties that none of these serves.

    The latter two have the names ``cpo`` and ``emp``; without a URL it is the token list, or nothing.
    """
    backends = list(configured)
    for name, role, url in ((CPO_BACKEND, "cpo", own.cpo_url), (EMP_BACKEND, "emp", own.emp_url)):
        if url is not None or _unserved(configured, role, own):
            backends.append(BackendSettings.model_validate({"name": name, "role": role, "url": url}))
    return backends


def _unserved(configured: Sequence[BackendSettings], role: str, own: OwnParties) -> list[PartyID]:
    serving = [backend for backend in configured if backend.serves_role(role)]
    if any(not backend.parties(role) for backend in serving):
        return []
    served = own.of_ocpi.get(role, frozenset()).union(
        party.key for backend in serving for party in backend.parties(role)
    )
    return [party for party in own.of_role(role) if party.key not in served]


@dataclass(frozen=True, slots=True)
class BackendConflict:
    """A mistake that is seen only beside the other tables: the position of the table, its key, a text for people."""

    index: int
    key: str
    message: str


def backend_conflicts(configured: Sequence[BackendSettings], own: OwnParties) -> Iterator[BackendConflict]:
    """Find names and parties that two backends have, parties that are not ours, and a second one for all others."""
    backends = effective_backends(configured, own)
    names: dict[str, int] = {}
    for index, backend in enumerate(backends):
        if names.setdefault(backend.name, index) != index:
            # The short form and the built-in ones stand behind the tables.
            is_table = index < len(configured)
            owner = "two backends" if is_table else _owner_of_name(backend, configured, own)
            expected = "a name of its own" if is_table else "another name"
            message = f'"{backend.name}" is the name of {owner}; expected {expected}'
            yield BackendConflict(names[backend.name], "name", message)
    for role in _ROLES:
        yield from _role_conflicts(configured, role, own)


def _owner_of_name(backend: BackendSettings, configured: Sequence[BackendSettings], own: OwnParties) -> str:
    if backend.url is not None:
        return f"{backend.name}_url of [backend_api]"
    unserved = ", ".join(party.text for party in _unserved(configured, backend.role, own))
    return f"what serves the {_ROLES[backend.role][0]} that no backend lists ({unserved})"


def _role_conflicts(configured: Sequence[BackendSettings], role: str, own: OwnParties) -> Iterator[BackendConflict]:
    key, ids = _ROLES[role]
    ours = {party.key for party in own.of_role(role)}
    owners: dict[str, str] = {}
    url = own.cpo_url if role == "cpo" else own.emp_url
    for_all_others = f"{role}_url of [backend_api]" if url is not None else None
    for index, backend in enumerate(configured):
        if not backend.serves_role(role):
            continue
        if not ours:
            yield BackendConflict(index, "role", f'"{backend.role}", but this node has no {ids} ([node] {key})')
        elif not backend.parties(role):
            if for_all_others is not None:
                message = f"serves all {key} that no other backend lists, as {for_all_others} does; expected one such"
                yield BackendConflict(index, "role", message)
            for_all_others = f'backend "{backend.name}"'
        for party in backend.parties(role):
            if ours and party.key not in ours:
                yield BackendConflict(index, key, f'"{party.text}" is none of the {key} of this node ([node] {key})')
            owner = owners.setdefault(party.key, backend.name)
            if owner != backend.name:
                yield BackendConflict(index, key, f'"{party.text}" is served by backend "{owner}" already')
