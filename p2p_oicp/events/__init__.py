"""Events: what happened, for systems that listen.

Overview
    ``storage.event_log`` writes events in the transaction of what happened. Here they get the names that people know,
    and go to whoever listens.

Main modules
    ``types``: the members of each type of event, and their JSON Schema.
    ``definitions``: the table of all events, with sentence and sample: docs/events.md, the stream, CloudEvents and the
    AsyncAPI document come from it.
"""

from p2p_oicp.events.definitions import EVENT_DEFINITIONS, definition_of
from p2p_oicp.events.types import EventDefinition, format_id, parse_id

__all__ = ["EVENT_DEFINITIONS", "EventDefinition", "definition_of", "format_id", "parse_id"]
