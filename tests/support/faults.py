"""The faults that a busy group of stub workers is put through. Each ends with the work done."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import signal
import time
from collections.abc import Sequence

from hocket.contracts.records import Task
from hocket.local.broker import EmbeddedBroker
from tests.support.ground import Ground, stub_task

PATIENCE_S = 90.0


def load(count: int, seconds: tuple[float, float], rng: random.Random) -> list[Task]:
    """So many tasks, each with a time of its own."""
    return [stub_task(f"r{i}", seconds=rng.uniform(*seconds)) for i in range(count)]


async def _busy(ground: Ground, names: Sequence[str], tasks: Sequence[Task]) -> None:
    """The work comes when all have their partitions: the first to be up would do it alone on a busy machine."""
    ground.start(*names)
    await ground.until_joined(len(names))
    await ground.put(*tasks)
    await ground.until_working(len(names))


async def kills(ground: Ground, tasks: Sequence[Task], *, every: float, rest: float) -> int:
    """kill -9 of one of three workers after the other, each started again at once, until `rest` is left to do."""
    names = ("a", "b", "c")
    await _busy(ground, names, tasks)
    enough, done = int(rest * len(ground.expected)), 0
    for name in itertools.cycle(names):
        await ground.kill(name)
        ground.start(name)
        done += 1
        if await ground.until_missing(enough, every):
            break
    await ground.until_done(PATIENCE_S)
    return done


async def pauses(ground: Ground, tasks: Sequence[Task], *, times: int) -> int:
    """SIGSTOP of one of two workers for longer than the session time-out, then SIGCONT."""
    names = ("a", "b")
    await _busy(ground, names, tasks)
    for name, _ in zip(itertools.cycle(names), range(times), strict=False):
        await ground.freeze(name)
        await asyncio.sleep(ground.settings.session_timeout_ms / 1000 + 2)
        ground.workers[name].signal(signal.SIGCONT)
        await asyncio.sleep(2)
    await ground.until_done(PATIENCE_S)
    return times


async def broker_restarts(ground: Ground, tasks: Sequence[Task], broker: EmbeddedBroker, *, times: int) -> int:
    """The broker is killed and started again under two busy workers; every other time it shuts down in good order."""
    await _busy(ground, ("a", "b"), tasks)
    for number in range(times):
        for name in ("a", "b"):
            await ground.hit(name)
        if number % 2:
            await asyncio.to_thread(broker.restart)
        else:
            await asyncio.to_thread(broker.kill)
            await asyncio.sleep(1)
            await asyncio.to_thread(broker.start)
        await asyncio.sleep(4)
    await ground.until_done(PATIENCE_S)
    return times


async def storm(ground: Ground, tasks: Sequence[Task], *, every: float, seconds: float) -> int:
    """A worker joins or leaves in good order every so often, beside two that stay."""
    await _busy(ground, ("a", "b"), tasks)
    end, changes, guests, leaving = time.monotonic() + seconds, 0, iter(range(10_000)), []
    present: list[str] = []
    while time.monotonic() < end and ground.missing:
        if present:
            leaver = present.pop()
            ground.terminate(leaver)
            leaving.append(leaver)
        else:
            present.append(f"guest{next(guests)}")
            ground.start(present[-1])
        changes += 1
        await asyncio.sleep(every)
    await ground.until_done(PATIENCE_S)
    for name in leaving:
        await ground.stopped(name)
    return changes


async def rolling(ground: Ground, tasks: Sequence[Task], *, rounds: int) -> int:
    """Each of three busy workers is stopped in good order, awaited and started again, one after the other."""
    names = ("a", "b", "c")
    await _busy(ground, names, tasks)
    for name in names * rounds:
        assert await ground.gone(name) == 0, ground.workers[name].tail()
        ground.start(name)
        await asyncio.sleep(3)
    await ground.until_done(PATIENCE_S)
    return rounds * len(names)


async def scaling(ground: Ground, tasks: Sequence[Task]) -> int:
    """Two busy workers become six, and two again."""
    await _busy(ground, ("a", "b"), tasks)
    ground.start("c", "d", "e", "f")
    await ground.until_joined(6, PATIENCE_S)
    await asyncio.sleep(3)
    for name in ("c", "d", "e", "f"):
        ground.terminate(name)
    for name in ("c", "d", "e", "f"):
        await ground.stopped(name)
    await ground.until_done(PATIENCE_S)
    return 8


async def poison(ground: Ground, tasks: Sequence[Task], name: str, *, after: float, deaths: int) -> int:
    """A task that kills whoever runs it, among good ones; one worker, started again whenever it dies.

    It dies `after` seconds of call. Returns how often it died; gives up beyond `deaths`.
    """
    await ground.put(*tasks, stub_task("killer", options=json.dumps({"seconds": after, "kill": True})))
    died = 0
    ground.start(name)
    end = time.monotonic() + PATIENCE_S
    while ground.missing and time.monotonic() < end and died <= deaths:
        process = ground.workers[name].process
        assert process is not None
        if process.poll() is not None:
            died += 1
            await ground.hit(name)
            ground.start(name)
        await asyncio.sleep(0.1)
    return died
