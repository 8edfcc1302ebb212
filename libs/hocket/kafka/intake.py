"""What is fetched and waits to be started, within bounds of number and bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hocket.core.schedule import Schedule
from hocket.kafka.job import Job

WINDOW_BYTES = 64 * 1024 * 1024
"""Of raw values; one poll may go above it."""


class Intake:
    """A schedule of jobs that tells when there is room to fetch more: at once when there is any, or, for whoever has to
    wait, when it is half empty."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._schedule: Schedule[Job] = Schedule(capacity=window)
        self._bytes = 0
        self._room = asyncio.Event()

    def __len__(self) -> int:
        return len(self._schedule)

    @property
    def free(self) -> int:
        """How many more may be pushed."""
        return self._window - len(self._schedule)

    @property
    def has_room(self) -> bool:
        """Whether more may be fetched."""
        return not self._schedule.full and self._bytes < WINDOW_BYTES

    @property
    def by_class(self) -> tuple[int, ...]:
        """How many wait in each priority, from 0 to 9."""
        return self._schedule.by_class()

    async def room_within(self, seconds: float) -> bool:
        """Whether there is room, at the latest after so long."""
        self._room.clear()
        if self.has_room:
            return True
        try:
            await asyncio.wait_for(self._room.wait(), seconds)
        except TimeoutError:
            return False
        return self.has_room

    def push(self, job: Job, now_ms: int) -> None:
        """Lets it wait. ValueError beyond the window."""
        self._schedule.push(job, job.ticket(now_ms))
        self._bytes += len(job.raw.value or b"")

    def pop(self, now_ms: int) -> Job | None:
        """The next one to start; None when none waits."""
        job = self._schedule.pop(now_ms)
        if job is not None:
            self._freed(job)
        return job

    def discard(self, gone: Callable[[Job], bool]) -> list[Job]:
        """Takes out and returns what `gone` says."""
        jobs = self._schedule.discard(gone)
        self._freed(*jobs)
        return jobs

    def _freed(self, *jobs: Job) -> None:
        self._bytes -= sum(len(job.raw.value or b"") for job in jobs)
        if len(self._schedule) <= self._window // 2 and self._bytes <= WINDOW_BYTES // 2:
            self._room.set()
