"""Load ``node.toml`` with the environment, and build the registry of peers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SecretStr, ValidationError

from p2p_oicp.config.backends import BackendSettings
from p2p_oicp.config.base import ENVIRONMENT_DELIMITER, ENVIRONMENT_PREFIX, table_of
from p2p_oicp.config.model import (
    BackendApiSettings,
    PeerApiSettings,
    Settings,
)
from p2p_oicp.config.peers_file import load_peers
from p2p_oicp.config.sources import SettingSource
from p2p_oicp.config.toml import Location, TomlFile, configuration_error, read_toml, unknown_key_message
from p2p_oicp.config.webhooks import WebhookSettings, duplicate_webhooks
from p2p_oicp.crypto.keystore import may_others_read, read_private_file
from p2p_oicp.errors import ConfigurationError
from p2p_oicp.peers import Peer, PeerRegistry

_MIN_TOKEN_LENGTH = 16
SystemT = TypeVar("SystemT", BackendSettings, WebhookSettings)
# Keys of node.toml whose value is a secret itself, and not a file that has one.
_SECRETS = frozenset({"token", "read_only_token"})
_ReadToken = Callable[[Path], SecretStr | None]


def load_settings(path: Path, *, with_secrets: bool = True) -> Settings:
    """Read ``node.toml`` and the environment, and make paths absolute.

    Args:
        path: The file. It may be absent if the environment names the node (``P2P_OICP_NODE__NAME``).
        with_secrets: False: files with tokens are not read, and may be absent.

    Raises:
        ConfigurationError: With one line about the first mistake.
    """
    file = _read_file_or_environment(path)

    def locate(location: Location) -> str:
        if variable := _environment_variable(location):
            return variable
        return file.locate(location) if path.exists() else f"environment variable {_variable_of(location)}"

    # Order: before validation, which would report what an unknown table or variable left missing.
    _reject_unknown_keys(file, locate)
    try:
        settings = Settings(**file.data)
    except ValidationError as exc:
        raise configuration_error(exc, Settings, locate) from exc
    for conflict in settings.backend_conflicts():
        raise ConfigurationError(f"{locate(('backends', conflict.index, conflict.key))}: {conflict.message}")
    for partner_conflict in settings.ocpi_conflicts():
        location = ("ocpi", "partners", partner_conflict.index, partner_conflict.key)
        raise ConfigurationError(f"{locate(location)}: {partner_conflict.message}")
    for index in duplicate_webhooks(settings.webhooks):
        text = f'"{settings.webhooks[index].name}" is the name of another webhook; expected a name of its own'
        raise ConfigurationError(f"{locate(('webhooks', index, 'name'))}: {text}")
    absolute = _with_absolute_paths(settings, path.absolute().parent, _read_token if with_secrets else _no_token)
    return absolute.with_sources(dict(_sources(file.data)))


def _sources(data: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], SettingSource]]:
    """Return where each key comes from that is not a default; the environment wins over the file."""
    for name in Settings.model_fields:
        value = data.get(name)
        if isinstance(value, dict):
            yield from (((name, key), "file") for key in value)
        elif value is not None:
            yield ("", name), "file"
    for location in _locations():
        if _environment_variable(tuple(step for step in location if step)):
            yield location, "environment"


def _locations() -> Iterator[tuple[str, str]]:
    for name, field in Settings.model_fields.items():
        table = table_of(field)
        if table is not None:
            yield from ((name, key) for key in table.model_fields)
        else:
            yield "", name


def _read_file_or_environment(path: Path) -> TomlFile:
    is_named = any(variable.upper().startswith(f"{ENVIRONMENT_PREFIX}NODE") for variable in os.environ)
    return TomlFile(path, {}, {}) if is_named and not path.exists() else read_toml(path)


def exposed_files(path: Path, settings: Settings) -> list[Path]:
    """Return which files and folders others on the machine may read, and should not: secrets, keys and data."""
    tables = _read_file_or_environment(path).data
    with_secrets = (
        *(tables.get(name, {}) for name in ("backend_api", "dashboard")),
        *(table for name in ("backends", "webhooks") for table in tables.get(name, ())),
    )
    has_secret = any(not _SECRETS.isdisjoint(table) for table in with_secrets)
    data = [settings.node.data_dir] if settings.node.data_dir.is_dir() else []
    files = (*([path] if has_secret else []), *data, settings.storage.file, *_secret_files(settings))
    return [file for file in dict.fromkeys(files) if file.exists() and may_others_read(file)]


def _secret_files(settings: Settings) -> Iterator[Path]:
    keys = settings.security.keys
    if keys.is_dir():
        yield keys
        yield from sorted(keys.glob("*.key"))
    api, backends = settings.backend_api, settings.backends
    candidates = [api.token_file, api.key, settings.tls.key]
    candidates += [file for each in backends for file in (each.key, each.token_file)]
    candidates += [webhook.token_file for webhook in settings.webhooks]
    yield from (file for file in candidates if file is not None)


def exchange_folder(settings: Settings) -> Path:
    """Return where exchanges are recorded on disk."""
    return settings.node.data_dir / "exchanges"


def _environment_variable(location: Location) -> str | None:
    """Return the environment variable that a value was read from; None if it is from the file."""
    names = [step for step in location if isinstance(step, str)]
    present = {name.upper() for name in os.environ}  # pydantic-settings ignores the case of variables
    # The innermost first: a whole table may be given as JSON in one variable.
    for end in range(len(names), 0, -1):
        variable = _variable_of(names[:end])
        if variable in present:
            return f"environment variable {variable}"
    return None


def _variable_of(location: Sequence[str | int]) -> str:
    return ENVIRONMENT_PREFIX + ENVIRONMENT_DELIMITER.join(step for step in location if isinstance(step, str)).upper()


def _reject_unknown_keys(file: TomlFile, locate: Callable[[Location], str]) -> None:
    known_keys = list(Settings.model_fields)
    for name in file.data:
        if name not in known_keys:
            raise ConfigurationError(f"{locate((name,))}: {unknown_key_message(name, known_keys)}")
    for variable in os.environ:
        if variable.upper().startswith(ENVIRONMENT_PREFIX):
            name = variable.upper().removeprefix(ENVIRONMENT_PREFIX).split(ENVIRONMENT_DELIMITER)[0].lower()
            if name not in known_keys:
                raise ConfigurationError(f"environment variable {variable}: {unknown_key_message(name, known_keys)}")


def _with_absolute_paths(settings: Settings, folder: Path, read_token: _ReadToken) -> Settings:
    data_dir = folder / settings.node.data_dir
    # Not model_copy, for which every path that is made absolute would be one that the operator has set.
    return Settings.model_construct(
        settings.model_fields_set,
        **dict(settings)
        | {
            "peers_file": folder / settings.peers_file,
            "node": settings.node.model_copy(update={"data_dir": data_dir}),
            "security": settings.security.model_copy(update={"keys": folder / settings.security.keys}),
            "tls": settings.tls.model_copy(
                update={name: folder / path for name, path in settings.tls if path is not None},
            ),
            "peer_api": _peer_api_with_scheme(settings),
            "backend_api": _backend_api_with_token(settings.backend_api, folder, read_token),
            "backends": tuple(_with_files(backend, folder, read_token) for backend in settings.backends),
            "webhooks": tuple(_with_files(webhook, folder, read_token) for webhook in settings.webhooks),
            "storage": settings.storage.model_copy(update={"file": data_dir / settings.storage.file}),
            "dashboard": settings.dashboard.model_copy(
                update={"map_tiles": folder / tiles if (tiles := settings.dashboard.map_tiles) is not None else None},
            ),
        },
    )


def _peer_api_with_scheme(settings: Settings) -> PeerApiSettings:
    """Return the peer API with an https URL if it has a certificate and no configured URL."""
    api = settings.peer_api
    if settings.tls.certificate is None or "url" in api.model_fields_set:
        return api
    return api.model_copy(update={"url": api.url.replace("http://", "https://", 1)})


def _backend_api_with_token(api: BackendApiSettings, folder: Path, read_token: _ReadToken) -> BackendApiSettings:
    """Return the backend API with absolute paths, and with the token of its file, unless a token is given itself."""
    files = {name: getattr(api, name) for name in ("certificate", "key", "ca")}
    api = api.model_copy(update={name: folder / file for name, file in files.items() if file is not None})
    if api.token_file is None or api.token is not None:
        return api.model_copy(update={"token_file": None})
    file = folder / api.token_file
    return api.model_copy(update={"token_file": file, "token": read_token(file)})


def _with_files(backend: SystemT, folder: Path, read_token: _ReadToken) -> SystemT:
    """Return a backend or webhook with absolute paths, and with the token that its file has."""
    files = {name: getattr(backend, name, None) for name in ("certificate", "key", "ca", "token_file")}
    update: dict[str, object] = {name: folder / file for name, file in files.items() if file is not None}
    if backend.token_file is not None:
        update["token"] = read_token(folder / backend.token_file)
    return backend.model_copy(update=update)


def _no_token(_file: Path) -> None:
    return None


def _read_token(file: Path) -> SecretStr:
    token = read_private_file(file).decode(errors="replace").strip()
    if len(token) < _MIN_TOKEN_LENGTH or not (token.isascii() and token.isprintable()) or " " in token:
        raise ConfigurationError(
            f"{file}: expected a random text of at least {_MIN_TOKEN_LENGTH} characters without blanks"
        )
    return SecretStr(token)


def local_peer(settings: Settings) -> Peer:
    """Return the entry of this node in the registry."""
    node = settings.node
    return Peer(node.name, settings.peer_api.url, operators=node.operators, providers=node.providers, is_self=True)


def peers_file_is_optional(settings: Settings) -> bool:
    """Return whether the peers file may be absent: nobody has named one, or peers are discovered by mDNS."""
    return settings.discovery.mdns or "peers_file" not in settings.model_fields_set


def load_registry(settings: Settings) -> PeerRegistry:
    """Return the registry of the peers in the peers file and of this node; raises ConfigurationError."""
    own = local_peer(settings)
    is_absent = peers_file_is_optional(settings) and not settings.peers_file.exists()
    peers = () if is_absent else load_peers(settings.peers_file, own)
    # Order: this node first, so that a conflict is reported of the other peer.
    try:
        return PeerRegistry((own, *peers))
    except ConfigurationError as exc:
        raise ConfigurationError(f"{settings.peers_file}: {exc}") from exc
