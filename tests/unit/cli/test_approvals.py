"""What is told to somebody who decides where nothing waits."""

from __future__ import annotations

from typing import Any

import pytest

from hocket.cli.approvals import objection
from hocket.cli.follow import View
from hocket.contracts.records import Answer, PlannedTask, Progress, Receipt

PLAN = (
    PlannedTask(task_id="read", specialty="extraction", instruction="-"),
    PlannedTask(task_id="release", specialty="approval", instruction="-", depends_on=("read",), kind="approval"),
)


def event(kind: Any, task_id: str | None = None, **more: Any) -> Progress:
    return Progress(request_id="r", kind=kind, task_id=task_id, at=1, **more)


PLANNED, READ = event("planned", tasks=PLAN), event("completed", "read")
ASKED = event("other", "release", text="waits for approval: -")


def known(*events: Progress | Answer) -> View:
    view = View(request_id="r")
    for one in events:
        view = view.after(one)
    return view


def test_a_waiting_step_may_be_decided() -> None:
    assert objection(known(PLANNED, READ, ASKED), "release") is None


def test_of_what_nothing_is_known_nothing_is_claimed() -> None:
    assert objection(known(), "release") is None


@pytest.mark.parametrize(
    ("events", "task", "said"),
    [
        ([PLANNED], "release", "release of r does not wait yet: it comes after read. Nothing of it waits"),
        ([PLANNED, READ, ASKED], "relaese", "no step 'relaese'. Waiting: release"),
        ([PLANNED, READ, ASKED], "read", "no approval 'read'. Waiting: release"),
        (
            [PLANNED, READ, ASKED, event("completed", "release", text="approved by ann")],
            "release",
            "decided already: approved by ann",
        ),
        (
            [PLANNED, Answer(request_id="r", status="expired", receipt=Receipt(admitted_at=0, answered_at=1))],
            "release",
            "r has ended (expired): nothing waits",
        ),
    ],
)
def test_where_nothing_waits_it_is_said_why(events: list[Progress | Answer], task: str, said: str) -> None:
    assert said in (objection(known(*events), task) or "")
