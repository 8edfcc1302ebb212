"""Which waiting task starts next: a bounded queue between fetch and start. Pure.

Laws, the first that applies decides:
1. One start in AGED_EVERY belongs to a task that has waited `ageing_ms`: the oldest of all and the oldest of the lowest
   class that has one, in turns. Nothing ever starves, and the lowest class moves in every overload.
2. The highest class that waits (9 before 0).
3. In a class the tenant with the least cost started so far, by its weight (start-time fair queueing).
4. Of that tenant the earliest deadline; a task without one comes last; of equals the oldest.

docs/decisions/0006 says why, and what the window bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush, heapreplace
from typing import Generic, TypeVar

T = TypeVar("T")

CLASSES = 10
AGED_EVERY = 25
"""Above 20, so that the starts taken out of turn stay outside a small tenant's 95th percentile."""


@dataclass(kw_only=True, slots=True)  # one for each task: frozen ones take three times as long to make
class Ticket:
    """What the order depends on. `cost` is an estimate in any unit that all tasks share. ValueError for nonsense."""

    priority: int
    tenant: str
    received_ms: int
    deadline_ms: int | None = None
    cost: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.priority < CLASSES:
            raise ValueError(f"priority {self.priority} is not between 0 and {CLASSES - 1}")
        if not 0 < self.cost < math.inf:
            raise ValueError(f"cost {self.cost} is not a positive number: a free task would never give way")


class _Waiting(Generic[T]):
    __slots__ = ("gone", "item", "lane", "number", "ticket")

    def __init__(self, item: T, ticket: Ticket, lane: _Lane[T], number: int) -> None:
        self.item = item
        self.number = number
        self.ticket = ticket
        self.lane = lane
        self.gone = False  # started out of turn or discarded: whoever meets it in a heap drops it


_Ranked = tuple[tuple[float, int], int, _Waiting[T]]  # (deadline and age, or age, sequence number, task)


class _Lane(Generic[T]):
    """The tasks of one tenant in one class. Without tasks it only remembers what the tenant has had in advance."""

    __slots__ = ("live", "start", "tasks", "tenant", "turn", "weight")

    def __init__(self, tenant: str, weight: float) -> None:
        self.tenant = tenant
        self.weight = weight
        self.tasks: list[_Ranked[T]] = []
        self.live = 0
        self.start = 0.0  # virtual time at which its next task starts; only rises
        self.turn = -1  # orders equal starts; changes with `start`, which shows an older place in the heap to be stale

    def charge(self, cost: float, turn: int) -> None:
        self.start += cost / self.weight
        self.turn = turn

    def tidy(self) -> None:
        self.tasks = [ranked for ranked in self.tasks if not ranked[2].gone]
        heapify(self.tasks)


class _Class(Generic[T]):
    """Start-time fair queueing between the tenants of one class.

    Each lane has one place in `order`, never later than its real one: what surfaces is corrected, and a lane that
    surfaces empty is forgotten, because whatever it had in advance all others have had by then.
    """

    __slots__ = ("ages", "lanes", "live", "order", "virtual")

    def __init__(self) -> None:
        self.ages: list[_Ranked[T]] = []  # all of its tasks, the oldest first
        self.lanes: dict[str, _Lane[T]] = {}
        self.order: list[tuple[float, int, _Lane[T]]] = []
        self.live = 0
        self.virtual = 0.0

    def first(self) -> _Lane[T]:
        """The lane whose turn it is. Needs a waiting task."""
        while True:
            _, turn, lane = self.order[0]
            if turn != lane.turn:
                heapreplace(self.order, (lane.start, lane.turn, lane))
            elif lane.live:
                return lane
            else:
                heappop(self.order)
                del self.lanes[lane.tenant]

    def began(self, lane: _Lane[T], cost: float, turn: int) -> None:
        """One task of `lane` starts: time moves, the tenant pays. The last one ends the busy period and all debts."""
        self.virtual = max(self.virtual, lane.start)
        lane.charge(cost, turn)
        lane.live -= 1
        self.live -= 1
        self.rest()

    def oldest(self) -> _Waiting[T]:
        """The task that waits longest. Needs a waiting task."""
        while self.ages[0][2].gone:
            heappop(self.ages)
        return self.ages[0][2]

    def tidy(self) -> None:
        self.ages = [ranked for ranked in self.ages if not ranked[2].gone]
        heapify(self.ages)

    def rest(self) -> None:
        """Nobody waits: nobody has to give way any more."""
        if not self.live:
            self.ages.clear()
            self.lanes.clear()
            self.order.clear()
            self.virtual = 0.0

    def forgive(self, limit: int) -> None:
        """Forgets the idle tenants at once when they are more than `limit`: memory must not grow with tenants seen."""
        if len(self.order) <= self.live + limit:
            return
        self.lanes = {tenant: lane for tenant, lane in self.lanes.items() if lane.live}
        self.order = [(lane.start, lane.turn, lane) for lane in self.lanes.values()]
        heapify(self.order)


