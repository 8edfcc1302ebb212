"""Who runs which task after partitions have moved: what a new owner may start, and what it leaves to an old one. Pure.

A worker numbers its assignments. Whatever it commits carries its mark and that number (`writing-1@3fa2.7`), and when an
assignment ends in good order it says so, with the offsets that it goes on running, before its partitions can go to
anybody. So a new owner knows, without waiting, which of three things is the case for an offset in its done-map:

- its owner said that it goes on with it: it is held back until that owner says that it is done, or lapses;
- its owner said that the assignment has ended, and does not name the offset: nobody runs it;
- its owner never said so: it died with the call, which counts as one crash of this task.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hocket.contracts.records import Handover
from hocket.core.donemap import Flight

SILENCE_MS = 9_000
"""An owner that still runs something says so every second; after this it is taken for dead. Longer than its word may
take on a busy broker, and short enough for its tasks to go on elsewhere within 12 s."""
_OWNERS = 2_000
"""How many owners are remembered, the latest."""

Fate = Literal["done", "running"]


@dataclass
class _Said:
    word: Handover
    heard_ms: int
    lapsed: bool = False


class Claims:
    """What the other owners of one task topic have said. `me` is the mark of this one."""

    def __init__(self, me: str) -> None:
        self._me = me
        self._said: dict[str, _Said] = {}
        self._fates: dict[tuple[int, int], tuple[Fate, str]] = {}

    def hear(self, word: Handover, now_ms: int) -> None:
        """An owner's newest word; it replaces the one before."""
        if word.worker == self._me:
            return
        self._forget(word.worker)
        self._said[word.worker] = _Said(word, now_ms)
        for away in word.away:
            self._fates |= {(away.partition, o): ("running", word.worker) for o in away.running}
            self._fates |= {(away.partition, o): ("done", word.worker) for o in away.done}
        if len(self._said) > _OWNERS:
            self._forget(next(iter(self._said)))

    def renew(self, now_ms: int) -> None:
        """A new assignment begins: every owner has the time of SILENCE_MS to show that it lives."""
        for said in self._said.values():
            said.heard_ms = now_ms

    def lapse(self, now_ms: int) -> bool:
        """Takes owners for dead that have gone silent while they ran something; whether there was one."""
        dead = [w for w, s in self._said.items() if s.heard_ms + SILENCE_MS < now_ms and not s.lapsed and _runs(s.word)]
        for worker in dead:
            self._said[worker].lapsed = True
            self._drop(self._said[worker].word, "running")
        return bool(dead)

    def fate(self, partition: int, offset: int, flight: Flight | None = None) -> Fate | None:
        """What another owner has said of this task; None when it may be started here.

        `flight` is what the done-map says of it: a claim by whom took it back since, and died then, is void.
        """
        fate, worker = self._fates.get((partition, offset), (None, ""))
        void = fate == "running" and flight is not None and _mark(flight.owner) == worker and self.died(flight.owner)
        return None if void else fate

    def crashes(self, flight: Flight | None) -> int:
        """How many deliveries of a task that nobody runs ended with their worker's death."""
        if flight is None:
            return 0
        said = self._said.get(_mark(flight.owner))
        died = self.died(flight.owner) or (said is not None and said.lapsed)
        return flight.deliveries - (not died)

    def died(self, owner: str) -> bool:
        """Whether this owner's assignment ended without a word of it."""
        mark, _, number = owner.rpartition(".")
        if not owner or mark == self._me:
            return False
        said = self._said.get(mark)
        return said is None or not number.isdecimal() or said.word.ended < int(number)

    def _drop(self, word: Handover, *fates: Fate) -> None:
        for away in word.away:
            for offset in (*away.running, *away.done):
                fate, worker = self._fates.get((away.partition, offset), (None, ""))
                if worker == word.worker and fate in fates:
                    del self._fates[away.partition, offset]

    def _forget(self, worker: str) -> None:
        if said := self._said.pop(worker, None):
            self._drop(said.word, "running", "done")


def owner_of(mark: str, assignment: int) -> str:
    """How a worker signs what it commits in this assignment."""
    return f"{mark}.{assignment}"


def _mark(owner: str) -> str:
    return owner.rpartition(".")[0]


def _runs(word: Handover) -> bool:
    return any(away.running for away in word.away)
