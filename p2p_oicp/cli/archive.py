"""One archive with all that a node is made of: database, keys, configuration; and putting it back.

What is in it
    ``manifest.json`` first: the format, when and by what it was made, whose it is, and of each file the size and the
    SHA-256. Then ``database``, ``keys/…``, ``node.toml``, ``peers.toml``, and below ``files/`` what ``node.toml`` names
    in its own folder, such as certificates. It is a tar file of mode 0600, for it has the private keys.
    ``keys/position`` is not in it: it says how far the database has got, and must never go back.

What a restore does
    (1) The database is unpacked beside its place, and everything is compared with the manifest. (2) Where there are
    keys already, they have to be those of the same node, and stay: the archive may be from before a rotation. What else
    exists stays, too. (3) ``epochs.jsonl`` gets the lines that it lacks; it never loses one (DESIGN section 5, "After a
    restore"). (4) The former database is renamed, not deleted, and the copy takes its place, in one step. Until then
    nothing has changed that a second attempt could not do.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import orjson

from p2p_oicp.clock import format_timestamp
from p2p_oicp.config import Settings, load_settings
from p2p_oicp.crypto.keystore import HISTORY_FILE, PRIVATE_KEY_FILE, PUBLIC_KEY_FILE, read_own_keys
from p2p_oicp.delivery.store_epochs import EPOCHS_FILE, POSITION_FILE
from p2p_oicp.errors import ConfigurationError, reason_of
from p2p_oicp.storage.sqlite.backup import back_up, put_back
from p2p_oicp.storage.sqlite.connections import create_private, exclusive_lock
from p2p_oicp.version import VERSION

_FORMAT = 1
_MANIFEST, _DATABASE, _CONFIG, _PEERS = "manifest.json", "database", "node.toml", "peers.toml"
_KEYS, _FILES = "keys", "files"
_NOT_COPIED = frozenset({POSITION_FILE, f"{POSITION_FILE}.unfinished"})
_IDENTITY_FILES = frozenset({PRIVATE_KEY_FILE, PUBLIC_KEY_FILE, HISTORY_FILE})
_MAX_MANIFEST_BYTES, _BLOCK_BYTES = 10_000_000, 1 << 20
#: Is called with how many bytes were copied since the last call.
Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Report:
    """What was done, for people: a line each."""

    lines: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def write_archive(config: Path, target: Path, now: float) -> Report:
    """Write the archive of a node, which may be running; raise `ConfigurationError`, `StoreUnavailable`."""
    settings = load_settings(config)
    if target.exists():
        raise ConfigurationError(f"{target}: exists already, and a backup is not overwritten; choose another name")
    files, outside = _collect(config, settings)
    partial, copy = (target.with_name(f"{target.name}.{suffix}") for suffix in ("unfinished", "database"))
    try:
        copy.unlink(missing_ok=True)
        back_up(settings.storage.file, copy, now)
        files[_DATABASE] = copy
        partial.unlink(missing_ok=True)
        create_private(partial)
        _write_tar(partial, _manifest(settings, files, now), files)
        partial.rename(target)
    except OSError as exc:
        raise ConfigurationError(f"{target}: the backup failed: {reason_of(exc)}") from exc
    finally:
        for file in (partial, copy):
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
    names = ", ".join(name for name in files if name != _DATABASE)
    lines = (f"{target}: {target.stat().st_size:,} bytes: the database, {names}",)
    return Report(lines, tuple(f"not in the archive, keep it yourself: {file}" for file in outside))


def _collect(config: Path, settings: Settings) -> tuple[dict[str, Path], list[Path]]:
    """Return the files by their names in the archive, and those that are in no folder of this node."""
    folder, keys = config.absolute().parent, settings.security.keys
    files = {name: file for name, file in ((_CONFIG, config), (_PEERS, settings.peers_file)) if file.exists()}
    if keys.is_dir():
        found = sorted(file for file in keys.rglob("*") if file.is_file() and file.name not in _NOT_COPIED)
        files |= {f"{_KEYS}/{file.relative_to(keys).as_posix()}": file for file in found}
    outside = []
    for file in _named_files(settings):
        if file.is_relative_to(keys) or not file.exists():
            continue
        if file.is_relative_to(folder):
            files[f"{_FILES}/{file.relative_to(folder).as_posix()}"] = file
        else:
            outside.append(file)
    return files, outside


def _named_files(settings: Settings) -> list[Path]:
    """Return the files that the settings name: certificates, their keys, CAs and tokens."""
    tables = (settings.tls, settings.backend_api, *settings.backends)
    named = {getattr(table, name, None) for table in tables for name in ("certificate", "key", "ca", "token_file")}
    return sorted(Path(file) for file in named if file is not None)


def _manifest(settings: Settings, files: Mapping[str, Path], now: float) -> bytes:
    node, keys = settings.node, settings.security.keys
    return orjson.dumps(
        {
            "format": _FORMAT,
            "program": VERSION,
            "created_at": format_timestamp(now),
            "node": node.name,
            "parties": [party.text for party in (*node.operators, *node.providers)],
            "keys": sorted(_key_ids(keys)) if has_identity(keys) else [],
            "files": {name: {"size": file.stat().st_size, "sha256": _sha256(file)} for name, file in files.items()},
        },
        option=orjson.OPT_INDENT_2,
    )


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write_tar(target: Path, manifest: bytes, files: Mapping[str, Path]) -> None:
    with target.open("rb+") as stream:
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
            _add(archive, _MANIFEST, len(manifest), io.BytesIO(manifest))
            for name, file in files.items():
                with file.open("rb") as content:
                    _add(archive, name, os.fstat(content.fileno()).st_size, content)
        stream.flush()
        os.fsync(stream.fileno())


def _add(archive: tarfile.TarFile, name: str, size: int, content: IO[bytes]) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, int(time.time())
    archive.addfile(member, content)


def restore_archive(source: Path, folder: Path, progress: Progress = lambda _: None) -> Report:
    """Put a node back into its folder, new or not; raise `ConfigurationError`, `StoreUnavailable`.

    Raises before anything was replaced, if the archive is damaged, of another node, or the node runs.
    """
    try:
        with tarfile.open(source, mode="r:") as archive:
            return _Restore(source, archive, folder).run(progress)
    except tarfile.TarError as exc:
        raise ConfigurationError(f"{source}: is no archive of `p2p-oicp backup`, or it is cut off") from exc
    except OSError as exc:
        raise ConfigurationError(f"{exc.filename or source}: {reason_of(exc)}") from exc


class _Restore:
    """One restore: see the steps at the top of the module."""

    def __init__(self, source: Path, archive: tarfile.TarFile, folder: Path) -> None:
        self._source = source
        self._archive = archive
        self._folder = folder.absolute()
        self._manifest = self._read_manifest()
        self._lines: list[str] = []
        self._warnings: list[str] = []

    def run(self, progress: Progress) -> Report:
        small = self._read_small_files()  # (1)
        config = self._folder / _CONFIG
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        has_config = config.exists()
        if not has_config and _CONFIG in small:
            _create(config, small[_CONFIG])
        try:
            # Secrets may be among what is not there yet.
            settings = load_settings(config, with_secrets=False)
            with exclusive_lock(settings.storage.file):
                self._restore(settings, small, progress)
        except BaseException:
            if not has_config:
                config.unlink(missing_ok=True)
            raise
        self._lines.append(f"Start the node: p2p-oicp run --config {config}")
        return Report(tuple(self._lines), tuple(self._warnings))

    def _restore(self, settings: Settings, small: Mapping[str, bytes], progress: Progress) -> None:
        database = settings.storage.file
        unpacked = database.with_name(f"{database.name}.restored")
        try:
            self._unpack_database(unpacked, progress)
            self._check_identity(settings)  # (2)
            has_other_identity = self._has_other_identity(small, settings.security.keys)
            for name, content in small.items():
                self._put(name, content, settings, has_other_identity=has_other_identity)
            former = put_back(unpacked, database, time.time())  # (4)
        finally:
            unpacked.unlink(missing_ok=True)
        self._lines.append(f"{database}: as of {self._manifest['created_at']}")
        if former is not None:
            self._lines.append(f"{former}: the database that was there; delete it when all is well")

    def _read_manifest(self) -> dict[str, Any]:
        member = self._archive.next()
        stream = None if member is None or member.name != _MANIFEST else self._archive.extractfile(member)
        try:
            manifest = orjson.loads(stream.read(_MAX_MANIFEST_BYTES) if stream is not None else b"")
            version, files = manifest["format"], manifest["files"]
            names = [PurePosixPath(name) for name in files]
        except (orjson.JSONDecodeError, KeyError, TypeError) as exc:
            raise ConfigurationError(f"{self._source}: is no archive of `p2p-oicp backup`") from exc
        if version != _FORMAT:
            raise ConfigurationError(
                f"{self._source}: made by a newer version ({manifest.get('program')}); install that"
            )
        if any(name.is_absolute() or ".." in name.parts for name in names) or _DATABASE not in files:
            raise ConfigurationError(f"{self._source}: is damaged, or was changed: {', '.join(files)}")
        return dict(manifest)

    def _read_small_files(self) -> dict[str, bytes]:
        """Return all files but the database."""
        contents = {}
        for name, expected in self._manifest["files"].items():
            if name != _DATABASE:
                content = b"".join(self._blocks(name))
                self._compare(name, hashlib.sha256(content).hexdigest(), expected["sha256"])
                contents[name] = content
        return contents

    def _blocks(self, name: str) -> Iterator[bytes]:
        try:
            stream = self._archive.extractfile(name)
        except KeyError as exc:
            raise ConfigurationError(f"{self._source}: is damaged: {name} is not in it") from exc
        if stream is None:
            raise ConfigurationError(f"{self._source}: is damaged: {name} is no file")
        while block := stream.read(_BLOCK_BYTES):
            yield block

    def _compare(self, name: str, found: str, expected: str) -> None:
        if found != expected:
            raise ConfigurationError(
                f"{self._source}: is damaged: {name} is not what was backed up; take another backup"
            )

    def _unpack_database(self, target: Path, progress: Progress) -> None:
        digest = hashlib.sha256()
        target.unlink(missing_ok=True)
        create_private(target)
        with target.open("rb+") as stream:
            for block in self._blocks(_DATABASE):
                stream.write(block)
                digest.update(block)
                progress(len(block))
            stream.flush()
            os.fsync(stream.fileno())
        self._compare(_DATABASE, digest.hexdigest(), self._manifest["files"][_DATABASE]["sha256"])

    def _check_identity(self, settings: Settings) -> None:
        """Refuse the folder of another node, and warn where settings and data do not fit."""
        keys, archived = settings.security.keys, set(self._manifest["keys"])
        if has_identity(keys) and archived.isdisjoint(own := _key_ids(keys)):
            raise ConfigurationError(
                f"{keys}: these are the keys of another node ({', '.join(sorted(own))}) than those of {self._source}"
                f" ({', '.join(sorted(archived)) or 'none'}); expected its own folder, or an empty one"
            )
        node = settings.node
        lost = set(self._manifest["parties"]) - {party.text for party in (*node.operators, *node.providers)}
        if lost:
            self._warnings.append(f"{', '.join(sorted(lost))}: has data in the archive, and is no party in node.toml")

    def _has_other_identity(self, small: Mapping[str, bytes], keys: Path) -> bool:
        """Return whether the folder has other keys than the archive: none comes back that a rotation has ended."""
        present = [file for file in keys.glob("*") if _is_of_identity(file.name)]
        return any(small.get(f"{_KEYS}/{file.name}") != file.read_bytes() for file in present)

    def _put(self, name: str, content: bytes, settings: Settings, *, has_other_identity: bool) -> None:
        top, _, rest = name.partition("/")
        places = {_KEYS: settings.security.keys / rest, _FILES: self._folder / rest, _PEERS: settings.peers_file}
        target = places.get(top, self._folder / name)
        if top == _KEYS and rest == EPOCHS_FILE:
            _merge_lines(target, content)  # (3)
        elif top == _KEYS and has_other_identity and _is_of_identity(rest):
            self._lines.append(f"{target}: not restored, for the keys here are others, such as those of a rotation")
        elif not target.exists():
            _create(target, content)
            self._lines.append(f"{target}: restored")
        elif target.read_bytes() != content:
            self._lines.append(f"{target}: stays, and differs from the archive's")


def has_identity(keys: Path) -> bool:
    """Return whether a folder has the keys of a node."""
    return (keys / PRIVATE_KEY_FILE).exists() or (keys / HISTORY_FILE).exists()


def _is_of_identity(name: str) -> bool:
    return name.endswith(".key") or name in _IDENTITY_FILES


def _key_ids(keys: Path) -> set[str]:
    return {entry.public.key_id for entry in read_own_keys(keys).entries}


def _create(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    create_private(file)
    with file.open("rb+") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _merge_lines(file: Path, content: bytes) -> None:
    """Append the lines that a file lacks: those that it has are of a later time, and stay."""
    present = file.read_bytes() if file.exists() else b""
    known = set(present.splitlines())
    missing: Iterable[bytes] = [line for line in content.splitlines() if line not in known]
    if not missing:
        return
    if not file.exists():
        _create(file, b"")
    with file.open("ab") as stream:
        stream.write((b"" if present.endswith(b"\n") or not present else b"\n") + b"\n".join(missing) + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
