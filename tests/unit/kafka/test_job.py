"""What a task is charged for in the fairness between tenants."""

from __future__ import annotations

import pytest

from hocket.contracts.records import Attachment, Output, Task, TaskInput
from hocket.core.offsets import Offsets
from hocket.kafka.intake import Intake
from hocket.kafka.job import Job
from hocket.kafka.log import Raw
from hocket.runtime.settings import Settings


def job(tenant: str = "t", *, size: int = 100, **more: object) -> Job:
    task = Task(
        request_id="r", task_id="a", specialty="writing", instruction="write", tenant=tenant, dispatched_at=1, **more
    )
    return Job(Raw("tasks", 0, 0, b"r", b"x" * size), Offsets(), task)


def test_an_answer_costs_something_and_a_long_prompt_more() -> None:
    assert job(size=0).ticket.cost == 2_000
    assert job(size=40_000).ticket.cost == 12_000


def test_what_is_referred_to_counts_and_what_is_inline_is_in_the_record() -> None:
    far = Attachment(name="a.pdf", media_type="application/pdf", uri="file:///a", size=8_000)
    near = Attachment(name="b.txt", media_type="text/plain", data=b"x", size=8_000)
    before = TaskInput(task_id="b", output=Output(specialty="research", uri="file:///b", size=4_000))
    assert job(size=0, attachments=(far, near), inputs=(before,)).ticket.cost == 2_000 + 3_000


def test_a_scan_of_many_megabytes_is_not_charged_as_text() -> None:
    scan = Attachment(name="a.png", media_type="image/png", uri="file:///a", size=20_000_000)
    assert job(attachments=(scan,)).ticket.cost == 52_000


def started(weights: dict[str, float], large: int) -> list[str]:
    """The tenants of the first tasks that start, of two that have 60 waiting each; those of `b` are of this size."""
    queue = Intake(1_000, weights)
    for _ in range(60):
        queue.push(job("a", size=0))
        queue.push(job("b", size=large))
    return [found.task.tenant for _ in range(60) if (found := queue.pop(0)) is not None and found.task is not None]


@pytest.mark.parametrize(
    ("weights", "large", "share"), [({}, 0, 30), ({}, 24_000, 12), ({"b": 3.0}, 0, 45), ({"b": 4.0}, 24_000, 30)]
)
def test_tenants_share_by_cost_and_weight(weights: dict[str, float], large: int, share: int) -> None:
    assert abs(started(weights, large).count("b") - share) <= 2


@pytest.mark.parametrize("wrong", ['{"a": 0}', '{"a": -1}', '{"a": Infinity}', '{"a": "much"}'])
def test_a_weight_that_means_nothing_is_refused(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("HOCKET_TENANT_WEIGHTS", wrong)
    with pytest.raises(ValueError, match="tenant_weights"):
        Settings()
