"""Where each setting comes from: the file, the environment, or its default; for people, with secrets masked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

#: "program": a Python program has given it.
SettingSource = Literal["file", "environment", "program", "default"]
# By table ("" for what stands outside of tables) and key.
Sources = Mapping[tuple[str, str], SettingSource]

MASK = "********"

Json = dict[str, object]


def describe_settings(settings: BaseModel, sources: Sources) -> Iterator[Json]:
    """Return each setting: its table, key, value as JSON, source and description; secrets are masked.

    Without ``sources``, what is no default comes from a program.
    """
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        source = _source(sources, settings, "", name)
        if isinstance(value, BaseModel):
            yield from _describe_table(name, value, partial(_source, sources, value, name))
        elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            # A list of tables comes from one place as a whole; of each table, what it does not set is a default.
            for number, table in enumerate(value):
                yield from _describe_table(f"{name}[{number}]", table, _of_list(source, table))
        else:
            yield _setting("", name, value, field, source)


def _source(sources: Sources, section: BaseModel, table: str, key: str) -> SettingSource:
    if sources:
        return sources.get((table, key), "default")
    return "program" if key in section.model_fields_set else "default"


def _of_list(source: SettingSource, table: BaseModel) -> Callable[[str], SettingSource]:
    return lambda key: source if key in table.model_fields_set else "default"


def _describe_table(name: str, table: BaseModel, source_of: Callable[[str], SettingSource]) -> Iterator[Json]:
    for key, field in type(table).model_fields.items():
        value = getattr(table, key)
        if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
            for number, each in enumerate(value):
                yield from _describe_table(f"{name}.{key}[{number}]", each, _of_list(source_of(key), each))
        else:
            yield _setting(name, field.alias or key, value, field, source_of(key))


def _setting(table: str, key: str, value: object, field: FieldInfo, source: SettingSource) -> Json:
    return {
        "table": table,
        "key": key,
        "value": _plain(value),
        "source": source,
        "description": field.description or "",
    }


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, BaseModel | Mapping):
        return {str(key): _plain(each) for key, each in dict(value).items()}
    if isinstance(value, tuple | list | frozenset):
        return [_plain(each) for each in value]
    return str(getattr(value, "text", value))
