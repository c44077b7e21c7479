"""A charge point operator's backend: charging points with meters, drivers who swipe cards, and its own books.

It behaves as an existing CSMS behind a clearing house does: pushes statuses, asks for authorization, notifies, sends one
CDR a session, and obeys remote starts and stops. What happens at the charging points is told by the caller (``swipe``,
``charge``, ``finish``); a refused or impossible step raises nothing, its answer is returned.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from types import TracebackType
from typing import Self

from p2p_oicp.oicp import (
    Acknowledgement,
    ActionType,
    AuthorizationStart,
    AuthorizationStop,
    AuthorizeRemoteStart,
    AuthorizeRemoteStop,
    AuthorizeStart,
    AuthorizeStop,
    ChargeDetailRecord,
    ChargingNotificationEnd,
    ChargingNotificationProgress,
    ChargingNotificationStart,
    EvseID,
    EvseStatus,
    EvseStatusRecord,
    Identification,
    Message,
    OperatorEvseStatus,
    OperatorID,
    PushEvseStatus,
    SessionID,
    StatusCode,
)
from p2p_oicp.simulator.journal import Journal
from p2p_oicp.simulator.line import Line
from p2p_oicp.simulator.story_clock import StoryClock
