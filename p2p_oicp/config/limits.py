"""The tables of ``node.toml`` about how much a node takes on, and how long it waits."""

from __future__ import annotations

from pydantic import Field, model_validator

from p2p_oicp.config.base import Seconds, SettingsSection, WholeNumber


class LimitSettings(SettingsSection):
    """Limits of each of the two listeners. Requests beyond them are rejected at once, with HTTP 429 or 503."""

    connections: WholeNumber = Field(
        1000,
        ge=16,
        description="Open connections of clients that have proved who they are, and three times as many others; at "
        "either limit, a new one closes an old one of the address that has most. Fewer where file descriptors are few.",
    )
    requests: WholeNumber = Field(
        256,
        ge=4,
        description="Concurrent requests that a driver waits for, and as many CDRs and notifications. One client "
        "(address and party) gets at most three quarters of them.",
    )
    pushes: WholeNumber = Field(
        8, ge=1, description="Concurrent pushes and pulls of datasets; others wait, for 10 seconds at most."
    )
    waiting: WholeNumber = Field(256, ge=0, description="Pushes and pulls that may wait.")
    event_clients: WholeNumber = Field(
        100, ge=0, description="Clients that may listen to GET /events of the backend API at the same time."
    )


class DeliverySettings(SettingsSection):
    """Retries of undelivered messages and dataset changes."""

    retry_first: Seconds = Field(0.5, gt=0, description="Seconds before the first retry; doubled for each further one.")
    retry_max: Seconds = Field(300.0, gt=0, description="Longest delay between two retries, in seconds.")

    @model_validator(mode="after")
    def _check_retry_range(self) -> DeliverySettings:
        if self.retry_max < self.retry_first:
            raise ValueError(f"retry_max = {self.retry_max:g}: expected at least retry_first = {self.retry_first:g}")
        return self


class DeadlineSettings(SettingsSection):
    """Seconds for whole exchanges. Those of the inner node are shorter, so that it answers first."""

    authorize: Seconds = Field(
        5.0, gt=0, le=60, description="At a CPO's node: for the EMPs, all together, to authorize a start or stop."
    )
    authorize_backend: Seconds = Field(
        4.0, gt=0, le=60, description="At an EMP's node: for our contract system to authorize a start or stop."
    )
    remote: Seconds = Field(
        55.0, gt=0, le=60, description="At an EMP's node: for a CPO to answer a remote start or stop, or a reservation."
    )
    remote_backend: Seconds = Field(
        50.0, gt=0, le=60, description="At a CPO's node: for our CSMS. An answer in the 120 s after it decides as well."
    )
    record: Seconds = Field(20.0, gt=0, le=60, description="At a CPO's node: for an EMP to take a CDR or notification.")
    record_backend: Seconds = Field(
        5.0, gt=0, le=60, description="At an EMP's node: for our contract system to accept a CDR before it is answered."
    )
