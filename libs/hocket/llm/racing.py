"""Two lines to one usable reply: the second begins when the first is slow, or its reply was rejected.

A line is a model's whole way: call, retries, check and repair. So a quick reply that does not pass the check wins
nothing, and what a provider's pause or a repair would have cost in time runs beside the other line.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from hocket.llm.base import ModelError
from hocket.llm.catalogue import Entry
from hocket.runtime import metrics


@dataclass(frozen=True)
class Line:
    """A model and its way to a usable reply, which is not begun before the race begins it."""

    entry: Entry
    way: Coroutine[Any, Any, dict[str, Any]]


Won = tuple[dict[str, Any], Entry] | None
Failed = list[tuple[Entry, ModelError]]


async def race(
    first: Line, second: Callable[[], Line | None], *, after: float | None, rejected: asyncio.Event
) -> tuple[Won, Failed]:
    """The first usable reply, and the lines that failed, in the order of the lines.

    `second` is asked for a line once `rejected` is set, or after so many seconds (None: not for being slow). The loser
    is cancelled: its connection is closed, and it is accounted at its bound, because providers do not tell its cost.
    """
    lines = {asyncio.create_task(first.way): first.entry}
    waking = asyncio.create_task(rejected.wait())
    try:
        await asyncio.wait([*lines, waking], timeout=after, return_when=asyncio.FIRST_COMPLETED)
        if not any(t.done() for t in lines) and (beside := second()) is not None:
            lines[asyncio.create_task(beside.way)] = beside.entry
        return await _decided(lines, first.entry)
    finally:
        for task in (*lines, waking):
            task.cancel()
        await asyncio.gather(*lines, waking, return_exceptions=True)


async def _decided(lines: dict[asyncio.Task[dict[str, Any]], Entry], first: Entry) -> tuple[Won, Failed]:
    pending = set(lines)
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in (t for t in lines if t in done):
            error = task.exception()
            if error is None:
                if lines[task] is not first:
                    metrics.HEDGES.labels(first.engine, "won").inc()
                return (task.result(), lines[task]), _failures(lines)
            if not isinstance(error, ModelError):
                raise error
    return None, _failures(lines)


def _failures(lines: dict[asyncio.Task[dict[str, Any]], Entry]) -> Failed:
    found = []
    for task, entry in lines.items():
        if task.done() and not task.cancelled() and isinstance(error := task.exception(), ModelError):
            found.append((entry, error))
    return found
