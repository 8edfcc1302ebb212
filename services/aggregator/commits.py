"""Quix Streams commits by a Rhythm instead of a fixed interval. Nothing here changes what is in a transaction."""

from __future__ import annotations

from dataclasses import fields
from time import monotonic
from typing import Any

from quixstreams import Application
from quixstreams.processing import ProcessingContext

from services.aggregator.rhythm import Rhythm


class _Context(ProcessingContext):
    """Quix's own, with the rhythm in the place of its fixed interval."""

    rhythm: Rhythm

    def store_offset(self, topic: str, partition: int, offset: int) -> None:
        super().store_offset(topic=topic, partition=partition, offset=offset)
        self.rhythm.processed(monotonic())

    def commit_checkpoint(self, force: bool = False, revoking: bool = False) -> None:
        began = monotonic()
        if force or self.rhythm.due(began):
            super().commit_checkpoint(force=True, revoking=revoking)
            self.rhythm.committed(began, monotonic())


def in_rhythm(application: Application) -> Application:
    """The application, committing by a Rhythm. Call it before any dataframe is made of it.

    Private to Quix, whose commit interval is fixed: its version is pinned, and tests/kafka/test_aggregator.py guards
    the hop's latency.
    """
    rhythm = Rhythm()
    given = application._processing_context  # noqa: SLF001 - see above
    context = _Context(**{f.name: getattr(given, f.name) for f in fields(given) if f.init})
    context.rhythm = rhythm
    application._processing_context = context  # noqa: SLF001
    consumer = application._consumer  # noqa: SLF001
    poll = consumer.poll_row

    def poll_row(timeout: float | None = None, buffered: bool = False) -> Any:
        found = poll(timeout=rhythm.wait(monotonic(), timeout or 0.0), buffered=buffered)
        rhythm.drained = found is None
        return found

    setattr(consumer, "poll_row", poll_row)  # noqa: B010 - a method of this one object
    return application
