"""A seeded world around the runtime's pure parts: one log, owners that come and go, offsets, done-maps.

Calls end in any order; owners crash, lose the partition and get it back; commits come at any time; markers leave gaps;
committed metadata is foreign, damaged or belongs to another offset. The oracle keeps its own books: which offsets were
run, which have a safe result, and what the committed text says, read anew after each step.
"""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest

from hocket.core.donemap import LIMIT, DoneMap, Flight, decode, encode
from hocket.core.offsets import Offsets

SEEDS = int(os.environ.get("HOCKET_SEEDS", "250"))
DAMAGE = ("", "owner=quix;v=3", "A" * LIMIT, "\N{SNOWMAN}", "0" * 40)


class World:
    """A partition, whoever owns it, and what the group has committed."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        size = rng.choice((3, 12, 60))
        self.end = size + rng.randint(0, size)
        self.log = sorted(rng.sample(range(self.end), size))  # the rest are markers, which nobody receives
        self.window = rng.choice((1, 4, 16, 64))
        self.committed: tuple[int, str] | None = None
        self.known_done: set[int] = set()  # done by what was committed, and not forgotten by damage since
        self.safe: set[int] = set()
        self.runs: Counter[int] = Counter()
        self.allowed: Counter[int] = Counter()  # runs beyond the first that a fault excuses
        self.faults: Counter[str] = Counter()
        self.owner = 0
        self.running: set[int] = set()
        self.assign()

    def assign(self) -> None:
        """The owner of now learns what is committed, and reads on from there."""
        base, text = self.committed or (0, "")
        self.map = decode(text, base)
        self.offsets = Offsets(self.map)
        self.position = base
        self.received: set[int] = set()
        self.early: set[int] = set()  # ended before its record came back

    # What may happen

    def fetch(self) -> None:
        """Delivers the next record, if the window has room."""
        waiting = [o for o in self.log if o >= self.position]
        if not waiting or len(self.running) >= self.window:
            return
        offset = waiting[0]
        self.position = offset + 1
        work_left = self.offsets.received(offset)
        self.received.add(offset)
        if not work_left:
            assert offset in self.safe, f"{offset} was taken for done, and has no result"
        elif offset in self.early:
            self.offsets.done(offset)
        elif offset not in self.running:  # else it went on through a rebalance, and is adopted
            self.start(offset)

    def start(self, offset: int) -> None:
        assert offset not in self.known_done, f"{offset} is committed as done and ran again"
        self.runs[offset] += 1
        assert self.runs[offset] <= 1 + self.allowed[offset], f"{offset} ran again without any need"
        self.running.add(offset)

    def finish(self) -> None:
        """A call ends, its result is safe, then it is marked done: perhaps twice."""
        if not self.running:
            return
        offset = self.rng.choice(sorted(self.running))
        self.running.discard(offset)
        self.safe.add(offset)
        if offset not in self.received:  # its record has not come back yet
            self.early.add(offset)
            return
        for _ in range(self.rng.choice((1, 1, 2))):
            self.offsets.done(offset)

    def commit(self) -> None:
        flights = {o: Flight(owner=f"w{self.owner}", deliveries=self.runs[o]) for o in self.running if self.runs[o]}
        base, standing = self.offsets.committable(), self.offsets.standing(flights)
        if base is None or standing is None:
            return
        assert standing.base == base
        text = encode(standing)
        assert len(text) <= LIMIT
        assert text.isascii()
        assert self.committed is None or base >= self.committed[0], "the group's offset went back"
        self.committed = (base, text)
        told = decode(text, base) or DoneMap(base=base, top=base)
        done = {o for o in self.log if o < base or told.done(o)}
        assert self.known_done <= done, f"what was committed as done is open again: {self.known_done - done}"
        self.known_done = done

    def idle(self) -> None:
        """An idle consumer steps over markers."""
        if not self.offsets.outstanding and not [o for o in self.log if o >= self.position]:
            self.position = self.end
            self.offsets.advanced(self.end)

    def crash(self) -> None:
        """The owner is gone: its calls, and what it had not committed, may be run once more each."""
        self.faults["crash"] += 1
        self.allowed.update(self.running | (self.safe - self.known_done))
        self.running = set()
        self.owner += 1
        self.assign()

    def move(self) -> None:
        """In good order to another owner: what is committed stays, what still runs may be run again."""
        self.faults["move"] += 1
        self.commit()
        self.allowed.update(self.running | (self.safe - self.known_done))
        self.running = set()
        self.owner += 1
        self.assign()

    def come_back(self) -> None:
        """A rebalance that gives the partition back: calls in flight go on and are adopted."""
        self.faults["come back"] += 1
        self.commit()
        self.allowed.update(self.safe - self.known_done)
        self.assign()

    def damage(self) -> None:
        """Somebody else's metadata stands beside the offset; the owner crashes and the next one reads that."""
        if self.committed is None:
            return
        self.faults["damage"] += 1
        base, text = self.committed
        wrong = self.rng.choice((*DAMAGE, text[:-1], text[::-1], self._of_another_offset(base)))
        if decode(wrong, base) is not None:
            return  # reversed or cut, it happened to be whole
        self.committed = (base, wrong)
        self.known_done = {o for o in self.log if o < base}
        self.crash()

    def _of_another_offset(self, base: int) -> str:
        return encode(DoneMap(base=base + 1, top=base + 9, open={base + 1: None, base + 3: None}))

    # What must hold

    def check(self) -> None:
        base = self.committed[0] if self.committed else 0
        unfinished = {o for o in self.received if o not in self.safe}
        assert not [o for o in unfinished if o < base], "something received and unfinished lies below the commit"
        assert not [o for o in self.log if o < base and o not in self.safe], "an offset was skipped"
        assert self.known_done <= self.safe, "committed as done, and no result"
        assert self.offsets.outstanding <= len(self.received)

    def run(self) -> None:
        steps = (self.fetch, self.finish, self.commit, self.idle, self.crash, self.move, self.come_back, self.damage)
        calm = self.rng.choice((2, 10, 40))
        weights = (10 * calm, 9 * calm, 3 * calm, calm, 1, 1, 2, 1)
        for step in self.rng.choices(steps, weights, k=self.rng.randint(20, 60 + 6 * len(self.log))):
            step()
            self.check()
        for _ in range(4 * len(self.log) + 4):  # no more faults: what is left is worked off
            self.fetch()
            self.finish()
        self.idle()
        self.commit()
        self.check()


@pytest.mark.parametrize("block", range(4))
def test_nothing_is_lost_and_nothing_committed_runs_again(block: int) -> None:
    seen: Counter[str] = Counter()
    for seed in range(block * SEEDS, (block + 1) * SEEDS):
        world = World(random.Random(seed))
        try:
            world.run()
            assert world.safe == set(world.log), f"lost: {set(world.log) - world.safe}"
            assert world.committed is not None
            assert world.committed[0] == world.end, f"at the end {world.committed[0]} of {world.end} is committed"
        except (AssertionError, ValueError) as e:
            e.add_note(f"seed {seed}")
            raise
        seen += world.faults
        seen["extra"] += world.runs.total() - len(world.log)
    assert set(seen) >= {"crash", "move", "come back", "damage", "extra"}, seen
