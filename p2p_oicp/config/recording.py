"""The tables of ``node.toml`` about what a node records: the database, exchanges, traces, the log."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from p2p_oicp.config.base import Days, SettingsSection, Share, WholeNumber

_KIBIBYTE = 1024
# A recorded exchange has two bodies, and has to fit into a part of the ring.
_MIN_RING_BODIES = 32


class StorageSettings(SettingsSection):
    """The database."""

    file: Path = Field(Path("node.sqlite3"), description="SQLite file, relative to data_dir.")
    database: str | None = Field(
        None,
        description="Experimental: a database of PostgreSQL in place of the file, postgresql://user@host/database, "
        "and not upgraded to later versions yet. Its password is in the file of PGPASSFILE, or in PGPASSWORD. "
        "Needs p2p-oicp[postgresql].",
    )
    synchronous: Literal["FULL", "NORMAL"] = Field(
        "FULL",
        description="FULL: what was acknowledged survives a power failure; NORMAL: faster, survives a crash.",
    )
    history_days: Days = Field(
        365.0,
        gt=0,
        description="Days to keep earlier versions of EVSE data, prices and authentication data, the events of settled "
        "sessions, expired sessions without a CDR, and the provider that last authorized a card.",
    )
    status_history_days: Days = Field(30.0, gt=0, description="Days to keep earlier EVSE statuses.")
    evidence_days: Days = Field(
        1095.0,  # three years
        gt=0,
        description="Days to keep signed exchanges and refused CDRs, as evidence in a dispute.",
    )
    event_days: Days = Field(
        7.0, gt=0, description="Days to keep the event log: what happened, for those who follow it."
    )
    quarantine_days: Days = Field(
        90.0, gt=0, description="Days to keep invalid records of peers, after they were last received."
    )

    @field_validator("database")
    @classmethod
    def _check_database(cls, value: str | None) -> str | None:
        if value is not None:
            parts = urlsplit(value)
            if parts.scheme not in {"postgresql", "postgres"}:
                raise ValueError("expected postgresql://user@host/database")
            if parts.password is not None:
                raise ValueError("has a password, which logs would show; put it into the file that PGPASSFILE names")
        return value

    @property
    def location(self) -> Path | str:
        """Where the store is: the file, or the URL of the database."""
        return self.file if self.database is None else self.database


class ExchangeSettings(SettingsSection):
    """Recorded exchanges: what was said to whom (`p2p-oicp exchanges`). Evidence is another thing."""

    record: Literal["off", "memory", "disk"] = Field(
        "off",
        description="Whether the OICP requests and answers of both listeners, and those that are sent to peers and to "
        "our systems over HTTP, are recorded: off, in memory until the node ends, or on disk, in the folder exchanges "
        "of data_dir. UIDs, EvcoIDs and PINs are masked; headers are not recorded.",
    )
    entries: WholeNumber = Field(10_000, ge=8, description="The newest so many exchanges are kept, at most.")
    bytes: WholeNumber = Field(
        64 * _KIBIBYTE * _KIBIBYTE, ge=_KIBIBYTE * _KIBIBYTE, description="They have at most so many bytes."
    )
    max_body: WholeNumber = Field(
        16 * _KIBIBYTE, ge=0, description="Of a body with more bytes, only its beginning is recorded."
    )

    @model_validator(mode="after")
    def _require_room(self) -> ExchangeSettings:
        if self.bytes < _MIN_RING_BODIES * self.max_body:
            raise ValueError(
                f"bytes = {self.bytes}: expected at least {_MIN_RING_BODIES} times max_body, which is {self.max_body}"
            )
        return self


class TracingSettings(SettingsSection):
    """Spans by OpenTelemetry. Needs the extra: pip install 'p2p-oicp[otel]'.

    Without it, `traceparent` and `tracestate` of a request are passed on to peers and systems all the same.
    """

    otlp_endpoint: str | None = Field(
        None,
        pattern=r"^https?://\S+$",
        description='URL of an OpenTelemetry collector for traces (OTLP over HTTP): "http://127.0.0.1:4318/v1/traces". '
        "Spans of all requests, served and sent, go there. Absent: none are recorded.",
    )
    sampled: Share = Field(
        1.0,
        ge=0,
        le=1,
        description="Part of the traces that begin here of which spans are recorded. Of others, the sender decides.",
    )


class LogSettings(SettingsSection):
    """The log, on standard error."""

    format: Literal["text", "json"] = Field("text", description="text for people, json for machines.")
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The lowest level of events that are logged."
    )
