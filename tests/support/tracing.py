"""A sink that keeps spans, for the tests of what makes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hocket.core.traces import Context, Span
from hocket.runtime import tracing


class Kept:
    """Keeps spans in the order in which they left; records every trace unless told otherwise."""

    def __init__(self, *, record: bool = True) -> None:
        self.spans: list[Span] = []
        self.record = record

    def emit(self, spans: Sequence[Span]) -> None:
        self.spans.extend(spans)

    def sampled(self, trace_id: str, parent: Context | None) -> bool:
        return parent.sampled if parent is not None else self.record

    def close(self) -> None:
        pass

    def named(self, name: str) -> Span:
        [found] = [s for s in self.spans if s.name == name]
        return found


@contextmanager
def traced(*, record: bool = True, content: bool = False) -> Iterator[Kept]:
    """This process traces meanwhile, into what is given."""
    kept = Kept(record=record)
    tracing.use(kept, content=content)
    try:
        yield kept
    finally:
        tracing.use(None)
