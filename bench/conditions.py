"""What every figure is printed with: the machine, the versions, and how busy others kept the machine."""

from __future__ import annotations

import asyncio
import os
import platform
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from hocket.local.broker import BrokerOptions, EmbeddedBroker
from hocket.local.jars import KAFKA_VERSION


def conditions(**sizes: object) -> str:
    """One paragraph to print above the figures."""
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1024 if Path("/proc/meminfo").exists() else 0
    told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in sizes.items())
    return (
        f"conditions: {os.cpu_count()} cores (load {os.getloadavg()[0]:.1f} at the start), {memory} MB, "
        f"Python {platform.python_version()} (a fixed loop takes {_loop_ms():.0f} ms), "
        f"aiokafka {version('aiokafka')}, Apache Kafka {KAFKA_VERSION} "
        f"(one node, loopback, same machine); {told}"
    )


def _loop_ms() -> float:
    """How fast this interpreter is on this machine now: Debian's, built with optimisation, took 37 ms where one built
    without took 61, and the neighbours of a virtual machine slow it down unseen."""
    took = []
    for _ in range(3):
        began = time.perf_counter()
        kept = {i % 1000: quantile((i, 1, 2), 0.5) for i in range(100_000)}
        assert len(kept) == 1000
        took.append(1000 * (time.perf_counter() - began))
    return min(took)


@asynccontextmanager
async def broker(options: BrokerOptions | None = None) -> AsyncIterator[EmbeddedBroker]:
    """An embedded broker that is started and stopped without blocking the loop."""
    running = EmbeddedBroker(options)
    await asyncio.to_thread(running.start)
    try:
        yield running
    finally:
        await asyncio.to_thread(running.stop)


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of them lie; NaN of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def mark(reached: float, floor: float, goal: float | None = None, *, less: bool = False) -> str:
    """Floor and goal beside what was reached."""
    meets = (lambda limit: reached <= limit) if less else (lambda limit: reached >= limit)
    if goal is not None and meets(goal):
        return "goal reached"
    return "floor reached" if meets(floor) else "BELOW THE FLOOR"
