"""What all tables of ``node.toml`` have in common: their base class, numbers, hosts, how the environment is read."""

from __future__ import annotations

import json
from ipaddress import ip_address
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

ENVIRONMENT_PREFIX = "P2P_OICP_"
ENVIRONMENT_DELIMITER = "__"


def _reject_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("expected a number, not true/false")  # noqa: TRY004 - pydantic reports ValueError only
    return value


# pydantic accepts true as 1, which in a configuration is a mistake.
WholeNumber = Annotated[int, BeforeValidator(_reject_boolean)]
Seconds = Annotated[float, BeforeValidator(_reject_boolean)]
Share = Annotated[float, BeforeValidator(_reject_boolean)]
Days = Annotated[float, BeforeValidator(_reject_boolean)]


def is_loopback(host: str) -> bool:
    """Whether nothing but programs on this machine reaches a host: its address, or ``localhost``."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class SettingsSection(BaseModel):
    """Base of all tables: immutable, unknown keys are errors."""

    # hide_input_in_errors: a value may be a secret.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)


def table_of(field: FieldInfo) -> type[SettingsSection] | None:
    """Return the model of a key that is a table, perhaps one that may be absent; None: it is no table."""
    # In "X | None" the model is one of the arguments; a list of tables is no table.
    is_list = get_origin(field.annotation) is tuple
    candidates = (field.annotation, *(() if is_list else get_args(field.annotation)))
    models = (each for each in candidates if isinstance(each, type) and issubclass(each, SettingsSection))
    return next(models, None)


class EnvironmentSource(EnvSettingsSource):
    """Reads the settings from environment variables."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:  # noqa: ANN401 - as the base class
        """Parse JSON, or texts separated by commas where a list is expected."""
        del field_name
        try:
            return json.loads(value)
        except ValueError:
            is_list = "tuple" in str(field.annotation)  # all lists of the settings are tuples
            return [part.strip() for part in value.split(",") if part.strip()] if is_list else value
