"""What heartbeats add up to."""

from __future__ import annotations

from typing import Any

import pytest

from hocket.contracts.codec import Codec
from hocket.contracts.records import Heartbeat, Progress
from hocket.runtime.settings import Settings
from services.aggregator.fleet_watch import ALIVE_MS, FleetWatch, _begun, summed

NOW = 1_000_000


def beat(worker: str, **changes: Any) -> Heartbeat:
    fields = {"worker": worker, "service": "worker", "specialty": "code", "started_at": 1, "at": NOW}
    return Heartbeat(**{**fields, **changes})


def test_workers_of_a_specialty_add_up() -> None:
    busy = beat("w1", queued=5, per_second=3.0, p50_millis=100.0, p95_millis=400.0)
    slow = beat("w2", queued=1, per_second=1.0, p50_millis=500.0, p95_millis=900.0)
    view = summed([busy, slow], NOW)["code"]
    assert (view.workers, view.queue, view.per_second) == (2, 6, 4.0)
    assert (view.p50_millis, view.p95_millis) == (200.0, 900.0)


def test_a_new_worker_is_alive_without_times() -> None:
    view = summed([beat("w")], NOW)["code"]
    assert (view.workers, view.p50_millis, view.p95_millis) == (1, None, None)


def test_who_is_silent_draining_or_no_worker_is_not_counted() -> None:
    silent = beat("w1", at=NOW - ALIVE_MS)
    draining = beat("w2", state="draining")
    aggregator = beat("a", service="aggregator", specialty=None)
    assert summed([silent, draining, aggregator], NOW) == {}


@pytest.mark.parametrize(
    ("kinds", "seen"),
    [
        (["assigned"], {"r/t0"}),
        (["assigned", "assigned", "text"], {"r/t0", "r/t1", "r/t2"}),
        (["text", "text"], {"r/t0"}),
        (["completed", "failed", "planned"], set()),
    ],
)
def test_every_begin_is_a_sign_and_text_now_and_then(settings: Settings, kinds: list[Any], seen: set[str]) -> None:
    """A task that does not stream says only once that it lives; of those that do, one a second of a request is read."""
    watch, codec = FleetWatch(settings, Codec()), Codec()
    for number, kind in enumerate(kinds):
        told = Progress(request_id="r", task_id=f"t{number}", kind=kind, worker="w", at=1)
        begun = _begun([("ce_id", f"r/t{number}/0.1/{kind}".encode())])
        assert begun in (None, f"r/t{number}")
        if begun is not None:
            watch._note(begun, NOW)
        else:
            watch._sign(b"r", codec.encode(told, "progress"), NOW)
    assert set(watch._signs) == seen


def test_the_planner_is_a_specialty_of_its_own() -> None:
    assert summed([beat("p", service="planner", specialty=None)], NOW)["planning"].workers == 1
