"""A certificate for a laboratory."""

from __future__ import annotations

import os
import time
from pathlib import Path
from urllib.parse import urlsplit

from p2p_oicp.errors import ConfigurationError
from p2p_oicp.identity.certificates import Certificate, self_signed
from p2p_oicp.settings import load_settings

_CERTIFICATE, _KEY = "tls.crt", "tls.key"


def write(config: Path, hosts: list[str], days: int) -> str:
    """Write certificate and key beside the node's keys; return what the person does now."""
    settings = load_settings(config)
    parties = [party.text for party in (*settings.node.operators, *settings.node.providers)]
    names = hosts or [urlsplit(settings.peer_api.url).hostname or "localhost"]
    key, certificate = self_signed(settings.node.name, parties, names, now=time.time(), days=days)
    folder = settings.security.keys
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _create(folder / _KEY, key, 0o600)
        _create(folder / _CERTIFICATE, certificate, 0o644)
    except OSError as exc:
        raise ConfigurationError(f"{exc.filename or folder}: cannot be written: {exc.strerror}") from exc
    shown = Certificate.from_pem(certificate)
    home = config.absolute().parent
    return (
        f"{shown.fingerprint}\nAdd to {config}:\n[tls]\n"
        f'certificate = "{_relative(folder / _CERTIFICATE, home)}"\nkey = "{_relative(folder / _KEY, home)}"\n'
        f'Peers that are paired learn it; for a peers.toml:\ncertificates = ["{shown.line}"]'
    )


def _relative(path: Path, home: Path) -> str:
    return str(path.relative_to(home)) if path.is_relative_to(home) else str(path)


def _create(path: Path, content: bytes, mode: int) -> None:
    # O_EXCL: never over a file that is there; the mode holds from the first byte on.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