class Schedule(Generic[T]):
    """Not more than `capacity` waiting tasks, in the order of the laws above; memory stays within a multiple of that.

    `ageing_ms` is the wait after which a task may start out of turn. `weights` gives shares to tenants; one
    that is not named has 1. push and pop take O(log n), discard O(n). Nothing blocks; nothing survives a crash.
    """

    def __init__(self, *, capacity: int, ageing_ms: int = 2_000, weights: Mapping[str, float] | None = None) -> None:
        if capacity < 1 or ageing_ms < 0:
            raise ValueError(f"capacity {capacity} must be at least 1 and ageing_ms {ageing_ms} not negative")
        self._weights = dict(weights or {})
        for tenant, weight in self._weights.items():
            if not 0 < weight < math.inf:
                raise ValueError(f"tenant {tenant!r} has weight {weight}: give it a positive number")
        self._capacity = capacity
        self._ageing_ms = ageing_ms
        self._classes: tuple[_Class[T], ...] = tuple(_Class() for _ in range(CLASSES))
        self._size = 0
        self._sequence = 0
        self._in_turn = 0  # starts since the last one out of turn
        self._lowest = True  # whose the next one out of turn is

    def __len__(self) -> int:
        return self._size

    @property
    def full(self) -> bool:
        """Whether push would be refused."""
        return self._size >= self._capacity

    def by_class(self) -> tuple[int, ...]:
        """How many wait in each class, 0 first."""
        return tuple(group.live for group in self._classes)

    def push(self, item: T, ticket: Ticket) -> None:
        """Lets a task wait. ValueError when full: look at `full` first and stop fetching."""
        if self._size >= self._capacity:
            raise ValueError(f"{self._size} tasks wait already: pause fetching until one has started")
        self._sequence += 1
        group = self._classes[ticket.priority]
        lane = group.lanes.get(ticket.tenant)
        if lane is None:
            lane = group.lanes[ticket.tenant] = _Lane(ticket.tenant, self._weights.get(ticket.tenant, 1.0))
            heappush(group.order, (group.virtual, self._sequence, lane))
        if not lane.live:
            lane.start = max(lane.start, group.virtual)
            lane.turn = self._sequence
        waiting = _Waiting(item, ticket, lane, self._sequence)
        deadline = math.inf if ticket.deadline_ms is None else ticket.deadline_ms
        heappush(lane.tasks, ((deadline, ticket.received_ms), self._sequence, waiting))
        heappush(group.ages, ((ticket.received_ms, 0), self._sequence, waiting))
        lane.live += 1
        group.live += 1
        self._size += 1

    def pop(self, now_ms: int) -> T | None:
        """Takes the task that starts now; None when none waits. Whether it can end in time is for the caller to ask."""
        if not self._size:
            return None
        self._in_turn += 1
        waiting = self._aged(now_ms) if self._in_turn >= AGED_EVERY else None
        if waiting is None:
            waiting = self._next()
        else:
            self._in_turn = 0
            self._lowest = not self._lowest
        self._began(waiting)
        return waiting.item

    def discard(self, gone: Callable[[T], bool]) -> list[T]:
        """Takes out the waiting tasks for which `gone` holds, in order of arrival; nobody pays for them."""
        ages = (ranked for group in self._classes for ranked in group.ages)
        out = sorted((r for r in ages if not r[2].gone and gone(r[2].item)), key=lambda ranked: ranked[1])
        if not out:
            return []
        touched: dict[int, _Lane[T]] = {}
        for _, _, waiting in out:
            waiting.gone = True
            waiting.lane.live -= 1
            self._classes[waiting.ticket.priority].live -= 1
            touched[id(waiting.lane)] = waiting.lane
        self._size -= len(out)
        for lane in touched.values():
            lane.tidy()
        for group in self._classes:
            group.tidy()
            group.rest()
            group.forgive(self._capacity)
        return [waiting.item for _, _, waiting in out]

    def may_be_late(self, now_ms: int) -> bool:
        """Whether to look for tasks whose deadline has passed; False only if there are none. O(tenants)."""
        lanes = (lane for group in self._classes for lane in group.lanes.values())
        return any(lane.tasks and lane.tasks[0][0][0] <= now_ms for lane in lanes)

    def _next(self) -> _Waiting[T]:
        """Laws 2 to 4."""
        group = next(group for group in reversed(self._classes) if group.live)
        tasks = group.first().tasks
        while tasks[0][2].gone:
            heappop(tasks)
        return heappop(tasks)[2]

    def _aged(self, now_ms: int) -> _Waiting[T] | None:
        """Law 1: whose turn it is of those that have waited long enough. It stays in its heaps, marked as gone."""
        before = now_ms - self._ageing_ms
        oldest = (group.oldest() for group in self._classes if group.live)
        aged = [waiting for waiting in oldest if waiting.ticket.received_ms <= before]
        if not aged:
            return None
        return aged[0] if self._lowest else min(aged, key=lambda waiting: (waiting.ticket.received_ms, waiting.number))

    def _began(self, waiting: _Waiting[T]) -> None:
        waiting.gone = True
        self._size -= 1
        self._sequence += 1
        lane, ticket = waiting.lane, waiting.ticket
        group = self._classes[ticket.priority]
        group.began(lane, ticket.cost, self._sequence)
        group.forgive(self._capacity)
        if len(lane.tasks) > 2 * lane.live + 8:
            lane.tidy()
        if len(group.ages) > 2 * group.live + 8:
            group.tidy()
