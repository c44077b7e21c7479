"""Generate ``docs/configuration.md`` from the settings: ``python -m p2p_oicp.config.reference``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from inspect import cleandoc
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from p2p_oicp.config.backends import BackendSettings
from p2p_oicp.config.base import ENVIRONMENT_DELIMITER, ENVIRONMENT_PREFIX, table_of
from p2p_oicp.config.model import Settings
from p2p_oicp.config.ocpi import OcpiPartnerSettings
from p2p_oicp.config.webhooks import WebhookSettings

_INTRODUCTION = """\
# Configuration

A node reads `node.toml` once, when it starts. `p2p-oicp init` writes one with comments. The environment variable in the
last column overrides a key; there, lists are written `DE*ABC,DE*ABD` or as JSON. With an invalid or unknown key, in the
file or in the environment, the node does not start, and prints one line with the file, the line, the key and what is
expected.

Peers are configured in a separate file, `peers_file`; [peers.example.toml](../peers.example.toml) explains all its
keys, and `p2p-oicp peers list` shows the result.

This page is generated: `python -m p2p_oicp.config.reference > docs/configuration.md`.
"""

_ARRAYS_OF_TABLES: Mapping[str, type[BaseModel]] = MappingProxyType(
    {"backends": BackendSettings, "webhooks": WebhookSettings, "ocpi.partners": OcpiPartnerSettings}
)


def render_reference() -> str:
    """Return the page: a table of keys for each table of the file."""
    sections = [_section(name, model) for name, model in _settings_tables()]
    return "\n".join([_INTRODUCTION, _section(None, Settings), *sections])


def _settings_tables() -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in Settings.model_fields.items():
        if (model := _model_of(name, field)) is not None:
            yield name, model
            lists = (f"{name}.{key}" for key in model.model_fields)
            yield from ((key, _ARRAYS_OF_TABLES[key]) for key in lists if key in _ARRAYS_OF_TABLES)


def _model_of(name: str, field: FieldInfo) -> type[BaseModel] | None:
    return _ARRAYS_OF_TABLES.get(name) or table_of(field)


def _section(table: str | None, model: type[BaseModel]) -> str:
    title = f"## [[{table}]]" if table in _ARRAYS_OF_TABLES else f"## [{table}]"
    title = "## Outside all tables" if table is None else f"{title}\n\n{cleandoc(model.__doc__ or '')}"
    rows = [
        _row(table, field.alias or name, field)
        for name, field in model.model_fields.items()
        # What has a table of its own in the file; a small one is written in its row.
        if (table is not None and f"{table}.{name}" not in _ARRAYS_OF_TABLES) or _model_of(name, field) is None
    ]
    header_rows = "| key | default | meaning | environment variable |\n| --- | --- | --- | --- |"
    return "\n".join([title, "", header_rows, *rows, ""])


def _row(table: str | None, name: str, field: FieldInfo) -> str:
    path = name if table is None else f"{table}{ENVIRONMENT_DELIMITER}{name}"
    in_list = (table or "").replace(".", ENVIRONMENT_DELIMITER)
    variable = f"{ENVIRONMENT_PREFIX}{in_list if table in _ARRAYS_OF_TABLES else path}".upper()
    return f"| `{name}` | {_default(field)} | {field.description} | `{variable}` |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "*required*"
    if field.default is None or field.default_factory is not None:
        return "*absent*"
    return f"`{_toml_value(field.default)}`"


def _toml_value(value: Any) -> str:  # noqa: ANN401  # any default
    if isinstance(value, tuple):
        return json.dumps(list(value))
    return json.dumps(str(value) if isinstance(value, Path) else value)


if __name__ == "__main__":
    sys.stdout.write(render_reference())
