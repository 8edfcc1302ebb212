"""The join in a seeded world, held against an independent recomputation. `python -m bench.join_model` looks further."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest

from hocket.contracts.records import Request
from services.aggregator import join
from services.aggregator.join import Arrival, Reply
from tests.support import join_world
from tests.support.join_world import Life, WrongAnswer

SEEDS = int(os.environ.get("HOCKET_SEEDS", "1000"))


@pytest.mark.parametrize("block", range(4))
def test_every_request_ends_in_exactly_one_right_answer_and_leaves_no_row(block: int) -> None:
    ends: Counter[str] = Counter()
    for seed in range(block * SEEDS, (block + 1) * SEEDS):
        ends[Life(seed=seed).run().replies[0].answer.status] += 1
    assert {"completed", "partial", "failed", "cancelled", "expired"} <= set(ends), ends


def test_some_of_them_run_in_bundles() -> None:
    lives = [Life(seed=seed).run() for seed in range(600)]
    assert sum(life.bundled for life in lives) > 20
    assert any(t.bundled_with for life in lives for r in life.replies for t in r.answer.receipt.tasks)


def _worlds(monkeypatch: pytest.MonkeyPatch, broken: Any) -> None:
    monkeypatch.setattr(join_world, "step", broken)
    for seed in range(300):
        Life(seed=seed).run()


def test_the_world_notices_a_join_that_forgets_that_it_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(row: Any, event: Arrival, now: int, world: Any) -> Any:
        if row is not None and row.phase == "ended" and isinstance(event.record, Request):
            row = None
        return join.step(row, event, now, world)

    with pytest.raises(WrongAnswer):
        _worlds(monkeypatch, broken)


def test_the_world_notices_a_join_that_keeps_its_markers(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(row: Any, event: Arrival, now: int, world: Any) -> Any:
        after, effects = join.step(row, event, now, world)
        return (row, effects) if after is None else (after, effects)

    with pytest.raises(WrongAnswer):
        _worlds(monkeypatch, broken)


def test_the_world_notices_a_wrong_status(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(row: Any, event: Arrival, now: int, world: Any) -> Any:
        after, effects = join.step(row, event, now, world)
        wrong = {"expired": "failed", "partial": "completed"}
        changed = [
            Reply(
                answer=e.answer.model_copy(update={"status": wrong.get(e.answer.status, e.answer.status)}),
                topic=e.topic,
            )
            if isinstance(e, Reply)
            else e
            for e in effects
        ]
        return after, changed

    with pytest.raises(WrongAnswer):
        _worlds(monkeypatch, broken)
