"""Which partitions are held, how far each is done, and telling the group: offsets with their done-maps."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping

from hocket.core.donemap import ROOMY, DoneMap, Flight, decode, encode
from hocket.core.offsets import Offsets
from hocket.kafka.log import CommitRefused, Consumer

log = logging.getLogger(__name__)

_COMMIT_S = 3.0  # a commit in a rebalance or at the end may take this long

Flights = Callable[[], Mapping[int, Mapping[int, Flight]]]
"""Who runs what now, by partition and offset."""


class Ledger:
    """The partitions of one consumer. A partition is read only after its committed offset and done-map are known."""

    def __init__(self, consumer: Consumer, *, flights: Flights, holder: Callable[[], str]) -> None:
        self._consumer = consumer
        self._flights = flights
        self._holder = holder
        self.refused = 0  # commits that the group did not take
        self.confirmed = 0.0  # when it last took this one for a member, by the monotonic clock
        self._offsets: dict[int, Offsets] = {}
        self._committed: dict[int, tuple[int, str]] = {}
        self._wide: set[int] = set()
        self._crowded: set[int] = set()
        self._paused = False
        self._held: tuple[int, ...] = ()

    @property
    def partitions(self) -> tuple[int, ...]:
        """The partitions held, rising; `get` has only those whose done-map is read."""
        return self._held

    @property
    def paused(self) -> tuple[int, ...]:
        """The partitions that are paused for themselves: their done-map is too wide, or too much of them waits."""
        return tuple(sorted(self._wide | self._crowded))

    def get(self, partition: int) -> Offsets | None:
        """Its offsets in this assignment; None before its barrier and after its end."""
        return self._offsets.get(partition)

    def assigned(self, partitions: Collection[int]) -> None:
        """Nothing of these is delivered before `opened`."""
        self._held = tuple(sorted(partitions))
        self.confirmed = time.monotonic()
        self._offsets, self._committed, self._wide, self._crowded = {}, {}, set(), set()
        self._consumer.pause(partitions)

    async def read(self) -> dict[int, DoneMap | None]:
        """What the predecessors left on the partitions held now. Waits as long as no broker answers."""
        found = await self._consumer.committed(self._held)
        return {p: None if at is None else decode(at[1], at[0]) for p, at in found.items()}

    def opened(self, maps: Mapping[int, DoneMap | None]) -> None:
        """The barrier falls: from here on records come."""
        self._offsets = {p: Offsets(inherited) for p, inherited in maps.items()}
        if not self._paused:
            self._consumer.resume(self._offsets)

    def lost(self, partitions: Collection[int]) -> None:
        """They are no longer held."""
        self._held = tuple(p for p in self._held if p not in set(partitions))
        for partition in partitions:
            self._offsets.pop(partition, None)

    def pause(self) -> None:
        """Nothing is delivered until `resume`."""
        self._paused = True
        self._consumer.pause(self._held)

    def resume(self) -> None:
        """Ends a pause, except of partitions that are paused for themselves."""
        self._paused = False
        self._consumer.resume(set(self._offsets) - self._wide - self._crowded)

    def level(self, waiting: Mapping[int, int], window: int) -> None:
        """Lets no partition fill the window alone while there are others: they may have what should start first."""
        for partition in self._offsets if len(self._offsets) > 1 else ():
            if waiting.get(partition, 0) > window // 2:
                self._hold(self._crowded, partition)
            elif waiting.get(partition, 0) <= window // 4:
                self._free(self._crowded, partition)

    async def note_positions(self) -> None:
        """Steps idle partitions over transaction markers, so that an idle group's lag reads 0."""
        for partition, offsets in list(self._offsets.items()):
            if not offsets.outstanding and (position := await self._consumer.position(partition)) is not None:
                offsets.advanced(position)

    async def commit(self, *, anyway: bool = False) -> bool:
        """Commits what has changed, or all; False when the group did not take it."""
        flights, holder = self._flights(), self._holder()
        standing = {p: self._at(p, flights.get(p, {}), holder) for p in self._offsets}
        due = {p: at for p, at in standing.items() if at and (anyway or at != self._committed.get(p))}
        if not due:
            return True
        mine, began = self._committed, time.monotonic()
        try:
            await self._consumer.commit(due)
        except CommitRefused as e:
            self.refused += 1
            log.info("offsets not committed, the new owner repeats: %s", e)
            return False
        self.confirmed = max(self.confirmed, began)
        mine.update(due)  # a later assignment has another dictionary
        return True

    async def commit_briefly(self) -> bool:
        """The same, for seconds at most."""
        try:
            async with asyncio.timeout(_COMMIT_S):
                return await self.commit()
        except TimeoutError:
            return False

    def _at(self, partition: int, flights: Mapping[int, Flight], holder: str) -> tuple[int, str] | None:
        standing = self._offsets[partition].standing(flights, holder)
        if standing is None:
            return None
        text = encode(standing)
        self._widen(partition, len(text))
        return standing.base, text

    def _widen(self, partition: int, size: int) -> None:
        """Backpressure before the map would overflow: what waits is finished first."""
        if size > ROOMY:
            self._hold(self._wide, partition)
        elif size <= ROOMY // 2:
            self._free(self._wide, partition)

    def _hold(self, why: set[int], partition: int) -> None:
        if partition not in why:
            why.add(partition)
            self._consumer.pause([partition])

    def _free(self, why: set[int], partition: int) -> None:
        if partition in why:
            why.discard(partition)
            if not self._paused and partition not in self._wide | self._crowded:
                self._consumer.resume([partition])
