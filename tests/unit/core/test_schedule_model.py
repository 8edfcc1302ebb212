"""core/schedule.py against a naive model of its laws, in which everything is looked for anew at every step."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hocket.core.schedule import AGED_EVERY, Schedule, Ticket

NEVER = 10**15


def ticket(priority=5, tenant="a", received_ms=0, **more):
    return Ticket(priority=priority, tenant=tenant, received_ms=received_ms, **more)


def drained(schedule, now_ms=0):
    return [schedule.pop(now_ms) for _ in range(len(schedule))]


@dataclass
class Naive:
    """The laws of the module in the plainest words: lists and minima."""

    ageing_ms: int
    weights: dict
    tasks: list = field(default_factory=list)  # (seq, item, ticket)
    tenants: dict = field(default_factory=dict)  # (class, tenant) -> (start, turn)
    virtual: Counter = field(default_factory=Counter)
    seq: int = 0
    in_turn: int = 0
    lowest: bool = True

    def of(self, priority, tenant=None):
        return [t for t in self.tasks if t[2].priority == priority and tenant in (None, t[2].tenant)]

    def push(self, item, ticket):
        self.seq += 1
        key = (ticket.priority, ticket.tenant)
        if not self.of(*key):
            start = self.tenants.get(key, (0, 0))[0]
            self.tenants[key] = (max(start, self.virtual[ticket.priority]), self.seq)
        self.tasks.append((self.seq, item, ticket))

    def pop(self, now_ms):
        if not self.tasks:
            return None
        self.in_turn += 1
        aged = [t for t in self.tasks if now_ms - t[2].received_ms >= self.ageing_ms]
        if self.in_turn >= AGED_EVERY and aged:
            bottom = min(t[2].priority for t in aged)
            mine = [t for t in aged if not self.lowest or t[2].priority == bottom]
            task = min(mine, key=lambda t: (t[2].received_ms, t[0]))
            self.in_turn, self.lowest = 0, not self.lowest
        else:
            top = max(t[2].priority for t in self.tasks)
            tenant = min((self.tenants[top, t[2].tenant], t[2].tenant) for t in self.of(top))[1]
            task = min(
                self.of(top, tenant),
                key=lambda t: (math.inf if t[2].deadline_ms is None else t[2].deadline_ms, t[2].received_ms, t[0]),
            )
        self.tasks.remove(task)
        self.seq += 1
        key = (task[2].priority, task[2].tenant)
        start = self.tenants[key][0]
        self.virtual[key[0]] = max(self.virtual[key[0]], start)
        self.tenants[key] = (start + task[2].cost / self.weights.get(key[1], 1), self.seq)
        self.rest(key[0])
        return task[1]

    def rest(self, priority):
        if not self.of(priority):
            self.virtual[priority] = 0
            self.tenants = {key: at for key, at in self.tenants.items() if key[0] != priority}

    def discard(self, gone):
        out = [t[1] for t in self.tasks if gone(t[1])]
        self.tasks = [t for t in self.tasks if not gone(t[1])]
        for priority in range(10):
            self.rest(priority)
        return out


PUSHES = st.tuples(
    st.just("push"),
    st.sampled_from([0, 4, 9]),
    st.sampled_from("abc"),
    st.integers(0, 50),
    st.none() | st.integers(0, 5),
    st.sampled_from([0.5, 1.0, 4.0]),
)
STEPS = st.lists(
    PUSHES | PUSHES | st.tuples(st.just("pop"), st.integers(1, 12)) | st.tuples(st.just("discard"), st.integers(0, 6)),
    max_size=120,
)


@settings(max_examples=300)
@given(STEPS, st.sampled_from([0, 20, NEVER]), st.sampled_from([3, 1000]))
def test_it_does_what_the_naive_model_does_and_loses_nothing(steps, ageing_ms, capacity):
    weights = {"b": 2.0}
    schedule = Schedule(capacity=capacity, ageing_ms=ageing_ms, weights=weights)
    naive, pushed, out, now = Naive(ageing_ms, weights), 0, [], 0
    exact = capacity == 1000  # a small capacity forgives idle tenants earlier than the model does
    for step in steps:
        now += 1
        if step[0] == "push" and not schedule.full:
            _, priority, tenant, age, deadline, cost = step
            it = ticket(priority, tenant, now - age, deadline_ms=deadline, cost=cost)
            schedule.push(pushed, it)
            naive.push(pushed, it)
            pushed += 1
        elif step[0] == "pop" and exact:
            for _ in range(step[1]):
                out.append(schedule.pop(now))
                assert out[-1] == naive.pop(now)
        elif step[0] == "pop":
            out.append(schedule.pop(now))
        elif step[0] == "discard":
            gone = schedule.discard(lambda item, rest=step[1]: item % 7 == rest)
            assert not exact or gone == naive.discard(lambda item, rest=step[1]: item % 7 == rest)
            out += gone
        assert len(schedule) == sum(schedule.by_class())
        if exact:
            assert schedule.by_class() == tuple(len(naive.of(priority)) for priority in range(10))
    out += drained(schedule, now)
    assert sorted(item for item in out if item is not None) == list(range(pushed))


@pytest.mark.parametrize("seed", range(20))
def test_long_runs_agree_with_the_naive_model(seed):
    """Queues long enough for tenants to come and go, to owe, and to be overtaken by age; costs exact in binary."""
    rng, weights = random.Random(seed), {"b": 2.0}
    ageing_ms = rng.choice([0, 50, NEVER])
    schedule, naive = Schedule(capacity=10_000, ageing_ms=ageing_ms, weights=weights), Naive(ageing_ms, weights)
    for now in range(1500):
        if rng.random() < (0.6 if now // 100 % 2 else 0.45):
            it = ticket(
                rng.choice([4, 4, 4, 9]),
                rng.choice("abcdef"),
                now - rng.randrange(40),
                deadline_ms=rng.choice([None, now + rng.randrange(100)]),
                cost=rng.choice([0.5, 1.0, 8.0]),
            )
            schedule.push(now, it)
            naive.push(now, it)
        else:
            assert schedule.pop(now) == naive.pop(now)
        if rng.random() < 0.01:
            rest = rng.randrange(5)
            assert schedule.discard(lambda item, rest=rest: item % 5 == rest) == naive.discard(
                lambda item, rest=rest: item % 5 == rest
            )
    assert drained(schedule, 1500) == [naive.pop(1500) for _ in range(len(naive.tasks))]
