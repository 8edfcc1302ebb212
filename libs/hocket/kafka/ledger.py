"""Which partitions are held, how far each is done, and telling the group: offsets with their done-maps."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from hocket.core.donemap import ROOMY, DoneMap, Flight, decode, encode, trimmed
from hocket.core.offsets import Offsets
from hocket.kafka.log import CommitRefused, Consumer

log = logging.getLogger(__name__)

_COMMIT_S = 3.0  # a commit in a rebalance or at the end may take this long

Flights = Callable[[], Mapping[int, Mapping[int, Flight]]]
"""Who runs what now, by partition and offset."""


class Ledger:
    """The partitions of one consumer. A partition is read only after its committed offset and done-map are known."""

    def __init__(
        self, consumer: Consumer, *, flights: Flights, holder: Callable[[], str], clock: Callable[[], int]
    ) -> None:
        self._consumer = consumer
        self._flights = flights
        self._holder = holder
        self._clock = clock
        self.refused = 0  # commits that the group did not take
        self.confirmed = 0.0  # when it last took this one for a member, by the monotonic clock
        self._offsets: dict[int, Offsets] = {}
        self._committed: dict[int, DoneMap] = {}  # without their time
        self._sizes: dict[int, int] = {}  # of their done-maps, in characters
        self._shut: set[int] = set()
        self._held: tuple[int, ...] = ()

    @property
    def partitions(self) -> tuple[int, ...]:
        """The partitions held, rising; `get` has only those whose done-map is read."""
        return self._held

    @property
    def paused(self) -> tuple[int, ...]:
        """The partitions of which nothing is taken now."""
        return tuple(sorted(self._shut))

    def get(self, partition: int) -> Offsets | None:
        """Its offsets in this assignment; None before its barrier and after its end."""
        return self._offsets.get(partition)

    def assigned(self, partitions: Collection[int]) -> None:
        """Nothing of these is delivered before `opened`."""
        self._held = tuple(sorted(partitions))
        self.confirmed = time.monotonic()
        self._offsets, self._committed, self._sizes, self._shut = {}, {}, {}, set()
        self._consumer.pause(partitions)

    async def read(self) -> dict[int, DoneMap | None]:
        """What the predecessors left on the partitions held now. Waits as long as no broker answers."""
        found = await self._consumer.committed(self._held)
        return {p: None if at is None else decode(at[1], at[0]) for p, at in found.items()}

    def opened(self, maps: Mapping[int, DoneMap | None]) -> None:
        """The barrier falls: from here on records come."""
        self._offsets = {p: Offsets(inherited) for p, inherited in maps.items()}
        self._consumer.resume(self._offsets)

    def choose(self, waiting: Mapping[int, int], window: int, *, full: bool) -> None:
        """What is delivered from now on: nothing when it is full; nothing of a partition whose done-map might overflow;
        and no partition fills the window alone while there are others, which may have what should start first."""
        shut = {p for p in self._offsets if full or self._crowded(p, waiting.get(p, 0), window)}
        if fresh := shut - self._shut:
            self._consumer.pause(fresh)
        if free := self._shut - shut:
            self._consumer.resume(free)
        self._shut = shut

    def _crowded(self, partition: int, waiting: int, window: int) -> bool:
        """Whether to pause it for itself; what is paused stays so until half of that is left."""
        most = 2 if partition in self._shut else 1
        wide = self._sizes.get(partition, 0) > ROOMY // most
        return wide or (len(self._offsets) > 1 and waiting > window // (2 * most))

    async def note_positions(self) -> None:
        """Steps idle partitions over transaction markers, so that an idle group's lag reads 0."""
        for partition, offsets in list(self._offsets.items()):
            if not offsets.outstanding and (position := await self._consumer.position(partition)) is not None:
                offsets.advanced(position)

    async def commit(self, *, anyway: bool = False) -> bool:
        """Commits what has changed, or all; False when the group did not take it."""
        return await self._commit(self._due(anyway=anyway))

    def _due(self, *, anyway: bool = False) -> dict[int, DoneMap]:
        flights, holder = self._flights(), self._holder()
        standing = {p: o.standing(flights.get(p, {}), holder) for p, o in self._offsets.items()}
        told = {p: trimmed(full) for p, full in standing.items() if full is not None}
        return {p: full for p, full in told.items() if anyway or full != self._committed.get(p)}

    async def _commit(self, due: Mapping[int, DoneMap]) -> bool:
        if not due:
            return True
        mine, began, now = self._committed, time.monotonic(), self._clock()
        texts = {p: encode(replace(full, at=now)) for p, full in due.items()}
        self._sizes |= {p: len(text) for p, text in texts.items()}
        try:
            await self._consumer.commit({p: (full.base, texts[p]) for p, full in due.items()})
        except CommitRefused as e:
            self.refused += 1
            log.info("offsets not committed, the new owner repeats: %s", e)
            return False
        self.confirmed = max(self.confirmed, began)
        mine.update(due)  # a later assignment has another dictionary
        return True

    async def give_up(self, partitions: Collection[int]) -> bool:
        """They are held no longer, from the call on; what stands is committed once more, within seconds. Whether it
        was."""
        due = self._due()
        self._held = tuple(p for p in self._held if p not in partitions)
        for partition in partitions:
            self._offsets.pop(partition, None)
        try:
            async with asyncio.timeout(_COMMIT_S):
                return await self._commit(due)
        except TimeoutError:
            return False
