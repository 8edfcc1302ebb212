"""Commands from the topic `control`, which every planner and worker reads whole: one reader for each process.

It keeps no place in the topic: a new process reads again what was commanded in the last minutes, so that a cancellation
reaches tasks that are fetched after it. Losing a command costs model calls, never correctness: the aggregator reads
`control` too, ends the request by it, and dead-letters what does not decode.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from hocket.contracts.codec import Codec, CodecError, RegistryError
from hocket.contracts.records import Control
from hocket.kafka.broadcast import Broadcast
from hocket.runtime import metrics
from hocket.runtime.settings import Settings

log = logging.getLogger(__name__)

LOOK_BACK_MS = 300_000
"""Commands of so many milliseconds before the start are read again: longer than a rolling restart takes."""
_PAUSE_S = 0.5


class ControlReader(Broadcast):
    """Calls `on_cancel` with the request id of every cancellation, some of them twice. It must not block or raise."""

    def __init__(
        self,
        settings: Settings,
        *,
        topic: str,
        codec: Codec,
        on_cancel: Callable[[str], None],
        clock: Callable[[], int],
    ) -> None:
        super().__init__(settings, topic=topic, name="control", look_back_ms=LOOK_BACK_MS, clock=clock)
        self._codec = codec
        self._on_cancel = on_cancel
        self.skipped = 0

    async def hear(self, key: bytes | None, value: bytes | None) -> None:  # noqa: ARG002 - a broadcast's form
        """See take."""
        await self.take(value)

    async def take(self, value: bytes | None) -> None:
        """Obeys one record. Waits while a schema registry is out of reach."""
        while True:
            try:
                command = await asyncio.to_thread(self._codec.decode, value, Control)  # may ask the registry
            except RegistryError as e:
                log.warning("%s; trying again", e)
                await asyncio.sleep(_PAUSE_S)
            except CodecError as e:
                self.skipped += 1
                metrics.CONTROL_SKIPPED.inc()
                log.warning("skipped a record of %s: %s", self._topic, e)
                return
            else:
                break
        if command.action == "cancel":
            metrics.CANCELS.inc()
            self._on_cancel(command.request_id)
