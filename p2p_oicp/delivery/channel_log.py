"""What the log says of a channel: one line for each change of its state, not one for each try.

A channel is whatever a worker sends or asks for: the outbox of a peer or backend, one dataset, a pull, hello. That it
begins to fail is a warning, and so is another reason; that it has failed for an hour is an error, once; that it works
again is information. Single tries are logged at level debug only. The rows of `storage.peer_state` say the same to
`p2p-oicp status`; this is for those who read logs.
"""

from __future__ import annotations

from structlog.typing import FilteringBoundLogger

from p2p_oicp.clock import Clock
from p2p_oicp.errors import FailureCause

#: After that, somebody has to look: nothing mends itself any more.
LONG_FAILURE_SECONDS = 3600.0


class ChannelLog:
    """The log of one channel; its state is that since the start of the program.

    Args:
        logger: bound to what names the channel (``destination``, ``peer``, ``dataset``).
        clock: measures how long it fails.
    """

    def __init__(self, logger: FilteringBoundLogger, clock: Clock) -> None:
        self._log = logger
        self._clock = clock
        self._failing_since: float | None = None
        self._cause = ""
        self._is_long = False

    def __repr__(self) -> str:
        return f"<ChannelLog cause={self._cause or None}>"

    def record_failure(self, error: Exception, *, next_try_in: float) -> None:
        """Log a failure, where it is a change; ``next_try_in`` is in seconds."""
        now, cause = self._clock.monotonic(), str(getattr(error, "cause", FailureCause.OTHER))
        fields = {"cause": cause, "error": str(error), "next_try_in": round(next_try_in, 1)}
        if self._failing_since is None:
            self._failing_since, self._is_long = now, False
            self._log.warning("channel.failing", **fields)
        elif cause != self._cause:
            self._log.warning("channel.failing_otherwise", **fields, seconds=round(now - self._failing_since))
        elif not self._is_long and now - self._failing_since >= LONG_FAILURE_SECONDS:
            self._is_long = True
            self._log.error("channel.still_failing", **fields, seconds=round(now - self._failing_since))
        else:
            self._log.debug("channel.try_failed", **fields)
        self._cause = cause

    def record_success(self) -> None:
        """Log that the channel works again, where it has failed."""
        if self._failing_since is None:
            return
        seconds = round(self._clock.monotonic() - self._failing_since)
        self._failing_since, self._cause = None, ""
        self._log.info("channel.recovered", seconds=seconds)
