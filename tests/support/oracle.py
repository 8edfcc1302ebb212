"""The independent oracle: what a stub model was asked, in an append-only file outside the system, and what it means.

Each model call appends one line when it starts (S) and one when it ends (E): task, process, partition, offset,
CLOCK_MONOTONIC in nanoseconds, which all processes of a machine share. A line is one write to a file opened with
O_APPEND, so neither two processes nor a kill -9 can tear it.

What a fault may cost is read from the broker, not guessed from the clock: the calls that ran in the process then, and
those that had ended and were not in the group's commit yet.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hocket.core.donemap import DoneMap


class Pen:
    """Writes the ledger from inside a stub worker."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._pid = os.getpid()

    def started(self, task: str, partition: int, offset: int) -> None:
        self._write("S", task, partition, offset)

    def ended(self, task: str, partition: int, offset: int) -> None:
        self._write("E", task, partition, offset)

    def _write(self, what: str, task: str, partition: int, offset: int) -> None:
        os.write(self._file, f"{what} {task} {self._pid} {partition} {offset} {time.monotonic_ns()}\n".encode())


@dataclass(kw_only=True)
class Call:
    """One model call. Seconds of CLOCK_MONOTONIC; `end` is None for a call that never ended."""

    task: str
    pid: int
    partition: int
    offset: int
    start: float
    end: float | None = None

    def open_at(self, moment: float) -> bool:
        return self.start <= moment and (self.end is None or self.end > moment)


def read_ledger(path: Path) -> list[Call]:
    """All calls in the order of their starts."""
    calls: list[Call] = []
    running: dict[tuple[str, int], Call] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        what, task, pid, partition, offset, at = line.split()
        if what == "S":
            call = Call(task=task, pid=int(pid), partition=int(partition), offset=int(offset), start=int(at) / 1e9)
            calls.append(call)
            running[(task, call.pid)] = call
        else:
            running.pop((task, int(pid))).end = int(at) / 1e9
    return calls


@dataclass(frozen=True, kw_only=True)
class Hit:
    """A fault that cost a process its calls, or its membership: what was open in it then may be paid twice, and what
    had ended and was not `committed` yet, by partition. Without that, what had ended counts as committed."""

    at: float
    pid: int
    committed: Mapping[int, DoneMap] = field(default_factory=dict)

    def open(self, call: Call) -> bool:
        return call.pid == self.pid and call.open_at(self.at)

    def uncommitted(self, call: Call) -> bool:
        """Whether it had ended, and the group did not know."""
        if call.pid != self.pid or call.end is None or call.end > self.at or call.partition not in self.committed:
            return False
        known = self.committed[call.partition]
        return call.offset >= known.base and not known.done(call.offset)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of the tasks of one scenario."""

    tasks: int
    lost: int
    results: int
    calls: int
    called: int
    in_flight_at_hits: int
    uncommitted: int
    """Calls that had ended at a hit and were not in the group's commit yet."""
    uncommitted_s: float
    """How long before the hit the first of them had ended."""
    extra_elsewhere: int
    """Extra calls of all other tasks: paid twice without need."""
    recoveries: list[float] = field(default_factory=list)
    """For each hit, seconds until the last of the tasks in flight in that process ran elsewhere."""

    @property
    def extra(self) -> int:
        return self.calls - self.called

    def __str__(self) -> str:
        against = f"{self.extra / self.in_flight_at_hits:.2f}" if self.in_flight_at_hits else "-"
        recovered = f", back after at most {max(self.recoveries):.1f} s" if self.recoveries else ""
        return (
            f"{self.tasks} tasks, lost {self.lost}, counted once {self.tasks - self.lost} (second results dropped: "
            f"{self.results - self.tasks + self.lost}), extra calls {self.extra} "
            f"({100 * self.extra / self.tasks:.2f} %), in flight at the faults {self.in_flight_at_hits} (ratio {against}), "  # noqa: E501
            f"ended and not committed then {self.uncommitted}, extra of all others {self.extra_elsewhere}{recovered}"
        )


def judge(expected: Iterable[str], results: Sequence[str], calls: Sequence[Call], hits: Sequence[Hit]) -> Verdict:
    """Compares what was asked for with what was called and what can be read."""
    wanted = set(expected)
    got = Counter(r for r in results if r in wanted)
    mine = [c for c in calls if c.task in wanted]
    by_task: dict[str, list[Call]] = {}
    for c in mine:
        by_task.setdefault(c.task, []).append(c)
    struck: Counter[str] = Counter()
    untold: Counter[str] = Counter()
    recoveries, waited = [], [0.0]
    for hit in hits:
        open_then = [c for c in mine if hit.open(c)]
        ended_then = [c for c in mine if hit.uncommitted(c)]
        struck.update(c.task for c in open_then)
        untold.update(c.task for c in ended_then)
        waited += [hit.at - c.end for c in ended_then if c.end is not None]
        again = [next((n.start for n in by_task[c.task] if n.start > hit.at), None) for c in open_then]
        if found := [a - hit.at for a in again if a is not None]:
            recoveries.append(max(found))
    return Verdict(
        tasks=len(wanted),
        lost=len(wanted - set(got)),
        results=sum(got.values()),
        calls=len(mine),
        called=len(by_task),
        in_flight_at_hits=struck.total(),
        uncommitted=untold.total(),
        uncommitted_s=max(waited),
        extra_elsewhere=sum(max(0, len(c) - 1 - struck[t] - untold[t]) for t, c in by_task.items()),
        recoveries=recoveries,
    )
