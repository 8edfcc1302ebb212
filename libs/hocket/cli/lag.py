"""`hocket lag`: how far each consumer group is behind, in the columns of Kafka's own tool, and what of it is work."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any

from hocket.cli.base import CliError, Output, console, print_json, usage
from hocket.kafka.client import topics_of
from hocket.runtime.clock import now_ms
from hocket.runtime.settings import Settings
from services.monitor.lag import GroupLag, PartitionLag
from services.monitor.reader import OffsetsUnavailableError, Reader

COLUMNS = (
    "GROUP",
    "TOPIC",
    "PARTITION",
    "CURRENT-OFFSET",
    "LOG-END-OFFSET",
    "LAG",
    "NET",
    "AGE",
    "CONSUMER-ID",
    "HOST",
    "CLIENT-ID",
)
_RIGHT = frozenset(COLUMNS[2:8])


async def read(settings: Settings) -> tuple[GroupLag, ...]:
    """The lag of every group of this installation. Raises CliError while Kafka cannot tell."""
    try:
        async with Reader(settings) as reader:
            return await reader.read(topics_of(settings), settings.group, now_ms)
    except TimeoutError as e:
        message = f"Kafka at {settings.bootstrap} does not answer in time; `hocket doctor` looks for the reason"
        raise CliError(message, kind="kafka_unreachable") from e
    except OffsetsUnavailableError as e:
        raise CliError(f"{e}: try again in a moment", kind="offsets_unavailable") from e


def run_lag(settings: Settings, *, group: str | None, everything: bool, output: Output) -> None:
    """Prints a row for each partition that a group has committed, holds or is behind in (`everything`: all)."""
    groups = asyncio.run(read(settings))
    if group is not None:
        known = [g.group for g in groups]
        groups = tuple(g for g in groups if fnmatchcase(g.group, group) or g.group == settings.group(group))
        if not groups:
            usage(f"no group is called {group!r}; there are {', '.join(known) or 'none'}")
    found = [(g, p) for g in groups for p in g.partitions]
    if output is Output.json:
        print_json([_document(g, p) for g, p in found])
        return
    out = console()
    out.print(_table([(g, p) for g, p in found if everything or _telling(p)]))
    for line in _remarks(groups):
        out.print(line, markup=False, soft_wrap=True)


def _telling(p: PartitionLag) -> bool:
    return p.committed is not None or p.lag > 0 or p.owner is not None


def _document(group: GroupLag, p: PartitionLag) -> dict[str, Any]:
    return {
        "group": group.group,
        "topic": p.topic,
        "partition": p.partition,
        "committed": p.committed,
        "end": p.end,
        "lag": p.lag,
        "net": p.net,
        "age_ms": p.age_ms,
        "lost": p.lost,
        "consumer_id": p.owner.consumer_id if p.owner else None,
        "host": p.owner.host if p.owner else None,
        "client_id": p.owner.client_id if p.owner else None,
    }


def _table(rows: Iterable[tuple[GroupLag, PartitionLag]]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in COLUMNS:
        table.add_column(name, justify="right" if name in _RIGHT else "left", overflow="fold")
    for group, p in rows:
        table.add_row(*_cells(group, p))
    return table


def _cells(group: GroupLag, p: PartitionLag) -> Iterator[str]:
    """A row. As Kafka's tool has it, "-" is what is not known; a group without a commit will begin at the earliest."""
    yield from (group.group, p.topic, str(p.partition))
    yield "-" if p.committed is None else str(p.committed)
    yield from (str(p.end), str(p.lag), str(p.net), age(p.age_ms))
    who = (p.owner.consumer_id, p.owner.host, p.owner.client_id) if p.owner else ("-", "-", "-")
    yield from who


def age(millis: int | None) -> str:
    """A waiting time for people."""
    if millis is None:
        return "-"
    seconds = millis / 1000
    if seconds < 100:
        return f"{seconds:.0f}s" if seconds >= 10 or not millis else f"{seconds:.1f}s"
    return f"{seconds / 60:.0f}m" if seconds < 6_000 else f"{seconds / 3_600:.1f}h"


def _remarks(groups: Iterable[GroupLag]) -> Iterator[str]:
    groups = list(groups)
    ahead = sum(g.lag - g.net for g in groups)
    if ahead:
        yield f"{ahead} of LAG need no work: finished above the committed offset, or transaction markers."
    for g in groups:
        if g.idle_members:
            yield f"{g.group}: {g.idle_members} of {len(g.members)} members hold no partition."
        if g.lost:
            yield f"{g.group}: {g.lost} records were deleted by retention before they were read."
