"""All settings together: the file below, the environment above."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from p2p_oicp.settings.tables import (
    Authorization,
    BackendApi,
    Cdrs,
    Delivery,
    Discovery,
    Limits,
    Log,
    Node,
    PeerApi,
    Security,
    Sessions,
    Storage,
    Tls,
)

ENVIRONMENT_PREFIX = "P2P_OICP_"
DELIMITER = "__"


class _Environment(EnvSettingsSource):
    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:  # noqa: ANN401  # the base class says so
        """Read JSON, or names separated by commas where a list is expected."""
        del field_name
        try:
            return json.loads(value)
        except ValueError:
            is_list = "tuple" in str(field.annotation)
            return [part.strip() for part in value.split(",") if part.strip()] if is_list else value


class Settings(BaseSettings):
    """Everything that the operator of a node decides."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter=DELIMITER,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )

    peers_file: Path = Field(
        Path("peers.toml"), description="File that names the peers, relative to the folder of node.toml."
    )
    node: Node = Field(description="The table [node] with a name, and operators or providers.")
    peer_api: PeerApi = Field(default_factory=PeerApi)
    backend_api: BackendApi = Field(default_factory=BackendApi)
    security: Security = Field(default_factory=Security)
    tls: Tls = Field(default_factory=Tls)
    storage: Storage = Field(default_factory=Storage)
    limits: Limits = Field(default_factory=Limits)
    delivery: Delivery = Field(default_factory=Delivery)
    authorization: Authorization = Field(default_factory=Authorization)
    sessions: Sessions = Field(default_factory=Sessions)
    cdrs: Cdrs = Field(default_factory=Cdrs)
    discovery: Discovery = Field(default_factory=Discovery)
    log: Log = Field(default_factory=Log)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the file, and read nothing else."""
        del env_settings, dotenv_settings, file_secret_settings
        return _Environment(settings_cls), init_settings

    @model_validator(mode="after")
    def _listeners_differ(self) -> Settings:
        ours, theirs = self.peer_api, self.backend_api
        if ours.port == theirs.port != 0 and ours.host == theirs.host:
            raise ValueError(f"[peer_api] and [backend_api] both have port {ours.port}; expected two different ports")
        return self
