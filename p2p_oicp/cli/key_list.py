"""The keys of a node, for people and for partners."""

from __future__ import annotations

import json
import time
from pathlib import Path

from p2p_oicp.cli import admin
from p2p_oicp.clock import wire_time
from p2p_oicp.errors import P2pOicpError
from p2p_oicp.identity.keystore import OwnKey, read_own_keys
from p2p_oicp.settings import load_settings


def text(config: Path) -> str:
    """Return one line a key; the one that signs now is marked."""
    keys, now = read_own_keys(load_settings(config).security.keys), time.time()
    signing = keys.signing(now).key_id
    return "\n".join(_line(entry, signing, now) for entry in keys.entries)


def tell(config: Path) -> str:
    """Let the running node take its keys over, and say whether it has."""
    try:
        admin.ask(config, "POST", "/admin/v1/reload")
    except admin.AdminRefused as error:
        return f"The node cannot use all that it has read, and goes on as before: {error}. Mend it, then send SIGHUP."
    except P2pOicpError as error:
        return f"The node has not taken it over ({error}); it will when it starts."
    return "The node signs with it from then on; peers that know the old key fetch the new one by themselves."


def entry(config: Path) -> str:
    """Return this node as an entry of a partner's peers file."""
    settings, now = load_settings(config), time.time()
    keys = read_own_keys(settings.security.keys)
    lines = [key.public.line for key in keys.entries if key.valid_until is None or key.valid_until >= now]
    values = {
        "name": settings.node.name,
        "url": settings.peer_api.url,
        "operators": [party.text for party in settings.node.operators],
        "providers": [party.text for party in settings.node.providers],
        "public_keys": lines,
    }
    return "[[peer]]\n" + "".join(f"{name} = {_toml(value)}\n" for name, value in values.items())


def _line(entry: OwnKey, signing: str, now: float) -> str:
    begin = "" if entry.valid_from == 0 else f" from {wire_time(entry.valid_from)}"
    end = "" if entry.valid_until is None else f" until {wire_time(entry.valid_until)}"
    state = "signs" if entry.public.key_id == signing else ("counts" if entry.is_valid(now) else "does not count")
    return f"{entry.public.key_id}  {state}{begin}{end}"


def _toml(value: object) -> str:
    # As in `init`: what JSON writes is TOML as well, but for DEL.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
