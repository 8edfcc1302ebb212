"""What workers that died had written and not committed: found at the end of the topic of outcomes, by the records' ids.

A worker commits some milliseconds after its outcome is safe. Whoever goes on after its death would call a model again
for what ended in between; knowing the outcome's id, it does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from hocket.contracts import headers
from hocket.contracts.records import Task
from hocket.kafka.client import aiokafka_options
from hocket.runtime.settings import Settings

log = logging.getLogger(__name__)

SKEW_MS = 5_000
"""So far the clocks of a worker and a broker may be apart."""
SPAN_MS = 60_000
"""Longer than a worker that lives goes without a commit."""
_GIVE_UP_S = 5.0
_POLL_MS = 500

Outcomes = Mapping[str, int]
"""Ids of outcomes, and when each was written by the broker's clock."""


class Recall(NamedTuple):
    """How a runtime finds outcomes of others: the id that a task's outcome has, and what workers of its kind wrote
    about between two times in milliseconds. Reading takes seconds at most."""

    id_of: Callable[[Task], str]
    written: Callable[[int, int], Awaitable[Outcomes]]


async def outcomes(settings: Settings, topic: str, kind: str, first_ms: int, last_ms: int) -> Outcomes:
    """What workers of this kind wrote to a topic of outcomes around these times. Never raises for Kafka's sake: what
    cannot be read is not known, which costs calls and no task."""
    from aiokafka import AIOKafkaConsumer  # takes a moment to import
    from aiokafka.errors import KafkaError

    found: dict[str, int] = {}
    client = AIOKafkaConsumer(
        topic,
        **aiokafka_options(settings),
        client_id=f"hocket-recall-{settings.instance}",
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
    )
    try:
        async with asyncio.timeout(_GIVE_UP_S):
            await client.start()
            await _read(client, f"/{kind}", first_ms - SKEW_MS, last_ms + SPAN_MS, found)
    except (KafkaError, OSError, TimeoutError) as e:
        log.warning("%s cannot be read for what a dead worker wrote: calls of it may be repeated: %r", topic, e)
    finally:
        with contextlib.suppress(KafkaError, OSError, TimeoutError):
            async with asyncio.timeout(_GIVE_UP_S):
                await client.stop()
    return found


async def _read(client: Any, sources: str, first_ms: int, last_ms: int, found: dict[str, int]) -> None:
    places = client.assignment()
    ends = await client.end_offsets(places)
    starts = await client.offsets_for_times(dict.fromkeys(places, first_ms))
    left = {p: ends[p] for p in places if (at := starts.get(p)) is not None and at.offset < ends[p]}
    for place in places:
        client.seek(place, starts[place].offset if place in left else ends[place])
    while left:
        for place, records in (await client.getmany(timeout_ms=_POLL_MS)).items():
            for record in records:
                if (headers.get(record.headers, "ce_source") or "").endswith(sources):
                    found[headers.get(record.headers, "ce_id") or ""] = record.timestamp
            if records[-1].timestamp > last_ms:
                left.pop(place, None)
        for place, end in list(left.items()):  # by position: what a transaction leaves at an end is no record
            if await client.position(place) >= end:
                del left[place]
