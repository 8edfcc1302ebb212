"""What is fetched and waits to be started, within bounds of number and bytes."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping

from hocket.core.schedule import Schedule
from hocket.kafka.job import Job

WINDOW_BYTES = 64 * 1024 * 1024
"""Of raw values; one poll may go above it."""


class Intake:
    """A schedule of jobs that tells when there is room to fetch more: at once when there is any, or, for whoever has to
    wait, when it is half empty. `weights` are shares of tenants, 1 for one that is not named.

    Beside it `held`: jobs by place that another worker still runs; and `suspects`, of which one runs at a time, so that
    a task which kills its worker does not make suspects of others again and again.
    """

    def __init__(self, window: int, weights: Mapping[str, float] | None = None) -> None:
        self.window = window
        self.by_partition: Counter[int] = Counter()
        """How many of each partition wait in the schedule."""
        self._schedule: Schedule[Job] = Schedule(capacity=window, weights=weights)
        self._bytes = 0
        self._room = asyncio.Event()
        self.held: dict[tuple[int, int], Job] = {}
        self.suspects: deque[Job] = deque()
        self._suspect: Job | None = None

    def __len__(self) -> int:
        return len(self._schedule)

    @property
    def waits(self) -> bool:
        """Whether there is anything to start."""
        return len(self._schedule) > 0 or bool(self.suspects)

    @property
    def free(self) -> int:
        """How many more may be pushed."""
        return self.window - len(self._schedule) - len(self.held) - len(self.suspects)

    @property
    def has_room(self) -> bool:
        """Whether more may be fetched."""
        return self.free > 0 and self._bytes < WINDOW_BYTES

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
            async with asyncio.timeout(seconds):  # wait_for would swallow a cancellation that comes with the room
                await self._room.wait()
        except TimeoutError:
            return False
        return self.has_room

    def push(self, job: Job) -> None:
        """Lets it wait. ValueError beyond the window."""
        self._schedule.push(job, job.ticket)
        self.by_partition[job.raw.partition] += 1
        self._bytes += len(job.raw.value or b"")

    def pop(self, now_ms: int) -> Job | None:
        """The next one to start; None when none may."""
        if self.suspects and self._suspect is None:
            self._suspect = self.suspects.popleft()
            return self._suspect
        while (job := self._schedule.pop(now_ms)) is not None:
            self._freed(job)
            if not job.suspect:
                return job
            if self._suspect is None:
                self._suspect = job
                return job
            self.suspects.append(job)
        return None

    def ended(self, job: Job) -> None:
        """Its run has ended."""
        if job is self._suspect:
            self._suspect = None

    def discard(self, gone: Callable[[Job], bool]) -> list[Job]:
        """Takes out and returns what `gone` says of what waits."""
        jobs = self._schedule.discard(gone)
        self._freed(*jobs)
        return jobs

    def late(self, now_ms: int) -> list[Job]:
        """Takes out and returns what waits although its deadline has passed."""
        return self.discard(lambda job: job.overdue(now_ms)) if self._schedule.may_be_late(now_ms) else []

    def forget(self, partitions: Collection[int]) -> None:
        """Drops what waits or is held of these partitions."""
        self.discard(lambda job: job.raw.partition in partitions)
        self.held = {place: job for place, job in self.held.items() if place[0] not in partitions}
        self.suspects = deque(job for job in self.suspects if job.raw.partition not in partitions)

    def _freed(self, *jobs: Job) -> None:
        for job in jobs:
            self._bytes -= len(job.raw.value or b"")
            self.by_partition[job.raw.partition] -= 1
        if len(self._schedule) <= self.window // 2 and self._bytes <= WINDOW_BYTES // 2:
            self._room.set()
