"""The runtime on the in-memory log, killed between a call's end and its outcome's arrival, back on the same disk."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hocket.contracts.records import Task
from hocket.kafka.journal import Journal
from hocket.kafka.runtime import Outgoing
from hocket.testing.log import FakeLog
from tests.support.runtimes import (
    NOW,
    TOPICS,
    Desk,
    crash,
    make,
    put,
    recalling,
    result,
    results,
    running,
    task,
    total_committed,
    until,
)


async def ended_and_not_sent(log: FakeLog, desk: Desk, path: Path, *ended: str) -> None:
    """A worker begins everything, ends these, and dies before Kafka has heard of it."""
    runtime = make(log, desk, journal=Journal(path))
    run = asyncio.create_task(runtime.run())
    await until(lambda: len(desk.started) == len(log.records(TOPICS.tasks("writing"))))
    log.down = True
    desk.finish(*ended)
    await until(lambda: runtime._outbox._journal is not None and len(runtime._outbox._journal._kept) == len(ended))
    await crash(log, runtime, run)
    log.down = False


async def test_a_call_that_had_ended_is_not_paid_again(tmp_path: Path):
    log, desk, second = FakeLog(partitions=2, now_ms=lambda: NOW), Desk(), Desk()
    put(log, "a", "b", "c")
    await ended_and_not_sent(log, desk, tmp_path / "j", "a", "c")
    assert results(log) == []
    async with running(make(log, second, journal=Journal(tmp_path / "j"))):
        second.finish("b")
        await until(lambda: total_committed(log) == 3)
    assert second.started == ["b"]
    assert sorted(r.request_id for r in results(log)) == ["a", "b", "c"]
    assert Journal(tmp_path / "j").left == ()


async def test_an_outcome_that_had_arrived_is_not_sent_twice(tmp_path: Path):
    """The worker died after Kafka took the outcome and before it knew."""
    log, desk, second = FakeLog(partitions=1, now_ms=lambda: NOW), Desk(), Desk()
    put(log, "a", "b")
    await ended_and_not_sent(log, desk, tmp_path / "j", "a", "b")
    arrived = result(task("a"))
    log.append(TOPICS.results, b"a", b"as it was", [("ce_id", arrived.event_id.encode())])
    async with running(make(log, second, journal=Journal(tmp_path / "j"), recall=recalling(log, []))):
        await until(lambda: total_committed(log) == 2)
    assert second.started == []
    assert [r.value for r in log.records(TOPICS.results) if r.key == b"a"] == [b"as it was"]
    assert len(log.records(TOPICS.results)) == 2


async def test_another_record_at_the_same_place_runs(tmp_path: Path):
    """The topic was made anew: the journal speaks of a record that is no more, and loses nothing of the new one."""
    old, desk, second = FakeLog(partitions=1, now_ms=lambda: NOW), Desk(), Desk()
    put(old, "a")
    await ended_and_not_sent(old, desk, tmp_path / "j", "a")
    log = FakeLog(partitions=1, now_ms=lambda: NOW + 1)
    put(log, "b")
    async with running(make(log, second, journal=Journal(tmp_path / "j"))):
        second.finish("b")
        await until(lambda: total_committed(log) == 1)
    assert second.started == ["b"]
    assert [r.request_id for r in results(log)] == ["a", "b"], "a result that nobody waits for is ignored by the join"


async def test_an_outcome_that_cannot_be_sent_is_done_again(tmp_path: Path):
    """The broker's limit was lowered meanwhile: this must not end every process that comes back."""
    log, desk, asked, name = FakeLog(partitions=1, now_ms=lambda: NOW), Desk(), [], "a" * 200
    put(log, name)
    await ended_and_not_sent(log, desk, tmp_path / "j", name)
    small = FakeLog(partitions=1, max_bytes=200, now_ms=lambda: NOW)
    put(small, name)

    async def handler(t: Task, delivery: object) -> list[Outgoing]:
        asked.append(t.request_id)
        return []

    async with running(make(small, handler, journal=Journal(tmp_path / "j"))):
        await until(lambda: total_committed(small) == 1)
    assert asked == [name]


async def test_who_is_stopped_before_the_outcome_is_safe_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It was struck out although it had not been sent."""
    monkeypatch.setattr("hocket.kafka.handover._TELL_S", 0.1)
    log, desk, second = FakeLog(partitions=1, now_ms=lambda: NOW), Desk(), Desk()
    put(log, "a")
    await ended_and_not_sent(log, desk, tmp_path / "j", "a")
    log.down = True
    hasty = make(log, second, journal=Journal(tmp_path / "j"))
    run = asyncio.create_task(hasty.run())
    await asyncio.sleep(0.1)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    log.down = False
    async with running(make(log, second, journal=Journal(tmp_path / "j"))):
        await until(lambda: total_committed(log) == 1)
    assert second.started == []
    assert [r.request_id for r in results(log)] == ["a"]


async def test_it_lets_go_of_the_file_when_it_ends(tmp_path: Path):
    log = FakeLog(partitions=1, now_ms=lambda: NOW)
    async with running(make(log, Desk(), journal=Journal(tmp_path / "j"))):
        with pytest.raises(BlockingIOError):
            Journal(tmp_path / "j")
    Journal(tmp_path / "j").close()
